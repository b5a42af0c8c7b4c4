//! Why a service is what it is: the chain of causes, from the inputs to the present state.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use allexmaster_journal::Hole;
use allexmaster_state::{
    Activity, ChildEffect, Effect, Event, InstanceName, LanEffect, Pid, Port, Recorded, Service,
    ServiceState, ServiceStatus, SessionEffect, State, Timestamp,
};

use crate::error::InspectError;
use crate::failure;
use crate::replay::{Past, Step, Watch};
use crate::screen::Tone;
use crate::source::Start;
use crate::subject::Subjects;
use crate::words;

/// So many names are offered where one is not known.
const KNOWN_SHOWN: usize = 12;

/// One link of the chain.
#[derive(Clone, Debug)]
pub struct Link {
    pub sequence: u64,
    pub at: u64,
    pub text: String,
    pub tone: Tone,
    /// What the service did then, where that changed.
    pub became: Option<ServiceState>,
    /// The event whose effect, or deadline, brought this one about.
    pub because: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct Explanation {
    /// The service that it is about.
    pub instance: InstanceName,
    /// How the service was found, where it was asked for by a port or a process.
    pub found: Option<String>,
    /// What it is now; nothing where it was forgotten.
    pub status: Option<ServiceStatus>,
    /// The event that made it so.
    pub since: Option<Link>,
    /// What went wrong last, and how often in a row, with the events.
    pub failures: Vec<Link>,
    /// When it goes on by itself.
    pub next: Option<u64>,
    /// All events that changed it, oldest first.
    pub chain: Vec<Link>,
    /// What it was where the journal begins, if not with event 1: what led to it is unknown.
    pub before: Option<Before>,
}

/// What a service was before the first event that there is.
#[derive(Clone, Debug)]
pub struct Before {
    /// The last event that is not there.
    pub sequence: u64,
    pub at: u64,
    pub state: ServiceState,
    /// How often it had failed in a row, of which the present row is the continuation.
    pub failures: u32,
    /// Whether the events before are damaged, and not only compacted or left out.
    pub behind_hole: bool,
}

/// The subject of the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A service, or a need: they have the same name.
    Instance(InstanceName),
    Port(Port),
    Pid(Pid),
    /// A number that may be either.
    Number(u32),
}

impl Target {
    /// Reads `Clock`, `need:Clock`, `service:Clock`, `port:15000`, `pid:4711`, `15000`.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let named = |prefix| text.strip_prefix(prefix);
        if let Some(name) = named("service:").or_else(|| named("need:")) {
            return Self::Instance(name.into());
        }
        if let Some(port) = named("port:").and_then(|port| port.parse().ok()) {
            return Self::Port(Port(port));
        }
        if let Some(pid) = named("pid:").and_then(|pid| pid.parse().ok()) {
            return Self::Pid(Pid(pid));
        }
        text.parse()
            .map_or_else(|_| Self::Instance(text.into()), Self::Number)
    }
}

/// Explains a target as it is after the event `until`.
///
/// # Errors
/// Nothing of that name ever was, or the journal cannot be read.
pub fn explain(past: &mut Past, target: &Target, until: u64) -> Result<Explanation, InspectError> {
    let range = past.first()..=until;
    let (instance, found) = resolve(past, target, until)?;
    let start = past.source().start();
    let status = start.state.status_of(&instance);
    let failures = |service: &Service| service.history.failures;
    let before = status.map(|status| Before {
        sequence: start.position.sequence,
        at: start.position.at,
        state: status.state,
        failures: start.state.services.get(&instance).map_or(0, failures),
        behind_hole: false,
    });
    let mut teller = Teller::new(instance, before);
    past.replay(range, &mut teller)?;
    let state = past.state_after(until)?;
    Ok(teller.finish(state, found))
}

