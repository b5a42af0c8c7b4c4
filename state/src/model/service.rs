//! One service: its process, its standing with the LanManager, its history.

use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{
    Claim, Identity, Incarnation, Launcher, Need, Outcome, PerProtocol, Pid, Port, Protocol,
    Sender, Timestamp,
};

/// A service that the LanManager has asked this machine for, or that runs here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Service {
    /// What was asked for, most lately.
    pub need: Arc<Need>,
    /// Whether the LanManager lists it as unsatisfied now.
    pub wanted: bool,
    /// Where we stand with the LanManager.
    pub claim: Claim,
    /// What the process does.
    pub activity: Activity,
    /// Whether the LanManager has yet to hear that it went down.
    pub down_unreported: bool,
    /// Whether somebody stopped it: then it is not bid for here until somebody starts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// What came before.
    pub history: History,
}

/// Somebody's order that a service does not run here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hold {
    pub since: Timestamp,
    /// Who ordered it, where the system could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<Sender>,
}

/// How many ends of children are remembered of each service.
pub(crate) const ENDS_REMEMBERED: usize = 5;

/// The end of a child.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct End {
    pub at: Timestamp,
    pub pid: Pid,
    pub outcome: Outcome,
    /// The sequence number of the event that told it.
    pub event: u64,
}

/// What was before the present attempt.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// How often a child was forked.
    pub spawned: u32,
    /// Failures in a row.
    pub failures: u32,
    /// The last failure, and when.
    #[serde(rename = "last_trouble")]
    pub last_failure: Option<(Timestamp, Failure)>,
    /// The last ends of its children, the newest last; failures and stops alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<End>,
}

/// What the process of a service does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// There is none, and this is what it waits for.
    Waiting(Wait),
    /// There is none until then.
    BackingOff {
        /// The end of the pause.
        until: Timestamp,
        /// Why there is a pause.
        why: Failure,
    },
    /// There is none, and will be none until somebody acts.
    Failed { why: Failure },
    /// Its ports are being tested.
    Probing {
        incarnation: Incarnation,
        ports: PerProtocol<Port>,
    },
    /// It is being forked.
    Spawning {
        incarnation: Incarnation,
        ports: PerProtocol<Port>,
        /// It is to be stopped as soon as it exists.
        cancelled: Option<(StopReason, Next)>,
    },
    /// It runs, but its ports do not answer yet.
    Starting {
        process: Process,
        /// When that has taken too long.
        ready_by: Timestamp,
    },
    /// It runs and its ports answer.
    Up {
        process: Process,
        /// Since when.
        since: Timestamp,
        /// Whether the LanManager has ever approved this child.
        approved: bool,
        /// How often the LanManager could not reach its ports, on this claim.
        unreachable: u32,
    },
    /// It has been told to end.
    Stopping {
        process: Process,
        /// When it will be killed; `None` once it has been.
        kill_at: Option<Timestamp>,
        why: StopReason,
        /// What comes then.
        next: Next,
        /// Whether the LanManager had approved this child, or was about to.
        approved: bool,
    },
}

/// A process of ours.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Process {
    /// The attempt that it is.
    pub incarnation: Incarnation,
    /// What tells it from every other process.
    pub identity: Identity,
    pub ports: PerProtocol<Port>,
    /// Since when it runs.
    pub spawned: Timestamp,
    /// What the configuration said of its module when it was started, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launcher: Option<Launcher>,
}

/// What a service without a process waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// The LanManager is away.
    Lan,
    /// The LanManager does not ask for it (any more, or not again yet).
    Asked {
        /// When it is forgotten.
        forget_at: Timestamp,
    },
    /// A free place among the open bids.
    Bid {
        /// Its place in the queue.
        queued: u64,
    },
    /// The LanManager's answer to the bid.
    Answer,
    /// A free place among the starting children; the bid is won.
    Start {
        /// Its place in the queue.
        queued: u64,
    },
    /// The LanManager has first to hear that the last child went down.
    DownReport,
    /// The need is for another machine.
    OtherMachine,
    /// Somebody stopped it, and has yet to start it.
    Held,
    /// The master is stopping.
    Shutdown,
}

