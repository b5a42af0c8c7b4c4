//! Where the JavaScript programs are.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The variable that names the folder with the JavaScript programs.
const VARIABLE: &str = "ALLEXJS_MODULES";
/// What has to be in that folder: the child program, and the service that is started.
const NEEDED: [&str; 2] = [
    "allex_masterservice/users/spawn.js",
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

    /// A folder for one run, inside the installation: AllexJS finds its names upwards from there.
    pub(crate) fn folder(&self) -> std::io::Result<tempfile::TempDir> {
        tempfile::tempdir_in(self.modules.parent().unwrap_or(&self.modules))
    }
}
