//! Masters come and go, and what that means for their services.
//!
//! The JavaScript LanManager deletes all services of an address when anybody opens
//! a root session from there, and notices no master that is gone. Here a service
//! belongs to a master. It stays as long as a root session of that master is there,
//! and becomes a need when it has been gone for longer than the grace.
//!
//! A master that says who it is takes its services over when it is back, also while
//! its earlier session still seems to be there; whoever else comes from its address
//! changes nothing. Masters that do not say it (those of JavaScript) are known by
//! their address: what the gone sessions of that address ran is needed at once, and
//! the master that is back is asked first, so that it answers from what it runs.

use super::bidding;
use super::effect::Reply;
use super::names::{Address, InstanceName, MasterId, MasterIdentity};
use super::needs::service_ended;
use super::state::{Master, Presence, RequestId, State};
use super::step::Change;

/// A root session was opened.
pub(super) fn connected(
    change: &mut Change<'_>,
    request: RequestId,
    master: MasterId,
    address: Address,
    identity: Option<MasterIdentity>,
) {
    // A session that is opened twice would be a mistake of the runtime; then the
    // earlier one is over.
    if change.state.masters.contains_key(&master) {
        gone(change, &master);
        release(change, &master);
    }
    let before = earlier_sessions(change.state, &address, identity.as_ref());
    let session = Master {
        address,
        identity,
        presence: Presence::Connected,
        services: std::collections::BTreeSet::new(),
    };
    change.state.masters.insert(master.clone(), session);
    for earlier in before {
        succeed(change, &earlier, &master);
    }
    let reconnect_grace = change.state.settings.reconnect_grace;
    change.reply(request, Reply::Welcome { reconnect_grace });
}

/// The sessions that the same master had before: by its identity, or, where it does
/// not say it, the gone ones of its address that did not say it either.
fn earlier_sessions(
    state: &State,
    address: &Address,
    identity: Option<&MasterIdentity>,
) -> Vec<MasterId> {
    if identity.is_some() {
        let sessions = state.masters.iter();
        let same = sessions.filter(|(_, earlier)| earlier.identity.as_ref() == identity);
        return same.map(|(id, _)| id.clone()).collect();
    }
    let gone = state.gone.get(address).into_iter().flatten();
    let unnamed = gone.filter(|id| {
        let session = state.masters.get(id);
        session.is_some_and(|session| session.identity.is_none())
    });
    unnamed.cloned().collect()
}

/// A master is back with a new session: what the earlier one ran is its own. Where it
/// has another address now, or is known by its address only, it is asked for it anew.
fn succeed(change: &mut Change<'_>, earlier: &MasterId, master: &MasterId) {
    let masters = &change.state.masters;
    let (Some(old), Some(new)) = (masters.get(earlier), masters.get(master)) else {
        return;
    };
    let is_the_same = new.identity.is_some() && new.address == old.address;
    let owned: Vec<_> = old.services.iter().cloned().collect();
    if is_the_same {
        for name in owned {
            hand_over(change.state, &name, earlier, master);
        }
    } else {
        for name in owned {
            service_ended(change, &name);
            keep_for(change, &name, master);
        }
    }
    // Its earlier session may still seem to be there: what that one bid for, or was asked
    // first for, is free.
    others_may_bid(change, earlier);
    bidding::bids_end(change, earlier);
}

/// A service goes over to another session of its master.
fn hand_over(state: &mut State, name: &InstanceName, earlier: &MasterId, master: &MasterId) {
    if let Some(service) = state.services.get_mut(name) {
        service.owner = master.clone();
    }
    if let Some(new) = state.masters.get_mut(master) {
        new.services.insert(name.clone());
    }
    disown(state, earlier, name);
}

/// The master that ran it before is asked first.
fn keep_for(change: &mut Change<'_>, name: &InstanceName, master: &MasterId) {
    if change.state.settings.edition == 0 {
        return; // bids of before did not say whose they are
    }
    let until = change.stamp.at.plus(change.state.settings.reconnect_grace);
    if let Some(need) = change.state.open.get_mut(name) {
        need.kept_for = Some(master.clone());
        set_presence(change.state, master, Presence::AskedFirst { until });
    }
}

/// A root session is over: its services wait for a reconnect.
pub(super) fn gone(change: &mut Change<'_>, master: &MasterId) {
    let Some(session) = change.state.masters.get(master) else {
        return;
    };
    if !session.presence.is_connected() {
        return;
    }
    let is_idle = session.services.is_empty();
    others_may_bid(change, master);
    if is_idle {
        change.state.masters.remove(master);
    } else {
        let until = change.stamp.at.plus(change.state.settings.reconnect_grace);
        set_presence(change.state, master, Presence::Gone { until });
    }
}

