//! The client end of one connection: introductions, calls with deadlines, sessions, keep-alive.
//!
//! ```text
//!             introduce, claim, call, …                 receive, traffic, closed
//! application ─────────────────────────►  Client  ◄───────────────────────────── wire
//!             ◄─────────────────────────          ─────────────────────────────►
//!                   poll_event                             poll_transmit
//! ```
//!
//! Sans-IO: the time comes in as `now`, in milliseconds of any clock that does not go back.
//! Every call ends in exactly one [`ClientEvent::Answered`] (an introduction: in
//! [`ClientEvent::Introduced`] or [`ClientEvent::Answered`] with an error), whatever the peer does.
//! State that arrives before its session is known waits and follows the `Introduced` event.

mod calls;
mod receive;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use crate::close::{CarrierKind, CloseReason};
use crate::frame::{CallId, ClientFrame, OutOfBand, RemoteError, SessionId};
use crate::state_stream::StateItem;
use calls::OpenCall;

pub use calls::Timeout;

/// How often this end pings where the dialling end has to.
pub const PING_INTERVAL_MS: u64 = 10 * 1_000;
/// A peer without a sign of life for this time is given up.
pub const SILENCE_MS: u64 = 20 * 1_000;
/// How long an introduction or an ordinary call waits for its answer by default: a refused
/// introduction is answered without an identifier, so nothing may wait for ever.
pub const CALL_TIMEOUT_MS: u64 = 15 * 1_000;
/// The most out-of-band items that wait for sessions not yet known; the oldest give way.
pub const MAX_EARLY_ITEMS: usize = 4_096;

/// How a client is set up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientOptions {
    /// Decides who pings.
    pub carrier: CarrierKind,
    /// Begins every identifier of a call, for people who read a trace.
    pub identifier_prefix: String,
}

/// What an accepted introduction tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// The session.
    pub session: SessionId,
    /// The role in which it acts.
    pub role: String,
    /// The module name of the service.
    pub modulename: String,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
