//! Which of the program's processes this one is.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use thiserror::Error;

use super::log::FORMAT_VARIABLE;

/// The variable with the role of this process.
pub const ROLE_VARIABLE: &str = "ALLEXMASTER_ROLE";
/// The variable with the program of the engine, if it is not the keeper's.
pub const ENGINE_VARIABLE: &str = "ALLEXMASTER_ENGINE";

/// This program, also if its file was replaced or removed.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Which of the program's processes this one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Starts engines, and keeps what must outlive them.
    Keeper,
    /// Does the work, for a keeper.
    Engine,
    /// Does the work, without a keeper.
    Single,
}

/// The variable has a value that is no role.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{ROLE_VARIABLE} is {0:?}; unset it, or use keeper, engine or single")]
pub struct UnknownRole(OsString);

impl Role {
    /// The role that this process was started for; `None` if the variable is not set.
    ///
    /// # Errors
    /// Its value is no role.
    pub fn from_environment() -> Result<Option<Self>, UnknownRole> {
        let Some(text) = std::env::var_os(ROLE_VARIABLE) else {
            return Ok(None);
        };
        let roles = [Self::Keeper, Self::Engine, Self::Single];
        let role = roles.into_iter().find(|role| text == role.as_str());
        role.map(Some).ok_or(UnknownRole(text))
    }

    /// The value of the variable.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keeper => "keeper",
            Self::Engine => "engine",
            Self::Single => "single",
        }
    }
}

/// Becomes the keeper: executes the program again in the same process with the same arguments, so that
/// the memory used for reading them is released. Returns only if that fails.
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

/// The program of this process: its path while that is still the same file, so that the process keeps
/// its name; else `/proc/self/exe`.
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
