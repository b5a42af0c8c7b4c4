//! `allexmaster reload`.

use std::process::ExitCode;

use allexmaster_protocol::vocabulary::method;
use clap::Args;
use serde_json::{Value, json};

use super::{Common, ask, complain, print, print_json, report, table};
use crate::client;
use crate::config::{Difference, Report};
use crate::exit_code;
use crate::sessions::{Reload as Told, Reloaded};

/// Read the configuration again and put it in force, without touching what runs.
///
/// A master reads its file when it starts and when it is asked to, by this or by SIGHUP; in between
/// the file may be edited, half-saved or gone, and nothing changes. This prints what changes, key by
/// key, and which services still run an older command: they keep it until they are restarted. Flags
/// and variables of the master's start go on to count more than the file.
///
/// A file with a mistake changes nothing: exit code 3, and what was in force stays.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  allexmaster reload --dry-run      what would change?
  allexmaster reload --restart      and restart the services whose command changed")]
pub(super) struct Reload {
    /// Restart the services that run an older command than the configuration has
    #[arg(long)]
    restart: bool,
    /// Only tell what would change
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Reload {
    pub(super) fn run(&self, common: &Common) -> ExitCode {
        let answer = ask(common, method::RELOAD, vec![json!(self.dry_run)]);
        let told = match answer.and_then(client::document) {
            Ok(Reloaded::Done(told)) => told,
            Ok(Reloaded::Mistaken { text, mistakes }) => return self.mistaken(&text, &mistakes),
            Err(error) => return report(&error, self.json),
        };
        let mut restarted = Vec::new();
        let mut failed = None;
        if self.restart && !self.dry_run {
            for instance in &told.oldercommand {
                match ask(common, method::RESTART, vec![json!(instance)]) {
                    Ok(_) => restarted.push(instance.clone()),
                    Err(error) => failed = failed.or(Some((instance, error))),
                }
            }
        }
        if self.json {
            self.print_json(&told, &restarted);
        } else {
            print(&self.text(&told, &restarted));
            for warning in &told.warnings {
                complain(&format!("warning: {}", warning.one_line()));
            }
        }
        match failed {
            None => ExitCode::from(exit_code::OK),
            Some((instance, error)) => {
                complain(&format!("{instance} was not restarted: {error}"));
                ExitCode::from(error.exit_code())
            }
        }
    }

    fn mistaken(&self, text: &str, mistakes: &[Report]) -> ExitCode {
        if self.json {
            print_json(&json!({ "reloaded": false, "errors": mistakes }));
        } else {
            complain(&format!(
                "not reloaded, the configuration of before stays in force\n{text}"
            ));
        }
        ExitCode::from(exit_code::CONFIGURATION)
    }

    fn print_json(&self, told: &Told, restarted: &[String]) {
        let mut document = serde_json::to_value(told).unwrap_or_default();
        if let Some(document) = document.as_object_mut() {
            let reloaded = !self.dry_run && !told.changes.is_empty();
            document.insert("reloaded".to_owned(), json!(reloaded));
            document.insert("restarted".to_owned(), json!(restarted));
        }
        print_json(&document);
    }

    fn text(&self, told: &Told, restarted: &[String]) -> String {
        let mut lines: Vec<String> = told.changes.iter().map(line).collect();
        if told.changes.is_empty() {
            lines.push(format!("{} says what is in force already", told.file));
        } else if self.dry_run {
            lines.push("nothing was put in force: this was a dry run".to_owned());
        }
        let older: Vec<&str> = told.oldercommand.iter().map(String::as_str).collect();
        let names = older.join(", ");
        let runs = if older.len() == 1 { "runs" } else { "run" };
        if !restarted.is_empty() {
            lines.push(format!("{}: being restarted", restarted.join(", ")));
        } else if !older.is_empty() && self.dry_run {
            lines.push(format!("{names} would go on with the older command"));
        } else if !older.is_empty() {
            lines.push(format!(
                "{names} {runs} an older command until restarted: `allexmaster reload --restart`"
            ));
        }
        lines.push(String::new());
        lines.join("\n")
    }
}

/// `limits.stopgrace: 10000 -> 30000`
fn line(Difference { key, from, to }: &Difference) -> String {
    if from == to {
        // A secret, which is not shown.
        return format!("{key}: changed");
    }
    let plain = |value: &Value| table::plain(value).unwrap_or_else(|| "none".to_owned());
    format!("{key}: {} -> {}", plain(from), plain(to))
}