/// The service that a target leads to.
fn resolve(
    past: &mut Past,
    target: &Target,
    until: u64,
) -> Result<(InstanceName, Option<String>), InspectError> {
    let mut register = Register::before(past.source().start());
    past.replay(past.first()..=until, &mut register)?;
    let by_port = |port: Port| {
        let (holder, sequence) = register.ports.get(&port)?;
        Some((
            holder.clone(),
            Some(format!(
                "port {port} was last given to {holder} (#{sequence})"
            )),
        ))
    };
    let by_pid = |pid: Pid| {
        let (holder, sequence) = register.pids.get(&pid)?;
        Some((
            holder.clone(),
            Some(format!("process {pid} was {holder}'s child (#{sequence})")),
        ))
    };
    let found = match target {
        Target::Instance(name) => register.name(name).map(|name| (name, None)),
        Target::Port(port) => by_port(*port),
        Target::Pid(pid) => by_pid(*pid),
        Target::Number(number) => u16::try_from(*number)
            .ok()
            .and_then(|port| by_port(Port(port)))
            .or_else(|| by_pid(Pid(*number))),
    };
    found.ok_or_else(|| InspectError::UnknownTarget {
        target: match target {
            Target::Instance(name) => name.to_string(),
            Target::Port(port) => port.to_string(),
            Target::Pid(pid) => pid.to_string(),
            Target::Number(number) => number.to_string(),
        },
        known: register.known(),
        before: past.note(),
    })
}

/// Everything that ever had a name or a number.
#[derive(Default)]
struct Register {
    instances: BTreeMap<InstanceName, u64>,
    ports: BTreeMap<Port, (InstanceName, u64)>,
    pids: BTreeMap<Pid, (InstanceName, u64)>,
}

impl Register {
    /// What stood there before the first event.
    fn before(start: &Start) -> Self {
        let mut register = Self::default();
        register.add(&start.state, start.position.sequence);
        register
    }

    /// What stands in a state that no event that can be told led to.
    fn add(&mut self, state: &State, sequence: u64) {
        for status in state.service_statuses() {
            let instance = status.instance.clone();
            for port in status.ports.iter().filter_map(|(_, port)| *port) {
                self.port(port, &instance, sequence);
            }
            if let Some(pid) = status.pid {
                self.pids.insert(pid, (instance.clone(), sequence));
            }
            self.instances.insert(instance, sequence);
        }
    }

    fn name(&self, wanted: &InstanceName) -> Option<InstanceName> {
        if self.instances.contains_key(wanted) {
            return Some(wanted.clone());
        }
        let lower = wanted.as_str().to_lowercase();
        let mut alike = self
            .instances
            .keys()
            .filter(|name| name.as_str().to_lowercase() == lower);
        let only = alike.next().filter(|_| alike.next().is_none());
        only.cloned()
    }

    fn known(&self) -> Vec<String> {
        let names = self.instances.keys().take(KNOWN_SHOWN);
        names.map(ToString::to_string).collect()
    }

    fn port(&mut self, port: Port, instance: &InstanceName, sequence: u64) {
        self.ports.insert(port, (instance.clone(), sequence));
    }
}

impl Watch for Register {
    fn passed(&mut self, hole: &Hole, state: &State) {
        self.add(state, hole.last);
    }

    fn before(&mut self, state: &State, recorded: &Recorded) {
        let sequence = recorded.sequence;
        if let Event::ChildSpawned {
            incarnation,
            identity,
            ..
        } = &recorded.event
            && let Some(owner) = state.services.owner(*incarnation)
        {
            self.pids.insert(identity.pid, (owner.clone(), sequence));
        }
        if let Event::NeedAppeared { need, .. } = &recorded.event {
            self.instances.insert(need.instance.clone(), sequence);
        }
    }

