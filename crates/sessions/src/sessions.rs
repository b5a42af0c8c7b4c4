//! The root: routes inputs to the parts, and what the parts want to one another and to the runtime.

use std::path::PathBuf;
use std::sync::Arc;

use allexmaster_machine::Mono;
use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::server::Peer;
use allexmaster_state::{Event, Identity, Incarnation, Pid, RequestId, SessionEffect};
use serde::{Deserialize, Serialize};

use crate::children::{self, Children};
use crate::connections::{Connections, Owner, Progress};
use crate::input::{ChildWire, ConnectionName, Input, Output};
use crate::lan::{self, Dialing, Lan};
use crate::local::requests::LocalRequest;
use crate::local::{self, Local};
use crate::outbox::{Outbox, OutboxAck};

/// When so many events wait for the journal, only local peers are read.
const MAX_UNACKED: usize = 4_096;
/// When so many wait, nothing is read. Local peers come later than others: somebody may want to ask
/// what is the matter.
const MAX_UNACKED_LOCAL: usize = 8_192;

/// Whose sessions they are: those of another master are of no use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionsIdentity {
    /// The journal.
    pub journal: String,
    /// The process number that the master is known by.
    pub master: Pid,
    /// Begins every identifier that is given out.
    pub prefix: String,
}

/// All conversations.
///
/// | to do | by |
/// |---|---|
/// | hand in what happened, and get what is to be done | [`handle`](Self::handle) |
/// | know when to hand in [`Input::Timeout`] | [`poll_timeout`](Self::poll_timeout) |
/// | fetch bytes to send | [`chunk`](Self::chunk), then hand in how far they came |
/// | fetch events for the rules | [`unacked`](Self::unacked), until [`Input::Journaled`] |
///
/// Only `handle` changes anything. The default are the sessions of no master.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sessions {
    identity: SessionsIdentity,
    connections: Connections,
    local: Local,
    children: Children,
    lan: Lan,
    outbox: Outbox,
    #[serde(skip)]
    outputs: Vec<Output>,
}

impl Default for SessionsIdentity {
    /// No master.
    fn default() -> Self {
        Self {
            journal: String::new(),
            master: Pid(0),
            prefix: String::new(),
        }
    }
}

impl Sessions {
    /// Without any connection. The journal's events up to `journaled` do not concern them.
    #[must_use]
    pub fn new(identity: SessionsIdentity, journaled: u64) -> Self {
        Self {
            local: Local::new(identity.prefix.clone()),
            identity,
            connections: Connections::default(),
            children: Children::default(),
            lan: Lan::default(),
            outbox: Outbox::after(journaled),
            outputs: Vec::new(),
        }
    }

    /// Takes an input; gives what is to be done, in this order.
    pub fn handle(&mut self, now: Mono, input: Input) -> Vec<Output> {
        let now = now.0;
        self.take(now, input);
        self.settle(now);
        std::mem::take(&mut self.outputs)
    }

