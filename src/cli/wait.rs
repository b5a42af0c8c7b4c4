//! `allexmaster wait`, and the waiting of all commands that wait.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use allexmaster_state::ServiceState;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Common, duration, names, print, report, services};
use crate::client::AskError;
use crate::exit_code;
use crate::status::ServiceDocument;

/// How often the master is asked.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// So many services that are waited for are named.
const SHOWN: usize = 3;

/// Wait until services are in a state.
///
/// Ends with 0 when all of them are, and with 1 and the reason where that cannot be, or the time is up. A
/// name that nobody knows yet is waited for.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  allexmaster wait Web --for running
  allexmaster wait 'job-*' --for stopped --timeout 2m
  allexmaster wait Web --for gone && echo forgotten")]
pub(super) struct Wait {
    /// Names of services, or patterns such as 'web-*'
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// What they are to be
    #[arg(long = "for", value_enum)]
    goal: Goal,
    /// How long to wait: seconds, or a text such as 2m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// Print JSON: one object a line for each service
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Goal {
    /// It runs, and the LanManager has approved it
    Running,
    /// It has no process, and none is about to be started
    Stopped,
    /// Nobody asks for it, and it is forgotten here
    Gone,
}

/// How it stands with a service that is waited for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Done(String),
    /// It will not become what was asked for.
    Failed(String),
    /// Not yet; what it is instead.
    Pending(String),
}

/// What became of a service that was waited for.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) done: bool,
    pub(super) text: String,
    /// How long it took.
    pub(super) after: Duration,
    pub(super) now: Option<ServiceDocument>,
}

impl Wait {
    pub(super) fn run(&self, common: &Common) -> ExitCode {
        match self.watch(common) {
            Ok(true) => ExitCode::from(exit_code::OK),
            Ok(false) => ExitCode::from(exit_code::FAILURE),
            Err(error) => report(&error, self.json),
        }
    }

    fn watch(&self, common: &Common) -> Result<bool, AskError> {
        let known = services(common)?;
        let mut targets = Vec::new();
        for name in &self.names {
            match names::pick(&known, std::slice::from_ref(name)) {
                Ok(picked) => {
                    let picked = picked.into_iter().map(|one| one.service.instancename);
                    let new = picked.filter(|name| !targets.contains(name));
                    targets.extend(Vec::from_iter(new));
                }
                Err(_) if targets.contains(name) => {}
                Err(_) if !names::is_pattern(name) => targets.push(name.clone()),
                Err(error) => return Err(error),
            }
        }
        watch(
            common,
            targets,
            self.timeout,
            |name, now| self.goal.judge(&known, name, now),
            |name, ended| tell(name, ended, self.json),
        )
    }
}

/// Tells what became of one service.
pub(super) fn tell(name: &str, ended: &Ended, json: bool) {
    let text = &ended.text;
    if json {
        let document = json!({
            "instancename": name,
            "done": ended.done,
            "state": ended.now.as_ref().map(|now| now.state),
            "pid": ended.now.as_ref().and_then(|now| now.pid),
            "reason": ended.now.as_ref().and_then(|now| now.reason.clone()),
            "seconds": ended.after.as_secs_f64(),
            "text": text,
        });
        print(&format!("{document}\n"));
    } else {
        print(&format!("{name}  {text}\n"));
    }
}

