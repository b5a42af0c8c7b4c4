//! A service's standing with the LanManager: bid, challenge, response, approval.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::service::{Activity, Failure, Lacking, Next, StopReason, Wait};
use crate::step::Turn;
use crate::{
    BidAnswer, Connection, Deadline, Incarnation, InstanceName, Lan, LanEffect, Listed,
    OnDuplicate, PerProtocol, Place, Port, Process, Protocol, ResponseAnswer, Service,
    ServiceRecord, State, Timestamp, child, needs,
};

/// Where a service stands with the LanManager.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// Nowhere.
    None,
    /// We have bid, and have no answer yet.
    Bidding {
        bid: Incarnation,
        /// From then on it is given up where other needs were bid for less often.
        #[serde(default)]
        patient_until: Timestamp,
    },
    /// We are to start it and to respond.
    Held {
        bid: Incarnation,
        /// When to respond again, after the LanManager reached no port.
        respond_at: Option<Timestamp>,
    },
    /// We have responded, and the LanManager checks the ports.
    Responding {
        bid: Incarnation,
        /// The need was listed anew meanwhile, so even an approval is out of date.
        relisted: bool,
    },
    /// The service stands in the LanManager's list.
    Approved,
    /// A running child could not be announced; tried again then.
    Paused {
        /// The end of the pause.
        until: Timestamp,
    },
    /// The LanManager lists the service somewhere else: this copy is not used by the network.
    Superseded {
        /// Where it lists it.
        by: Arc<str>,
        /// Since when that is known here.
        since: Timestamp,
        /// When the child is told to end; absent where it is to stay.
        until: Option<Timestamp>,
    },
    /// The LanManager is away, and another machine may run the service soon, of which there must
    /// never be two.
    CutOff {
        /// When the child is told to end, unless the LanManager is back by then.
        until: Timestamp,
        /// When it must have ended.
        gone_by: Timestamp,
    },
}

impl Claim {
    /// When the claim itself has something to do.
    #[must_use]
    pub const fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Held { respond_at, .. } => *respond_at,
            Self::Paused { until } | Self::CutOff { until, .. } => Some(*until),
            Self::Superseded { until, .. } => *until,
            Self::None | Self::Bidding { .. } | Self::Responding { .. } | Self::Approved => None,
        }
    }

    /// Whether the LanManager may list the service as running, as far as this claim tells:
    /// while a response is open, its approval may be on the way.
    #[must_use]
    pub const fn may_be_listed(&self) -> bool {
        match self {
            Self::Responding { .. } | Self::Approved => true,
            Self::None
            | Self::Bidding { .. }
            | Self::Held { .. }
            | Self::Paused { .. }
            | Self::Superseded { .. }
            | Self::CutOff { .. } => false,
        }
    }

    /// The bid, where there is an open one.
    #[must_use]
    pub const fn bid(&self) -> Option<Incarnation> {
        match self {
            Self::Bidding { bid, .. } | Self::Held { bid, .. } | Self::Responding { bid, .. } => {
                Some(*bid)
            }
            Self::None
            | Self::Approved
            | Self::Paused { .. }
            | Self::Superseded { .. }
            | Self::CutOff { .. } => None,
        }
    }

    /// Whether the LanManager lists the service somewhere else: then it runs on without the child.
    #[must_use]
    pub const fn is_superseded(&self) -> bool {
        matches!(self, Self::Superseded { .. })
    }
}

/// The patience with a bid, and the pause after one that failed, is doubled so often at most: up
/// to 1,024 times the first one.
const MOST_DOUBLINGS: u32 = 10;

/// The pause after the last bid of a service failed.
pub(crate) fn pause_after_failure(state: &State, service: &Service) -> u64 {
    let first = state.settings.port_retry;
    if !state.settings.bids_with_care() {
        return first;
    }
    let before = service.history.bids_in_vain.saturating_sub(1);
    first << before.min(MOST_DOUBLINGS)
}

/// Bids for a need. Does nothing while the LanManager is away.
pub(crate) fn bid(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let Lan::Up {
        connection,
        address,
        ..
    } = &state.lan
    else {
        return;
    };
    let (connection, address) = (*connection, Arc::clone(address));
    let bid = turn.incarnation();
    let patience = state.settings.bid_patience;
    let at = turn.at;
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            let doubled = service.history.bids_in_vain.min(MOST_DOUBLINGS);
            service.claim = Claim::Bidding {
                bid,
                patient_until: at.plus(patience << doubled),
            };
            if matches!(service.activity, Activity::Waiting(_)) {
                service.activity = Activity::Waiting(Wait::Answer);
            }
        });
    turn.effect(LanEffect::Bid {
        connection,
        instance: instance.clone(),
        bid,
        address,
    });
}

