//! `allexmaster shutdown`.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use allexmaster_protocol::vocabulary::method;
use clap::Args;
use serde_json::json;

use super::{Common, ask, complain, print, print_json, report};
use crate::daemon::read_pid;
use crate::exit_code;

/// How often it is looked whether the master has gone.
const PAUSE: Duration = Duration::from_millis(20);

/// Stop the master of this folder and all its children.
///
/// Each child gets SIGTERM, and SIGKILL after its grace (`limits.stopgrace`); the LanManager hears of
/// each. The command returns when the master has gone. Asked again, it waits for the stop that is under
/// way: only --now takes the grace away, also from a stop that has begun.
#[derive(Debug, Args)]
pub(super) struct Shutdown {
    /// Kill the children at once, without a grace
    #[arg(long)]
    now: bool,
    /// How long to wait for the end, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Shutdown {
    pub(super) fn run(&self, common: &Common) -> ExitCode {
        let pid = read_pid(&common.directory);
        let urgency = self.now.then(|| json!({ "now": true }));
        if let Err(error) = ask(common, method::STOP, Vec::from_iter(urgency)) {
            return report(&error, self.json);
        }
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        while read_pid(&common.directory).is_some_and(|present| Some(present) == pid) {
            if Instant::now() >= deadline {
                complain(&format!(
                    "the master is still stopping after {} s; `allexmaster shutdown --now` kills \
                     what does not end",
                    self.timeout
                ));
                return ExitCode::from(exit_code::FAILURE);
            }
            sleep(PAUSE);
        }
        if self.json {
            print_json(&json!({ "stopped": pid }));
        } else {
            print("the master has stopped, and all its children\n");
        }
        ExitCode::from(exit_code::OK)
    }
}
