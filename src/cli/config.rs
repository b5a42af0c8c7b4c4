//! `allexmaster config`, and how mistakes of the configuration are reported.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use allexmaster_protocol::vocabulary::method;

use super::{Common, ask, complain, print, print_json, table};
use crate::config::{
    Accepted, CONFIG_FILE, Config, ConfigError, DEFAULT_TEXT, Loaded, Overrides, key_list,
    key_table,
};
use crate::status::{self, InForceDocument};
use crate::{client, exit_code};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Tell every mistake in the configuration, with its place; nothing is started or written
    Check {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the configuration in force: every value, and where it comes from
    ///
    /// A master that runs answers for itself. Where none runs, it is what a start with these flags
    /// and variables would use. Values of variables that launchers set are hidden.
    Show {
        /// Print the text that was read, to restore a file that was lost or spoiled
        #[arg(long, conflicts_with = "json")]
        text: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print all keys with their ranges, units and defaults, as a table in Markdown
    Keys {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

impl ConfigCommand {
    pub(super) fn run(&self, common: &Common, overrides: &Overrides) -> ExitCode {
        match self {
            Self::Check { json } => match what_a_start_reads(&common.directory, overrides) {
                Ok((loaded, exists)) => {
                    tell_success(&loaded, exists, *json);
                    ExitCode::from(exit_code::OK)
                }
                Err(error) => report(error, *json),
            },
            Self::Show { text, json } => show(common, overrides, *text, *json),
            Self::Keys { json } => {
                if *json {
                    print_json(&key_list());
                } else {
                    print(&key_table());
                }
                ExitCode::from(exit_code::OK)
            }
        }
    }
}

/// Asks the master; where none runs, reads what a start would.
fn show(common: &Common, overrides: &Overrides, text: bool, json: bool) -> ExitCode {
    let answer = ask(common, method::CONFIGURATION, Vec::new());
    let (shown, runs) = match answer.and_then(client::document::<InForceDocument>) {
        Ok(shown) => (shown, true),
        Err(error) if error.exit_code() == exit_code::NOT_RUNNING => {
            match what_a_start_reads(&common.directory, overrides) {
                Ok((loaded, _)) => (status::in_force(&Accepted::now(loaded)), false),
                Err(error) => return report(error, json),
            }
        }
        Err(error) => return super::report(&error, json),
    };
    if text {
        print(&shown.text);
    } else if json {
        print_json(&shown);
    } else {
        print(&table::configuration(&shown, runs));
    }
    ExitCode::from(exit_code::OK)
}

/// What a start would read, or write and read; nothing is written. Also whether there is a file.
fn what_a_start_reads(folder: &Path, overrides: &Overrides) -> Result<(Loaded, bool), ConfigError> {
    match Config::read(folder, overrides) {
        Ok(loaded) => Ok((loaded, true)),
        Err(ConfigError::Missing { .. }) => Ok((default_of(folder, overrides)?, false)),
        Err(error) => Err(error),
    }
}

/// What a start would write and read.
fn default_of(folder: &Path, overrides: &Overrides) -> Result<Loaded, ConfigError> {
    let file = folder.join(CONFIG_FILE);
    let (config, warnings) = Config::parse(&file, DEFAULT_TEXT.to_owned(), overrides)?;
    Ok(Loaded {
        config,
        file,
        text: DEFAULT_TEXT.to_owned(),
        written: false,
        warnings,
    })
}

fn tell_success(loaded: &Loaded, exists: bool, json: bool) {
    let endpoints: Vec<String> = loaded
        .config
        .lan_endpoints
        .iter()
        .map(ToString::to_string)
        .collect();
    let file = fs::canonicalize(&loaded.file).unwrap_or_else(|_| loaded.file.clone());
    if json {
        print_json(&json!({
            "valid": true,
            "file": file,
            "exists": exists,
            "lanmanager": endpoints,
            "warnings": loaded.warnings,
        }));
        return;
    }
    let what = if exists {
        "is valid"
    } else {
        "does not exist; a start writes the default"
    };
    print(&format!("{} {what}\n", file.display()));
    print(&format!(
        "the LanManager is looked for at {}\n",
        endpoints.join(", then ")
    ));
    for warning in &loaded.warnings {
        complain(&format!("warning: {}", warning.one_line()));
    }
}

/// Reports the mistakes of a configuration, as text or JSON.
pub(super) fn report(error: ConfigError, json: bool) -> ExitCode {
    if json {
        print_json(&json!({ "valid": false, "errors": error.reports() }));
    } else {
        let mut text = error.for_people();
        text.insert_str(
            0,
            "the configuration has a mistake; nothing was started or changed\n",
        );
        complain(&text);
    }
    ExitCode::from(exit_code::CONFIGURATION)
}