/// Why a child is being stopped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// The need was withdrawn before the service was approved.
    Withdrawn,
    /// The LanManager refused it.
    Refused(Arc<str>),
    /// Its ports did not answer in time.
    NotReady,
    /// It lived, but served nobody.
    Failed(Arc<str>),
    /// Somebody asked for a restart.
    Restart,
    /// Somebody stopped it.
    Held,
    /// The LanManager now asks for another module under this name.
    ModuleChanged,
    /// The LanManager lists the service somewhere else: there.
    Superseded(Arc<str>),
    /// The LanManager has been away for so long that another machine may run the service, of which
    /// there must never be two.
    CutOff,
    /// The master stops.
    Shutdown,
}

/// What comes after a child has been stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Next {
    /// Another attempt as soon as it is asked for.
    Again,
    /// Another attempt after a pause.
    BackOff,
}

/// What went wrong with a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// Its child ended.
    Ended(Outcome),
    /// Its child could not be started.
    NotSpawned(Arc<str>),
    /// Its child's ports did not answer in time.
    NotReady,
    /// Its child lived, but served nobody.
    Failed(Arc<str>),
    /// The LanManager refused it.
    Refused(Arc<str>),
    /// The bid came to nothing.
    BidFailed(Arc<str>),
    /// All ports of the range are in use.
    RangeFull(Protocol),
    /// The port that the need prescribes is in use.
    PortTaken(Port),
    /// The configuration of this machine does not allow the module.
    NoLauncher,
}

impl Failure {
    /// Whether something outside is to be waited for: a port, or a need that somebody else holds.
    /// That is no failure of the service, however often it happens.
    #[must_use]
    pub const fn is_outside(&self) -> bool {
        match self {
            Self::RangeFull(_) | Self::PortTaken(_) | Self::BidFailed(_) => true,
            Self::Ended(_)
            | Self::NotSpawned(_)
            | Self::NotReady
            | Self::Failed(_)
            | Self::Refused(_)
            | Self::NoLauncher => false,
        }
    }
}

impl Activity {
    /// The process, where there is one that was recorded.
    #[must_use]
    pub const fn process(&self) -> Option<&Process> {
        match self {
            Self::Starting { process, .. }
            | Self::Up { process, .. }
            | Self::Stopping { process, .. } => Some(process),
            Self::Waiting(_)
            | Self::BackingOff { .. }
            | Self::Failed { .. }
            | Self::Probing { .. }
            | Self::Spawning { .. } => None,
        }
    }

    /// The attempt and its leases, where there is one.
    #[must_use]
    pub const fn attempt(&self) -> Option<(Incarnation, &PerProtocol<Port>)> {
        match self {
            Self::Probing { incarnation, ports }
            | Self::Spawning {
                incarnation, ports, ..
            } => Some((*incarnation, ports)),
            Self::Starting { process, .. }
            | Self::Up { process, .. }
            | Self::Stopping { process, .. } => Some((process.incarnation, &process.ports)),
            Self::Waiting(_) | Self::BackingOff { .. } | Self::Failed { .. } => None,
        }
    }

    /// Whether it takes one of the places for starting children.
    #[must_use]
    pub const fn is_starting(&self) -> bool {
        match self {
            Self::Probing { .. } | Self::Spawning { .. } | Self::Starting { .. } => true,
            Self::Waiting(_)
            | Self::BackingOff { .. }
            | Self::Failed { .. }
            | Self::Up { .. }
            | Self::Stopping { .. } => false,
        }
    }

    /// When the service itself has something to do.
    #[must_use]
    pub const fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Waiting(Wait::Asked { forget_at }) => Some(*forget_at),
            Self::BackingOff { until, .. } => Some(*until),
            Self::Starting { ready_by, .. } => Some(*ready_by),
            Self::Stopping { kill_at, .. } => *kill_at,
            Self::Waiting(_)
            | Self::Failed { .. }
            | Self::Probing { .. }
            | Self::Spawning { .. }
            | Self::Up { .. } => None,
        }
    }
}

impl Service {
    /// When this service has something to do: the earlier of its process's and its claim's time.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        match (self.activity.deadline(), self.claim.deadline()) {
            (Some(activity), Some(claim)) => Some(activity.min(claim)),
            (activity, claim) => activity.or(claim),
        }
    }
}
