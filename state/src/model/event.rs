//! Every fact that can happen. Events tell what happened, never what was decided.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use allexmaster_machine::Stamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    BootId, Connection, Holder, Identity, Incarnation, InstanceName, JournalId, Launcher,
    ModuleName, Need, Pid, Port, RequestId, Settings, Timestamp,
};

/// An event as the journal holds it: with its place, its time and its entropy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded<E = Event> {
    /// Its place in the journal: 1, 2, 3 and so on without a gap.
    pub sequence: u64,
    /// When it was recorded.
    pub at: Timestamp,
    /// Randomness for the decisions that want it (jitter): it comes with the
    /// event, so that a replay decides the same.
    pub entropy: u32,
    /// What happened.
    pub event: E,
}

impl<E> Recorded<E> {
    /// The event with the stamp that the journal gave it.
    #[must_use]
    pub const fn new(stamp: Stamp, event: E) -> Self {
        let Stamp {
            sequence,
            at,
            entropy,
        } = stamp;
        Self {
            sequence,
            at,
            entropy,
            event,
        }
    }
}

/// What happened. The numbers of [`Event::kind`] stand in the journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "snake_case")]
pub enum Event {
    /// The configuration was read, and differs from what was known.
    SettingsLoaded {
        /// What it says.
        settings: Settings,
    },
    /// The master started, or started again, and has looked around: `survivors` and `ended`
    /// name every process that was forked and whose end is not recorded. Whoever forks has come
    /// to rest before, so no further one can appear.
    MasterStarted {
        /// The journal that it reads.
        journal: JournalId,
        boot: BootId,
        pid: Pid,
        /// The children of earlier runs that still live.
        survivors: Vec<Survivor>,
        /// Those whose end the system could still tell.
        ended: Vec<Ended>,
        /// Whether only the deciding part of the master was away: all connections are those of
        /// before, and those who hold them take every effect toward them exactly once. Where the
        /// run is not the one that the journal knows, it counts as a start all the same.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        resumed: bool,
    },
    /// The LanManager let us in.
    LanConnected {
        connection: Connection,
        /// What was dialed, as `ws://127.0.0.1:23552`.
        endpoint: Arc<str>,
        /// The address that the LanManager sees us under.
        address: Arc<str>,
        /// How long the LanManager waits for a master that is gone before others may run its
        /// services, in milliseconds; absent where it does not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grace: Option<u64>,
    },
    /// The connection ended, or never came to be.
    LanClosed {
        connection: Connection,
        reason: Arc<str>,
        /// For how many milliseconds nothing had been heard of the LanManager by then.
        #[serde(default, skip_serializing_if = "is_zero")]
        silent: u64,
    },
    /// The LanManager has told all its unsatisfied needs.
    NeedsListed {
        connection: Connection,
        /// As many of them as go into one event; the others have appeared before it.
        needs: Vec<Arc<Need>>,
    },
    /// A need appeared (or appeared again).
    NeedAppeared {
        connection: Connection,
        need: Arc<Need>,
    },
    /// A need is no longer listed: satisfied, or withdrawn.
    NeedWithdrawn {
        connection: Connection,
        instance: InstanceName,
    },
    /// What the LanManager's list of services has for services that run here. Told of all of them
    /// when the list is complete, and then of those for which it names another place than before.
    ServicesListed {
        connection: Connection,
        services: Vec<Listed>,
    },
    /// The LanManager answered a bid.
    BidAnswered {
        instance: InstanceName,
        bid: Incarnation,
        answer: BidAnswer,
    },
    /// The LanManager answered our response to a challenge, after checking the ports.
    ResponseAnswered {
        instance: InstanceName,
        bid: Incarnation,
        answer: ResponseAnswer,
    },
    /// The LanManager has heard that a service went down.
    ServiceDownAcknowledged {
        connection: Connection,
        instance: InstanceName,
    },
    /// The ports that a child is to have were tested by binding them.
    PortsProbed {
        incarnation: Incarnation,
        /// Those that somebody else holds.
        taken: Vec<Port>,
        /// Who, where that can be seen.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        holders: Vec<(Port, Holder)>,
    },
    /// A child was forked and runs its program.
    ChildSpawned {
        incarnation: Incarnation,
        identity: Identity,
        /// What the configuration said of its module then; absent where it said nothing, and in
        /// events that were recorded before it could be changed while the master runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        launcher: Option<Launcher>,
    },
    /// A child could not be started.
    ChildNotSpawned {
        incarnation: Incarnation,
        reason: Arc<str>,
        /// The package that it needs and that is not installed, where that is why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missing: Option<MissingPackage>,
    },
    /// A child's ports answer.
    ChildReady { incarnation: Incarnation },
    /// A child reports over its session that it failed, or its session cannot be opened. Before
    /// `ForeignListener` existed, that was recorded as this kind too.
    ChildFailed {
        incarnation: Incarnation,
        reason: Arc<str>,
    },
    /// A child's ports answer, but another program listens on one of them.
    ForeignListener {
        incarnation: Incarnation,
        port: Port,
    },
    /// A child ended.
    ChildExited {
        incarnation: Incarnation,
        outcome: Outcome,
    },
    /// The process of a child has ended, and others that it had started live on. Its own end is
    /// recorded (`ChildExited`) when they are gone too.
    DescendantsLeft {
        incarnation: Incarnation,
        /// How the child's own process ended.
        outcome: Outcome,
        left: Vec<Descendant>,
    },
    /// Not all of those that a child had left behind ended when they were asked to. Recorded only
    /// where one of the lists has somebody.
    DescendantsEnded {
        incarnation: Incarnation,
        /// Those that had to be killed.
        killed: Vec<Pid>,
        /// Those that live on: the system does not let the master end them.
        left: Vec<Pid>,
    },
    /// At the master's start, processes were found that children of earlier runs had started, and
    /// whose child is not to be looked after any more.
    StraysFound { strays: Vec<Survivor> },
    /// Other programs have left ports that they were found on.
    PortsFreed { ports: Vec<Port> },
    /// npm has ended.
    InstallEnded {
        package: Arc<str>,
        /// What npm says where it failed; absent where the package is installed.
        complaint: Option<Arc<str>>,
    },
    /// A child has loaded a module that the LanManager keeps account of.
    ModuleEngaged {
        module: ModuleName,
        /// The call to be answered; absent in events that were recorded before the rules answered it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<RequestId>,
    },
    /// Somebody wants the master, and all its children, to stop.
    StopRequested {
        /// The call to be answered, where it was one.
        request: Option<RequestId>,
        source: StopSource,
        /// Whether the children are to be killed at once. It is said, never concluded from a
        /// repetition.
        #[serde(default, skip_serializing_if = "core::ops::Not::not")]
        urgent: bool,
    },
    /// Somebody wants a child to be started anew.
    RestartRequested {
        request: RequestId,
        instance: InstanceName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sender: Option<Sender>,
    },
    /// Somebody wants the LanManager to have a further need.
    AddNeedRequested {
        request: RequestId,
        /// The need, as the LanManager will get it.
        need: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sender: Option<Sender>,
    },
    /// Somebody wants the LanManager to forget a need.
    RemoveNeedRequested {
        request: RequestId,
        instance: InstanceName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sender: Option<Sender>,
    },
    /// Somebody wants a service to end, and not to run here until it is started again.
    HoldRequested {
        request: RequestId,
        instance: InstanceName,
        sender: Option<Sender>,
    },
    /// Somebody wants a service to run: one that was stopped, or that has failed.
    StartRequested {
        request: RequestId,
        instance: InstanceName,
        sender: Option<Sender>,
    },
    /// The LanManager answered a call that was relayed for somebody.
    LanCallAnswered {
        /// For which call.
        request: RequestId,
        answer: LanAnswer,
    },
    /// The time of [`crate::State::next_deadline`] has come.
    DeadlineReached,
    /// The clock was set forward, or the machine slept: time that nobody lived through.
    ClockJumped {
        /// By how many milliseconds.
        by: u64,
    },
}