impl Goal {
    fn judge(
        self,
        known: &[ServiceDocument],
        name: &str,
        now: Option<&ServiceDocument>,
    ) -> Verdict {
        let unknown = || names::unknown(known, name).to_string();
        match (self, now) {
            (Self::Gone, None) => Verdict::Done("gone".to_owned()),
            (Self::Gone, Some(now)) => Verdict::Pending(trouble(now)),
            (Self::Running, Some(now)) if now.state == ServiceState::Held => {
                Verdict::Failed(trouble(now))
            }
            (Self::Running, Some(now)) => running(now),
            (Self::Running, None) => Verdict::Pending(unknown()),
            (Self::Stopped, Some(now)) => match now.state {
                ServiceState::Held | ServiceState::Failed | ServiceState::Waiting => {
                    Verdict::Done(trouble(now))
                }
                ServiceState::Bidding
                | ServiceState::Starting
                | ServiceState::Checking
                | ServiceState::Running
                | ServiceState::Superseded
                | ServiceState::Stopping
                | ServiceState::BackingOff => Verdict::Pending(trouble(now)),
            },
            (Self::Stopped, None) => Verdict::Failed(unknown()),
        }
    }
}

/// Whether a service runs; it may be under way to that.
pub(super) fn running(now: &ServiceDocument) -> Verdict {
    match now.state {
        ServiceState::Running => Verdict::Done(format!(
            "running as process {}",
            now.pid.unwrap_or_default()
        )),
        ServiceState::Failed | ServiceState::Superseded => Verdict::Failed(trouble(now)),
        ServiceState::Waiting
        | ServiceState::Bidding
        | ServiceState::Starting
        | ServiceState::Checking
        | ServiceState::Stopping
        | ServiceState::BackingOff
        | ServiceState::Held => Verdict::Pending(trouble(now)),
    }
}

/// What a service is, with its reason: `backing-off: its child exited with code 7`.
pub(super) fn trouble(now: &ServiceDocument) -> String {
    match &now.reason {
        Some(reason) => format!("{}: {reason}", now.state),
        None => now.state.to_string(),
    }
}

/// `stopped (process 12838, SIGTERM, 0.1 s)`
fn with_time(text: &str, after: Duration) -> String {
    let seconds = after.as_secs_f64();
    match text.strip_suffix(')') {
        Some(open) => format!("{open}, {seconds:.1} s)"),
        None => format!("{text} ({seconds:.1} s)"),
    }
}

/// Looks at the master until there is a verdict on each service, or the time is up. `tell` hears of each.
/// True where all are done.
///
/// # Errors
/// The master does not answer.
pub(super) fn watch(
    common: &Common,
    names: Vec<String>,
    timeout: Duration,
    judge: impl Fn(&str, Option<&ServiceDocument>) -> Verdict,
    mut tell: impl FnMut(&str, &Ended),
) -> Result<bool, AskError> {
    let begun = Instant::now();
    let count = names.len();
    let mut open = names;
    let mut all_done = true;
    // Nothing is drawn where the standard error output is no terminal.
    let bar = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
    while !open.is_empty() {
        let after = begun.elapsed();
        let late = after >= timeout;
        let now = services(common)?;
        let now: BTreeMap<&str, &ServiceDocument> = now
            .iter()
            .map(|service| (service.instancename.as_str(), service))
            .collect();
        let mut waiting = Vec::new();
        open.retain(|name| {
            let present = now.get(name.as_str()).copied();
            let (done, text) = match judge(name, present) {
                Verdict::Done(text) => (true, with_time(&text, after)),
                Verdict::Failed(text) => (false, text),
                Verdict::Pending(text) if late => (false, with_time(&text, after)),
                Verdict::Pending(text) => {
                    waiting.push(format!("{name} ({text})"));
                    return true;
                }
            };
            all_done &= done;
            let now = present.cloned();
            bar.suspend(|| {
                tell(
                    name,
                    &Ended {
                        done,
                        text,
                        after,
                        now,
                    },
                )
            });
            false
        });
        if open.is_empty() {
            break;
        }
        let more = waiting.len().saturating_sub(SHOWN);
        waiting.truncate(SHOWN);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        bar.set_message(format!(
            "{} of {count}; waiting for {}{more}",
            count - open.len(),
            waiting.join(", ")
        ));
        bar.tick();
        sleep(LOOK_EVERY.min(timeout.saturating_sub(after)));
    }
    bar.finish_and_clear();
    Ok(all_done)
}
