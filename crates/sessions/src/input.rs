//! What goes into the sessions, and what comes out of them: plain data.

use std::fmt;
use std::path::PathBuf;

use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::framing::web_socket::SEED_BYTES;
use allexmaster_protocol::framing::wire::WireItem;
use allexmaster_state::{
    Connection, Event, Identity, Incarnation, InstanceName, Reply, RequestId, SessionEffect,
};
use serde::{Deserialize, Serialize};

use crate::endpoint::Endpoint;
use crate::local::requests::LocalRequest;
use crate::outbox::OutboxAck;

/// Names a connection, and its descriptors at the keeper. Never used twice while the sessions last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnectionName(pub String);

impl fmt::Display for ConnectionName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// How a child of AllexJS is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChildWire {
    /// Over Node's channel, which it inherited.
    Inherited,
    /// Over the socket that it opened itself.
    OwnSocket,
}

/// Something happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case")]
pub enum Input {
    /// A local peer connected.
    Accepted {
        /// The name of the connection.
        name: ConnectionName,
        /// Over which socket: [`Socket::number`](crate::local::socket::Socket::number).
        socket: u32,
        /// The process at the other end, as the kernel says.
        process: Option<u32>,
        /// Its user, as the kernel says.
        user: Option<u32>,
        /// The name of the user, where this machine knows one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user_name: Option<String>,
    },
    /// A child can be spoken to.
    ChannelOpened {
        /// The name of the connection.
        name: ConnectionName,
        /// Which child.
        incarnation: Incarnation,
        /// Which service.
        instance: InstanceName,
        /// The process.
        identity: Identity,
        /// How.
        wire: ChildWire,
    },
    /// The LanManager was reached.
    Dialed {
        /// The name of the connection, or none where it is carried by somebody else (TLS).
        name: ConnectionName,
        /// Which dial.
        connection: Connection,
        /// Who was reached.
        endpoint: Endpoint,
        /// For the masks of a WebSocket: random, and nobody else's to know.
        seed: [u8; SEED_BYTES],
    },
    /// The LanManager was not reached.
    DialFailed {
        /// Which dial.
        connection: Connection,
        /// Why, for people.
        reason: String,
    },
    /// Bytes came, and are still in the socket.
    Received {
        /// Over which connection.
        name: ConnectionName,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A connection's bytes have come so far.
    Marked {
        /// Those of which connection.
        name: ConnectionName,
        /// How far.
        mark: Mark,
    },
    /// Something came over an encrypted connection, whose own pump does the framing.
    Carried {
        /// Over which connection.
        name: ConnectionName,
        /// What.
        item: Item,
    },
    /// A connection ended.
    Ended {
        /// Which.
        name: ConnectionName,
        /// Why.
        reason: CloseReason,
    },
    /// Events are in the rules' journal.
    Journaled {
        /// Up to which one.
        ack: OutboxAck,
        /// What they caused for the sessions.
        effects: Vec<SessionEffect>,
    },
    /// A question about the state was answered.
    Answered {
        /// Which.
        request: RequestId,
        /// How.
        reply: Reply,
    },
    /// The session with a child that runs cannot be opened.
    ChildFailed {
        /// Which child.
        incarnation: Incarnation,
        /// Why, for people.
        reason: String,
    },
    /// The engine is about to be replaced by another program, as somebody asked.
    Upgrading {
        /// Who asked.
        request: RequestId,
        /// The program.
        program: PathBuf,
    },
    /// The journal cannot be written, or can be again.
    JournalOut {
        /// Why not, for people; none: it can be written again.
        outage: Option<String>,
    },
    /// The time of [`Sessions::poll_timeout`](crate::Sessions::poll_timeout) has come.
    Timeout,
    /// The master ends: each connection ends as soon as all that is queued for it is sent.
    Stopping,
}

/// What an encrypted connection delivers: [`WireItem`], in a form that can be logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Item {
    /// The text of one frame.
    Text(String),
    /// A sign of life.
    Alive,
}

/// How far a connection's bytes have come. Each is logged, so that no byte is taken or sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// The bytes that were logged last have been taken out of the socket.
    Consumed,
    /// Bytes up to this offset are about to be put into the pipe to the socket.
    Offered(u64),
    /// They are in the pipe.
    Taken(u64),
    /// They did not get there.
    Withdrawn,
}

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// There are bytes to be sent: [`Sessions::chunk`](crate::Sessions::chunk).
    Write(ConnectionName),
    /// A text is to be sent over an encrypted connection.
    Carry(ConnectionName, String),
    /// A connection is to be closed when everything is sent; then it [`Ended`](Input::Ended).
    Finish(ConnectionName),
    /// A connection is to be closed now.
    Cut(ConnectionName),
    /// There are events for the rules: [`Sessions::unacked`](crate::Sessions::unacked).
    Emit,
    /// A question about the state: answer with [`Input::Answered`].
    Query(RequestId, LocalRequest),
    /// The LanManager is to be dialed: [`Sessions::dialing`](crate::Sessions::dialing).
    Dial,
    /// The LanManager is no longer to be dialed.
    StopDialing,
    /// The master has its session with a child: of which service and module.
    Introduced(Incarnation, InstanceName, String),
    /// Nothing more will be said with this child.
    ChildGone(Incarnation, Identity),
    /// An event of the LanManager, for the log that people read.
    LogEvent(Box<Event>),
    /// What people should know.
    Warn(String),
}

impl From<Item> for WireItem {
    fn from(item: Item) -> Self {
        match item {
            Item::Text(text) => Self::Text(text),
            Item::Alive => Self::Alive,
        }
    }
}
