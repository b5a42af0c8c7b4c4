//! What goes into the front, and what comes out of it. Plain data: what goes in is logged.

use std::fmt;
use std::path::PathBuf;

use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::framing::web_socket::SEED_BYTES;
use allexmaster_protocol::framing::wire::WireItem;
use allexmaster_state::{
    Connection, Event, Identity, Incarnation, InstanceName, Reply, RequestId, SessionEffect,
};
use serde::{Deserialize, Serialize};

use crate::Endpoint;
use crate::local::request::LocalRequest;

/// One connection, by the name under which its descriptors are stored. Never used twice in the life
/// of a front.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LineName(pub String);

impl fmt::Display for LineName {
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
        line: LineName,
        /// Over which socket: [`Socket::number`](crate::local::socket::Socket::number).
        socket: u32,
        /// The process at the other end, as the kernel says.
        process: Option<u32>,
        /// Its user, as the kernel says.
        user: Option<u32>,
    },
    /// A child can be spoken to.
    ChannelOpened {
        /// The name of the connection.
        line: LineName,
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
        line: LineName,
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
    /// Something came over a line whose bytes somebody else takes apart.
    Carried {
        /// Over which line.
        line: LineName,
        /// What.
        item: Item,
    },
    /// A line ended.
    Ended {
        /// Which.
        line: LineName,
        /// Why.
        reason: CloseReason,
    },
    /// Events are in the journal, and this is what they caused for the front.
    Journaled {
        /// The number of the last of them.
        sequence: u64,
        /// How many events of the front are in the journal by now, since it began.
        heard: u64,
        /// What they caused.
        effects: Vec<SessionEffect>,
    },
    /// A question about the state was answered.
    Answered {
        /// Which.
        request: RequestId,
        /// How.
        reply: Reply,
    },
    /// A child that runs serves nobody, as somebody else found out.
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
        /// Since when, and why not.
        outage: Option<String>,
    },
    /// The time of [`Front::poll_timeout`](crate::Front::poll_timeout) has come.
    Timeout,
}

/// What a carrier delivers: [`WireItem`], in a form that can be logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Item {
    /// The text of one frame.
    Text(String),
    /// A sign of life.
    Alive,
}

/// How far a line's bytes have come. Each is logged, so that not one is taken or sent twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Output {
    /// There are bytes to be sent: [`Front::chunk`](crate::Front::chunk).
    Write(LineName),
    /// Something is to be sent over a line whose bytes somebody else makes.
    Carry(LineName, String),
    /// A line is to be closed when everything is sent; then it [`Ended`](Input::Ended).
    Finish(LineName),
    /// A line is to be closed now; nothing more is wanted of it.
    Cut(LineName),
    /// There are events for the rules: [`Front::untold`](crate::Front::untold).
    Tell,
    /// A question about the state: answer with [`Input::Answered`].
    Look(RequestId, LocalRequest),
    /// The LanManager is to be dialed: [`Front::dialing`](crate::Front::dialing).
    Dial,
    /// The LanManager is no longer to be dialed.
    StopDialing,
    /// The master has its session with a child: of which service and module.
    Introduced(Incarnation, InstanceName, String),
    /// Nothing more will be said with this child.
    ChildGone(Incarnation, Identity),
    /// What people want to read of what the LanManager said.
    Narrate(Box<Event>),
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
