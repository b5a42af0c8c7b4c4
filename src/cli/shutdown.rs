//! `allexmaster shutdown`.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use allexmaster_protocol::vocabulary::method;
use clap::Args;
use serde_json::json;

use super::{Common, ask, complain, duration, print, print_json, report};
use crate::client::{self, AskError};
use crate::exit_code;
use allexmaster_keeper::os;

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
    /// How long to wait for the end: seconds, or a text such as 2m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Shutdown {
    pub(super) fn run(&self, common: &Common) -> ExitCode {
        let pid = client::public_pid(&common.directory);
        let urgency = self.now.then(|| json!({ "now": true }));
        match ask(common, method::STOP, Vec::from_iter(urgency)) {
            Ok(_) => {}
            // Without an engine the keeper obeys, and it hears signals.
            Err(AskError::EngineFails { pid, trouble }) => {
                let told = os::open_process(pid).and_then(|master| {
                    os::signal_process(&master, os::Signal::TERM).map_err(std::io::Error::from)
                });
                if let Err(error) = told {
                    complain(&format!("process {pid} cannot be told to stop: {error}"));
                    return ExitCode::from(exit_code::FAILURE);
                }
                complain(&format!(
                    "its engine cannot start ({}), so process {pid} ends its services by itself",
                    trouble.reason
                ));
            }
            Err(error) => return report(&error, self.json),
        }
        let begun = Instant::now();
        // The process, not its pid file: that may be gone before or stay behind.
        let is_there = |pid: u32| os::stat(pid).is_some_and(|stat| !stat.zombie);
        while pid.is_some_and(is_there) {
            if begun.elapsed() >= self.timeout {
                complain(&format!(
                    "the master is still stopping after {} s; `allexmaster shutdown --now` kills \
                     what does not end",
                    self.timeout.as_secs()
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