/// Who gave an order, as the kernel says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sender {
    /// The number of the user.
    pub uid: u32,
    /// The name of the user, where this machine knows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// The process, which may have ended since.
    pub pid: Pid,
}

impl fmt::Display for Sender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(formatter, "{name} (uid {})", self.uid),
            None => write!(formatter, "uid {}", self.uid),
        }
    }
}

/// A service that runs here, and where the LanManager's list has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listed {
    pub instance: InstanceName,
    pub place: Place,
}

/// Where the LanManager's list has a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Here: at our address, on the ports of our child.
    Here,
    /// At this address and port.
    Elsewhere(Arc<str>),
    /// It is not listed any more.
    Nowhere,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A child of an earlier run of the master that still lives.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Survivor {
    /// Which child: read from its environment, or recognised by its identity.
    pub incarnation: Incarnation,
    pub identity: Identity,
}

/// A process that a child had started itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Descendant {
    pub identity: Identity,
    /// Whether it has stayed in the child's process group. One that has not was not asked to end
    /// when the child was.
    pub in_group: bool,
    /// The addresses on which it listens, as `127.0.0.1:16000`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listens: Vec<Arc<str>>,
}

/// A child that ended while no master was looking, and whose end the system could still tell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ended {
    pub incarnation: Incarnation,
    pub outcome: Outcome,
}

