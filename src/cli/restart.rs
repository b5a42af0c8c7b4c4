//! `allexmaster restart NAME`.

use std::process::ExitCode;

use allexmaster_protocol::vocabulary::method;
use clap::Args;
use serde_json::{Value, json};

use super::{Common, ask, print, print_json, report};
use crate::exit_code;

/// Start a service of this folder's master anew.
///
/// Its child is stopped and another one started, with a new bid; a service that is backing
/// off, or that has failed, is tried at once.
#[derive(Debug, Args)]
pub(super) struct Restart {
    /// The name of the service
    #[arg(value_name = "NAME")]
    instance: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Restart {
    pub(super) fn run(&self, common: &Common) -> ExitCode {
        match ask(common, method::RESTART, vec![json!(self.instance)]) {
            Ok(answer) => {
                if self.json {
                    print_json(&answer);
                } else {
                    let instance = &self.instance;
                    print(&match answer.get("pid").and_then(Value::as_u64) {
                        Some(pid) => format!("{instance}: process {pid} is being stopped\n"),
                        None => format!("{instance}: it is tried again now\n"),
                    });
                }
                ExitCode::from(exit_code::OK)
            }
            Err(error) => report(&error, self.json),
        }
    }
}
