//! `allexmaster config`, and how mistakes of the configuration are reported.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Common, complain, print, print_json};
use crate::config::{
    CONFIG_FILE, Config, ConfigError, DEFAULT_TEXT, JAVASCRIPT_CONFIG_FILE, Loaded, Overrides,
    Report, key_list, key_table,
};
use crate::exit_code;

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Tell every mistake in the configuration, with its place; nothing is started or written
    Check {
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
        let json = match self {
            Self::Check { json } => json,
            Self::Keys { json: true } => {
                print_json(&key_list());
                return ExitCode::from(exit_code::OK);
            }
            Self::Keys { json: false } => {
                print(&key_table());
                return ExitCode::from(exit_code::OK);
            }
        };
        let exists = [CONFIG_FILE, JAVASCRIPT_CONFIG_FILE]
            .iter()
            .any(|name| common.directory.join(name).exists());
        let loaded = if exists {
            Config::load(&common.directory, overrides)
        } else {
            default_of(&common.directory, overrides)
        };
        match loaded {
            Ok(loaded) => {
                tell_success(&loaded, exists, *json);
                ExitCode::from(exit_code::OK)
            }
            Err(error) => report(error, *json),
        }
    }
}

/// What a start would write and read.
fn default_of(folder: &Path, overrides: &Overrides) -> Result<Loaded, ConfigError> {
    let file = folder.join(CONFIG_FILE);
    let (config, warnings) = Config::parse(&file, DEFAULT_TEXT.to_owned(), overrides)?;
    Ok(Loaded {
        config,
        file,
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
            "warnings": loaded.warnings.iter().map(as_json).collect::<Vec<_>>(),
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
        complain(&format!("warning: {}", one_line(warning)));
    }
}

/// Reports the mistakes of a configuration, as text or JSON.
pub(super) fn report(error: ConfigError, json: bool) -> ExitCode {
    if json {
        let errors: Vec<Value> = error.reports().iter().map(as_json).collect();
        print_json(&json!({ "valid": false, "errors": errors }));
    } else {
        // With the line of the file, and a mark below the mistake.
        let mut text = format!("{:?}", miette::Report::new(error));
        text.insert_str(
            0,
            "the configuration has a mistake; nothing was started or changed\n",
        );
        complain(&text);
    }
    ExitCode::from(exit_code::CONFIGURATION)
}

fn as_json(report: &Report) -> Value {
    json!({
        "file": report.file,
        "line": report.line,
        "column": report.column,
        "message": report.message,
        "help": report.help,
    })
}

/// A warning for the log.
pub(super) fn one_line(report: &Report) -> String {
    let mut text = report.file.display().to_string();
    if let (Some(line), Some(column)) = (report.line, report.column) {
        text.push_str(&format!(":{line}:{column}"));
    }
    text.push_str(&format!(": {}", report.message));
    if let Some(help) = &report.help {
        text.push_str(&format!("; {help}"));
    }
    text
}
