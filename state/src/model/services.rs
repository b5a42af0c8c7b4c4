//! All services, and what is derived from them.
//!
//! [`Services`] is the only way to change one. It keeps the queues, the counts,
//! the index of children and the deadlines in step with the services: each of
//! these is derived from a service's own state, before and after a change.

use alloc::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::service::{Activity, Lacking, Service, Wait};
use crate::{Claim, Deadline, Deadlines, Incarnation, InstanceName, Timestamp};

/// All services, with what is derived from them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(
    from = "BTreeMap<InstanceName, Service>",
    into = "BTreeMap<InstanceName, Service>"
)]
pub struct Services {
    by_name: BTreeMap<InstanceName, Service>,
    by_incarnation: BTreeMap<Incarnation, InstanceName>,
    /// Those that were bid for least often come first.
    bid_queue: BTreeSet<(BidPlace, InstanceName)>,
    /// Those that wait for a port, by what they lack and in the order of the bid queue.
    short: BTreeMap<Lacking, BTreeSet<(BidPlace, InstanceName)>>,
    /// The bids for needs without a child, by the end of their patience.
    open_bids: BTreeSet<(Timestamp, InstanceName)>,
    start_queue: BTreeSet<(u64, InstanceName)>,
    bidding: u32,
    starting: u32,
    alive: u32,
    unreported: BTreeSet<InstanceName>,
}

/// Where a service stands among those that wait to be bid for: how often it was bid for in vain, and
/// its place among those that were as often.
type BidPlace = (u32, u64);

/// What of a service shows in the indexes.
#[derive(PartialEq, Eq, Default)]
struct Footprint {
    incarnation: Option<Incarnation>,
    bid_place: Option<BidPlace>,
    short: Option<(Lacking, BidPlace)>,
    open_bid: Option<Timestamp>,
    start_place: Option<u64>,
    bidding: bool,
    starting: bool,
    alive: bool,
    unreported: bool,
    deadline: Option<Timestamp>,
}

impl Footprint {
    fn of(service: &Service) -> Self {
        let wait = match service.activity {
            Activity::Waiting(wait) => Some(wait),
            Activity::BackingOff { .. }
            | Activity::Failed { .. }
            | Activity::Probing { .. }
            | Activity::Spawning { .. }
            | Activity::Starting { .. }
            | Activity::Up { .. }
            | Activity::Stopping { .. } => None,
        };
        let bids = service.history.bids_in_vain;
        let bid_place = match wait {
            Some(Wait::Bid { queued }) => Some((bids, queued)),
            _ => None,
        };
        let short = match wait {
            Some(Wait::Ports { queued, lacking }) => Some((lacking, (bids, queued))),
            _ => None,
        };
        let start_place = match wait {
            Some(Wait::Start { queued }) => Some(queued),
            _ => None,
        };
        let open_bid = match (wait, &service.claim) {
            (Some(Wait::Answer), Claim::Bidding { patient_until, .. }) => Some(*patient_until),
            _ => None,
        };
        Self {
            incarnation: service
                .activity
                .attempt()
                .map(|(incarnation, _)| incarnation),
            bid_place,
            short,
            open_bid,
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

    /// How many wait for their turn to bid.
    pub(crate) fn bidders(&self) -> usize {
        self.bid_queue.len()
    }

    /// Who is next to bid: in the queue, or waiting for a port that `is_free` now.
    pub(crate) fn next_bidder_with(
        &self,
        is_free: impl Fn(&Lacking) -> bool,
    ) -> Option<InstanceName> {
        let freed = self.short.iter().filter(|(lacking, _)| is_free(lacking));
        let heads = freed.filter_map(|(_, queue)| queue.first());
        let next = heads.chain(self.bid_queue.first()).min();
        next.map(|(_, instance)| instance.clone())
    }

    /// The needs without a child that are bid for, those whose bid has waited longest first, each
    /// with the end of its patience.
    pub(crate) fn open_bids(&self) -> impl Iterator<Item = (Timestamp, &InstanceName)> {
        self.open_bids
            .iter()
            .map(|(until, instance)| (*until, instance))
    }

    /// The needs that will take ports: their bid is open, or won.
    pub(crate) fn with_a_bid(&self) -> impl Iterator<Item = &Service> {
        let open = self.open_bids.iter().map(|(_, instance)| instance);
        let won = self.start_queue.iter().map(|(_, instance)| instance);
        open.chain(won).filter_map(|instance| self.get(instance))
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
            &mut self.open_bids,
            instance,
            before.open_bid,
            after.open_bid,
        );
        if before.short != after.short {
            if let Some((lacking, place)) = before.short
                && let Some(queue) = self.short.get_mut(&lacking)
            {
                queue.remove(&(place, instance.clone()));
                if queue.is_empty() {
                    self.short.remove(&lacking);
                }
            }
            if let Some((lacking, place)) = after.short {
                let queue = self.short.entry(lacking).or_default();
                queue.insert((place, instance.clone()));
            }
        }
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

fn move_place<Place: Ord>(
    queue: &mut BTreeSet<(Place, InstanceName)>,
    instance: &InstanceName,
    before: Option<Place>,
    after: Option<Place>,
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
