//! The state as people and tools see it.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::claim::served;
use crate::service::{Activity, Failure, Lacking, StopReason, Wait};
use crate::{
    Claim, End, Hold, Holder, InstanceName, Lan, ModuleName, Outcome, PerProtocol, Pid, Port,
    Service, Settings, State, Timestamp,
};

/// What a service does, in one word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    /// It waits for something outside; the reason says what.
    Waiting,
    /// The LanManager has been offered it.
    Bidding,
    /// Its child is being started.
    Starting,
    /// The LanManager checks its ports.
    Checking,
    /// It runs and serves.
    Running,
    /// It runs, but the network uses another copy of it.
    Superseded,
    /// Its child has been told to end.
    Stopping,
    /// It failed, and is started again after a pause.
    BackingOff,
    /// It failed, and is not started again until somebody acts.
    Failed,
    /// Somebody stopped it, and has yet to start it.
    Held,
}

impl ServiceState {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Bidding => "bidding",
            Self::Starting => "starting",
            Self::Checking => "checking",
            Self::Running => "running",
            Self::Superseded => "superseded",
            Self::Stopping => "stopping",
            Self::BackingOff => "backing-off",
            Self::Failed => "failed",
            Self::Held => "held",
        }
    }
}

impl fmt::Display for ServiceState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// One service as people and tools see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceStatus {
    /// Its name.
    pub instance: InstanceName,
    /// Its program.
    pub module: ModuleName,
    /// What it does.
    pub state: ServiceState,
    /// Why it does not run, or what is to be known although it does.
    pub reason: Option<String>,
    /// Its process, where there is one.
    pub pid: Option<Pid>,
    /// Its ports, where it has a process.
    pub ports: PerProtocol<Option<Port>>,
    /// When its process was started.
    pub started: Option<Timestamp>,
    /// How often a child was started after the first.
    pub restarts: u32,
    /// When it will be tried again, where that is known.
    pub next_try: Option<Timestamp>,
    /// Whether its process was started by another command than the configuration has now.
    pub older_command: bool,
    /// Since when it is stopped, and by whom, where it is.
    pub hold: Option<Hold>,
    /// The last ends of its children, the newest last.
    pub ends: Vec<End>,
    /// The other copy, where the network uses that.
    pub superseded: Option<SupersededStatus>,
}

/// The copy that the network uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SupersededStatus {
    /// Its address and port.
    pub by: Arc<str>,
    /// Since when that is known here.
    pub since: Timestamp,
    /// When our child is told to end; absent where it is to stay.
    pub until: Option<Timestamp>,
}

/// The LanManager as people and tools see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LanStatus {
    /// `connected`, `connecting` or `away`.
    pub state: &'static str,
    /// What is, or was last, dialed, where that is known.
    pub endpoint: Option<Arc<str>>,
    /// Since when it is so.
    pub since: Timestamp,
    /// Why it is away.
    pub reason: Option<Arc<str>>,
    /// How many services' ends it has yet to hear of.
    pub unreported: usize,
    /// How many services run that it does not know of now, and is to be told of.
    pub unannounced: usize,
    /// How many calls of this machine wait for its answer.
    pub calls: usize,
}

