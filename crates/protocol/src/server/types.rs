//! What goes in and out of the server end.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::close::CloseReason;
use crate::frame::{CallId, ClientFrame, SessionId, Target};
use crate::state_stream::StateItem;

/// How a server is set up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ServerOptions {
    /// Begins every identifier of a session, query or reading; make it different for each start of
    /// the program, so that an identifier of an earlier life is never taken for one of this.
    pub identifier_prefix: String,
}

/// A connection, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionId(pub u64);

/// A request that waits for the application, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token(pub(super) u64);

impl Token {
    /// The number, for logs.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// A service as the application numbers it; the server only hands it back with each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceId(pub u64);

/// A table that the server serves.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct TableId(pub(super) u64);

/// Who is at the other end, as the application knows when it accepts a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Which of the application's listeners accepted it.
    pub listener: u32,
    /// The address, for TCP, WebSocket and SignalR.
    pub address: Option<IpAddr>,
    /// The process, as the kernel says, for Unix sockets.
    pub process: Option<u32>,
    /// The user, as the kernel says, for Unix sockets.
    pub user: Option<u32>,
    /// The name of the user, where this machine knows one.
    #[serde(default)]
    pub user_name: Option<String>,
}

/// What a session is granted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// The service that the session belongs to.
    pub service: ServiceId,
    /// Its module name, by which a JavaScript client picks its classes: it has to be exact.
    pub modulename: String,
    /// The role in which the session acts.
    pub role: String,
    /// The name of the user; a number for local processes.
    #[serde(with = "crate::json_text")]
    pub name: Value,
    /// What the session sees first; the `name` is added by the server, last, as in JavaScript.
    pub state: Vec<StateItem>,
    /// The table behind `query`, `closeQuery` and `read`, if the service has one.
    pub table: Option<TableId>,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionEnd {
    /// The client called `die`.
    Died,
    /// The application ended it.
    Killed,
    /// Its connection ended.
    ConnectionEnded,
    /// It was reserved and never claimed.
    ReservationExpired,
}

/// What the application has to know or decide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// Somebody wants a new session: answer with `accept` or `refuse`.
    Introduce {
        /// Names this request in the answer.
        token: Token,
        /// The connection that it came over.
        connection: ConnectionId,
        /// Who is at its other end.
        peer: Peer,
        /// Strategy name to strategy data.
        #[serde(with = "crate::json_text")]
        credentials: Map<String, Value>,
    },
    /// A session wants a session with a subservice: answer with `accept` or `refuse`.
    SubConnect {
        /// Names this request in the answer.
        token: Token,
        /// The session that asks.
        session: SessionId,
        /// The service that it belongs to.
        service: ServiceId,
        /// The subservice; `"."` is the same service with another user.
        subservice: String,
        /// The identity, with `role` and `name` of the asking session where it has none.
        #[serde(with = "crate::json_text")]
        identity: Map<String, Value>,
    },
    /// A session calls a method: answer with `answer`.
    Call {
        /// Names this request in the answer.
        token: Token,
        /// The session that calls.
        session: SessionId,
        /// The service that it belongs to.
        service: ServiceId,
        /// Whether the method is one of the user or of the session.
        target: Target,
        /// The role of the session.
        role: String,
        /// The name of its user.
        #[serde(with = "crate::json_text")]
        name: Value,
        /// The method.
        method: String,
        /// The positional arguments; missing ones count as null.
        #[serde(with = "crate::json_text")]
        arguments: Vec<Value>,
    },
    /// A client says something in a session that lives elsewhere: carry it there.
    Relayed {
        /// The client's connection.
        connection: ConnectionId,
        /// The session.
        session: SessionId,
        /// What it says: a claim or a call.
        frame: ClientFrame,
    },
    /// A session is over, whoever ended it. Its unanswered requests are forgotten.
    SessionEnded {
        /// The session.
        session: SessionId,
        /// The service that it belonged to.
        service: ServiceId,
        /// The connection that it was on.
        connection: ConnectionId,
        /// Why.
        reason: SessionEnd,
    },
    /// A connection is over, after all its sessions.
    ConnectionEnded {
        /// The connection.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Output {
    /// Send a text to a peer.
    Send {
        /// The connection.
        connection: ConnectionId,
        /// The JSON text of one frame.
        text: String,
    },
    /// Close a connection; the server knows it no more.
    Close {
        /// The connection.
        connection: ConnectionId,
        /// Why, for the log.
        reason: CloseReason,
    },
    /// Tell the application.
    Event(Event),
}

/// The server has all the connections that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the server has {limit} connections already; close some and try again")]
pub struct ServerFull {
    /// The bound.
    pub limit: usize,
}

/// A request that waits for the application.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    pub(super) connection: ConnectionId,
    pub(super) id: CallId,
    pub(super) kind: PendingKind,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum PendingKind {
    Introduce,
    SubConnect { session: SessionId },
    Call { session: SessionId },
}

impl PendingKind {
    pub(super) fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Introduce => None,
            Self::SubConnect { session } | Self::Call { session } => Some(session),
        }
    }
}

/// What a deadline is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Timer {
    Connection(ConnectionId),
    Reservation(SessionId),
}
