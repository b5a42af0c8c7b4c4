//! A service's standing with the LanManager: bid, challenge, response, approval.

use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::service::{Activity, Failure, Next, StopReason, Wait};
use crate::step::Turn;
use crate::{
    BidAnswer, Connection, Incarnation, InstanceName, Lan, LanEffect, Listed, OnDuplicate,
    PerProtocol, Place, Port, Process, ResponseAnswer, Service, ServiceRecord, State, Timestamp,
    child, needs,
};

/// Where a service stands with the LanManager.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Claim {
    /// Nowhere.
    None,
    /// We have bid, and have no answer yet.
    Bidding { bid: Incarnation },
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
            Self::Bidding { bid } | Self::Held { bid, .. } | Self::Responding { bid, .. } => {
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
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.claim = Claim::Bidding { bid };
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
    if service.claim != (Claim::Bidding { bid }) {
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
                    if matches!(service.activity, Activity::Waiting(_)) {
                        service.activity = Activity::Waiting(Wait::Start { queued });
                    }
                });
            respond(state, turn, instance);
        }
        BidAnswer::Rejected if has_child => pause(state, turn, instance),
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
        tcp: serves.tcp.then_some(ports.tcp),
        http: serves.http.then_some(ports.http),
        ws: serves.ws.then_some(ports.ws),
    }
}