impl State {
    /// All services, by name, at the time of the last event.
    pub fn service_statuses(&self) -> impl Iterator<Item = ServiceStatus> + '_ {
        self.service_statuses_at(self.now)
    }

    /// All services, by name, at a later time: nothing has happened since the last event.
    pub fn service_statuses_at(&self, now: Timestamp) -> impl Iterator<Item = ServiceStatus> + '_ {
        self.services
            .iter()
            .map(move |(instance, service)| self.service_status(instance, service, now))
    }

    /// The last failure of a service, in words, and when it was.
    #[must_use]
    pub fn last_failure(&self, instance: &InstanceName) -> Option<(Timestamp, String)> {
        let service = self.services.get(instance)?;
        let (at, failure) = service.history.last_failure.as_ref()?;
        Some((*at, failure_text(failure, service)))
    }

    /// The service of a name.
    #[must_use]
    pub fn status_of(&self, instance: &InstanceName) -> Option<ServiceStatus> {
        let service = self.services.get(instance)?;
        Some(self.service_status(instance, service, self.now))
    }

    fn service_status(
        &self,
        instance: &InstanceName,
        service: &Service,
        now: Timestamp,
    ) -> ServiceStatus {
        let (state, reason) = self.describe(service, now);
        let process = service.activity.process();
        let older_command = runs_older_command(&self.settings, service);
        let older = || {
            older_command.then(|| {
                alloc::format!(
                    "runs an older command than the configuration has; `allexmaster restart {instance}`"
                )
            })
        };
        let reason = reason.or_else(older);
        let ports = process
            .map(|process| served(self, service, process))
            .unwrap_or_default();
        ServiceStatus {
            instance: instance.clone(),
            module: service.need.module.clone(),
            state,
            reason,
            pid: process.map(|process| process.identity.pid),
            ports,
            started: process.map(|process| process.spawned),
            restarts: service.history.spawned.saturating_sub(1),
            hold: service.hold.clone(),
            ends: service.history.ends.clone(),
            next_try: match &service.activity {
                Activity::BackingOff { until, .. } => Some(*until),
                Activity::Waiting(_)
                | Activity::Failed { .. }
                | Activity::Probing { .. }
                | Activity::Spawning { .. }
                | Activity::Starting { .. }
                | Activity::Up { .. }
                | Activity::Stopping { .. } => None,
            },
            older_command,
            superseded: match &service.claim {
                Claim::Superseded { by, since, until } => Some(SupersededStatus {
                    by: Arc::clone(by),
                    since: *since,
                    until: *until,
                }),
                Claim::None
                | Claim::Bidding { .. }
                | Claim::Held { .. }
                | Claim::Responding { .. }
                | Claim::Approved
                | Claim::Paused { .. }
                | Claim::CutOff { .. } => None,
            },
        }
    }

    /// The services whose process was started by another command than these settings have for it.
    pub fn older_commands<'state>(
        &'state self,
        settings: &'state Settings,
    ) -> impl Iterator<Item = &'state InstanceName> {
        let older = |(instance, service): (&'state InstanceName, &Service)| {
            runs_older_command(settings, service).then_some(instance)
        };
        self.services.iter().filter_map(older)
    }

    fn describe(&self, service: &Service, now: Timestamp) -> (ServiceState, Option<String>) {
        match &service.activity {
            Activity::Waiting(Wait::Answer) => (ServiceState::Bidding, None),
            Activity::Waiting(Wait::Held) => (ServiceState::Held, Some(held_text(service))),
            Activity::Waiting(wait) => {
                let text = self.wait_text(*wait, service, now);
                (ServiceState::Waiting, Some(text))
            }
            Activity::BackingOff { why, .. } if why.is_outside() => {
                (ServiceState::Waiting, Some(failure_text(why, service)))
            }
            Activity::BackingOff { why, .. } => {
                (ServiceState::BackingOff, Some(self.repeated(why, service)))
            }
            Activity::Failed { why } => (ServiceState::Failed, Some(self.repeated(why, service))),
            Activity::Probing { .. } => (
                ServiceState::Starting,
                Some("testing whether its ports are free".to_string()),
            ),
            Activity::Spawning { .. } => (ServiceState::Starting, None),
            Activity::Starting { .. } => (
                ServiceState::Starting,
                Some("its ports do not answer yet".to_string()),
            ),
            Activity::Up {
                approved,
                unreachable,
                ..
            } => self.describe_up(service, *approved, *unreachable),
            Activity::Stopping { why, kill_at, .. } => {
                let how = if kill_at.is_some() {
                    ""
                } else {
                    ", killed after its grace"
                };
                (
                    ServiceState::Stopping,
                    Some(alloc::format!("{}{how}", stop_text(why))),
                )
            }
        }
    }

    fn describe_up(
        &self,
        service: &Service,
        approved: bool,
        unreachable: u32,
    ) -> (ServiceState, Option<String>) {
        match (&service.claim, approved) {
            (Claim::Approved, _) => (ServiceState::Running, None),
            (Claim::Responding { .. } | Claim::Held { .. }, false) => {
                let reason = (unreachable > 0).then(|| {
                    alloc::format!("the LanManager reached none of its ports ({unreachable} times)")
                });
                (ServiceState::Checking, reason)
            }
            (
                Claim::Responding { .. }
                | Claim::Held { .. }
                | Claim::Bidding { .. }
                | Claim::Paused { .. },
                _,
            ) => (
                ServiceState::Running,
                Some("being announced to the LanManager".to_string()),
            ),
            (Claim::Superseded { by, until, .. }, _) => {
                let then = match until {
                    Some(_) => "this copy is about to be ended",
                    None => "this copy stays (onduplicate: keep)",
                };
                let reason = alloc::format!("the network uses the one at {by}; {then}");
                (ServiceState::Superseded, Some(reason))
            }
            (Claim::CutOff { .. }, _) => {
                let reason = "runs; the LanManager is away, and as there must never be two of it, \
                              it ends unless the LanManager is back soon";
                (ServiceState::Running, Some(reason.to_string()))
            }
            (Claim::None, _) => {
                let reason = match &self.lan {
                    Lan::Up { .. } => "runs, but the LanManager does not ask for it",
                    Lan::Away { .. } | Lan::Dialing { .. } => {
                        "runs; the LanManager is away and will be told when it is back"
                    }
                };
                (ServiceState::Running, Some(reason.to_string()))
            }
        }
    }

    fn wait_text(&self, wait: Wait, service: &Service, now: Timestamp) -> String {
        let before = match &service.history.last_failure {
            Some((_, failure)) => alloc::format!(" (before: {})", failure_text(failure, service)),
            None => String::new(),
        };
        let text = match wait {
            Wait::Lan => "the LanManager is away",
            Wait::Asked { .. } => "the LanManager does not ask for it",
            Wait::Bid { .. } => "waits for its turn to bid",
            Wait::Ports { lacking, .. } => {
                return alloc::format!("{}{before}", self.lacking_text(lacking, now));
            }
            Wait::Rejected => {
                "the LanManager turned our bid down: it is bid for again when it is listed anew"
            }
            Wait::Answer => "waits for the LanManager's answer to the bid",
            Wait::Start { .. } => "waits for its turn to start",
            Wait::DownReport => "the LanManager has yet to hear that it went down",
            Wait::OtherMachine => {
                return alloc::format!(
                    "the need is for the address {}",
                    service.need.address.as_deref().unwrap_or_default()
                );
            }
            Wait::Shutdown => "the master is stopping",
            Wait::Held => return held_text(service),
        };
        alloc::format!("{text}{before}")
    }

    /// What the ports are used for that a service lacks.
    fn lacking_text(&self, lacking: Lacking, now: Timestamp) -> String {
        let protocol = match lacking {
            Lacking::Port(port) => return self.port_text(port),
            Lacking::Range(protocol) => protocol,
        };
        let (first, end) = self.ports.range(protocol);
        let last = end.saturating_sub(1);
        let size = end.saturating_sub(first);
        let used = self.ports.in_use(protocol);
        let mut parts = Vec::new();
        if used.leased > 0 {
            parts.push(alloc::format!("{} used", used.leased));
        }
        if let (Some(soonest), Some(latest)) =
            (used.cooling.iter().min(), used.cooling.iter().max())
        {
            let seconds = |at: &Timestamp| at.since(now).div_ceil(1_000);
            let (soonest, latest) = (seconds(soonest), seconds(latest));
            let when = if soonest == latest {
                alloc::format!("{latest} s")
            } else {
                alloc::format!("{soonest} to {latest} s")
            };
            parts.push(alloc::format!(
                "{} free again in {when}",
                used.cooling.len()
            ));
        }
        if let Some((port, holder)) = used.foreign.first() {
            let who = match holder {
                Some(holder) => alloc::format!("{port} by {}", holder_text(holder)),
                None => port.to_string(),
            };
            let and_so_on = if used.foreign.len() > 1 { ", …" } else { "" };
            parts.push(alloc::format!(
                "{} taken by other programs ({who}{and_so_on})",
                used.foreign.len()
            ));
        }
        match self.ports.free(protocol) {
            0 => {}
            free => parts.push(alloc::format!("{free} kept for needs that are bid for")),
        }
        let parts = parts.join(", ");
        alloc::format!(
            "no free {protocol} port: {parts}; the range {first}-{last} (portrangestart.{protocol}, limits.portrangesize) has {size}"
        )
    }

    fn port_text(&self, port: Port) -> String {
        let what = alloc::format!("port {port}, which its need prescribes,");
        let foreign = self.ports.foreign().find(|(held, _)| *held == port);
        let lease = self.ports.leases().find(|(held, _)| *held == port);
        let user = lease.and_then(|(_, holder)| self.services.owner(holder));
        match (foreign, user) {
            (Some((_, Some(holder))), _) => {
                alloc::format!("{what} is taken by {}", holder_text(holder))
            }
            (Some((_, None)), _) => alloc::format!("{what} is taken by another program"),
            (None, Some(user)) => alloc::format!("{what} is used by {user}"),
            (None, None) => alloc::format!("{what} is kept for another need that is bid for"),
        }
    }

    fn repeated(&self, why: &Failure, service: &Service) -> String {
        let text = failure_text(why, service);
        match service.history.failures {
            0 | 1 => text,
            failures => alloc::format!("{text}; {failures} failures in a row"),
        }
    }

    /// The LanManager.
    #[must_use]
    pub fn lan_status(&self) -> LanStatus {
        let (state, endpoint, since, reason) = match &self.lan {
            Lan::Away { since, reason, .. } => ("away", None, *since, reason.clone()),
            Lan::Dialing { since, reason, .. } => ("connecting", None, *since, reason.clone()),
            Lan::Up {
                since, endpoint, ..
            } => ("connected", Some(Arc::clone(endpoint)), *since, None),
        };
        LanStatus {
            state,
            endpoint,
            since,
            reason,
            unreported: self.services.unreported().count(),
            unannounced: self.unannounced(),
            calls: self.requests.len(),
        }
    }

    /// How many services run that the LanManager does not know of now, and is to be told of.
    fn unannounced(&self) -> usize {
        let connected = self.lan.connection().is_some();
        let untold = |service: &Service| match (&service.activity, &service.claim) {
            (Activity::Up { .. }, Claim::None | Claim::CutOff { .. }) => !connected,
            (Activity::Up { .. }, Claim::Approved | Claim::Superseded { .. }) => false,
            (
                Activity::Up { .. },
                Claim::Bidding { .. }
                | Claim::Paused { .. }
                | Claim::Held { .. }
                | Claim::Responding { .. },
            ) => true,
            (
                Activity::Waiting(_)
                | Activity::BackingOff { .. }
                | Activity::Failed { .. }
                | Activity::Probing { .. }
                | Activity::Spawning { .. }
                | Activity::Starting { .. }
                | Activity::Stopping { .. },
                _,
            ) => false,
        };
        let services = self.services.iter();
        services.filter(|(_, service)| untold(service)).count()
    }
}

