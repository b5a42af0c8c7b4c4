//! `allexmaster service print`: the unit of systemd for a folder.

use std::error::Error as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use allexmaster_keeper::os;
use clap::{Args, Subcommand};
use thiserror::Error;

use super::{Common, complain, print};
use crate::exit_code;

/// The unit of the packages.
const UNIT: &str = include_str!("../../packaging/allexmaster.service");
/// What stands in it for this program, the folder, its place below /var/lib and the user.
const PROGRAM: &str = "/usr/bin/allexmaster";
const FOLDER: &str = "/var/lib/allexmaster";
const STATE_DIRECTORY: &str = "StateDirectory=allexmaster\n";
const USER: &str = "User=allexmaster\n";
const HEADING: &str =
    "# One master in /var/lib/allexmaster. For another folder: `allexmaster service print`.\n";

/// Run the master under a service manager.
#[derive(Debug, Subcommand)]
pub(super) enum Service {
    Print(Print),
}

/// Print the unit of systemd for the master of this folder.
///
/// It runs this program, as the user who prints it, in the folder of --directory:
///
///   allexmaster --directory /srv/machine service print | sudo tee /etc/systemd/system/allexmaster.service
///   sudo systemctl enable --now allexmaster
///
/// The unit says itself why it is as it is. `systemctl reload` reads the configuration again.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Print {
    /// The user that the master and its services run as; by default the one who prints
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
}

#[derive(Debug, Error)]
enum ServiceError {
    #[error("the folder {} cannot be found", folder.display())]
    Folder {
        folder: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("this program has no path")]
    Program(#[source] io::Error),
    #[error(
        "{} cannot stand in a unit: it has a character of systemd's own; use a path without blanks, quotes, %, $ and \\", path.display()
    )]
    Unusable { path: PathBuf },
}

impl Service {
    pub(super) fn run(self, common: &Common) -> ExitCode {
        let Self::Print(Print { user }) = self;
        match unit(&common.directory, user.as_deref()) {
            Ok(unit) => {
                print(&unit);
                ExitCode::SUCCESS
            }
            Err(error) => {
                let reason = error.source().map(|reason| format!(": {reason}"));
                complain(&format!("{error}{}", reason.unwrap_or_default()));
                ExitCode::from(exit_code::FAILURE)
            }
        }
    }
}

fn unit(folder: &Path, user: Option<&str>) -> Result<String, ServiceError> {
    let folder = folder
        .canonicalize()
        .map_err(|source| ServiceError::Folder {
            folder: folder.to_owned(),
            source,
        })?;
    let program = std::env::current_exe().map_err(ServiceError::Program)?;
    let own =
        || os::user(std::process::id()).map_or_else(|| "root".to_owned(), |user| user.to_string());
    let user = user.map_or_else(own, str::to_owned);
    let unit = UNIT
        .replace(HEADING, "# Made by `allexmaster service print`.\n")
        .replace(STATE_DIRECTORY, "")
        .replace(USER, &format!("User={user}\n"))
        .replace(FOLDER, in_unit(&folder)?)
        .replace(PROGRAM, in_unit(&program)?);
    Ok(unit)
}

/// The path, if systemd reads it in a unit as it is.
fn in_unit(path: &Path) -> Result<&str, ServiceError> {
    let plain = |sign: char| sign.is_alphanumeric() || "/._-+@:,=~".contains(sign);
    let text = path.to_str().filter(|text| text.chars().all(plain));
    text.ok_or_else(|| ServiceError::Unusable {
        path: path.to_owned(),
    })
}
