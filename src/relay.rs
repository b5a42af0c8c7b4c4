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
//! The two drivers know nothing of one another; these types are all that is between them.

use allexmaster_protocol::frame::{ClientFrame, RemoteError, ServerFrame, SessionId};
use allexmaster_protocol::server::{ConnectionId, Token};
use allexmaster_state::{InstanceName, Pid};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

/// How many messages may wait in one direction. Those who send do not wait: what does not fit is
/// refused, and its sender told.
const MESSAGES_MOST: usize = 16_384;

/// What a local tool wants of a child.
#[derive(Debug)]
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
    /// The answer to [`ToChild::SubConnect`].
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

/// The sending end of one direction.
#[derive(Debug)]
pub struct Sender<Message>(mpsc::Sender<Message>);

impl<Message> Clone for Sender<Message> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Message> Sender<Message> {
    /// Sends without waiting.
    ///
    /// # Errors
    ///
    /// Too much waits already, or nobody is there: the message comes back.
    pub fn send(&self, message: Message) -> Result<(), Message> {
        self.0.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(message)
            | mpsc::error::TrySendError::Closed(message) => message,
        })
    }

    /// Sends, and waits for room: for those whose peer may wait too.
    pub async fn send_patiently(&self, message: Message) {
        // Where nobody listens any more, the program ends.
        let _ = self.0.send(message).await;
    }
}

/// Both ends of one direction.
#[must_use]
pub fn channel<Message>() -> (Sender<Message>, mpsc::Receiver<Message>) {
    let (sender, receiver) = mpsc::channel(MESSAGES_MOST);
    (Sender(sender), receiver)
}