fn holder_text(holder: &Holder) -> String {
    alloc::format!("process {} ({})", holder.pid, holder.name)
}

/// Whether there is another command for a service than its process was started by, or none any more.
/// False where that is not known.
fn runs_older_command(settings: &Settings, service: &Service) -> bool {
    let process = service.activity.process();
    let started_by = process.and_then(|process| process.launcher?.command);
    let present = settings.launcher(&service.need.module);
    started_by.is_some() && started_by != present.and_then(|launcher| launcher.command)
}

fn failure_text(failure: &Failure, service: &Service) -> String {
    match failure {
        Failure::Ended(outcome) => alloc::format!("its child {}", outcome_text(outcome)),
        Failure::NotSpawned(why) => alloc::format!("could not be started: {why}"),
        Failure::NotReady => "its ports did not answer in time".to_string(),
        Failure::Failed(why) | Failure::Refused(why) | Failure::BidFailed(why) => why.to_string(),
        Failure::RangeFull(protocol) => {
            alloc::format!("all {protocol} ports of the configured range are in use")
        }
        Failure::PortTaken(port) => {
            alloc::format!("port {port}, which its need prescribes, is in use")
        }
        Failure::NoLauncher => alloc::format!(
            "the configuration of this machine has no launcher for the module {}",
            service.need.module
        ),
    }
}