/// The LanManager answered a bid.
pub(crate) fn bid_answered(
    state: &mut State,
    turn: &mut Turn,
    instance: &InstanceName,
    bid: Incarnation,
    answer: BidAnswer,
) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    let is_present = matches!(service.claim, Claim::Bidding { bid: present, .. } if present == bid);
    if !is_present {
        return; // a bid that was given up meanwhile
    }
    let has_child = service.activity.attempt().is_some();
    match answer {
        BidAnswer::Challenged => {
            let queued = turn.sequence;
            state
                .services
                .change(instance, &mut state.deadlines, |service| {
                    service.claim = Claim::Held {
                        bid,
                        respond_at: None,
                    };
                    service.history.bids_in_vain = 0;
                    if matches!(service.activity, Activity::Waiting(_)) {
                        service.activity = Activity::Waiting(Wait::Start { queued });
                    }
                });
            respond(state, turn, instance);
        }
        BidAnswer::Rejected if has_child => pause(state, turn, instance),
        // It says so of this need and this machine: asked again, it says it again.
        BidAnswer::Rejected if state.settings.bids_with_care() => {
            abandon(state, turn, instance);
            state
                .services
                .change(instance, &mut state.deadlines, |service| {
                    service.activity = Activity::Waiting(Wait::Rejected);
                });
        }
        BidAnswer::Rejected => {
            let why = Arc::from("the LanManager rejected the bid");
            fail_bid(state, turn, instance, why);
        }
        BidAnswer::Failed(_) if has_child => pause(state, turn, instance),
        BidAnswer::Failed(why) => fail_bid(state, turn, instance, why),
    }
}

fn fail_bid(state: &mut State, turn: &mut Turn, instance: &InstanceName, why: Arc<str>) {
    abandon(state, turn, instance);
    in_vain(state, instance);
    child::back_off(state, turn, instance, Failure::BidFailed(why), false);
}

/// Responds to the challenge, if the bid is held and the child is up.
pub(crate) fn respond(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    let (Claim::Held { bid, .. }, Activity::Up { process, .. }) =
        (&service.claim, &service.activity)
    else {
        return;
    };
    let bid = *bid;
    let record = record(state, service, process);
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.claim = Claim::Responding {
                bid,
                relisted: false,
            };
        });
    turn.effect(LanEffect::Respond { bid, record });
}

/// The LanManager answered a response.
pub(crate) fn response_answered(
    state: &mut State,
    turn: &mut Turn,
    instance: &InstanceName,
    bid: Incarnation,
    answer: ResponseAnswer,
) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    let Claim::Responding {
        bid: present,
        relisted,
    } = service.claim
    else {
        return;
    };
    if present != bid {
        return;
    }
    // Answered: nothing is open any more, but the bid is still ours.
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.claim = Claim::Held {
                bid,
                respond_at: None,
            };
        });
    match answer {
        ResponseAnswer::Approved => approve(state, turn, instance, relisted),
        ResponseAnswer::Unreachable => unreachable(state, turn, instance, bid),
        ResponseAnswer::Refused(why) => {
            child::stop(
                state,
                turn,
                instance,
                StopReason::Refused(why),
                Next::BackOff,
            );
        }
        // Whether it was approved is unknown. The child is well, so it stays, and
        // its end will be told; where the need is still listed, it is announced again.
        ResponseAnswer::Failed(_) => {
            approve(state, turn, instance, false);
            give_up(turn, instance, bid);
            pause(state, turn, instance);
        }
    }
}

fn approve(state: &mut State, turn: &mut Turn, instance: &InstanceName, relisted: bool) {
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.claim = if relisted {
                Claim::None
            } else {
                Claim::Approved
            };
            if let Activity::Up {
                approved,
                unreachable,
                ..
            } = &mut service.activity
            {
                *approved = true;
                *unreachable = 0;
            }
        });
    if relisted {
        needs::engage(state, turn, instance);
    }
}

fn unreachable(state: &mut State, turn: &mut Turn, instance: &InstanceName, bid: Incarnation) {
    let most = state.settings.check_attempts;
    let respond_at = turn.at.plus(state.settings.check_retry);
    let again = state
        .services
        .change(instance, &mut state.deadlines, |service| {
            let Activity::Up { unreachable, .. } = &mut service.activity else {
                return false;
            };
            *unreachable += 1;
            if *unreachable >= most {
                return false;
            }
            service.claim = Claim::Held {
                bid,
                respond_at: Some(respond_at),
            };
            true
        });
    if again == Some(false) {
        let why = Arc::from("the LanManager could reach none of its ports");
        child::stop(
            state,
            turn,
            instance,
            StopReason::Refused(why),
            Next::BackOff,
        );
    }
}

