//! `allexmaster stop | start | restart NAME…`.

use std::process::ExitCode;
use std::time::Duration;

use allexmaster_protocol::vocabulary::method;
use allexmaster_state::ServiceState;
use clap::Args;
use serde_json::json;

use super::names::{self, Picked};
use super::wait::{Ended, Verdict, running, trouble, watch};
use super::{Common, ask, complain, duration, print, report, services};
use crate::client::AskError;
use crate::exit_code;
use crate::status::ServiceDocument;

/// Stop services, and keep them stopped until `start`.
///
/// Each child gets SIGTERM, and SIGKILL after its grace; the LanManager hears of each. A stopped service
/// is `held`: this machine does not bid for its need, also after a restart of the master, and another
/// machine may run it. Whoever stopped it stands in `status` and in the journal.
///
/// The master itself ends by `allexmaster shutdown`.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  allexmaster stop Web
  allexmaster stop Web 'job-*'      several, and those that fit a pattern
  allexmaster stop --all --no-wait")]
pub(super) struct Stop {
    #[command(flatten)]
    order: Targets,
}

/// Start services that were stopped, or that have failed.
///
/// A service that is stopped is bid for again, and one that failed or pauses is tried at once, as if it
/// had never failed. One that runs is left as it is.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  allexmaster start Web
  allexmaster start --all           all that are stopped or have failed")]
pub(super) struct Start {
    #[command(flatten)]
    order: Targets,
}

/// Start services anew.
///
/// The child of each is stopped and another one started, with a new bid; its ports may be others then. A
/// service that pauses, or that has failed, is tried at once. A stopped one is started where it is named;
/// a pattern and --all leave it stopped.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  allexmaster restart Web
  allexmaster restart 'job-*' --timeout 2m
  allexmaster restart --all")]
pub(super) struct Restart {
    #[command(flatten)]
    order: Targets,
}

#[derive(Debug, Args)]
struct Targets {
    /// Names of services, or patterns such as 'web-*'
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// All services that the order is for
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Return when it is done, with 1 where it cannot be done; so it is on a terminal
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Return when it is ordered
    #[arg(long)]
    no_wait: bool,
    /// How long to wait: seconds, or a text such as 2m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
    /// Print JSON: one object a line for each service
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Order {
    Stop,
    Start,
    Restart,
}

impl Stop {
    pub(super) fn run(&self, common: &Common) -> ExitCode {
        self.order.run(common, Order::Stop)
    }
}

impl Start {
    pub(super) fn run(&self, common: &Common) -> ExitCode {
        self.order.run(common, Order::Start)
    }
}

impl Restart {
    pub(super) fn run(&self, common: &Common) -> ExitCode {
        self.order.run(common, Order::Restart)
    }
}

impl Targets {
    fn run(&self, common: &Common, order: Order) -> ExitCode {
        // A variable of a shell that is empty must not end a machine.
        if self.names.is_empty() && !self.all {
            complain(match order {
                Order::Stop => {
                    "stop needs the names of services, or --all. The master itself, with all its \
                     services, ends by `allexmaster shutdown`"
                }
                Order::Start => "start needs the names of services, or --all",
                Order::Restart => "restart needs the names of services, or --all",
            });
            return ExitCode::from(exit_code::USAGE);
        }
        match self.give(common, order) {
            Ok(true) => ExitCode::from(exit_code::OK),
            Ok(false) => ExitCode::from(exit_code::FAILURE),
            Err(error) => report(&error, self.json),
        }
    }

    fn give(&self, common: &Common, order: Order) -> Result<bool, AskError> {
        let services = services(common)?;
        let mut picked = if self.all {
            let everything = ["*".to_owned()];
            let all = names::pick(&services, &everything).unwrap_or_default();
            Vec::from_iter(all.into_iter().filter(|one| order.is_for(&one.service)))
        } else {
            names::pick(&services, &self.names)?
        };
        picked.retain(|one| {
            let stays = order == Order::Restart && is_held(&one.service) && !one.named;
            if stays && !self.all {
                let reason = one.service.reason.as_deref().unwrap_or_default();
                complain(&format!("{} stays {reason}", one.service.instancename));
            }
            !stays
        });
        if picked.is_empty() && !self.json {
            print(order.nothing_to_do());
        }
        for one in &picked {
            let name = json!(one.service.instancename);
            ask(common, order.method(&one.service), vec![name])?;
        }
        let told = |before: &ServiceDocument, ended: Option<&Ended>| {
            self.tell(order, &picked, before, ended);
        };
        if !self.waits() {
            picked.iter().for_each(|one| told(&one.service, None));
            return Ok(true);
        }
        let before = |name: &str| {
            let mut all = picked.iter().map(|one| &one.service);
            all.find(|service| service.instancename == name)
        };
        let names = picked.iter().map(|one| one.service.instancename.clone());
        watch(
            common,
            names.collect(),
            self.timeout,
            |name, now| {
                before(name).map_or(Verdict::Done(String::new()), |before| {
                    order.judge(before, now)
                })
            },
            |name, ended| {
                if let Some(before) = before(name) {
                    told(before, Some(ended));
                }
            },
        )
    }