pub enum CallError {
    /// The service refused it.
    #[error("the service refused the call: {0}")]
    Remote(RemoteError),
    /// No answer in time.
    #[error("no answer came within {milliseconds} ms")]
    TimedOut {
        /// How long was waited.
        milliseconds: u64,
    },
    /// The credentials were refused.
    #[error("the credentials were refused; check that the server allows this address and role")]
    AuthenticationFailed,
    /// The server does not know the session.
    #[error("the server does not know the session; introduce yourself again")]
    SessionUnknown,
    /// The session ended before the answer.
    #[error("the session ended before the answer")]
    SessionEnded,
    /// The answer does not have the shape that this call is answered with.
    #[error("the answer has an unexpected shape; check the version of the server")]
    UnexpectedAnswer,
    /// The connection ended before the answer.
    #[error("the connection ended before the answer: {0}")]
    ConnectionEnded(CloseReason),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ClientEvent {
    /// An introduction was accepted: the session can be used. Its state so far follows.
    Introduced {
        /// The call.
        call: CallId,
        /// What it told.
        introduction: Introduction,
    },
    /// A call is over.
    Answered {
        /// The call.
        call: CallId,
        /// The session that it was made in; none for the introduction of a new one.
        session: Option<SessionId>,
        /// What it gave.
        #[serde(with = "crate::json_text")]
        outcome: Result<Value, CallError>,
    },
    /// An open call tells something: the events of a query.
    Progress {
        /// The call.
        call: CallId,
        /// The session that it was made in.
        session: Option<SessionId>,
        /// What it tells.
        #[serde(with = "crate::json_text")]
        data: Value,
    },
    /// The state of a session changed.
    State {
        /// The session.
        session: SessionId,
        /// How.
        item: StateItem,
    },
    /// The server wants the session to be the only one of its user, or tells that it is not.
    Exclusivity {
        /// The session.
        session: SessionId,
        /// What it says.
        #[serde(with = "crate::json_text")]
        item: Value,
    },
    /// A session is over; its open calls have been answered with an error.
    SessionEnded {
        /// The session.
        session: SessionId,
    },
    /// The child at the other end of the IPC channel is ready.
    ChildReady {
        /// The pid of the child.
        process: u32,
    },
    /// The child at the other end of the IPC channel failed to start.
    ChildFailed {
        /// What it says.
        error: RemoteError,
    },
    /// The connection is of no use any more: close it. Every open call has been answered
    /// with an error; so will be every call that is made later.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

/// The client end. See the module.
#[derive(Debug, Serialize, Deserialize)]
pub struct Client {
    options: ClientOptions,
    counter: u64,
    calls: BTreeMap<CallId, OpenCall>,
    calls_of_session: BTreeMap<SessionId, BTreeSet<CallId>>,
    /// Introductions with credentials, oldest first: `{"err":…}` concerns the oldest.
    introductions: BTreeMap<u64, CallId>,
    sessions: BTreeSet<SessionId>,
    early_items: VecDeque<(SessionId, OutOfBand)>,
    timers: BTreeSet<(u64, CallId)>,
    last_heard: u64,
    next_ping: u64,
    closed: Option<CloseReason>,
    transmits: VecDeque<String>,
    events: VecDeque<ClientEvent>,
}

impl Client {
    /// A client on a connection that has just been opened.
    #[must_use]
    pub fn new(now: u64, options: ClientOptions) -> Self {
        Self {
            options,
            counter: 0,
            calls: BTreeMap::new(),
            calls_of_session: BTreeMap::new(),
            introductions: BTreeMap::new(),
            sessions: BTreeSet::new(),
            early_items: VecDeque::new(),
            timers: BTreeSet::new(),
            last_heard: now,
            next_ping: now.saturating_add(PING_INTERVAL_MS),
            closed: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The next text to send; none when all is sent.
    pub fn poll_transmit(&mut self) -> Option<String> {
        self.transmits.pop_front()
    }

    /// What happened next; none when all is told.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// When [`Client::handle_timeout`] has to be called at the latest, in milliseconds.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        if self.closed.is_some() {
            return None;
        }
        let keep_alive = match self.options.carrier {
            CarrierKind::Socket | CarrierKind::WebSocket => Some(
                self.next_ping
                    .min(self.last_heard.saturating_add(SILENCE_MS)),
            ),
            CarrierKind::SignalR => Some(self.last_heard.saturating_add(SILENCE_MS)),
            CarrierKind::Ipc => None,
        };
        self.timers
            .first()
            .map(|(deadline, _)| *deadline)
            .into_iter()
            .chain(keep_alive)
            .min()
    }

    /// Does what is due: pings, gives up calls without answer, gives up a silent peer.
    pub fn handle_timeout(&mut self, now: u64) {
        if self.closed.is_some() {
            return;
        }
        while let Some((deadline, call)) = self.timers.first().cloned() {
            if deadline > now {
                break;
            }
            self.give_up(&call);
        }
        match self.options.carrier {
            CarrierKind::Socket | CarrierKind::WebSocket if now >= self.next_ping => {
                self.next_ping = now.saturating_add(PING_INTERVAL_MS);
                // Zero would not count as a ping in JavaScript.
                self.transmits.push_back(
                    ClientFrame::Ping {
                        stamp: Value::from(now.max(1)),
                    }
                    .into_text(),
                );
            }
            CarrierKind::Socket
            | CarrierKind::WebSocket
            | CarrierKind::SignalR
            | CarrierKind::Ipc => {}
        }
        let watched = match self.options.carrier {
            CarrierKind::Socket | CarrierKind::WebSocket | CarrierKind::SignalR => true,
            CarrierKind::Ipc => false,
        };
        if watched && now >= self.last_heard.saturating_add(SILENCE_MS) {
            self.closed(CloseReason::Silent {
                seconds: SILENCE_MS / 1_000,
            });
        }
    }

    /// Takes the news that the connection has ended, or ends it: every open call is answered with an
    /// error, then comes [`ClientEvent::Closed`]. A second call does nothing.
    pub fn closed(&mut self, reason: CloseReason) {
        if self.closed.is_some() {
            return;
        }
        self.closed = Some(reason.clone());
        let mut open: Vec<(u64, CallId)> = self
            .calls
            .iter()
            .map(|(call, open)| (open.number, call.clone()))
            .collect();
        open.sort_unstable();
        for (_, call) in open {
            self.finish(&call, Err(CallError::ConnectionEnded(reason.clone())));
        }
        self.transmits.clear();
        self.early_items.clear();
        self.events.push_back(ClientEvent::Closed { reason });
    }

    /// Whether the connection is known to have ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// How many calls wait for their answer.
    #[must_use]
    pub fn open_call_count(&self) -> usize {
        self.calls.len()
    }
}

/// The credentials for a LanManager and for services on the network.
#[must_use]
pub fn address_credentials(name: &str, role: &str) -> Value {
    json!({ "ip": { "name": name, "role": role } })
}

/// The credentials for a Unix socket.
#[must_use]
pub fn same_machine_credentials(process: u32, role: &str) -> Value {
    json!({ "samemachineprocess": { "pid": process, "role": role } })
}

/// The session that a successful `subConnect` reserved; none for any other answer.
#[must_use]
pub fn reserved_session(answer: &Value) -> Option<SessionId> {
    answer
        .get("introduce")?
        .get("session")?
        .as_str()
        .map(SessionId::from)
}
