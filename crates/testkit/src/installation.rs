//! The JavaScript programs of AllexJS, which are not part of this repository.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::Finding;

/// The variable that names the folder with the JavaScript programs.
const VARIABLE: &str = "ALLEXJS_MODULES";
/// The program that runs a service.
const CHILD: &str = "allex_masterservice/users/spawn.js";
/// The master that this one replaces.
const MASTER: &str = "allex/master.js";
/// The service that is started.
const SERVICE: &str = "allex_timeservice/index.js";

/// A folder `node_modules` with AllexJS in it.
pub struct Installation {
    modules: PathBuf,
}

impl Installation {
    /// The one that the environment names, with all that runs a service.
    ///
    /// # Errors
    /// What is missing.
    pub fn find() -> Finding<Self> {
        Self::with(&[CHILD, SERVICE])
    }

    /// The same, with the JavaScript master in it.
    ///
    /// # Errors
    /// What is missing.
    pub fn find_with_master() -> Finding<Self> {
        Self::with(&[CHILD, SERVICE, MASTER])
    }

    fn with(needed: &[&str]) -> Finding<Self> {
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
        match needed.iter().find(|path| !modules.join(path).is_file()) {
            Some(path) => Err(format!("{} has no {path}", modules.display())),
            None => Ok(Self { modules }),
        }
    }

    pub fn child_program(&self) -> PathBuf {
        self.modules.join(CHILD)
    }

    pub fn master_program(&self) -> PathBuf {
        self.modules.join(MASTER)
    }

    pub fn modules(&self) -> &Path {
        &self.modules
    }

    /// A folder for one run, inside the installation: AllexJS finds its names upwards from there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn folder(&self) -> std::io::Result<TempDir> {
        tempfile::tempdir_in(self.modules.parent().unwrap_or(&self.modules))
    }
}
