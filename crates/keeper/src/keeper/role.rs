//! Which of the program's processes this one is.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use thiserror::Error;

use super::log::FORMAT_VARIABLE;

/// The variable that says which role this process has.
pub const ROLE_VARIABLE: &str = "ALLEXMASTER_ROLE";
/// The variable that names the program of the engine, where it is another one than the keeper's.
pub const ENGINE_VARIABLE: &str = "ALLEXMASTER_ENGINE";

/// This program, wherever it lies, also where its file was replaced or removed.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Which of the program's processes this one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Starts engines, and keeps what is to outlive them.
    Keeper,
    /// Does the work, for a keeper.
    Engine,
    /// Does the work, without a keeper.
    Single,
}

/// The role is none of those that there are.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{ROLE_VARIABLE} is {0:?}; unset it, or use keeper, engine or single")]
pub struct UnknownRole(OsString);

impl Role {
    /// The role that this process was started for; `None`: it may choose one.
    ///
    /// # Errors
    /// The variable has another value.
    pub fn from_environment() -> Result<Option<Self>, UnknownRole> {
        let Some(text) = std::env::var_os(ROLE_VARIABLE) else {
            return Ok(None);
        };
        let roles = [Self::Keeper, Self::Engine, Self::Single];
        let role = roles.into_iter().find(|role| text == role.as_str());
        role.map(Some).ok_or(UnknownRole(text))
    }

    /// As the variable has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keeper => "keeper",
            Self::Engine => "engine",
            Self::Single => "single",
        }
    }
}

/// Becomes the keeper: the same process with the same arguments, but with nothing in memory of what
/// reading them took. Returns only where that fails.
#[must_use]
pub fn become_keeper(json_log: bool) -> io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(own_program);
    Command::new(own_program())
        .arg0(name)
        .args(arguments)
        .env(ROLE_VARIABLE, Role::Keeper.as_str())
        .env(FORMAT_VARIABLE, if json_log { "json" } else { "human" })
        .exec()
}

/// The program that this process runs: by its path, so that it is called by its name, where that is
/// still the same file.
pub(crate) fn own_program() -> OsString {
    let same = |path: &std::path::Path| {
        let there = fs::metadata(path).ok()?;
        let own = fs::metadata(OWN_PROGRAM).ok()?;
        Some((there.dev(), there.ino()) == (own.dev(), own.ino()))
    };
    match std::env::current_exe() {
        Ok(path) if same(&path) == Some(true) => path.into_os_string(),
        Ok(_) | Err(_) => OWN_PROGRAM.into(),
    }
}
