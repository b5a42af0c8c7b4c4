//! Where the JavaScript programs are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The variable that names the folder with the JavaScript programs.
const VARIABLE: &str = "ALLEXJS_MODULES";
/// What has to be in that folder: the child program, the master, and the service that is started.
const NEEDED: [&str; 3] = [
    "allex_masterservice/users/spawn.js",
    "allex/master.js",
    "allex_timeservice/index.js",
];

/// A folder `node_modules` with AllexJS in it.
pub(crate) struct Installation {
    modules: PathBuf,
}

impl Installation {
    /// The one that the environment names, or what is missing.
    pub(crate) fn find() -> Result<Self, String> {
        let Some(modules) = env::var_os(VARIABLE).map(PathBuf::from) else {
            return Err(format!(
                "set {VARIABLE} to a node_modules folder with the JavaScript programs of AllexJS"
            ));
        };
        let version = Command::new("node")
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        if !version.is_ok_and(|status| status.success()) {
            return Err("Node is missing: install it".to_owned());
        }
        match NEEDED.iter().find(|path| !modules.join(path).is_file()) {
            Some(path) => Err(format!("{} has no {path}", modules.display())),
            None => Ok(Self { modules }),
        }
    }

    pub(crate) fn child_program(&self) -> PathBuf {
        self.modules.join(NEEDED[0])
    }

    pub(crate) fn master_program(&self) -> PathBuf {
        self.modules.join(NEEDED[1])
    }

    pub(crate) fn modules(&self) -> &Path {
        &self.modules
    }

    /// A folder for one run, inside the installation: AllexJS finds its names upwards from there.
    pub(crate) fn folder(&self) -> tempfile::TempDir {
        tempfile::tempdir_in(self.modules.parent().unwrap()).unwrap()
    }
}
