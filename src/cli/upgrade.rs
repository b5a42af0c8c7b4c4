//! `allexmaster upgrade`: replaces the running engine by another build.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use allexmaster_keeper::os;
use allexmaster_protocol::vocabulary::method;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Common, ask, complain, print, print_json, report};
use crate::client;
use crate::config::{CONFIG_FILE, Report};
use crate::exit_code;
use crate::sessions::Upgraded;
use crate::status::StatusDocument;
use allexmaster_sessions::SESSIONS_VERSION;

/// Replace the running engine of this folder's master by another build of the program.
///
/// Children, connections and open queries stay: nobody notices. Before it takes over, the other
/// build has to replay the whole journal, and to agree with the running one on every state and
/// every decision; where it does not, the difference is shown, and nothing is changed. The
/// configuration in force stays in force; a file with a mistake is refused first (exit code 3). A build that
/// ends before it is ready is given up for the one before. To go back is the same command.
#[derive(Debug, Args)]
pub(super) struct Upgrade {
    /// The program that takes over [default: this one]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Take over also where it decides otherwise, or cannot take over the connections
    #[arg(long)]
    accept_differences: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What of a build must fit the one that it takes over from.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Formats {
    /// The version of the program.
    version: String,
    /// The version of what the engine keeps of its connections.
    #[serde(rename = "front")] // as builds that know version 1 say and read it
    sessions: u32,
}

/// Prints what another build asks before it hands over, or takes over.
pub(super) fn print_formats() -> ExitCode {
    print_json(&Formats {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        sessions: SESSIONS_VERSION,
    });
    ExitCode::from(exit_code::OK)
}

impl Upgrade {
    pub(super) fn run(&self, common: &Common) -> ExitCode {
        let status: StatusDocument =
            match ask(common, method::STATUS, Vec::new()).and_then(client::document) {
                Ok(status) => status,
                Err(error) => return report(&error, self.json),
            };
        match self.replace(common, &status) {
            Ok(Upgraded::Done { engine, version }) if self.json => {
                print_json(&json!({ "engine": engine, "version": version }));
                ExitCode::from(exit_code::OK)
            }
            Ok(Upgraded::Done { engine, version }) => {
                print(&format!(
                    "the engine is process {engine} now, version {version}; services and \
                     connections are those of before\n"
                ));
                ExitCode::from(exit_code::OK)
            }
            Ok(Upgraded::Refused(why)) => {
                complain(&format!("not upgraded: {why}"));
                ExitCode::from(exit_code::FAILURE)
            }
            Err((code, why)) => {
                complain(&format!("not upgraded: {why}"));
                ExitCode::from(code)
            }
        }
    }

    fn replace(&self, common: &Common, status: &StatusDocument) -> Result<Upgraded, (u8, String)> {
        let failed = |why| (exit_code::FAILURE, why);
        let named = self.binary.clone().map_or_else(std::env::current_exe, Ok);
        let program = named
            .and_then(std::fs::canonicalize)
            .map_err(|error| failed(format!("the program cannot be found: {error}")))?;
        // The keeper runs it again whenever an engine ends.
        check_unchangeable(&program).map_err(failed)?;
        let running = PathBuf::from(format!("/proc/{}/exe", status.engine));
        check_configuration(common, &program)?;
        if !self.accept_differences {
            self.check(common, &program, &running)?;
        }
        let Some(path) = program.to_str() else {
            return Err(failed("the program's path is not UTF-8".to_owned()));
        };
        let answer = ask(common, method::UPGRADE, vec![Value::from(path)]);
        let upgraded = answer.and_then(client::document);
        upgraded.map_err(|error| failed(error.to_string()))
    }

    /// Has the other build read what it will take over.
    fn check(&self, common: &Common, program: &Path, running: &Path) -> Result<(), (u8, String)> {
        let (next, present) = (formats(program)?, formats(running)?);
        if next.sessions != present.sessions {
            let why = format!(
                "version {} cannot take over the connections of version {}: services of AllexJS \
                 would end with them; stop the master and start it anew, or --accept-differences",
                next.version, present.version
            );
            return Err((exit_code::FAILURE, why));
        }
        let mut compare = Command::new(program);
        compare
            .arg("replay")
            .args([Path::new("--directory"), &common.directory])
            .args([Path::new("--socket-dir"), &common.socket_dir])
            .args([Path::new("--compare"), running])
            .stdin(Stdio::null());
        if self.json {
            compare.stdout(Stdio::null());
        }
        let shown = program.display();
        match compare.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => Err((
                exit_code::JOURNAL,
                format!(
                    "{shown} does not agree with the running program on this journal (see above); \
                     with --accept-differences it takes over all the same"
                ),
            )),
            Err(error) => Err((exit_code::FAILURE, format!("{shown}: {error}"))),
        }
    }
}

/// Whether nobody but this user and root can put something else in the place of a program.
fn check_unchangeable(program: &Path) -> Result<(), String> {
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    /// In a folder with this bit, only who owns a file can replace it.
    const STICKY: u32 = 0o1000;
    for path in program.ancestors() {
        let metadata =
            std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let owner = metadata.uid();
        let is_sticky = metadata.is_dir() && metadata.mode() & STICKY != 0;
        if !os::is_trusted_user(owner) {
            return Err(format!(
                "{} belongs to user {owner}, who could replace the program that runs as you from then on; use a \
                 copy in a folder of your own",
                path.display()
            ));
        }
        if metadata.mode() & WRITABLE_BY_OTHERS != 0 && !is_sticky {
            return Err(format!(
                "others can write {} (mode {:o}), and so replace the program that runs as you from then on; use \
                 a copy in a folder of your own, or take their right away",
                path.display(),
                metadata.mode() & 0o7777
            ));
        }
    }
    Ok(())
}

/// What another build says of the configuration file.
#[derive(Deserialize)]
struct Checked {
    valid: bool,
    exists: Option<bool>,
    file: Option<String>,
    #[serde(default)]
    errors: Vec<Report>,
}

/// Has the other build check the configuration file. It goes on with what is in force, but a file with
/// a mistake would stop it where it is started anew.
fn check_configuration(common: &Common, program: &Path) -> Result<(), (u8, String)> {
    let shown = program.display();
    let output = Command::new(program)
        .args(["config", "check", "--json"])
        .args([Path::new("--directory"), &common.directory])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            let why = format!("{shown} cannot be run: {error}");
            (exit_code::FAILURE, why)
        })?;
    let checked: Checked = serde_json::from_slice(&output.stdout).map_err(|_| {
        let why = format!("{shown} is no build of allexmaster that can be upgraded to");
        (exit_code::FAILURE, why)
    })?;
    let reason = match (checked.valid, checked.exists) {
        (true, Some(true)) => return Ok(()),
        (true, _) => {
            let file = checked.file.as_deref().unwrap_or(CONFIG_FILE);
            format!("there is no {file}")
        }
        (false, _) => {
            let lines: Vec<String> = checked.errors.iter().map(Report::one_line).collect();
            lines.join("; ")
        }
    };
    let why = format!(
        "{reason}. What is in force goes on; mend the file first (`allexmaster config show --text` \
         prints what is in force)"
    );
    Err((exit_code::CONFIGURATION, why))
}

fn formats(program: &Path) -> Result<Formats, (u8, String)> {
    let shown = program.display();
    let output = Command::new(program)
        .arg("formats")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| {
            (
                exit_code::FAILURE,
                format!("{shown} cannot be run: {error}"),
            )
        })?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let why = format!("{shown} is no build of allexmaster that can be upgraded to");
        (exit_code::FAILURE, why)
    })
}