/// Everybody is gone, because the LanManager started again: everybody's grace
/// begins now.
pub(super) fn all_gone(change: &mut Change<'_>) {
    change.state.gone.clear();
    change.state.deadlines.clear();
    for master in change.state.masters.values_mut() {
        master.presence = Presence::Connected;
    }
    let everybody: Vec<_> = change.state.masters.keys().cloned().collect();
    for master in everybody {
        gone(change, &master);
    }
}

/// Those who were connected before the start have had the time to come back in: for
/// those who have not, the grace begins now.
pub(super) fn caught_up(change: &mut Change<'_>) {
    if !std::mem::take(&mut change.state.catching_up) {
        return;
    }
    let until = change.stamp.at.plus(change.state.settings.reconnect_grace);
    let masters = change.state.masters.iter();
    let gone = masters.filter(|(_, master)| !master.presence.is_connected());
    let gone: Vec<_> = gone.map(|(id, _)| id.clone()).collect();
    for master in gone {
        set_presence(change.state, &master, Presence::Gone { until });
    }
}

/// The services of all masters whose grace is over become needs, and those that were
/// asked first have been.
pub(super) fn deadline_reached(change: &mut Change<'_>) {
    if change.state.catching_up {
        return;
    }
    while let Some((until, master)) = change.state.deadlines.first().cloned() {
        if until > change.stamp.at {
            return;
        }
        let session = change.state.masters.get(&master);
        if session.is_some_and(|session| session.presence.is_connected()) {
            others_may_bid(change, &master);
        } else {
            release(change, &master);
        }
    }
}

/// A service is no longer its owner's; a gone owner of nothing is forgotten.
pub(super) fn disown(state: &mut State, owner: &MasterId, name: &InstanceName) {
    let Some(master) = state.masters.get_mut(owner) else {
        return;
    };
    master.services.remove(name);
    if master.services.is_empty() && !master.presence.is_connected() {
        forget(state, owner);
    }
}

/// Whether a service is a master's own, as far as is known: whoever does not say who
/// it is, is known by its address.
pub(super) fn runs(state: &State, master: &MasterId, name: &InstanceName) -> bool {
    let Some(service) = state.services.get(name) else {
        return false;
    };
    if service.owner == *master {
        return true;
    }
    let session = |id| state.masters.get(id);
    let (Some(owner), Some(master)) = (session(&service.owner), session(master)) else {
        return false;
    };
    match (&owner.identity, &master.identity) {
        (Some(owner), Some(master)) => owner == master,
        (None, _) | (_, None) => owner.address == master.address,
    }
}

/// A master is not asked first any more.
fn others_may_bid(change: &mut Change<'_>, master: &MasterId) {
    let session = change.state.masters.get(master);
    let presence = session.map(|session| session.presence);
    if matches!(presence, Some(Presence::AskedFirst { .. })) {
        set_presence(change.state, master, Presence::Connected);
        bidding::kept_for_nobody(change, master);
    }
}

/// Ends all services of a gone master.
fn release(change: &mut Change<'_>, master: &MasterId) {
    let owned = change.state.masters.get(master);
    let owned = owned.map_or_else(Vec::new, |master| master.services.iter().cloned().collect());
    for name in owned {
        service_ended(change, &name);
    }
    forget(change.state, master);
}

/// Removes a gone master and what the indexes have of it.
fn forget(state: &mut State, master: &MasterId) {
    set_presence(state, master, Presence::Connected);
    state.masters.remove(master);
}

/// Changes whether a master is there, and the indexes with it.
fn set_presence(state: &mut State, master: &MasterId, presence: Presence) {
    let Some(session) = state.masters.get_mut(master) else {
        return;
    };
    let before = std::mem::replace(&mut session.presence, presence);
    if let Some(until) = before.until() {
        state.deadlines.remove(&(until, master.clone()));
    }
    if let Some(until) = presence.until() {
        state.deadlines.insert((until, master.clone()));
    }
    let address = &session.address;
    if !presence.is_connected() {
        let of_address = state.gone.entry(address.clone()).or_default();
        of_address.insert(master.clone());
    } else if let Some(of_address) = state.gone.get_mut(address) {
        of_address.remove(master);
        if of_address.is_empty() {
            state.gone.remove(address);
        }
    }
}
