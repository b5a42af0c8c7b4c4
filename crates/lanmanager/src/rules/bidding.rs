//! Bids, responses and port checks for open needs.

use std::collections::VecDeque;

use super::effect::{Effect, Refusal, Reply};
use super::event::PortsCheck;
use super::names::{MasterId, SessionId, Ticket};
use super::need::Descriptor;
use super::state::{
    Bid, OpenNeed, Opening, Presence, Progress, RequestId, Service, State, Waiting,
};
use super::step::Change;

/// Most bids that wait for one need. A network has some tens of masters; each of
/// them bids once.
pub(super) const MAX_WAITING_BIDS: usize = 256;

/// A response as it came.
pub(super) struct Response {
    pub(super) request: RequestId,
    pub(super) bidder: SessionId,
    pub(super) master: MasterId,
    pub(super) ticket: Ticket,
    pub(super) descriptor: Option<Descriptor>,
}

/// A bid as it came.
pub(super) struct Offer {
    pub(super) request: RequestId,
    pub(super) bidder: SessionId,
    pub(super) master: Option<MasterId>,
    pub(super) address: Option<String>,
}

/// A bid: the first one is the active one, later ones wait, and so do the first ones
/// where another master is asked first. Who bids again while its bid is active gets
/// the same answer again.
pub(super) fn placed(change: &mut Change<'_>, opening: &Opening, offer: Offer) {
    let Offer {
        request,
        bidder,
        master,
        address,
    } = offer;
    let sequence = change.stamp.sequence;
    let is_kept = is_kept_for_another(change.state, opening, master.as_ref());
    let accepted = change
        .state
        .configured
        .get(&opening.name)
        .is_some_and(|need| need.accepts_address(address.as_deref()));
    let Some(need) = open_need(change.state, opening) else {
        return change.refuse(request, Refusal::AlreadyDestroyed);
    };
    if !accepted {
        return change.reply(request, Reply::BidRejected);
    }
    match &need.active {
        None if !is_kept => {
            let ticket = activate(need, bidder, master, sequence);
            change.reply(request, Reply::BidActive { ticket });
        }
        Some(active) if active.bidder == bidder => {
            let ticket = active.ticket.clone();
            change.reply(request, Reply::BidActive { ticket });
        }
        Some(_) | None => {
            if need.waiting.iter().any(|waiting| waiting.bidder == bidder) {
                return change.refuse(request, Refusal::BidAlreadyWaiting);
            }
            if need.waiting.len() >= MAX_WAITING_BIDS {
                return change.refuse(request, Refusal::TooManyBids);
            }
            need.waiting.push_back(Waiting {
                bidder,
                master,
                request,
            });
        }
    }
}

/// A bidder is gone: its bid does not wait any more, or the next one has its turn.
pub(super) fn bidder_gone(change: &mut Change<'_>, opening: &Opening, bidder: &SessionId) {
    let Some(need) = open_need(change.state, opening) else {
        return;
    };
    if need
        .active
        .as_ref()
        .is_some_and(|bid| bid.bidder == *bidder)
    {
        next_bid(change, opening);
    } else {
        need.waiting.retain(|waiting| waiting.bidder != *bidder);
    }
}

/// A master has another session now: nobody answers for what it bid in this one.
pub(super) fn bids_end(change: &mut Change<'_>, master: &MasterId) {
    let is_its = |of: &Option<MasterId>| of.as_ref() == Some(master);
    let mut refused = Vec::new();
    let mut ended = Vec::new();
    for (name, need) in &mut change.state.open {
        need.waiting.retain(|waiting| {
            let stays = !is_its(&waiting.master);
            if !stays {
                refused.push(waiting.request);
            }
            stays
        });
        if need.active.as_ref().is_some_and(|bid| is_its(&bid.master)) {
            ended.push(Opening {
                name: name.clone(),
                since: need.since,
            });
        }
    }
    for request in refused {
        change.refuse(request, Refusal::AlreadyDestroyed);
    }
    for opening in ended {
        next_bid(change, &opening);
    }
}

/// A master has been asked first: for what it has not bid, the others have their turn.
pub(super) fn kept_for_nobody(change: &mut Change<'_>, master: &MasterId) {
    let mut freed = Vec::new();
    for (name, need) in &mut change.state.open {
        if need.kept_for.as_ref() == Some(master) {
            need.kept_for = None;
            freed.push(Opening {
                name: name.clone(),
                since: need.since,
            });
        }
    }
    for opening in freed {
        next_bid(change, &opening);
    }
}

/// Whether another master is asked first for a need.
fn is_kept_for_another(state: &State, opening: &Opening, master: Option<&MasterId>) -> bool {
    let need = state.open.get(&opening.name);
    need.and_then(|need| need.kept_for.as_ref())
        .is_some_and(|first| {
            let presence = state.masters.get(first).map(|master| master.presence);
            master != Some(first) && matches!(presence, Some(Presence::AskedFirst { .. }))
        })
}

