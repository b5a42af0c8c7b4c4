//! All conversations of the master as one machine, without sockets: inputs in, outputs out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::framing::MAX_QUEUED_BYTES;
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::server::{ConnectionId, Peer};
use allexmaster_state::{
    Connection, Event, Identity, Incarnation, InstanceName, Pid, RequestId, SessionEffect,
};
use serde::{Deserialize, Serialize};

use crate::children::session::Session;
use crate::connection::{Line, Owner};
use crate::input::{ChildWire, Input, LineName, Mark, Output};
use crate::lan::Talk;
use crate::local::request::LocalRequest;
use crate::local::service::{self, Service};
use crate::relay::ToChild;

/// All conversations. Deterministic: the same inputs at the same times make the same outputs, byte
/// for byte; so a front that is lost is made again from what went into it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Front {
    pub(super) service: Service,
    pub(super) lines: BTreeMap<LineName, Line>,
    pub(super) locals: BTreeMap<ConnectionId, LineName>,
    pub(super) children: BTreeMap<Incarnation, Child>,
    pub(super) instances: BTreeMap<InstanceName, Incarnation>,
    pub(super) lan: Option<Talk>,
    pub(super) dialing: Option<Dialing>,
    /// Whose master it is.
    pub(super) identity: FrontIdentity,
    /// The last event of the journal whose effects have come.
    pub(super) journaled: u64,
    /// How many events of the front are in the journal by then.
    pub(super) heard: u64,
    /// How many events were told so far.
    pub(super) told: u64,
    /// Those of them that are not known to be in the journal, each with its number.
    pub(super) untold: VecDeque<(u64, Event)>,
    /// The program that the engine is being replaced by, and who asked.
    pub(super) upgrading: Option<(RequestId, PathBuf)>,
    /// Why the journal cannot be written, while it cannot.
    outage: Option<String>,
    /// The questions about the state that are not answered.
    pub(super) looks: BTreeMap<RequestId, LocalRequest>,
    /// Tools that want a session with a child that is not there yet, each with when it gives up.
    pub(super) expecting: VecDeque<(u64, ToChild)>,
    /// When the sessions with children want to be looked at; most never do.
    pub(super) timeouts: BTreeMap<Incarnation, u64>,
    #[serde(skip)]
    pub(super) touched: BTreeSet<Incarnation>,
    #[serde(skip)]
    pub(super) outputs: VecDeque<Output>,
}

/// Whose master a front is: of another one, it is of no use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontIdentity {
    /// The journal.
    pub journal: String,
    /// The process number that the master is known by.
    pub master: Pid,
    /// Begins every identifier that is given out.
    pub prefix: String,
}

/// A child that is spoken to.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Child {
    pub(super) line: LineName,
    pub(super) instance: InstanceName,
    pub(super) identity: Identity,
    pub(super) session: Session,
    pub(super) introduced: bool,
}

/// A dial that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialing {
    /// The name that the connection will have.
    pub connection: Connection,
    /// How often in a row this has failed so far.
    pub failures: u32,
}

