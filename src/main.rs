//! The program; see the library.

use std::process::ExitCode;

use allexmaster_keeper::keeper::{self, Role};

fn main() -> ExitCode {
    // First of all, so that the keeper stays as small as it is.
    match Role::from_environment() {
        Ok(Some(Role::Keeper)) => keeper::run(),
        Ok(role @ (Some(Role::Engine | Role::Single) | None)) => allexmaster::cli::main(role),
        Err(error) => allexmaster::cli::unknown_role(&error),
    }
}