    /// When [`Input::Timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        let local = self.local.service.poll_timeout();
        let all = [local, self.children.poll_timeout(), self.lan.poll_timeout()];
        all.into_iter().flatten().min().map(Mono)
    }

    /// Whose they are.
    #[must_use]
    pub const fn identity(&self) -> &SessionsIdentity {
        &self.identity
    }

    /// What the rules' journal is known to have.
    #[must_use]
    pub const fn ack(&self) -> OutboxAck {
        self.outbox.ack()
    }

    /// The event after number `after` that the journal is not known to have, with its number.
    #[must_use]
    pub fn unacked(&self, after: u64) -> Option<(u64, Event)> {
        self.outbox.next(after)
    }

    /// Whether a connection may be read: not while too many events wait for the journal.
    #[must_use]
    pub fn may_read(&self, name: &ConnectionName) -> bool {
        let most = match self.connections.owner(name) {
            Some(Owner::Local(_)) => MAX_UNACKED_LOCAL,
            Some(Owner::Child(_) | Owner::Lan | Owner::None) | None => MAX_UNACKED,
        };
        self.outbox.len() < most
    }

    /// The questions about the state that are not answered.
    #[must_use]
    pub fn queries(&self) -> Vec<(RequestId, LocalRequest)> {
        let queries = self.local.queries();
        queries
            .map(|(request, query)| (*request, query.clone()))
            .collect()
    }

    /// The program that the engine was being replaced by, and who asked.
    #[must_use]
    pub fn upgrading(&self) -> Option<(RequestId, PathBuf)> {
        self.local.upgrading()
    }

    /// The dial that is under way.
    #[must_use]
    pub const fn dialing(&self) -> Option<Dialing> {
        self.lan.dialing()
    }

    /// All connections, each with how far its bytes have come.
    #[must_use]
    pub fn connections(&self) -> Vec<(ConnectionName, Progress)> {
        let all = self.connections.progress();
        all.map(|(name, progress)| (name.clone(), progress))
            .collect()
    }

    /// The next bytes that a connection is to send, at most so many, with the offset behind them.
    #[must_use]
    pub fn chunk(&self, name: &ConnectionName, most: usize) -> Option<(Vec<u8>, u64)> {
        self.connections.chunk(name, most)
    }

    /// Whether a connection is to end when everything is sent.
    #[must_use]
    pub fn is_finishing(&self, name: &ConnectionName) -> bool {
        self.connections.is_finishing(name)
    }

    /// The process of a child that is spoken to, and whether the master has its session with it.
    #[must_use]
    pub fn child(&self, incarnation: Incarnation) -> Option<(Identity, bool)> {
        self.children.get(incarnation)
    }

    /// All children that are spoken to.
    #[must_use]
    pub fn children(&self) -> Vec<Incarnation> {
        self.children.incarnations().collect()
    }

    fn take(&mut self, now: u64, input: Input) {
        match input {
            Input::Accepted {
                name,
                socket,
                process,
                user,
                user_name,
            } => {
                let peer = Peer {
                    listener: socket,
                    process,
                    user,
                    user_name,
                    ..Peer::default()
                };
                self.accepted(now, name, peer);
            }
            Input::ChannelOpened {
                name,
                incarnation,
                instance,
                identity,
                wire,
            } => {
                let (kind, wire) = match wire {
                    ChildWire::Inherited => (CarrierKind::Ipc, Wire::newline_delimited()),
                    ChildWire::OwnSocket => (CarrierKind::Socket, Wire::length_prefixed()),
                };
                self.open(name.clone(), Some(wire), Owner::Child(incarnation));
                let (child, master) = ((name, instance, identity), self.identity.master);
                self.children.open(now, incarnation, child, kind, master);
            }
            Input::Dialed {
                name,
                connection,
                endpoint,
                seed,
            } if self.lan.is_dialing(connection) => {
                let of = (connection, &endpoint);
                let wire = self.lan.dialed(now, name.clone(), of, seed, &self.identity);
                self.open(name, wire, Owner::Lan);
            }
            Input::Dialed { name, .. } => self.outputs.push(Output::Cut(name)),
            Input::DialFailed { connection, reason } => self.lan.dial_failed(connection, &reason),
            Input::Received { name, bytes } => {
                let (items, output) = self.connections.receive(&name, &bytes);
                self.outputs.extend(output);
                self.deliver(now, &name, items);
            }
            Input::Carried { name, item } => self.deliver(now, &name, vec![item.into()]),
            Input::Marked { name, mark } => self.connections.mark(&name, mark),
            Input::Ended { name, reason } => {
                if reason == CloseReason::ByPeer {
                    let items = self.connections.receive_end(&name);
                    self.deliver(now, &name, items);
                }
                self.disconnected(now, &name, reason);
                self.connections.remove(&name);
            }
            Input::Journaled { ack, effects } => {
                self.outbox.acknowledge(ack);
                for effect in effects {
                    self.perform(now, effect);
                }
            }
            Input::Answered { request, reply } => self.local.answer(request, reply),
            Input::ChildFailed {
                incarnation,
                reason,
            } => self.child_failed(incarnation, reason),
            Input::Upgrading { request, program } => self.local.upgrade(request, program),
            Input::JournalOut { outage } => self.local.journal_is_out(outage),
            Input::Timeout => {
                self.local.service.handle_timeout(now);
                self.children.handle_timeout(now);
                self.lan.handle_timeout(now);
            }
            Input::Stopping => {
                let names: Vec<ConnectionName> = self.connections.names().cloned().collect();
                for name in names {
                    self.finish(&name);
                }
            }
        }
    }

    fn accepted(&mut self, now: u64, name: ConnectionName, peer: Peer) {
        match self.local.open(now, name.clone(), peer) {
            Ok(connection) => {
                self.open(
                    name,
                    Some(Wire::length_prefixed()),
                    Owner::Local(connection),
                );
            }
            Err(error) => {
                let text = format!("a local connection was refused: {error}");
                self.outputs.extend([Output::Warn(text), Output::Cut(name)]);
            }
        }
    }

    fn open(&mut self, name: ConnectionName, wire: Option<Wire>, owner: Owner) {
        let output = self.connections.open(name, wire, owner);
        self.outputs.extend(output);
    }

    /// Hands what a connection brought to its owner.
    fn deliver(&mut self, now: u64, name: &ConnectionName, items: Vec<WireItem>) {
        for item in items {
            let Some(owner) = self.connections.owner(name) else {
                return;
            };
            match (item, owner) {
                (WireItem::Text(text), owner) => {
                    tracing::trace!(target: "wire::receive", line = %name, %text);
                    match owner {
                        Owner::Local(peer) => self.local.service.receive(now, peer, &text),
                        Owner::Child(child) => self.children.receive(now, child, &text),
                        Owner::Lan => self.lan.receive(now, &text),
                        Owner::None => {}
                    }
                }
                (WireItem::Alive, Owner::Local(peer)) => self.local.service.traffic(now, peer),
                (WireItem::Alive, Owner::Child(child)) => self.children.traffic(now, child),
                (WireItem::Alive, Owner::Lan) => self.lan.traffic(now),
                (WireItem::Alive, Owner::None) => {}
                (WireItem::Closed(reason), _) => {
                    self.disconnected(now, name, reason);
                    self.finish(name);
                }
            }
        }
    }

    /// The connection is of no use any more: its owner has to go on without it.
    fn disconnected(&mut self, now: u64, name: &ConnectionName, reason: CloseReason) {
        let owner = self.connections.disown(name);
        tracing::debug!(target: "wire::close", line = %name, %reason);
        match owner {
            Owner::Local(peer) => self.local.disconnected(peer, reason),
            Owner::Child(child) => self.children.disconnected(child, reason),
            Owner::Lan => self.lan.disconnected(now, reason),
            Owner::None => {}
        }
    }

    /// Its owner wants nothing more of a connection.
    fn release(&mut self, name: &ConnectionName) {
        self.connections.disown(name);
        self.finish(name);
    }

    fn finish(&mut self, name: &ConnectionName) {
        let output = self.connections.finish(name);
        self.outputs.extend(output);
    }

    /// Sends a text. A peer that does not read what it is sent is cut off.
    fn send(&mut self, now: u64, name: &ConnectionName, text: String) {
        tracing::trace!(target: "wire::send", line = %name, %text);
        match self.connections.send(name, text) {
            Ok(output) => self.outputs.extend(output),
            Err(reason) => {
                self.disconnected(now, name, reason);
                self.connections.remove(name);
                self.outputs.push(Output::Cut(name.clone()));
            }
        }
    }

    fn perform(&mut self, now: u64, effect: SessionEffect) {
        match effect {
            SessionEffect::Publish { record } => {
                self.lan.publish(&record);
                self.local.service.publish(&record);
            }
            SessionEffect::Retract { instance } => {
                self.lan.retract(&instance);
                self.local.service.retract(&instance);
            }
            SessionEffect::Reply { request, reply } => self.local.service.reply(request, reply),
            SessionEffect::Dial {
                connection,
                failures,
            } => self.lan.dial(now, connection, failures),
            SessionEffect::HangUp { connection } => self.lan.hang_up(now, connection),
            SessionEffect::Lan(effect) => self.lan.perform(now, effect),
        }
    }

    /// Routes until no part has anything more to say.
    fn settle(&mut self, now: u64) {
        loop {
            if let Some(output) = self.local.poll(now) {
                self.route_local(now, output);
            } else if let Some(output) = self.children.poll(now) {
                self.route_child(now, output);
            } else if let Some(output) = self.lan.poll() {
                self.route_lan(now, output);
            } else {
                return;
            }
        }
    }

    fn route_local(&mut self, now: u64, output: local::Output) {
        match output {
            local::Output::Send(name, text) => self.send(now, &name, text),
            local::Output::Close(name, reason) => {
                let text = format!("a local peer was cut off: {reason}");
                self.outputs.push(Output::Warn(text));
                self.release(&name);
            }
            local::Output::ToChild(request) => self.children.request(now, request),
            local::Output::Emit(event) => self.emit(event),
            local::Output::Query(request, query) => {
                self.outputs.push(Output::Query(request, query));
            }
        }
    }

    fn route_child(&mut self, now: u64, output: children::Output) {
        match output {
            children::Output::Send(name, text) => self.send(now, &name, text),
            children::Output::ToTool(message) => self.local.service.take_from_child(message),
            children::Output::Introduced(incarnation, instance, module) => {
                let introduced = Output::Introduced(incarnation, instance, module);
                self.outputs.push(introduced);
            }
            children::Output::Failed(incarnation, reason) => {
                self.child_failed(incarnation, reason);
            }
            children::Output::Gone(incarnation, identity, name) => {
                let gone = Output::ChildGone(incarnation, identity);
                self.outputs.push(gone);
                self.release(&name);
            }
        }
    }

    fn route_lan(&mut self, now: u64, output: lan::Output) {
        match output {
            lan::Output::Send(name, text) => self.send(now, &name, text),
            lan::Output::Emit(event) => {
                let shown = Output::LogEvent(Box::new(event.clone()));
                self.outputs.push(shown);
                self.emit(event);
            }
            lan::Output::Table(change) => self.local.service.follow(change),
            lan::Output::Warn(text) => self.outputs.push(Output::Warn(text)),
            lan::Output::Dial => self.outputs.push(Output::Dial),
            lan::Output::StopDialing => self.outputs.push(Output::StopDialing),
            lan::Output::Closed(name) => self.release(&name),
        }
    }

    fn child_failed(&mut self, incarnation: Incarnation, reason: String) {
        let reason = Arc::from(reason);
        self.emit(Event::ChildFailed {
            incarnation,
            reason,
        });
    }

    /// Puts an event into the outbox.
    fn emit(&mut self, event: Event) {
        self.outbox.emit(event);
        self.outputs.push(Output::Emit);
    }
}
