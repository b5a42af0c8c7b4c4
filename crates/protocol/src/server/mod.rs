//! The server end of many connections: sessions, reservations, queries and keep-alive.
//!
//! ```text
//!              open, receive, traffic, closed              accept, refuse, answer,
//!   wires ────────────────────────────────────►  Server ◄── push_state, kill, put_row ── application
//!            ◄─────────────────────────────────         ──►
//!                  Output::Send, Close                   Output::Event
//! ```
//!
//! Sans-IO: texts and the time come in, [`Output`]s are fetched with [`Server::poll_output`] until
//! there are none. What needs a decision comes out as an [`Event`] with a [`Token`]; the answer may
//! come at once, much later, or never. An answer to a request whose session has meanwhile ended is
//! ignored.

mod answers;
mod calls;
mod connections;
mod introductions;
mod relays;
mod sessions;
mod tables;
mod types;

pub use types::{
    ConnectionId, Event, Grant, Output, Peer, ServerFull, ServerOptions, ServiceId, SessionEnd,
    TableId, Token,
};

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use connections::Connection;
use serde::{Deserialize, Serialize};
use sessions::Session;
use tables::ServedTable;
use types::{Pending, Timer};

use crate::frame::SessionId;

/// The most connections at once: a thousand children and as many tools, five times over.
pub const MAX_CONNECTIONS: usize = 10_000;
/// The most sessions on one connection: a master bids for a thousand needs at once, each in a session
/// of its own, with room for those that are just ending.
pub const MAX_SESSIONS_PER_CONNECTION: usize = 8_192;
/// The most calls of one connection that wait for an answer; second bids wait for long.
pub const MAX_OPEN_CALLS_PER_CONNECTION: usize = 16_384;
/// The most open queries on one connection.
pub const MAX_QUERIES_PER_CONNECTION: usize = 1_024;
/// How many texts that are no frames a WebSocket or SignalR peer may send before it is cut. The
/// JavaScript server bears any number; a socket peer is cut at the first.
pub const MAX_UNINTELLIGIBLE_TEXTS: u32 = 16;
/// A reservation that is not claimed is dropped after this time, as in JavaScript.
pub const RESERVATION_MS: u64 = 10 * 60 * 1_000;
/// A peer without a sign of life for this time is cut.
pub const SILENCE_MS: u64 = 20 * 1_000;
/// How often a SignalR server pings.
pub const PING_INTERVAL_MS: u64 = 10 * 1_000;

/// The server end. See the module.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Server {
    options: ServerOptions,
    counter: u64,
    connections: BTreeMap<ConnectionId, Connection>,
    sessions: BTreeMap<SessionId, Session>,
    /// Sessions that live elsewhere, each with the connection that they are carried over.
    relayed: BTreeMap<SessionId, ConnectionId>,
    pending: BTreeMap<Token, Pending>,
    tables: BTreeMap<TableId, ServedTable>,
    timers: BTreeSet<(u64, Timer)>,
    outputs: VecDeque<Output>,
}

impl Server {
    /// A server without connections.
    #[must_use]
    pub fn new(options: ServerOptions) -> Self {
        Self {
            options,
            counter: 0,
            connections: BTreeMap::new(),
            sessions: BTreeMap::new(),
            relayed: BTreeMap::new(),
            pending: BTreeMap::new(),
            tables: BTreeMap::new(),
            timers: BTreeSet::new(),
            outputs: VecDeque::new(),
        }
    }

    /// What is to be done next; none when all is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Server::handle_timeout`] has to be called at the latest, in milliseconds.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.timers.first().map(|(deadline, _)| *deadline)
    }

    /// Does what is due: pings, cuts silent peers, drops unclaimed reservations.
    pub fn handle_timeout(&mut self, now: u64) {
        while let Some((deadline, timer)) = self.timers.first().cloned() {
            if deadline > now {
                return;
            }
            self.timers.pop_first();
            match timer {
                Timer::Connection(connection) => self.check_connection(now, connection),
                Timer::Reservation(session) => self.drop_reservation(&session),
            }
        }
    }

    /// How many connections are open.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    /// How many sessions are open or reserved.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// An identifier that this server has not given out before.
    fn next_identifier(&mut self) -> String {
        self.counter += 1;
        format!("{}{:06}", self.options.identifier_prefix, self.counter)
    }

    fn next_token(&mut self) -> Token {
        self.counter += 1;
        Token(self.counter)
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