impl Front {
    /// Without any connection. Nothing that the journal's events up to `journaled` caused concerns it.
    #[must_use]
    pub fn new(identity: FrontIdentity, journaled: u64) -> Self {
        Self {
            service: Service::new(identity.prefix.clone()),
            lines: BTreeMap::new(),
            locals: BTreeMap::new(),
            children: BTreeMap::new(),
            instances: BTreeMap::new(),
            lan: None,
            dialing: None,
            identity,
            journaled,
            heard: 0,
            told: 0,
            untold: VecDeque::new(),
            upgrading: None,
            outage: None,
            looks: BTreeMap::new(),
            expecting: VecDeque::new(),
            timeouts: BTreeMap::new(),
            touched: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes an input. Times are milliseconds of a clock of the machine that never goes back.
    pub fn handle(&mut self, now: u64, input: Input) {
        match input {
            Input::Accepted {
                line,
                socket,
                process,
                user,
            } => self.accepted(now, line, socket, (process, user)),
            Input::ChannelOpened {
                line,
                incarnation,
                instance,
                identity,
                wire,
            } => self.channel_opened(now, line, incarnation, instance, identity, wire),
            Input::Dialed {
                line,
                connection,
                endpoint,
                seed,
            } => self.dialed(now, line, connection, &endpoint, seed),
            Input::DialFailed { connection, reason } => self.dial_failed(connection, &reason),
            Input::Carried { line, item } => self.deliver(now, &line, vec![item.into()]),
            Input::Ended { line, reason } => self.ended(now, &line, reason),
            Input::Journaled {
                sequence,
                heard,
                effects,
            } => self.journaled(now, sequence, heard, effects),
            Input::Answered { request, reply } => {
                self.looks.remove(&request);
                self.upgrading = None;
                self.service.reply(request, reply);
            }
            Input::ChildFailed {
                incarnation,
                reason,
            } => self.tell(Event::ChildFailed {
                incarnation,
                reason: Arc::from(reason),
            }),
            Input::Upgrading { request, program } => self.upgrading = Some((request, program)),
            Input::JournalOut { outage } => self.outage = outage,
            Input::Timeout => self.timeout(now),
        }
        self.settle(now);
    }

    /// Takes bytes of a line.
    pub fn receive(&mut self, now: u64, line: &LineName, bytes: &[u8]) {
        let Some(known) = self.lines.get_mut(line) else {
            return;
        };
        known.logged(bytes.len());
        let mut items = Vec::new();
        if let Some(wire) = &mut known.wire {
            wire.receive(bytes, &mut items);
        }
        // An answer of the framing itself: a pong, or what has waited for a handshake.
        if known.collect() {
            self.outputs.push_back(Output::Write(line.clone()));
        }
        self.deliver(now, line, items);
        self.settle(now);
    }

    /// Notes how far a line's bytes have come.
    pub fn mark(&mut self, line: &LineName, mark: Mark) {
        if let Some(known) = self.lines.get_mut(line) {
            known.mark(mark);
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let lan = self.lan.as_ref().and_then(Talk::poll_timeout);
        let children = self.timeouts.values().min().copied();
        let expecting = self.expecting.front().map(|(until, _)| *until);
        let all = [self.service.poll_timeout(), lan, children, expecting];
        all.into_iter().flatten().min()
    }

    fn accepted(
        &mut self,
        now: u64,
        line: LineName,
        socket: u32,
        (process, user): (Option<u32>, Option<u32>),
    ) {
        let peer = Peer {
            listener: socket,
            process,
            user,
            ..Peer::default()
        };
        match self.service.open(now, peer) {
            Ok(connection) => {
                let wire = Some(Wire::length_prefixed());
                let opened = Line::new(wire, Owner::Local(connection));
                self.locals.insert(connection, line.clone());
                self.lines.insert(line, opened);
            }
            Err(error) => {
                let text = format!("a local connection was refused: {error}");
                self.outputs.push_back(Output::Warn(text));
                self.outputs.push_back(Output::Cut(line));
            }
        }
    }

    fn channel_opened(
        &mut self,
        now: u64,
        line: LineName,
        incarnation: Incarnation,
        instance: InstanceName,
        identity: Identity,
        wire: ChildWire,
    ) {
        let (kind, wire) = match wire {
            ChildWire::Inherited => (CarrierKind::Ipc, Wire::newline_delimited()),
            ChildWire::OwnSocket => (CarrierKind::Socket, Wire::length_prefixed()),
        };
        let session = Session::new(now, kind, self.identity.master, identity.pid);
        let opened = Line::new(Some(wire), Owner::Child(incarnation));
        self.lines.insert(line.clone(), opened);
        self.instances.insert(instance.clone(), incarnation);
        let child = Child {
            line,
            instance,
            identity,
            session,
            introduced: false,
        };
        self.children.insert(incarnation, child);
        self.touched.insert(incarnation);
    }

    /// Hands what a line brought to whom it belongs.
    fn deliver(&mut self, now: u64, line: &LineName, items: Vec<WireItem>) {
        for item in items {
            let Some(owner) = self.lines.get(line).map(|known| known.owner) else {
                return;
            };
            match item {
                WireItem::Text(text) => {
                    tracing::trace!(target: "wire::receive", %line, %text);
                    self.hear(now, owner, &text);
                }
                WireItem::Alive => self.hear_life(now, owner),
                WireItem::Closed(reason) => {
                    self.lose_owner(now, line, reason);
                    self.finish(line);
                }
            }
        }
    }

    fn hear(&mut self, now: u64, owner: Owner, text: &str) {
        match owner {
            Owner::Local(connection) => self.service.receive(now, connection, text),
            Owner::Child(incarnation) => {
                if let Some(child) = self.children.get_mut(&incarnation) {
                    child.session.receive(now, text);
                    self.touched.insert(incarnation);
                }
            }
            Owner::Lan => {
                if let Some(talk) = &mut self.lan {
                    talk.conversation.receive(now, text);
                }
            }
            Owner::Nobody => {}
        }
    }

    fn hear_life(&mut self, now: u64, owner: Owner) {
        match owner {
            Owner::Local(connection) => self.service.traffic(now, connection),
            Owner::Child(incarnation) => {
                if let Some(child) = self.children.get_mut(&incarnation) {
                    child.session.traffic(now);
                }
            }
            Owner::Lan => {
                if let Some(talk) = &mut self.lan {
                    talk.conversation.traffic(now);
                }
            }
            Owner::Nobody => {}
        }
    }

    /// The line itself is gone.
    fn ended(&mut self, now: u64, line: &LineName, reason: CloseReason) {
        if reason == CloseReason::ByPeer
            && let Some(wire) = self.lines.get_mut(line).and_then(|line| line.wire.as_mut())
        {
            // It may have been in the middle of a message.
            let mut items = Vec::new();
            wire.receive_end(&mut items);
            self.deliver(now, line, items);
        }
        self.lose_owner(now, line, reason);
        self.lines.remove(line);
    }

    /// Whoever owns the line is told that it has ended for them.
    pub(super) fn lose_owner(&mut self, now: u64, line: &LineName, reason: CloseReason) {
        let Some(known) = self.lines.get_mut(line) else {
            return;
        };
        let owner = std::mem::replace(&mut known.owner, Owner::Nobody);
        tracing::debug!(target: "wire::close", %line, %reason);
        match owner {
            Owner::Local(connection) => {
                self.locals.remove(&connection);
                self.service.closed(connection, reason);
            }
            Owner::Child(incarnation) => self.lose_child(now, incarnation, reason),
            Owner::Lan => self.lose_lan(now, reason),
            Owner::Nobody => {}
        }
    }

    /// Lets what is left be sent, and the line end then.
    pub(super) fn finish(&mut self, line: &LineName) {
        let Some(known) = self.lines.get_mut(line) else {
            return;
        };
        if known.finishing {
            return;
        }
        known.finishing = true;
        if let Some(wire) = &mut known.wire {
            wire.close();
        }
        known.collect();
        self.outputs.push_back(Output::Finish(line.clone()));
    }

    /// Sends a text. A peer that does not read what it is sent is cut.
    pub(super) fn send(&mut self, now: u64, line: &LineName, text: String) {
        let Some(known) = self.lines.get_mut(line).filter(|known| !known.finishing) else {
            return;
        };
        tracing::trace!(target: "wire::send", %line, %text);
        let Some(wire) = &mut known.wire else {
            self.outputs.push_back(Output::Carry(line.clone(), text));
            return;
        };
        let sent = wire.send(&text);
        known.collect();
        let queued = known.waiting();
        let too_much = (queued > MAX_QUEUED_BYTES).then_some(CloseReason::SlowPeer {
            queued,
            limit: MAX_QUEUED_BYTES,
        });
        if let Some(reason) = sent.err().or(too_much) {
            self.lose_owner(now, line, reason);
            self.lines.remove(line);
            self.outputs.push_back(Output::Cut(line.clone()));
        } else {
            self.outputs.push_back(Output::Write(line.clone()));
        }
    }

    fn journaled(&mut self, now: u64, sequence: u64, heard: u64, effects: Vec<SessionEffect>) {
        self.journaled = sequence;
        self.heard = heard;
        while self
            .untold
            .front()
            .is_some_and(|(number, _)| *number <= heard)
        {
            self.untold.pop_front();
        }
        for effect in effects {
            self.perform(now, effect);
        }
    }

    fn perform(&mut self, now: u64, effect: SessionEffect) {
        match effect {
            SessionEffect::Publish { record } => self.service.publish(&record),
            SessionEffect::Retract { instance } => self.service.retract(&instance),
            SessionEffect::Reply { request, reply } => self.service.reply(request, reply),
            SessionEffect::Dial {
                connection,
                failures,
            } => self.dial(now, connection, failures),
            SessionEffect::HangUp { connection } => self.hang_up(now, connection),
            SessionEffect::Lan(effect) => {
                if let Some(talk) = &mut self.lan {
                    talk.conversation.perform(now, effect);
                }
            }
        }
    }

    fn timeout(&mut self, now: u64) {
        self.service.handle_timeout(now);
        self.give_up(now);
        let due: Vec<Incarnation> = self
            .timeouts
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(incarnation, _)| *incarnation)
            .collect();
        for incarnation in due {
            if let Some(child) = self.children.get_mut(&incarnation) {
                child.session.handle_timeout(now);
                self.touched.insert(incarnation);
            }
        }
        if let Some(talk) = &mut self.lan {
            talk.conversation.handle_timeout(now);
        }
    }

    /// Carries to and fro until nobody has anything more to say.
    fn settle(&mut self, now: u64) {
        loop {
            let mut quiet = true;
            while let Some(output) = self.service.poll(now) {
                quiet = false;
                self.obey_service(now, output);
            }
            while let Some(incarnation) = self.touched.pop_first() {
                quiet = false;
                self.settle_child(now, incarnation);
            }
            if self.settle_lan(now) {
                quiet = false;
            }
            if quiet {
                return;
            }
        }
    }

    fn obey_service(&mut self, now: u64, output: service::Output) {
        match output {
            service::Output::Send { connection, text } => {
                if let Some(line) = self.locals.get(&connection).cloned() {
                    self.send(now, &line, text);
                }
            }
            service::Output::Close { connection, reason } => {
                if let Some(line) = self.locals.remove(&connection) {
                    let text = format!("a local peer was cut off: {reason}");
                    self.outputs.push_back(Output::Warn(text));
                    if let Some(known) = self.lines.get_mut(&line) {
                        known.owner = Owner::Nobody;
                    }
                    self.finish(&line);
                }
            }
            service::Output::ToChild(wish) => self.hand_on(now, wish),
            service::Output::Asked { request, asked } => self.ask(request, asked),
        }
    }

    /// Questions about the state are answered from it; all else is an event.
    fn ask(&mut self, request: RequestId, asked: LocalRequest) {
        let refusal = self
            .outage
            .as_ref()
            .and_then(|outage| asked.refused_in(outage));
        if let Some(refusal) = refusal {
            return self.service.refuse(&request, refusal);
        }
        match asked.into_event(request) {
            Ok(event) => self.tell(event),
            Err(look) => {
                self.looks.insert(request, look.clone());
                self.outputs.push_back(Output::Look(request, look));
            }
        }
    }

    /// Tells the rules.
    pub(super) fn tell(&mut self, event: Event) {
        self.told += 1;
        self.untold.push_back((self.told, event));
        self.outputs.push_back(Output::Tell);
    }
}