fn in_vain(state: &mut State, instance: &InstanceName) {
    if !state.settings.bids_with_care() {
        return;
    }
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            let bids = &mut service.history.bids_in_vain;
            *bids = bids.saturating_add(1);
        });
}

/// So many more needs are bid for than there are places to start: their answers come while the
/// children before them start.
const BIDS_AHEAD: u32 = 4;

/// How many bids for needs without a child may be open, or won and waiting for a place.
fn most_bids(state: &State) -> usize {
    let settings = &state.settings;
    let places = settings
        .starts_at_once
        .saturating_sub(state.services.starting());
    let most = places.saturating_add(BIDS_AHEAD).min(settings.bids_at_once);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Whether a further need may be bid for.
pub(crate) fn may_bid_more(state: &State) -> bool {
    let starters = usize::try_from(state.services.starters()).unwrap_or(usize::MAX);
    let open = state.services.open_bids().count().saturating_add(starters);
    open < most_bids(state)
}

/// Bids where there is a place and a port. What lacks a port waits for one; where others wait for a
/// place, the time comes when the bids that only wait make room.
pub(crate) fn fill_bids(state: &mut State, turn: &mut Turn) {
    // Ranges that turned out not to suffice in this turn: what waits for them waits on.
    let mut short = BTreeSet::new();
    let next = loop {
        let ports = &state.ports;
        let next = state.services.next_bidder_with(|lacking| match lacking {
            Lacking::Range(protocol) => !short.contains(lacking) && ports.free(*protocol) > 0,
            Lacking::Port(port) => !short.contains(lacking) && !ports.is_held(*port),
        });
        let Some(instance) = next else {
            break None;
        };
        if let Some(lacking) = lacking(state, &instance) {
            short.insert(lacking);
            wait_for_port(state, turn, &instance, lacking);
        } else if may_bid_more(state) {
            bid(state, turn, &instance);
        } else {
            // It lacks nothing but a place: in the bid queue, where the patience of others is measured.
            needs::reconsider(state, turn, &instance);
            break Some(instance);
        }
    };
    let gives_way = next
        .and_then(|next| state.services.get(&next))
        .and_then(|next| {
            let bids = next.history.bids_in_vain;
            let mut open = state.services.open_bids();
            open.find(|(_, instance)| may_give_way(state, instance, bids))
        });
    match gives_way.map(|(until, _)| until) {
        Some(at) if state.deadlines.get(&Deadline::Bids) == Some(at) => {}
        Some(at) => state.deadlines.set(Deadline::Bids, at),
        None => state.deadlines.clear(&Deadline::Bids),
    }
}

/// Whether an open bid makes room for a need that was bid for so often in vain: given up, it would
/// have been in vain at least as often.
fn may_give_way(state: &State, instance: &InstanceName, bids_in_vain: u32) -> bool {
    let service = state.services.get(instance);
    service.is_some_and(|service| service.history.bids_in_vain.saturating_add(1) >= bids_in_vain)
}

/// The patience with the bid that has waited longest is over.
pub(crate) fn patience_over(state: &mut State, turn: &mut Turn) {
    let Some(next) = state.services.next_bidder() else {
        return;
    };
    let bids = state
        .services
        .get(&next)
        .map_or(0, |next| next.history.bids_in_vain);
    let late: Vec<InstanceName> = state
        .services
        .open_bids()
        .take_while(|(until, _)| *until <= turn.at)
        .filter(|(_, instance)| may_give_way(state, instance, bids))
        .take(state.services.bidders())
        .map(|(_, instance)| instance.clone())
        .collect();
    for instance in late {
        abandon(state, turn, &instance);
        in_vain(state, &instance);
        child::rest(state, turn, &instance);
    }
}

/// What no port would be left for, were the service started after all those that are bid for.
pub(crate) fn lacking(state: &State, instance: &InstanceName) -> Option<Lacking> {
    let service = state.services.get(instance)?;
    let mut promised = Promised::default();
    for before in state.services.with_a_bid() {
        promised.add(state, before);
    }
    let before = promised.exactly.clone();
    promised.add(state, service);
    let prescribed = service.need.ports.given();
    let mut taken = prescribed.filter(|port| before.contains(port) || state.ports.is_held(*port));
    if let Some(port) = taken.next() {
        return Some(Lacking::Port(port));
    }
    let takes = from_ranges(state, service);
    Protocol::ALL
        .into_iter()
        .filter(|protocol| *takes.get(*protocol))
        .find(|protocol| promised.of_range(state, *protocol) > state.ports.free(*protocol))
        .map(Lacking::Range)
}

/// Ports that needs will take when they are started.
#[derive(Default)]
struct Promised {
    exactly: Vec<Port>,
    of_ranges: PerProtocol<usize>,
}

impl Promised {
    fn add(&mut self, state: &State, service: &Service) {
        self.exactly.extend(service.need.ports.given());
        for (protocol, takes) in from_ranges(state, service).iter() {
            *self.of_ranges.get_mut(protocol) += usize::from(*takes);
        }
    }

    /// How many ports of a range will be taken: where ranges overlap, all that are taken from those.
    fn of_range(&self, state: &State, protocol: Protocol) -> usize {
        let (first, end) = state.ports.range(protocol);
        let any = self.of_ranges.iter().filter(|(other, _)| {
            let (other_first, other_end) = state.ports.range(*other);
            other_first < end && first < other_end
        });
        let exactly = self.exactly.iter().filter(|port| {
            (first..end).contains(&u32::from(port.0)) && !state.ports.is_held(**port)
        });
        any.map(|(_, count)| count).sum::<usize>() + exactly.count()
    }
}

/// The protocols for which a child of the service gets a port of the range.
pub(crate) fn from_ranges(state: &State, service: &Service) -> PerProtocol<bool> {
    let launcher = state.settings.launcher(&service.need.module);
    let mut takes = launcher.map_or_else(PerProtocol::default, |launcher| launcher.takes);
    for (protocol, prescribed) in service.need.ports.iter() {
        *takes.get_mut(protocol) &= prescribed.is_none();
    }
    takes
}

/// A service has no port: it waits for one, without a bid.
pub(crate) fn wait_for_port(
    state: &mut State,
    turn: &Turn,
    instance: &InstanceName,
    lacking: Lacking,
) {
    let queued = place(state, turn, instance);
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.activity = Activity::Waiting(Wait::Ports { queued, lacking });
        });
}