fn held_text(service: &Service) -> String {
    let hold = service.hold.as_ref();
    match hold.and_then(|hold| hold.sender.as_ref()) {
        Some(sender) => alloc::format!("stopped by {sender}"),
        None => "stopped by somebody".to_string(),
    }
}

fn stop_text(why: &StopReason) -> String {
    match why {
        StopReason::Withdrawn => "its need was withdrawn".to_string(),
        StopReason::Refused(why) => alloc::format!("refused: {why}"),
        StopReason::Failed(why) => why.to_string(),
        StopReason::NotReady => "its ports did not answer in time".to_string(),
        StopReason::Restart => "a restart was asked for".to_string(),
        StopReason::Held => "somebody stops it".to_string(),
        StopReason::ModuleChanged => "its need now names another module".to_string(),
        StopReason::Superseded(by) => alloc::format!("the network uses the one at {by}"),
        StopReason::CutOff => "the LanManager has been away for so long that another machine may \
                               run it, and there must never be two"
            .to_string(),
        StopReason::Shutdown => "the master is stopping".to_string(),
    }
}

/// How a child ended, for people.
pub(crate) fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited(code) => alloc::format!("exited with code {code}"),
        Outcome::Signaled(signal) => alloc::format!("was killed by signal {signal}"),
        Outcome::Lost(why) => alloc::format!("ended unseen ({why})"),
    }
}
