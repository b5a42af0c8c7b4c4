//! Whom an event is about.

use std::collections::BTreeSet;

use allexmaster_state::{
    ChildEffect, Deadline, Effect, Event, Incarnation, InstanceName, LanEffect, PerProtocol, Pid,
    Port, Recorded, SessionEffect, State,
};

/// Services, ports and processes that an event has to do with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subjects {
    pub instances: BTreeSet<InstanceName>,
    /// That it names, or that its children lease.
    pub ports: BTreeSet<Port>,
    /// Processes that it names, or that its children are.
    pub pids: BTreeSet<Pid>,
    /// It may change any service.
    pub all: bool,
}

impl Subjects {
    /// Whom an event is about, seen from the state that it meets.
    #[must_use]
    pub fn of_event(state: &State, recorded: &Recorded) -> Self {
        let mut subjects = Self::default();
        subjects.add_event(state, recorded);
        let instances: Vec<InstanceName> = subjects.instances.iter().cloned().collect();
        for instance in &instances {
            subjects.add_process(state, instance);
        }
        subjects
    }

    /// Adds whom its effects are about, seen from the state after it.
    pub fn add_effects(&mut self, state: &State, effects: &[Effect]) {
        for effect in effects {
            self.add_effect(state, effect);
        }
        let instances: Vec<InstanceName> = self.instances.iter().cloned().collect();
        for instance in &instances {
            self.add_process(state, instance);
        }
    }

    fn add_event(&mut self, state: &State, recorded: &Recorded) {
        match &recorded.event {
            Event::SettingsLoaded { .. }
            | Event::NeedsListed { .. }
            | Event::LanClosed { .. }
            | Event::StopRequested { .. } => {
                self.all = true;
            }
            Event::MasterStarted {
                pid,
                survivors,
                ended,
                ..
            } => {
                self.all = true;
                self.pids.insert(*pid);
                for survivor in survivors {
                    self.add_attempt(state, survivor.incarnation);
                    self.pids.insert(survivor.identity.pid);
                }
                for ended in ended {
                    self.add_attempt(state, ended.incarnation);
                }
            }
            Event::LanConnected { .. }
            | Event::InstallEnded { .. }
            | Event::ModuleEngaged { .. }
            | Event::AddNeedRequested { .. }
            | Event::LanCallAnswered { .. } => {}
            Event::NeedAppeared { need, .. } => {
                self.instances.insert(need.instance.clone());
                let prescribed = need.ports.iter().filter_map(|(_, port)| *port);
                self.ports.extend(prescribed);
            }
            Event::ServicesListed { services, .. } => {
                let instances = services.iter().map(|listed| listed.instance.clone());
                self.instances.extend(instances);
            }
            Event::NeedWithdrawn { instance, .. }
            | Event::BidAnswered { instance, .. }
            | Event::ResponseAnswered { instance, .. }
            | Event::ServiceDownAcknowledged { instance, .. }
            | Event::RestartRequested { instance, .. }
            | Event::HoldRequested { instance, .. }
            | Event::StartRequested { instance, .. }
            | Event::RemoveNeedRequested { instance, .. } => {
                self.instances.insert(instance.clone());
            }
            Event::PortsFreed { ports } => self.ports.extend(ports),
            Event::PortsProbed {
                incarnation, taken, ..
            } => {
                self.add_attempt(state, *incarnation);
                self.ports.extend(taken);
            }
            Event::ForeignListener { incarnation, port } => {
                self.add_attempt(state, *incarnation);
                self.ports.insert(*port);
            }
            Event::ChildSpawned {
                incarnation,
                identity,
                ..
            } => {
                self.add_attempt(state, *incarnation);
                self.pids.insert(identity.pid);
            }
            Event::ChildNotSpawned { incarnation, .. }
            | Event::ChildReady { incarnation }
            | Event::ChildFailed { incarnation, .. }
            | Event::ChildExited { incarnation, .. } => self.add_attempt(state, *incarnation),
            Event::DescendantsLeft {
                incarnation, left, ..
            } => {
                self.add_attempt(state, *incarnation);
                self.pids.extend(left.iter().map(|one| one.identity.pid));
            }
            Event::DescendantsEnded {
                incarnation,
                killed,
                left,
            } => {
                self.add_attempt(state, *incarnation);
                self.pids.extend(killed.iter().chain(left));
            }
            Event::StraysFound { strays } => {
                self.pids.extend(strays.iter().map(|one| one.identity.pid));
            }
            Event::DeadlineReached => self.add_due(state, recorded),
            Event::ClockJumped { .. } => {}
        }
    }