/// The active bidder says that the service runs: its ports are checked.
pub(super) fn responded(change: &mut Change<'_>, opening: &Opening, response: Response) {
    let sequence = change.stamp.sequence;
    let Response {
        request,
        bidder,
        master,
        ticket,
        descriptor,
    } = response;
    let connected = is_connected(change.state, &master);
    let Some(need) = open_need(change.state, opening) else {
        return change.refuse(request, Refusal::AlreadyDestroyed);
    };
    let Some(active) = need.active.as_mut().filter(|_| connected) else {
        return change.refuse(request, Refusal::AlreadyDestroyed);
    };
    if active.bidder != bidder || active.ticket != ticket {
        return change.refuse(request, Refusal::BiddingMismatch);
    }
    match active.progress {
        Progress::Checking { .. } => change.refuse(request, Refusal::CheckUnderWay),
        Progress::Preparing => {
            let Some(descriptor) = descriptor else {
                return change.refuse(request, Refusal::IncompleteResponse);
            };
            if descriptor.ports().is_empty() {
                return change.refuse(request, Refusal::NoPortsReachable);
            }
            let check = Effect::CheckPorts {
                check: PortsCheck {
                    opening: opening.clone(),
                    response: sequence,
                },
                address: descriptor.address,
                ports: descriptor.ports(),
            };
            active.progress = Progress::Checking {
                response: sequence,
                request,
                master,
                descriptor,
            };
            change.perform(check);
        }
    }
}

/// A check is done. The ports answer: the need is satisfied. They do not: the
/// bidder may respond again with the same ticket.
pub(super) fn ports_checked(change: &mut Change<'_>, check: &PortsCheck, reachable: bool) {
    let opening = &check.opening;
    let Some(need) = open_need(change.state, opening) else {
        return;
    };
    let Some(active) = need.active.as_mut() else {
        return;
    };
    let Progress::Checking { response, .. } = &active.progress else {
        return;
    };
    if *response != check.response {
        return;
    }
    let ticket = active.ticket.clone();
    let Progress::Checking {
        request,
        master,
        descriptor,
        ..
    } = std::mem::replace(&mut active.progress, Progress::Preparing)
    else {
        return;
    };
    if !reachable {
        return change.refuse(request, Refusal::NoPortsReachable);
    }
    // A service without an owner would never become a need again. The end of the
    // bidder's own session follows and passes the need on.
    if !is_connected(change.state, &master) {
        return change.refuse(request, Refusal::AlreadyDestroyed);
    }
    change.reply(request, Reply::Accepted { ticket });
    satisfy(change, opening, master, &descriptor);
}

/// Whether an opening is still the current one; if so, its need.
fn open_need<'state>(state: &'state mut State, opening: &Opening) -> Option<&'state mut OpenNeed> {
    state
        .open
        .get_mut(&opening.name)
        .filter(|need| need.since == opening.since)
}

fn is_connected(state: &State, master: &MasterId) -> bool {
    state
        .masters
        .get(master)
        .is_some_and(|master| master.presence.is_connected())
}

fn activate(
    need: &mut OpenNeed,
    bidder: SessionId,
    master: Option<MasterId>,
    sequence: u64,
) -> Ticket {
    let ticket = Ticket::from_sequence(sequence);
    need.kept_for = None;
    need.active = Some(Bid {
        bidder,
        master,
        ticket: ticket.clone(),
        progress: Progress::Preparing,
    });
    ticket
}

/// Ends the active bid and answers the one that waited longest.
fn next_bid(change: &mut Change<'_>, opening: &Opening) {
    let sequence = change.stamp.sequence;
    let Some(need) = open_need(change.state, opening) else {
        return;
    };
    need.active = None;
    if let Some(Waiting {
        bidder,
        master,
        request,
    }) = need.waiting.pop_front()
    {
        let ticket = activate(need, bidder, master, sequence);
        change.reply(request, Reply::BidActive { ticket });
    }
}

/// Turns an open need into a service.
fn satisfy(change: &mut Change<'_>, opening: &Opening, owner: MasterId, descriptor: &Descriptor) {
    let name = &opening.name;
    let Some(need) = change.state.configured.get(name) else {
        return;
    };
    let satisfied = need.satisfied_row(descriptor);
    let row = need.service_row(descriptor, change.stamp.at.0);
    change.state.open.remove(name);
    if let Some(master) = change.state.masters.get_mut(&owner) {
        master.services.insert(name.clone());
    }
    let service = Service {
        row: row.clone(),
        owner,
    };
    change.state.services.insert(name.clone(), service);
    change.perform(Effect::NeedSatisfied {
        opening: opening.clone(),
        row: satisfied,
    });
    change.perform(Effect::ServiceUp { row });
}

impl OpenNeed {
    /// A need without a bid.
    pub(super) fn new(since: u64) -> Self {
        Self {
            since,
            active: None,
            waiting: VecDeque::new(),
            kept_for: None,
        }
    }
}