/// The place of a service among those that were bid for as often. Each master has an order of its
/// own, so that several do not all bid for the same needs.
pub(crate) fn place(state: &State, turn: &Turn, instance: &InstanceName) -> u64 {
    match &state.master {
        Some(master) if state.settings.bids_with_care() => {
            rank(master.journal.as_str(), instance.as_str())
        }
        Some(_) | None => turn.sequence,
    }
}

/// A number for each pair of texts, spread evenly: FNV-1a, and the last step of MurmurHash3, with
/// which its upper half depends on every letter. It is recorded in no event, but decides the same
/// in every replay: it must stay as it is.
fn rank(master: &str, instance: &str) -> u64 {
    let letters = master.bytes().chain([0]).chain(instance.bytes());
    let mut hash = letters.fold(0xcbf2_9ce4_8422_2325_u64, |hash, letter| {
        (hash ^ u64::from(letter)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    // 32 bits do: names decide between equals.
    hash >> 32
}

/// Gives an open bid up.
pub(crate) fn abandon(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    if service.claim == Claim::None {
        return;
    }
    let bid = service.claim.bid();
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.claim = Claim::None
        });
    if let Some(bid) = bid {
        give_up(turn, instance, bid);
    }
}

fn give_up(turn: &mut Turn, instance: &InstanceName, bid: Incarnation) {
    turn.effect(LanEffect::Abandon {
        instance: instance.clone(),
        bid,
    });
}

/// A child that lives could not be announced: tried again after a pause.
fn pause(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    abandon(state, turn, instance);
    let until = turn.at.plus(state.settings.check_retry);
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.claim = Claim::Paused { until };
        });
}

/// The time of a claim has come.
pub(crate) fn deadline(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    match &service.claim {
        Claim::Held {
            respond_at: Some(at),
            ..
        } if *at <= turn.at => {
            respond(state, turn, instance);
        }
        Claim::Paused { until } if *until <= turn.at => {
            state
                .services
                .change(instance, &mut state.deadlines, |service| {
                    service.claim = Claim::None
                });
            needs::engage(state, turn, instance);
        }
        Claim::Superseded {
            by,
            until: Some(until),
            ..
        } if *until <= turn.at => {
            let why = StopReason::Superseded(Arc::clone(by));
            child::stop(state, turn, instance, why, Next::Again);
        }
        Claim::CutOff { until, gone_by } if *until <= turn.at => {
            let gone_by = *gone_by;
            child::stop(state, turn, instance, StopReason::CutOff, Next::Again);
            child::hurry(state, instance, gone_by);
        }
        Claim::None
        | Claim::Bidding { .. }
        | Claim::Held { .. }
        | Claim::Responding { .. }
        | Claim::Approved
        | Claim::Paused { .. }
        | Claim::Superseded { .. }
        | Claim::CutOff { .. } => {}
    }
}