    fn waits(&self) -> bool {
        use std::io::IsTerminal as _;
        self.wait || (!self.no_wait && std::io::stdout().is_terminal())
    }

    /// Tells what became of the order for one service; nothing yet, where nobody waits for it.
    fn tell(
        &self,
        order: Order,
        picked: &[Picked],
        before: &ServiceDocument,
        ended: Option<&Ended>,
    ) {
        let name = &before.instancename;
        let text = match ended {
            Some(ended) => ended.text.clone(),
            None => order.under_way(before),
        };
        if self.json {
            let now = ended.and_then(|ended| ended.now.as_ref());
            let document = json!({
                "instancename": name,
                "pid": before.pid,
                "done": ended.map(|ended| ended.done),
                "state": now.map(|now| now.state),
                "newpid": now.and_then(|now| now.pid),
                "reason": now.and_then(|now| now.reason.clone()),
                "seconds": ended.map(|ended| ended.after.as_secs_f64()),
                "text": text,
            });
            print(&format!("{document}\n"));
        } else {
            let lengths = picked
                .iter()
                .map(|one| one.service.instancename.chars().count());
            let width = lengths.max().unwrap_or_default();
            print(&format!("{name:width$}  {text}\n"));
        }
    }
}

impl Order {
    /// What the master is asked.
    fn method(self, service: &ServiceDocument) -> &'static str {
        match self {
            Self::Stop => method::HOLD,
            Self::Start => method::START,
            // It was named: then it is meant although it is stopped.
            Self::Restart if is_held(service) => method::START,
            Self::Restart => method::RESTART,
        }
    }

    /// Whether `--all` means this service.
    fn is_for(self, service: &ServiceDocument) -> bool {
        match self {
            Self::Stop | Self::Restart => !is_held(service),
            Self::Start => matches!(
                service.state,
                ServiceState::Held | ServiceState::Failed | ServiceState::BackingOff
            ),
        }
    }

    const fn nothing_to_do(self) -> &'static str {
        match self {
            Self::Stop => "nothing to stop: all services are stopped, or there is none\n",
            Self::Start => "nothing to start: no service is stopped or has failed\n",
            Self::Restart => "nothing to restart: all services are stopped, or there is none\n",
        }
    }

    /// What is known when it is ordered.
    fn under_way(self, before: &ServiceDocument) -> String {
        match (self, before.pid) {
            (Self::Stop | Self::Restart, Some(pid)) => format!("process {pid} is being stopped"),
            (Self::Stop, None) => "it is stopped".to_owned(),
            (Self::Start, Some(pid)) => format!("process {pid} runs already"),
            (Self::Start | Self::Restart, None) => "it is tried again now".to_owned(),
        }
    }

    fn judge(self, before: &ServiceDocument, now: Option<&ServiceDocument>) -> Verdict {
        let Some(now) = now else {
            return match self {
                Self::Stop => Verdict::Done("gone: nobody asks for it any more".to_owned()),
                Self::Start | Self::Restart => {
                    Verdict::Failed("gone: nobody asks for it any more".to_owned())
                }
            };
        };
        let is_of_before = now.pid.is_some() && now.pid == before.pid;
        match (self, now.state) {
            (Self::Stop, ServiceState::Held) if is_held(before) => {
                Verdict::Done(format!("is stopped already: {}", trouble(now)))
            }
            (Self::Stop, ServiceState::Held) => Verdict::Done(stopped(before, now)),
            (Self::Start, ServiceState::Running)
                if is_of_before && before.state == ServiceState::Running =>
            {
                Verdict::Done(format!("runs already, as process {}", now.pid.unwrap_or(0)))
            }
            (Self::Restart, _) if is_of_before && now.state != ServiceState::Stopping => {
                // Its child is forked, or its end is recorded, with the next look.
                Verdict::Pending(now.state.to_string())
            }
            (Self::Stop, _) => Verdict::Pending(trouble(now)),
            (Self::Start | Self::Restart, ServiceState::Held | ServiceState::BackingOff) => {
                Verdict::Failed(trouble(now))
            }
            (Self::Start | Self::Restart, _) => match (running(now), self, before.pid) {
                (Verdict::Done(text), Self::Restart, Some(pid)) => {
                    Verdict::Done(format!("{text} in the place of process {pid}"))
                }
                (verdict, _, _) => verdict,
            },
        }
    }
}

fn is_held(service: &ServiceDocument) -> bool {
    service.heldsince.is_some()
}

/// `stopped (process 12838, SIGTERM)`
fn stopped(before: &ServiceDocument, now: &ServiceDocument) -> String {
    let Some(pid) = before.pid else {
        return "stopped; it had no process".to_owned();
    };
    let end = now.lastends.iter().rfind(|end| end.pid == pid);
    match end.map(|end| (&end.signal, end.exitcode)) {
        Some((Some(signal), _)) => format!("stopped (process {pid}, {signal})"),
        Some((None, Some(code))) => format!("stopped (process {pid}, exit code {code})"),
        Some((None, None)) | None => format!("stopped (process {pid})"),
    }
}