/// A package that is not installed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MissingPackage {
    pub package: Arc<str>,
    /// The runtime directory: where npm would install it. For people.
    pub folder: Arc<str>,
}

/// How a child ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// Unseen: nobody can tell how. The text says why not.
    Lost(Arc<str>),
}

/// The LanManager's word on a bid.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BidAnswer {
    /// Go on: start it, then respond.
    Challenged,
    /// This need is not for us.
    Rejected,
    /// No answer that counts: an error, a timeout, or the need went away. The text says which.
    Failed(Arc<str>),
}

/// The LanManager's word on our response.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResponseAnswer {
    /// The service stands in its list.
    Approved,
    /// It could reach none of the ports; the same bid may be answered again.
    Unreachable,
    /// Refused, with its reason.
    Refused(Arc<str>),
    /// No answer that counts: a timeout, or the need went away. The text says which.
    Failed(Arc<str>),
}

/// The LanManager's word on a relayed call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LanAnswer {
    /// Done, with this result.
    Done(Value),
    /// Refused, with its code and message.
    Refused {
        /// The code, where it gave one.
        code: Option<Arc<str>>,
        message: Arc<str>,
    },
}

/// Who asked the master to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopSource {
    /// A local call.
    Operator,
    /// SIGTERM, or SIGINT where nobody sits at a terminal.
    Signal,
    /// SIGINT of a master on a terminal: Ctrl-C.
    Interrupt,
}

