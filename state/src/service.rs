//! One service: its process, its standing with the LanManager, its history.
//!
//! [`Services`] is the only way to change one. It keeps the queues, the counts,
//! the index of children and the deadlines in step with the services: each of
//! these is derived from a service's own state, before and after a change.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Claim, Deadline, Deadlines, Identity, Incarnation, InstanceName, Need, Outcome, PerProtocol,
    Port, Protocol, Timestamp,
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
    /// What came before.
    pub history: History,
}

/// What was before the present attempt.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct History {
    /// How often a child was forked.
    pub spawned: u32,
    /// Failures in a row.
    pub failures: u32,
    /// The last trouble, and when.
    pub last_trouble: Option<(Timestamp, Trouble)>,
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
        why: Trouble,
    },
    /// There is none, and will be none until somebody acts.
    Failed {
        /// Why.
        why: Trouble,
    },
    /// Its ports are being tested.
    Probing {
        /// The attempt.
        incarnation: Incarnation,
        /// Its leases.
        ports: PerProtocol<Port>,
    },
    /// It is being forked.
    Spawning {
        /// The attempt.
        incarnation: Incarnation,
        /// Its leases.
        ports: PerProtocol<Port>,
        /// It is to be stopped as soon as it exists.
        cancelled: Option<(StopReason, Next)>,
    },
    /// It runs, but its ports do not answer yet.
    Starting {
        /// The process.
        process: Process,
        /// When that has taken too long.
        ready_by: Timestamp,
    },
    /// It runs and its ports answer.
    Up {
        /// The process.
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
        /// The process.
        process: Process,
        /// When it will be killed; `None` once it has been.
        kill_at: Option<Timestamp>,
        /// Why.
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
    /// Its leases.
    pub ports: PerProtocol<Port>,
    /// Since when it runs.
    pub spawned: Timestamp,
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
    /// The LanManager now asks for another module under this name.
    ModuleChanged,
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
pub enum Trouble {
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

impl Trouble {
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

/// All services, with what is derived from them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(
    from = "BTreeMap<InstanceName, Service>",
    into = "BTreeMap<InstanceName, Service>"
)]
pub struct Services {
    by_name: BTreeMap<InstanceName, Service>,
    by_incarnation: BTreeMap<Incarnation, InstanceName>,
    bid_queue: BTreeSet<(u64, InstanceName)>,
    start_queue: BTreeSet<(u64, InstanceName)>,
    bidding: u32,
    starting: u32,
    alive: u32,
    unreported: BTreeSet<InstanceName>,
}

/// What of a service shows in the indexes.
#[derive(PartialEq, Eq, Default)]
struct Footprint {
    incarnation: Option<Incarnation>,
    bid_place: Option<u64>,
    start_place: Option<u64>,
    bidding: bool,
    starting: bool,
    alive: bool,
    unreported: bool,
    deadline: Option<Timestamp>,
}

impl Footprint {
    fn of(service: &Service) -> Self {
        let (bid_place, start_place) = match service.activity {
            Activity::Waiting(Wait::Bid { queued }) => (Some(queued), None),
            Activity::Waiting(Wait::Start { queued }) => (None, Some(queued)),
            Activity::Waiting(_)
            | Activity::BackingOff { .. }
            | Activity::Failed { .. }
            | Activity::Probing { .. }
            | Activity::Spawning { .. }
            | Activity::Starting { .. }
            | Activity::Up { .. }
            | Activity::Stopping { .. } => (None, None),
        };
        Self {
            incarnation: service
                .activity
                .attempt()
                .map(|(incarnation, _)| incarnation),
            bid_place,
            start_place,
            bidding: matches!(service.claim, Claim::Bidding { .. }),
            starting: service.activity.is_starting(),
            alive: service.activity.process().is_some()
                || matches!(service.activity, Activity::Spawning { .. }),
            unreported: service.down_unreported,
            deadline: service.deadline(),
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

impl Services {
    /// The service of this name.
    #[must_use]
    pub fn get(&self, instance: &InstanceName) -> Option<&Service> {
        self.by_name.get(instance)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&InstanceName, &Service)> {
        self.by_name.iter()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The service that an attempt belongs to, while it is the present one.
    #[must_use]
    pub fn owner(&self, incarnation: Incarnation) -> Option<&InstanceName> {
        self.by_incarnation.get(&incarnation)
    }

    /// How many bids are open.
    #[must_use]
    pub const fn bidding(&self) -> u32 {
        self.bidding
    }

    /// How many have won their bid and wait to be started.
    #[must_use]
    pub fn starters(&self) -> u32 {
        u32::try_from(self.start_queue.len()).unwrap_or(u32::MAX)
    }

    /// How many children are starting.
    #[must_use]
    pub const fn starting(&self) -> u32 {
        self.starting
    }

    /// How many processes there are, or are about to be.
    #[must_use]
    pub const fn alive(&self) -> u32 {
        self.alive
    }

    /// The services whose end the LanManager has yet to hear of.
    pub fn unreported(&self) -> impl Iterator<Item = &InstanceName> {
        self.unreported.iter()
    }

    /// Who is next to bid.
    pub(crate) fn next_bidder(&self) -> Option<InstanceName> {
        self.bid_queue.first().map(|(_, instance)| instance.clone())
    }

    /// Who is next to be started.
    pub(crate) fn next_starter(&self) -> Option<InstanceName> {
        self.start_queue
            .first()
            .map(|(_, instance)| instance.clone())
    }

    /// The names of all, to go through them while they change.
    pub(crate) fn names(&self) -> alloc::vec::Vec<InstanceName> {
        self.by_name.keys().cloned().collect()
    }

    /// Adds a service, or replaces it.
    pub(crate) fn insert(
        &mut self,
        instance: InstanceName,
        service: Service,
        deadlines: &mut Deadlines,
    ) {
        let after = Footprint::of(&service);
        let before = self.by_name.insert(instance.clone(), service);
        let before = before.as_ref().map(Footprint::of).unwrap_or_default();
        self.reindex(&instance, &before, &after, deadlines);
    }

    /// Changes a service; `None` where there is none of this name.
    pub(crate) fn change<R>(
        &mut self,
        instance: &InstanceName,
        deadlines: &mut Deadlines,
        change: impl FnOnce(&mut Service) -> R,
    ) -> Option<R> {
        let service = self.by_name.get_mut(instance)?;
        let before = Footprint::of(service);
        let result = change(service);
        let after = Footprint::of(service);
        if before != after {
            self.reindex(instance, &before, &after, deadlines);
        }
        Some(result)
    }

    /// Forgets a service.
    pub(crate) fn remove(&mut self, instance: &InstanceName, deadlines: &mut Deadlines) {
        if let Some(service) = self.by_name.remove(instance) {
            let before = Footprint::of(&service);
            self.reindex(instance, &before, &Footprint::default(), deadlines);
        }
    }

    fn reindex(
        &mut self,
        instance: &InstanceName,
        before: &Footprint,
        after: &Footprint,
        deadlines: &mut Deadlines,
    ) {
        if before.incarnation != after.incarnation {
            if let Some(incarnation) = before.incarnation {
                self.by_incarnation.remove(&incarnation);
            }
            if let Some(incarnation) = after.incarnation {
                self.by_incarnation.insert(incarnation, instance.clone());
            }
        }
        move_place(
            &mut self.bid_queue,
            instance,
            before.bid_place,
            after.bid_place,
        );
        move_place(
            &mut self.start_queue,
            instance,
            before.start_place,
            after.start_place,
        );
        recount(&mut self.bidding, before.bidding, after.bidding);
        recount(&mut self.starting, before.starting, after.starting);
        recount(&mut self.alive, before.alive, after.alive);
        match (before.unreported, after.unreported) {
            (false, true) => {
                self.unreported.insert(instance.clone());
            }
            (true, false) => {
                self.unreported.remove(instance);
            }
            (true, true) | (false, false) => {}
        }
        if before.deadline != after.deadline {
            let reason = Deadline::Service(instance.clone());
            deadlines.shift(reason, before.deadline, after.deadline);
        }
    }
}

fn move_place(
    queue: &mut BTreeSet<(u64, InstanceName)>,
    instance: &InstanceName,
    before: Option<u64>,
    after: Option<u64>,
) {
    if before != after {
        if let Some(place) = before {
            queue.remove(&(place, instance.clone()));
        }
        if let Some(place) = after {
            queue.insert((place, instance.clone()));
        }
    }
}

const fn recount(count: &mut u32, before: bool, after: bool) {
    match (before, after) {
        (false, true) => *count += 1,
        (true, false) => *count = count.saturating_sub(1),
        (true, true) | (false, false) => {}
    }
}

impl From<BTreeMap<InstanceName, Service>> for Services {
    fn from(by_name: BTreeMap<InstanceName, Service>) -> Self {
        // The deadlines of the services stand in the state's own list, which is stored too.
        let mut ignored = Deadlines::default();
        let mut services = Self::default();
        for (instance, service) in by_name {
            services.insert(instance, service, &mut ignored);
        }
        services
    }
}

impl From<Services> for BTreeMap<InstanceName, Service> {
    fn from(services: Services) -> Self {
        services.by_name
    }
}