/// The LanManager's list of services names a place for services that run here.
pub(crate) fn listed(
    state: &mut State,
    turn: &mut Turn,
    connection: Connection,
    services: Vec<Listed>,
) {
    if state.lan.connection() != Some(connection) {
        return;
    }
    for Listed { instance, place } in services {
        let is_up = state
            .services
            .get(&instance)
            .is_some_and(|service| matches!(service.activity, Activity::Up { .. }));
        match place {
            Place::Here if is_up => listed_here(state, turn, &instance),
            Place::Elsewhere(by) if is_up => supersede(state, turn, &instance, by),
            Place::Nowhere => listed_nowhere(state, turn, &instance),
            Place::Here | Place::Elsewhere(_) => {}
        }
    }
}

/// The LanManager still has our row, or has it again. Where a bid is open, its answer decides.
fn listed_here(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let is_free = state
        .services
        .get(instance)
        .is_some_and(|service| match service.claim {
            Claim::None | Claim::Paused { .. } | Claim::Superseded { .. } => !service.wanted,
            Claim::Bidding { .. }
            | Claim::Held { .. }
            | Claim::Responding { .. }
            | Claim::Approved
            | Claim::CutOff { .. } => false,
        });
    if is_free {
        approve(state, turn, instance, false);
    }
}

/// Another copy is the one that the network uses. Whatever we have bid or responded is over with it.
fn supersede(state: &mut State, turn: &mut Turn, instance: &InstanceName, by: Arc<str>) {
    let known = state.services.get(instance).map(|service| &service.claim);
    let since = match known {
        Some(Claim::Superseded { since, .. }) => *since,
        Some(_) | None => turn.at,
    };
    abandon(state, turn, instance);
    let until = duplicate_until(state, since);
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.claim = Claim::Superseded { by, since, until };
        });
}

fn duplicate_until(state: &State, since: Timestamp) -> Option<Timestamp> {
    match state.settings.on_duplicate {
        OnDuplicate::Stop => Some(since.plus(state.settings.duplicate_grace)),
        OnDuplicate::Keep => None,
    }
}

/// The other copy is not listed any more.
fn listed_nowhere(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let freed = state
        .services
        .change(instance, &mut state.deadlines, |service| {
            let superseded = service.claim.is_superseded();
            if superseded {
                service.claim = Claim::None;
            }
            superseded
        });
    if freed == Some(true) {
        needs::engage(state, turn, instance);
    }
}

/// The configuration changed: what it says of superseded copies holds for those that there are.
pub(crate) fn settings_changed(state: &mut State, instance: &InstanceName) {
    let claim = state.services.get(instance).map(|service| &service.claim);
    let Some(Claim::Superseded { by, since, .. }) = claim else {
        return;
    };
    let (by, since) = (Arc::clone(by), *since);
    let until = duplicate_until(state, since);
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.claim = Claim::Superseded { by, since, until };
        });
}

/// What the LanManager and local tools are told of a child.
pub(crate) fn record(state: &State, service: &Service, process: &Process) -> ServiceRecord {
    let address = match &state.lan {
        Lan::Up { address, .. } => Some(Arc::clone(address)),
        Lan::Away { .. } | Lan::Dialing { .. } => None,
    };
    ServiceRecord {
        need: Arc::clone(&service.need),
        pid: process.identity.pid,
        ports: served(state, service, process),
        address,
    }
}

/// The ports that a process serves, by what the configuration said when it was started: a later
/// change of it is for later processes.
pub(crate) fn served(
    state: &State,
    service: &Service,
    process: &Process,
) -> PerProtocol<Option<Port>> {
    let ports = &process.ports;
    let launcher = process.launcher.as_ref();
    let launcher = launcher.or_else(|| state.settings.launcher(&service.need.module));
    // A launcher that was taken out of the configuration while its child runs: as if it served all.
    let serves = launcher.map_or(
        PerProtocol {
            tcp: true,
            http: true,
            ws: true,
        },
        |launcher| launcher.serves,
    );
    PerProtocol {
        tcp: ports.tcp.filter(|_| serves.tcp),
        http: ports.http.filter(|_| serves.http),
        ws: ports.ws.filter(|_| serves.ws),
    }
}
