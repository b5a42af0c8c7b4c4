//! Between the local sockets and the children of AllexJS: what one has to tell the other.
//!
//! A local tool may ask the master for a session with one of its children. Its frames then travel
//! through the master: over the tool's socket on one side, over the child's channel on the other.
//!
//! ```text
//!  tool ──socket──► local ──ToChild──► node ──channel──► child
//!       ◄─────────        ◄─FromChild──     ◄──────────
//! ```
//!
//! The two know nothing of one another; these types are all that is between them, and the root
//! routes them.

use allexmaster_protocol::frame::{ClientFrame, RemoteError, ServerFrame, SessionId};
use allexmaster_protocol::server::{ConnectionId, Token};
use allexmaster_state::{InstanceName, Pid};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a local tool wants of a child.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToChild {
    /// A session.
    SubConnect {
        /// With which service.
        instance: InstanceName,
        /// The call that waits.
        token: Token,
        /// Over which connection the session is to be had.
        connection: ConnectionId,
        /// As whom.
        identity: Map<String, Value>,
    },
    /// To make a call, or to claim its session.
    Frame {
        /// Of which service.
        instance: InstanceName,
        /// In which session.
        session: SessionId,
        /// Over which connection.
        connection: ConnectionId,
        /// What it says.
        frame: ClientFrame,
    },
    /// Nothing more: its connection has ended.
    Gone {
        /// Which connection.
        connection: ConnectionId,
    },
}

impl ToChild {
    /// Of which child; none where of all.
    #[must_use]
    pub const fn instance(&self) -> Option<&InstanceName> {
        match self {
            Self::SubConnect { instance, .. } | Self::Frame { instance, .. } => Some(instance),
            Self::Gone { .. } => None,
        }
    }

    /// Over whose connection.
    #[must_use]
    pub const fn connection(&self) -> ConnectionId {
        match self {
            Self::SubConnect { connection, .. }
            | Self::Frame { connection, .. }
            | Self::Gone { connection } => *connection,
        }
    }
}

/// What a child has for local tools.
#[derive(Debug)]
pub enum FromChild {
    /// A state field that is a column of its row.
    Column {
        /// Which service.
        instance: InstanceName,
        /// Its process: of an earlier one, nobody wants to know.
        pid: Pid,
        /// The column.
        name: String,
        /// What stands there now.
        value: Value,
    },
    /// The answer to `ToChild::SubConnect`.
    SubConnected {
        /// With which service.
        instance: InstanceName,
        /// The call that waits.
        token: Token,
        /// Whose call it is.
        connection: ConnectionId,
        /// The session, and all that the child said; or why there is none.
        outcome: Result<(SessionId, Value), RemoteError>,
    },
    /// A frame for a tool.
    Frame {
        /// Over which connection.
        connection: ConnectionId,
        /// What it says.
        frame: ServerFrame,
    },
    /// A session is over.
    SessionEnded {
        /// Which.
        session: SessionId,
    },
}
