//! Every order to the outside. Plain data: no channel, no handle, no closure.
//!
//! Effects are not journaled. After a restart the state says what must be true,
//! and what is missing is asked for again; so each effect either does no harm
//! when done twice, or carries an [`Incarnation`] by which a second one is known.

use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Connection, Identity, Incarnation, InstanceName, ModuleName, Need, PerProtocol, Port, Reply,
    RequestId,
};

/// What the hands have to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case")]
pub enum Effect {
    /// Dial the LanManager, introduce ourselves, and follow its tables.
    Dial {
        /// The name that the connection will have.
        connection: Connection,
        /// How often in a row this has failed so far.
        failures: u32,
    },
    /// End the connection to the LanManager.
    Hang {
        /// Which one.
        connection: Connection,
    },
    /// Bid for a need.
    Bid {
        /// On which connection.
        connection: Connection,
        /// Whose need.
        instance: InstanceName,
        /// The name of the bid.
        bid: Incarnation,
        /// The address that we offer: the one that the LanManager sees us under.
        address: Arc<str>,
    },
    /// Give a bid up, so that somebody else may win the need.
    Abandon {
        /// Whose need.
        instance: InstanceName,
        /// Which bid.
        bid: Incarnation,
    },
    /// Answer the challenge: the child runs, its ports may be checked.
    Respond {
        /// On which bid.
        bid: Incarnation,
        /// What runs where.
        record: ServiceRecord,
    },
    /// Tell the LanManager that a service is down.
    ReportDown {
        /// On which connection.
        connection: Connection,
        /// Which service.
        instance: InstanceName,
    },
    /// Tell the LanManager that a module is in use on this machine.
    ReportEngaged {
        /// On which connection.
        connection: Connection,
        /// Which module.
        module: ModuleName,
    },
    /// Relay a local `addNeed` to the LanManager.
    AddNeed {
        /// On which connection.
        connection: Connection,
        /// For which local call.
        request: RequestId,
        /// The need.
        need: Value,
    },
    /// Relay a local `removeNeed` to the LanManager.
    RemoveNeed {
        /// On which connection.
        connection: Connection,
        /// For which local call.
        request: RequestId,
        /// Whose need.
        instance: InstanceName,
    },
    /// Test, by binding, whether ports are free.
    ProbePorts {
        /// For which child.
        incarnation: Incarnation,
        /// Which ports.
        ports: Vec<Port>,
    },
    /// Fork a child.
    Spawn(SpawnOrder),
    /// Look after a process that an earlier run of the master started.
    Adopt {
        /// Which child.
        incarnation: Incarnation,
        /// Which service: its log files are named so.
        instance: InstanceName,
        /// The process.
        identity: Identity,
    },
    /// Wait until ports answer, and say so.
    AwaitReady {
        /// Which child.
        incarnation: Incarnation,
        /// Which ports: all of them must answer.
        ports: Vec<Port>,
    },
    /// Send a signal to a child and its process group, if it is still the process that it was.
    Signal {
        /// Which child.
        incarnation: Incarnation,
        /// The process that it must be.
        identity: Identity,
        /// Which signal.
        signal: Signal,
    },
    /// Show a running child to local tools.
    Publish {
        /// Its row in the master's table.
        record: ServiceRecord,
    },
    /// Take a child out of the table that local tools see.
    Retract {
        /// Which one.
        instance: InstanceName,
    },
    /// Answer a local call.
    Reply {
        /// Which call.
        request: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// All is done: end the program.
    Exit,
}

/// A child to be forked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SpawnOrder {
    /// The name of this attempt; the child has it in its environment.
    pub incarnation: Incarnation,
    /// What is to be satisfied.
    pub need: Arc<Need>,
    /// The ports that it gets.
    pub ports: PerProtocol<Port>,
}

/// A running service as the LanManager and local tools get to know it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// What it satisfies, with all that the need said.
    pub need: Arc<Need>,
    /// The process.
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
