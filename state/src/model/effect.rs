//! Everything the rules ask of the outside. Plain data: no channel, no handle, no closure.
//!
//! Nested by who performs it: each driver matches its own enum. Their JSON does not show the
//! nesting.
//!
//! Effects are not journaled. After a restart they are derived again from the state, so performing
//! one twice either does no harm, or is recognised by its [`Incarnation`].

use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Connection, Identity, Incarnation, InstanceName, ModuleName, Need, PerProtocol, Port, Reply,
    RequestId,
};

/// What is to be done, by who performs it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// All is done: end the program.
    Exit,
    /// Have npm install a package, and report how that ended.
    Install { package: Arc<str> },
    #[serde(untagged)]
    Child(ChildEffect),
    #[serde(untagged)]
    Session(SessionEffect),
}

/// What the drivers of child processes perform: spawning, probing and signalling.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case")]
pub enum ChildEffect {
    /// Test, by binding, whether ports are free.
    ProbePorts {
        incarnation: Incarnation,
        ports: Vec<Port>,
    },
    /// Report when the other programs that hold these ports have left them.
    AwaitFree { ports: Vec<Port> },
    /// Fork a child.
    Spawn(SpawnOrder),
    /// Supervise a process that an earlier run of the master started.
    Adopt {
        incarnation: Incarnation,
        /// Names its log files.
        instance: InstanceName,
        identity: Identity,
    },
    /// Wait until all of these ports answer, and report it.
    AwaitReady {
        incarnation: Incarnation,
        ports: Vec<Port>,
    },
    /// Reap a child whose end is recorded: only until then does the system keep its exit code.
    Reap { incarnation: Incarnation },
    /// Send a signal to a child and its process group, if it is still the process that it was; where
    /// it has ended, to those of its descendants that it has left and that have not had this signal.
    Signal {
        incarnation: Incarnation,
        identity: Identity,
        signal: Signal,
    },
    /// End a process that no child is responsible for any more: SIGTERM, and SIGKILL after `grace`
    /// milliseconds.
    EndStray {
        incarnation: Incarnation,
        identity: Identity,
        grace: u64,
    },
}

/// What the sessions perform: with the LanManager, and with local peers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case")]
pub enum SessionEffect {
    /// Dial the LanManager, introduce ourselves, and follow its tables.
    Dial {
        /// The name that the connection will have.
        connection: Connection,
        /// How often in a row this has failed so far.
        failures: u32,
    },
    /// End the connection to the LanManager.
    #[serde(rename = "hang")]
    HangUp { connection: Connection },
    /// Show a running child to local tools.
    Publish {
        /// Its row in the master's table.
        record: ServiceRecord,
    },
    /// Take a child out of the table that local tools see.
    Retract { instance: InstanceName },
    /// Answer a local call.
    Reply { request: RequestId, reply: Reply },
    #[serde(untagged)]
    Lan(LanEffect),
}

/// What the LanManager is asked or informed of. Those of another connection than the present one
/// are out of date.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case")]
pub enum LanEffect {
    /// Bid for a need.
    Bid {
        connection: Connection,
        instance: InstanceName,
        bid: Incarnation,
        /// The address that we offer: the one that the LanManager sees us under.
        address: Arc<str>,
    },
    /// Give a bid up, so that another machine may win the need.
    Abandon {
        instance: InstanceName,
        bid: Incarnation,
    },
    /// Answer the challenge: the child runs, its ports may be checked.
    Respond {
        bid: Incarnation,
        record: ServiceRecord,
    },
    /// Report that a service is down.
    ReportDown {
        connection: Connection,
        instance: InstanceName,
    },
    /// Report that a module is in use on this machine.
    ReportEngaged {
        connection: Connection,
        module: ModuleName,
    },
    /// Relay a local `addNeed`.
    AddNeed {
        connection: Connection,
        request: RequestId,
        need: Value,
    },
    /// Relay a local `removeNeed`.
    RemoveNeed {
        connection: Connection,
        request: RequestId,
        instance: InstanceName,
    },
}

impl Effect {
    /// The effect, where it is for the sessions.
    #[must_use]
    pub fn into_session(self) -> Option<SessionEffect> {
        match self {
            Self::Session(effect) => Some(effect),
            Self::Child(_) | Self::Install { .. } | Self::Exit => None,
        }
    }
}

impl LanEffect {
    /// The connection it is for. Bids have names of their own, so what follows them needs none.
    #[must_use]
    pub const fn connection(&self) -> Option<Connection> {
        match self {
            Self::Bid { connection, .. }
            | Self::ReportDown { connection, .. }
            | Self::ReportEngaged { connection, .. }
            | Self::AddNeed { connection, .. }
            | Self::RemoveNeed { connection, .. } => Some(*connection),
            Self::Abandon { .. } | Self::Respond { .. } => None,
        }
    }
}

impl From<ChildEffect> for Effect {
    fn from(effect: ChildEffect) -> Self {
        Self::Child(effect)
    }
}

impl From<SessionEffect> for Effect {
    fn from(effect: SessionEffect) -> Self {
        Self::Session(effect)
    }
}

impl From<LanEffect> for Effect {
    fn from(effect: LanEffect) -> Self {
        Self::Session(SessionEffect::Lan(effect))
    }
}

/// A child to be forked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SpawnOrder {
    /// The name of this attempt; the child has it in its environment.
    pub incarnation: Incarnation,
    /// What is to be satisfied.
    pub need: Arc<Need>,
    /// The ports that it gets.
    pub ports: PerProtocol<Option<Port>>,
}

/// A running service as the LanManager and local tools get to know it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// What it satisfies, with all that the need said.
    pub need: Arc<Need>,
    pub pid: crate::Pid,
    /// The ports that it serves; absent where its module does not serve the protocol.
    pub ports: PerProtocol<Option<Port>>,
    /// The address that the LanManager sees us under; absent while it is away.
    pub address: Option<Arc<str>>,
}

/// How hard a child is asked to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signal {
    /// SIGTERM: it may clean up.
    Terminate,
    /// SIGKILL: it may not.
    Kill,
}
