//! `allexmaster status`.

use std::process::ExitCode;

use allexmaster_protocol::vocabulary::method;
use allexmaster_state::ServiceState;
use clap::Args;

use super::names::pick;
use super::{Common, ask, print, print_json, report, table};
use crate::client::{self, AskError};
use crate::exit_code;
use crate::status::{ServiceDocument, StatusDocument};

/// Show the services of the master of this folder.
///
/// States: waiting (for something outside, the reason says what), bidding, starting,
/// checking (the LanManager tests its ports), running, superseded (it runs, but the network uses
/// another copy; see `onduplicate`), stopping, backing-off (it failed and is tried again), held (somebody
/// stopped it: see `start`), failed (it is not tried again until somebody acts: see `start`).
///
/// Names may be patterns, as `web-*`. Trouble stands first.
///
/// Ends with 1 while a service is superseded: it runs here, and the network uses another copy of it.
/// Ends with 6 while the master cannot write its journal, and so can do nothing new.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Show these services only; by default all
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print nothing: end with 0 if all is well, with 8 if a service has failed or is tried again
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
    /// Print JSON: the fields are stable, further ones may be added
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) fn run(&self, common: &Common) -> ExitCode {
        let status = ask(common, method::STATUS, Vec::new())
            .and_then(client::document::<StatusDocument>)
            .and_then(|status| self.choose(status));
        match status {
            Ok(status) => {
                if self.json {
                    print_json(&status);
                } else if !self.quiet {
                    print(&table::status(&status));
                }
                let is_superseded =
                    |service: &ServiceDocument| service.state == ServiceState::Superseded;
                ExitCode::from(if !status.journal.is_written() {
                    exit_code::JOURNAL
                } else if status.services.iter().any(is_superseded) {
                    exit_code::FAILURE
                } else if self.quiet && status.services.iter().any(is_unwell) {
                    exit_code::UNWELL
                } else {
                    exit_code::OK
                })
            }
            Err(error) => report(&error, self.json),
        }
    }

    /// The document with the services that were named.
    fn choose(&self, mut status: StatusDocument) -> Result<StatusDocument, AskError> {
        if !self.names.is_empty() {
            let picked = pick(&status.services, &self.names)?.into_iter();
            status.services = picked.map(|picked| picked.service).collect();
        }
        Ok(status)
    }
}

fn is_unwell(service: &ServiceDocument) -> bool {
    matches!(
        service.state,
        ServiceState::Failed | ServiceState::BackingOff
    )
}
