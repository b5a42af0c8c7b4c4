//! The simulated world: the master's rules, and all that they cannot see.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use allexmaster_state::{
    ChildEffect, Descendant, Effect, Ended, Event, Identity, Incarnation, InstanceName, JournalId,
    LanAnswer, LanEffect, Outcome, Pid, Recorded, RequestId, SessionEffect, Settings, Signal,
    State, StopSource, Timestamp, step,
};
use serde_json::json;

use crate::children::Machine;
use crate::lan_manager::{LanManager, Mood};
use crate::promises;

/// The state is stored and read back at every so many-th event.
const ROUND_TRIP_EVERY: u64 = 16;

/// Everything.
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) lan_manager: LanManager,
    pub(crate) machine: Machine,
    journal: Vec<Recorded>,
    now: u64,
    /// Effects toward the LanManager: it gets them in their order.
    pub(crate) to_lan: VecDeque<SessionEffect>,
    /// Other effects: performed in any order.
    pub(crate) to_machine: Vec<ChildEffect>,
    from_lan: VecDeque<Event>,
    from_children: BTreeMap<Incarnation, VecDeque<Event>>,
    heard: Vec<Event>,
    asked: BTreeSet<RequestId>,
    next_request: u64,
    exited: bool,
    /// What the master was told twice may have been out of date: only a new
    /// connection brings it and the LanManager into agreement again.
    pub(crate) was_told_twice: bool,
}