    fn after(&mut self, step: Step<'_>) -> ControlFlow<()> {
        let sequence = step.recorded.sequence;
        if matches!(step.recorded.event, Event::NeedsListed { .. }) {
            for (instance, _) in step.state.services.iter() {
                self.instances.insert(instance.clone(), sequence);
            }
        }
        for effect in step.effects {
            if let Effect::Child(ChildEffect::ProbePorts { incarnation, ports }) = effect
                && let Some(owner) = step.state.services.owner(*incarnation)
            {
                for port in ports {
                    self.port(*port, owner, sequence);
                }
            }
            if let Effect::Child(ChildEffect::Spawn(order)) = effect {
                for port in order.ports.given() {
                    self.port(port, &order.need.instance, sequence);
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Follows one service.
struct Teller {
    instance: InstanceName,
    /// What was asked of the outside, and by which event: its answer names it.
    asked: BTreeMap<&'static str, u64>,
    /// The event that set the present deadline.
    deadline_set: Option<u64>,
    failures: Vec<Link>,
    chain: Vec<Link>,
    met: Option<Met>,
    before: Option<Before>,
}

/// What an event met.
struct Met {
    status: Option<ServiceStatus>,
    failures: u32,
    deadline: Option<Timestamp>,
    link: Link,
    concerned: bool,
}

impl Teller {
    fn new(instance: InstanceName, before: Option<Before>) -> Self {
        Self {
            instance,
            asked: BTreeMap::new(),
            deadline_set: None,
            failures: Vec::new(),
            chain: Vec::new(),
            met: None,
            before,
        }
    }

    fn finish(self, state: &State, found: Option<String>) -> Explanation {
        let service = state.services.get(&self.instance);
        let since = self.chain.iter().rfind(|link| link.became.is_some());
        Explanation {
            status: state.status_of(&self.instance),
            since: since.cloned(),
            next: service.and_then(next_of),
            instance: self.instance,
            found,
            failures: self.failures,
            chain: self.chain,
            before: self.before,
        }
    }

    /// The event that brought this one about.
    fn cause(&self, state: &State, recorded: &Recorded) -> Option<u64> {
        let question = match &recorded.event {
            Event::BidAnswered { .. } => "bid",
            Event::ResponseAnswered { .. } => "respond",
            Event::PortsProbed { .. } => "probe",
            Event::ChildSpawned { .. } | Event::ChildNotSpawned { .. } => "spawn",
            Event::ChildReady { .. }
            | Event::ChildFailed { .. }
            | Event::ForeignListener { .. } => "await",
            Event::ServiceDownAcknowledged { .. } => "down",
            Event::ChildExited { .. }
            | Event::DescendantsLeft { .. }
            | Event::DescendantsEnded { .. } => {
                let service = state.services.get(&self.instance)?;
                matches!(service.activity, Activity::Stopping { .. }).then_some("signal")?
            }
            Event::DeadlineReached => {
                let deadline = state
                    .services
                    .get(&self.instance)
                    .and_then(Service::deadline);
                let due = deadline.is_some_and(|deadline| deadline <= recorded.at);
                return self.deadline_set.filter(|_| due);
            }
            Event::SettingsLoaded { .. }
            | Event::MasterStarted { .. }
            | Event::LanConnected { .. }
            | Event::LanClosed { .. }
            | Event::NeedsListed { .. }
            | Event::NeedAppeared { .. }
            | Event::NeedWithdrawn { .. }
            | Event::PortsFreed { .. }
            | Event::StraysFound { .. }
            | Event::ServicesListed { .. }
            | Event::InstallEnded { .. }
            | Event::ModuleEngaged { .. }
            | Event::StopRequested { .. }
            | Event::RestartRequested { .. }
            | Event::AddNeedRequested { .. }
            | Event::RemoveNeedRequested { .. }
            | Event::HoldRequested { .. }
            | Event::StartRequested { .. }
            | Event::LanCallAnswered { .. }
            | Event::ClockJumped { .. } => return None,
        };
        self.asked.get(question).copied()
    }

    /// Remembers what is asked of the outside for this service.
    fn remember(&mut self, step: Step<'_>) {
        let owner = |incarnation| step.state.services.owner(incarnation) == Some(&self.instance);
        for effect in step.effects {
            let question = match effect {
                Effect::Child(effect) => match effect {
                    ChildEffect::ProbePorts { incarnation, .. } => {
                        owner(*incarnation).then_some("probe")
                    }
                    ChildEffect::AwaitReady { incarnation, .. } => {
                        owner(*incarnation).then_some("await")
                    }
                    ChildEffect::Signal { incarnation, .. } => {
                        owner(*incarnation).then_some("signal")
                    }
                    ChildEffect::Spawn(order) => {
                        (order.need.instance == self.instance).then_some("spawn")
                    }
                    ChildEffect::AwaitFree { .. }
                    | ChildEffect::Adopt { .. }
                    | ChildEffect::Reap { .. }
                    | ChildEffect::EndStray { .. } => None,
                },
                Effect::Session(SessionEffect::Lan(effect)) => match effect {
                    LanEffect::Bid { instance, .. } => {
                        (instance == &self.instance).then_some("bid")
                    }
                    LanEffect::Respond { record, .. } => {
                        (record.need.instance == self.instance).then_some("respond")
                    }
                    LanEffect::ReportDown { instance, .. } => {
                        (instance == &self.instance).then_some("down")
                    }
                    LanEffect::Abandon { .. }
                    | LanEffect::ReportEngaged { .. }
                    | LanEffect::AddNeed { .. }
                    | LanEffect::RemoveNeed { .. } => None,
                },
                Effect::Session(_) | Effect::Install { .. } | Effect::Exit => None,
            };
            if let Some(question) = question {
                self.asked.insert(question, step.recorded.sequence);
            }
        }
    }
}

impl Watch for Teller {
    fn passed(&mut self, hole: &Hole, state: &State) {
        // What led to this is not known, as where a journal begins with a state.
        let service = state.services.get(&self.instance);
        self.failures.clear();
        self.deadline_set = None;
        if let Some(status) = state.status_of(&self.instance) {
            self.before = Some(Before {
                sequence: hole.last,
                at: state.now.0,
                state: status.state,
                failures: service.map_or(0, |service| service.history.failures),
                behind_hole: true,
            });
        }
    }

    fn before(&mut self, state: &State, recorded: &Recorded) {
        let subjects = Subjects::of_event(state, recorded);
        let service = state.services.get(&self.instance);
        let because = self.cause(state, recorded);
        self.met = Some(Met {
            status: state.status_of(&self.instance),
            failures: service.map_or(0, |service| service.history.failures),
            deadline: service.and_then(Service::deadline),
            link: Link {
                sequence: recorded.sequence,
                at: recorded.at.0,
                text: words::event(state, recorded),
                tone: failure::tone(state, recorded),
                became: None,
                because,
            },
            concerned: subjects.instances.contains(&self.instance),
        });
    }

    fn after(&mut self, step: Step<'_>) -> ControlFlow<()> {
        let Some(before) = self.met.take() else {
            return ControlFlow::Continue(());
        };
        self.remember(step);
        let service = step.state.services.get(&self.instance);
        let status = step.state.status_of(&self.instance);
        let mut link = before.link;
        let old = before.status.as_ref().map(|status| status.state);
        let new = status.as_ref().map(|status| status.state);
        if old != new {
            link.became = new;
        }
        let deadline = service.and_then(Service::deadline);
        if deadline != before.deadline {
            self.deadline_set = Some(step.recorded.sequence);
        }
        let failures = service.map_or(0, |service| service.history.failures);
        if failures < before.failures || failures == 0 {
            self.failures.clear();
            if let Some(before) = &mut self.before {
                before.failures = 0;
            }
        }
        if failures > before.failures || (failures > 0 && failures < before.failures) {
            self.failures.push(link.clone());
        }
        if old != new || (before.concerned && before.status != status) {
            self.chain.push(link);
        }
        ControlFlow::Continue(())
    }
}

fn next_of(service: &Service) -> Option<u64> {
    match &service.activity {
        Activity::BackingOff { until, .. } => Some(until.0),
        Activity::Starting { ready_by, .. } => Some(ready_by.0),
        Activity::Stopping { kill_at, .. } => kill_at.map(|at| at.0),
        Activity::Waiting(_)
        | Activity::Failed { .. }
        | Activity::Probing { .. }
        | Activity::Spawning { .. }
        | Activity::Up { .. } => None,
    }
}