    fn add_due(&mut self, state: &State, recorded: &Recorded) {
        let due = state
            .deadlines
            .iter()
            .take_while(|(at, _)| *at <= recorded.at);
        for (_, reason) in due {
            match reason {
                Deadline::Service(instance) => {
                    self.instances.insert(instance.clone());
                }
                Deadline::PortUsable(port) => {
                    self.ports.insert(*port);
                }
                Deadline::Dial | Deadline::Bids | Deadline::Request(_) | Deadline::Drain => {}
            }
        }
    }

    fn add_effect(&mut self, state: &State, effect: &Effect) {
        match effect {
            Effect::Child(effect) => self.add_child_effect(state, effect),
            Effect::Session(effect) => self.add_session_effect(effect),
            Effect::Install { .. } | Effect::Exit => {}
        }
    }

    fn add_child_effect(&mut self, state: &State, effect: &ChildEffect) {
        match effect {
            ChildEffect::ProbePorts { incarnation, ports }
            | ChildEffect::AwaitReady { incarnation, ports } => {
                self.add_attempt(state, *incarnation);
                self.ports.extend(ports);
            }
            ChildEffect::AwaitFree { ports } => self.ports.extend(ports),
            ChildEffect::Reap { incarnation } => self.add_attempt(state, *incarnation),
            ChildEffect::Spawn(order) => {
                self.instances.insert(order.need.instance.clone());
                self.add_ports(&order.ports);
            }
            ChildEffect::Adopt {
                instance, identity, ..
            } => {
                self.instances.insert(instance.clone());
                self.pids.insert(identity.pid);
            }
            ChildEffect::Signal {
                incarnation,
                identity,
                ..
            }
            | ChildEffect::EndStray {
                incarnation,
                identity,
                ..
            } => {
                self.add_attempt(state, *incarnation);
                self.pids.insert(identity.pid);
            }
        }
    }

    fn add_session_effect(&mut self, effect: &SessionEffect) {
        match effect {
            SessionEffect::Retract { instance }
            | SessionEffect::Lan(
                LanEffect::Bid { instance, .. }
                | LanEffect::Abandon { instance, .. }
                | LanEffect::ReportDown { instance, .. }
                | LanEffect::RemoveNeed { instance, .. },
            ) => {
                self.instances.insert(instance.clone());
            }
            SessionEffect::Publish { record }
            | SessionEffect::Lan(LanEffect::Respond { record, .. }) => {
                self.instances.insert(record.need.instance.clone());
                self.pids.insert(record.pid);
            }
            SessionEffect::Dial { .. }
            | SessionEffect::HangUp { .. }
            | SessionEffect::Reply { .. }
            | SessionEffect::Lan(LanEffect::ReportEngaged { .. } | LanEffect::AddNeed { .. }) => {}
        }
    }

    fn add_attempt(&mut self, state: &State, incarnation: Incarnation) {
        if let Some(instance) = state.services.owner(incarnation) {
            self.instances.insert(instance.clone());
        }
    }

    fn add_process(&mut self, state: &State, instance: &InstanceName) {
        let Some(service) = state.services.get(instance) else {
            return;
        };
        if let Some((_, ports)) = service.activity.attempt() {
            self.add_ports(ports);
        }
        if let Some(process) = service.activity.process() {
            self.pids.insert(process.identity.pid);
        }
    }

    fn add_ports(&mut self, ports: &PerProtocol<Option<Port>>) {
        self.ports.extend(ports.given());
    }
}