impl World {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut world = Self {
            state: State::default(),
            lan_manager: LanManager::default(),
            machine: Machine::new(),
            journal: Vec::new(),
            now: 1_000,
            to_lan: VecDeque::new(),
            to_machine: Vec::new(),
            from_lan: VecDeque::new(),
            from_children: BTreeMap::new(),
            heard: Vec::new(),
            asked: BTreeSet::new(),
            next_request: 0,
            exited: false,
            was_told_twice: false,
        };
        world.happen(Event::SettingsLoaded { settings }, 0);
        world.start(BTreeMap::new(), false);
        world
    }

    pub(crate) fn has_exited(&self) -> bool {
        self.exited
    }

    /// An event is recorded and decided upon; its effects wait to be performed.
    pub(crate) fn happen(&mut self, event: Event, entropy: u32) {
        let recorded = Recorded {
            sequence: self.journal.len() as u64 + 1,
            at: Timestamp(self.now),
            entropy,
            event,
        };
        self.journal.push(recorded.clone());
        let sequence = recorded.sequence;
        let (state, effects) = step(std::mem::take(&mut self.state), recorded);
        self.state = state;
        self.state.check().expect("every invariant holds");
        if sequence.is_multiple_of(ROUND_TRIP_EVERY) {
            promises::stored_and_read_back_it_is_the_same(&self.state);
        }
        for effect in effects {
            self.order(effect);
        }
    }

    fn order(&mut self, effect: Effect) {
        match effect {
            Effect::Child(effect) => {
                promises::nobody_who_serves_is_killed(&self.state, &effect);
                self.to_machine.push(effect);
            }
            Effect::Session(SessionEffect::Reply { request, .. }) => {
                assert!(self.asked.remove(&request), "call {request} answered twice");
            }
            Effect::Session(effect) => self.to_lan.push_back(effect),
            Effect::Install { .. } => {}
            Effect::Exit => {
                assert!(self.asked.is_empty(), "calls are left without an answer");
                promises::nothing_is_left(self);
                self.exited = true;
                self.forget_the_way();
            }
        }
    }

    /// What was on its way to or from the master is lost.
    fn forget_the_way(&mut self) {
        self.to_lan.clear();
        self.to_machine.clear();
        self.from_lan.clear();
        self.from_children.clear();
        self.asked.clear();
        let _ = self.lan_manager.lose();
    }

    /// The next effect reaches the LanManager.
    pub(crate) fn perform_lan(&mut self, mood: Mood) -> bool {
        let Some(effect) = self.to_lan.pop_front() else {
            return false;
        };
        let events = match effect {
            SessionEffect::Dial { connection, .. } if mood == Mood::Deaf => {
                vec![Event::LanClosed {
                    connection,
                    reason: Arc::from("refused"),
                    silent: 0,
                }]
            }
            SessionEffect::Dial { connection, .. } => self.lan_manager.admit(connection),
            SessionEffect::Lan(effect) => self.perform_call(effect, mood),
            SessionEffect::HangUp { .. }
            | SessionEffect::Publish { .. }
            | SessionEffect::Retract { .. }
            | SessionEffect::Reply { .. } => Vec::new(),
        };
        self.from_lan.extend(events);
        true
    }

    fn perform_call(&mut self, effect: LanEffect, mood: Mood) -> Vec<Event> {
        match effect {
            LanEffect::Bid {
                connection,
                instance,
                bid,
                ..
            } => self.lan_manager.bid(connection, instance, bid, mood),
            LanEffect::Abandon { instance, bid } => {
                self.lan_manager.abandon(&instance, bid);
                Vec::new()
            }
            LanEffect::Respond { bid, record } => {
                let child = self.machine.children.get(&record.pid);
                let reachable = child.is_some_and(|child| child.serves);
                self.lan_manager
                    .respond(bid, &record.need, record.pid, reachable, mood)
            }
            LanEffect::ReportDown {
                connection,
                instance,
            } => self.lan_manager.hear_down(connection, instance),
            LanEffect::AddNeed { request, .. } | LanEffect::RemoveNeed { request, .. } => {
                vec![Event::LanCallAnswered {
                    request,
                    answer: LanAnswer::Done(json!(true)),
                }]
            }
            LanEffect::ReportEngaged { .. } => Vec::new(),
        }
    }

    /// One of the other effects is performed; `luck` decides how it goes.
    pub(crate) fn perform_machine(&mut self, which: u16, luck: bool) -> bool {
        if self.to_machine.is_empty() {
            return false;
        }
        let index = usize::from(which) % self.to_machine.len();
        match self.to_machine.remove(index) {
            ChildEffect::ProbePorts { incarnation, ports } => {
                let taken = self.machine.taken(&ports);
                self.tell(
                    incarnation,
                    Event::PortsProbed {
                        incarnation,
                        taken,
                        holders: Vec::new(),
                    },
                );
            }
            ChildEffect::AwaitFree { ports } => self.machine.awaited.extend(ports),
            ChildEffect::Spawn(order) if luck => {
                let incarnation = order.incarnation;
                let identity = self.machine.fork(&order);
                self.tell(
                    incarnation,
                    Event::ChildSpawned {
                        incarnation,
                        identity,
                        launcher: None,
                    },
                );
            }
            ChildEffect::Spawn(order) => {
                let incarnation = order.incarnation;
                let reason = Arc::from("no such file");
                self.tell(
                    incarnation,
                    Event::ChildNotSpawned {
                        incarnation,
                        reason,
                        missing: None,
                    },
                );
            }
            ChildEffect::AwaitReady { incarnation, .. } if luck => {
                if let Some(child) = self.machine.of(incarnation)
                    && child.outcome.is_none()
                {
                    child.serves = true;
                    self.tell(incarnation, Event::ChildReady { incarnation });
                }
            }
            ChildEffect::Signal {
                incarnation,
                identity,
                signal,
            } => self.signal(incarnation, &identity, signal, luck),
            ChildEffect::EndStray {
                incarnation,
                identity,
                ..
            } => self.signal(incarnation, &identity, Signal::Kill, true),
            ChildEffect::Reap { incarnation } => {
                let ended = self.machine.of(incarnation).is_none();
                assert!(ended, "{incarnation} is reaped while it lives");
            }
            ChildEffect::Adopt { incarnation, .. } => {
                let left = self.machine.of(incarnation);
                if let Some(outcome) = left.and_then(|child| child.outcome.clone()) {
                    self.tell_of_others(incarnation, outcome, false);
                }
            }
            // Its ports will not answer in time.
            ChildEffect::AwaitReady { .. } => {}
        }
        true
    }

    fn signal(
        &mut self,
        incarnation: Incarnation,
        identity: &Identity,
        signal: Signal,
        listens: bool,
    ) {
        let child = self.machine.children.get(&identity.pid);
        let named = child.map(|child| (child.incarnation, &child.identity));
        assert_eq!(named, Some((incarnation, identity)), "a stray signal");
        match signal {
            Signal::Terminate if !listens => {}
            Signal::Terminate => self.end(identity.pid, Outcome::Exited(0)),
            Signal::Kill => self.end(identity.pid, Outcome::Signaled(9)),
        }
    }

    /// A process ends, and the master is told.
    pub(crate) fn end(&mut self, pid: Pid, outcome: Outcome) {
        if self.machine.end(pid, &outcome)
            && let Some(child) = self.machine.children.get(&pid)
        {
            let incarnation = child.incarnation;
            let outcome = child.outcome.clone().unwrap_or(outcome);
            self.tell(
                incarnation,
                Event::ChildExited {
                    incarnation,
                    outcome,
                },
            );
        }
    }

    /// A process ends, and another one that it had started lives on.
    pub(crate) fn end_leaving_others(&mut self, pid: Pid, outcome: Outcome, in_group: bool) {
        if let Some(child) = self.machine.children.get_mut(&pid)
            && child.outcome.is_none()
        {
            child.serves = false;
            child.outcome = Some(outcome.clone());
            let incarnation = child.incarnation;
            self.tell_of_others(incarnation, outcome, in_group);
        }
    }

    fn tell_of_others(&mut self, incarnation: Incarnation, outcome: Outcome, in_group: bool) {
        let Some(child) = self.machine.of(incarnation) else {
            return;
        };
        let left = vec![Descendant {
            identity: child.identity.clone(),
            in_group,
            listens: Vec::new(),
        }];
        let event = Event::DescendantsLeft {
            incarnation,
            outcome,
            left,
        };
        self.tell(incarnation, event);
    }

    /// A process lives, but serves nobody, and says so.
    pub(crate) fn say_that_it_fails(&mut self, pid: Pid) {
        if let Some(child) = self.machine.children.get_mut(&pid) {
            child.serves = false;
            let incarnation = child.incarnation;
            let reason = Arc::from("its port is in use by another program");
            let event = Event::ChildFailed {
                incarnation,
                reason,
            };
            self.tell(incarnation, event);
        }
    }

    fn tell(&mut self, incarnation: Incarnation, event: Event) {
        let queue = self.from_children.entry(incarnation).or_default();
        queue.push_back(event);
    }

    pub(crate) fn tell_from_lan(&mut self, events: impl IntoIterator<Item = Event>) {
        self.from_lan.extend(events);
    }

    /// The master hears one of the events that wait: in order from each source, in any between them.
    pub(crate) fn hear(&mut self, which: u16, entropy: u32) -> bool {
        let sources = self.from_children.len() + usize::from(!self.from_lan.is_empty());
        if sources == 0 {
            return false;
        }
        let index = usize::from(which) % sources;
        let key = self.from_children.keys().nth(index).copied();
        let event = match key {
            Some(incarnation) => {
                let queue = self.from_children.get_mut(&incarnation);
                let event = queue.and_then(VecDeque::pop_front);
                self.from_children.retain(|_, queue| !queue.is_empty());
                event
            }
            None => self.from_lan.pop_front(),
        };
        if let Some(event) = event {
            self.heard.push(event.clone());
            self.happen(event, entropy);
        }
        true
    }

    /// The master hears something for a second time. Not what would be no
    /// repetition but a lie: an answer to the question that is open now.
    pub(crate) fn repeat(&mut self, which: u16, entropy: u32) {
        if self.heard.is_empty() {
            return;
        }
        let index = usize::from(which) % self.heard.len();
        let event = self.heard[index].clone();
        if !self.is_a_lie(&event) {
            self.was_told_twice = true;
            self.happen(event, entropy);
        }
    }

    fn is_a_lie(&self, event: &Event) -> bool {
        if let Event::ResponseAnswered { instance, bid, .. } = event {
            let service = self.state.services.get(instance);
            service.is_some_and(|service| service.claim.bid() == Some(*bid))
        } else if let Event::ServiceDownAcknowledged { instance, .. } = event {
            let service = self.state.services.get(instance);
            service.is_some_and(|service| service.down_unreported)
        } else {
            false
        }
    }

    pub(crate) fn pass(&mut self, milliseconds: u64) {
        self.now += milliseconds;
    }

    /// Time passes until the state has something to do.
    pub(crate) fn wake(&mut self, entropy: u32) -> bool {
        let Some((at, _)) = self.state.next_deadline() else {
            return false;
        };
        self.now = self.now.max(at.0);
        self.happen(Event::DeadlineReached, entropy);
        true
    }

    /// A local call, with its number.
    pub(crate) fn ask(&mut self, call: impl FnOnce(RequestId) -> Event) {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        self.asked.insert(request);
        self.happen(call(request), 0);
    }

    pub(crate) fn ask_to_stop(&mut self, urgent: bool) {
        if self.exited {
            self.start_again();
        }
        self.ask(|request| Event::StopRequested {
            request: Some(request),
            source: StopSource::Operator,
            urgent,
        });
    }

    /// The master is killed between two instructions: of the children that it was
    /// about to fork, some are forked; what waited is lost; then it is started again.
    pub(crate) fn crash(&mut self, forks: u32, deaths: u32, seen: u32) {
        self.fork_some(forks);
        self.forget_the_way();
        let ended = self.end_some(deaths, seen);
        self.start(ended, false);
    }

    /// The engine alone is killed, also while the master stops. The connections live on: what goes
    /// over them in either direction is taken exactly once. Of what the children's drivers were
    /// about to do, only some forks happened; what they were about to say is lost, except for the
    /// ends of children, which somebody keeps.
    pub(crate) fn lose_engine(&mut self, forks: u32, deaths: u32, seen: u32) {
        self.fork_some(forks);
        let unheard = std::mem::take(&mut self.from_children);
        let mut ended = self.end_some(deaths, seen);
        for event in unheard.into_values().flatten() {
            if let Event::ChildExited {
                incarnation,
                outcome,
            } = event
            {
                ended.insert(incarnation, outcome);
            }
        }
        self.start(ended, true);
    }

    /// Of the children that were about to be forked, some are.
    fn fork_some(&mut self, forks: u32) {
        let orders = std::mem::take(&mut self.to_machine);
        for (bit, effect) in orders.into_iter().enumerate() {
            if let ChildEffect::Spawn(order) = effect
                && forks >> (bit % 32) & 1 == 1
            {
                self.machine.fork(&order);
            }
        }
    }

    /// Some children end, and of some of them the system can tell how.
    fn end_some(&mut self, deaths: u32, seen: u32) -> BTreeMap<Incarnation, Outcome> {
        let mut ended = BTreeMap::new();
        for (bit, pid) in self.machine.living_pids().into_iter().enumerate() {
            if deaths >> (bit % 32) & 1 == 1 {
                let outcome = Outcome::Exited(3);
                self.machine.end(pid, &outcome);
                if seen >> (bit % 32) & 1 == 1 {
                    ended.insert(self.machine.children[&pid].incarnation, outcome);
                }
            }
        }
        ended
    }

    pub(crate) fn start_again(&mut self) {
        self.crash(0, 0, 0);
    }

    fn start(&mut self, ended: BTreeMap<Incarnation, Outcome>, resumed: bool) {
        let replayed = promises::replay(&self.journal);
        assert_eq!(replayed, self.state, "a replay gives the live state");
        self.state = replayed;
        self.exited = false;
        self.machine.awaited.clear();
        let ended = ended.into_iter();
        let event = Event::MasterStarted {
            journal: JournalId::from("journal"),
            boot: self.machine.boot.clone(),
            pid: Pid(1),
            survivors: self.machine.survivors(),
            ended: ended
                .map(|(incarnation, outcome)| Ended {
                    incarnation,
                    outcome,
                })
                .collect(),
            resumed,
        };
        let before = resumed.then(|| self.state.clone());
        self.happen(event, 0);
        if let Some(before) = before {
            promises::the_connection_did_not_notice(&before, &self.state);
        }
    }

    /// Other people's programs end.
    pub(crate) fn free_ports(&mut self) {
        self.machine.foreign.clear();
        self.tell_freed();
    }

    /// The master is told of the ports that it awaits. False where none is free.
    pub(crate) fn tell_freed(&mut self) -> bool {
        let ports = self.machine.freed();
        let any = !ports.is_empty();
        if any {
            self.happen(Event::PortsFreed { ports }, 0);
        }
        any
    }

    pub(crate) fn restart(&mut self, instance: InstanceName) {
        self.ask(|request| Event::RestartRequested {
            request,
            instance,
            sender: None,
        });
    }

    pub(crate) fn hold(&mut self, instance: InstanceName) {
        self.ask(|request| Event::HoldRequested {
            request,
            instance,
            sender: None,
        });
    }

    pub(crate) fn release(&mut self, instance: InstanceName) {
        self.ask(|request| Event::StartRequested {
            request,
            instance,
            sender: None,
        });
    }

    /// The whole life again, from its events.
    pub(crate) fn journal(&self) -> &[Recorded] {
        &self.journal
    }
}