impl Event {
    /// The number of the kind of event, as it stands in the journal. Never used
    /// again for another kind.
    #[must_use]
    pub const fn kind(&self) -> u16 {
        match self {
            Self::SettingsLoaded { .. } => 1,
            Self::MasterStarted { .. } => 2,
            Self::LanConnected { .. } => 3,
            Self::LanClosed { .. } => 4,
            Self::NeedsListed { .. } => 5,
            Self::NeedAppeared { .. } => 6,
            Self::NeedWithdrawn { .. } => 7,
            Self::BidAnswered { .. } => 8,
            Self::ResponseAnswered { .. } => 9,
            Self::ServiceDownAcknowledged { .. } => 10,
            Self::PortsProbed { .. } => 11,
            Self::ChildSpawned { .. } => 12,
            Self::ChildNotSpawned { .. } => 13,
            Self::ChildReady { .. } => 14,
            Self::ChildExited { .. } => 15,
            Self::ModuleEngaged { .. } => 16,
            Self::StopRequested { .. } => 17,
            Self::RestartRequested { .. } => 18,
            Self::AddNeedRequested { .. } => 19,
            Self::RemoveNeedRequested { .. } => 20,
            Self::LanCallAnswered { .. } => 21,
            Self::DeadlineReached => 22,
            Self::ChildFailed { .. } => 23,
            Self::ClockJumped { .. } => 24,
            Self::ForeignListener { .. } => 25,
            Self::InstallEnded { .. } => 26,
            Self::ServicesListed { .. } => 27,
            Self::HoldRequested { .. } => 28,
            Self::StartRequested { .. } => 29,
            Self::DescendantsLeft { .. } => 30,
            Self::DescendantsEnded { .. } => 31,
            Self::StraysFound { .. } => 32,
            Self::PortsFreed { .. } => 33,
        }
    }

    /// The names of all kinds, in the order of their numbers from 1 on: as in the recorded JSON.
    pub const KINDS: [&str; 33] = [
        "settings-loaded",
        "master-started",
        "lan-connected",
        "lan-closed",
        "needs-listed",
        "need-appeared",
        "need-withdrawn",
        "bid-answered",
        "response-answered",
        "service-down-acknowledged",
        "ports-probed",
        "child-spawned",
        "child-not-spawned",
        "child-ready",
        "child-exited",
        "module-engaged",
        "stop-requested",
        "restart-requested",
        "add-need-requested",
        "remove-need-requested",
        "lan-call-answered",
        "deadline-reached",
        "child-failed",
        "clock-jumped",
        "foreign-listener",
        "install-ended",
        "services-listed",
        "hold-requested",
        "start-requested",
        "descendants-left",
        "descendants-ended",
        "strays-found",
        "ports-freed",
    ];

    /// The name of the kind.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        let index = usize::from(self.kind()).checked_sub(1);
        let name = index.and_then(|index| Self::KINDS.get(index));
        name.copied().unwrap_or("unknown")
    }

    /// True for events that the sessions emit. They number them, so that after a crash they emit again
    /// those that the journal does not have.
    #[must_use]
    pub const fn originates_in_sessions(&self) -> bool {
        match self {
            Self::LanConnected { .. }
            | Self::LanClosed { .. }
            | Self::NeedsListed { .. }
            | Self::NeedAppeared { .. }
            | Self::NeedWithdrawn { .. }
            | Self::ServicesListed { .. }
            | Self::BidAnswered { .. }
            | Self::ResponseAnswered { .. }
            | Self::ServiceDownAcknowledged { .. }
            | Self::ChildFailed { .. }
            | Self::ModuleEngaged { .. }
            | Self::StopRequested {
                source: StopSource::Operator,
                ..
            }
            | Self::RestartRequested { .. }
            | Self::AddNeedRequested { .. }
            | Self::RemoveNeedRequested { .. }
            | Self::HoldRequested { .. }
            | Self::StartRequested { .. }
            | Self::LanCallAnswered { .. } => true,
            Self::SettingsLoaded { .. }
            | Self::MasterStarted { .. }
            | Self::PortsProbed { .. }
            | Self::ChildSpawned { .. }
            | Self::ChildNotSpawned { .. }
            | Self::ChildReady { .. }
            | Self::ForeignListener { .. }
            | Self::ChildExited { .. }
            | Self::DescendantsLeft { .. }
            | Self::DescendantsEnded { .. }
            | Self::StraysFound { .. }
            | Self::InstallEnded { .. }
            | Self::PortsFreed { .. }
            | Self::StopRequested {
                source: StopSource::Signal | StopSource::Interrupt,
                ..
            }
            | Self::DeadlineReached
            | Self::ClockJumped { .. } => false,
        }
    }
}
