//! Masters come and go, and what that means for their services.
//!
//! The JavaScript LanManager deletes all services of an address when anybody opens
//! a root session from there, and notices no master that is gone. Here a service
//! belongs to the root session that responded: it stays as long as that session is
//! there, becomes a need when the session is gone for longer than the grace, and
//! becomes a need at once when its address connects anew, so that a master that
//! comes back is asked and answers from its running children.

use super::effect::Reply;
use super::names::{Address, InstanceName, MasterId};
use super::needs::service_ended;
use super::state::{Master, Presence, RequestId, State};
use super::step::Change;

/// A root session was opened: what gone sessions of its address ran is needed.
pub(super) fn connected(
    change: &mut Change<'_>,
    request: RequestId,
    master: MasterId,
    address: Address,
) {
    // A session that is opened twice would be a mistake of the runtime; then the
    // earlier one is over.
    if change.state.masters.contains_key(&master) {
        gone(change, &master);
        release(change, &master);
    }
    let before = change.state.gone.get(&address).cloned().unwrap_or_default();
    change.state.masters.insert(
        master,
        Master {
            address,
            presence: Presence::Connected,
            services: std::collections::BTreeSet::new(),
        },
    );
    for earlier in before {
        release(change, &earlier);
    }
    change.reply(request, Reply::Welcome);
}

/// A root session is over: its services wait for a reconnect.
pub(super) fn gone(change: &mut Change<'_>, master: &MasterId) {
    let until = change.stamp.at.plus(change.state.settings.reconnect_grace);
    let state = &mut *change.state;
    let Some(session) = state.masters.get_mut(master) else {
        return;
    };
    match session.presence {
        Presence::Gone { .. } => {}
        Presence::Connected if session.services.is_empty() => {
            state.masters.remove(master);
        }
        Presence::Connected => {
            session.presence = Presence::Gone { until };
            let address = session.address.clone();
            state
                .gone
                .entry(address)
                .or_default()
                .insert(master.clone());
            state.deadlines.insert((until, master.clone()));
        }
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

/// The services of all masters whose grace is over become needs.
pub(super) fn deadline_reached(change: &mut Change<'_>) {
    while let Some((until, master)) = change.state.deadlines.first().cloned() {
        if until > change.stamp.at {
            return;
        }
        release(change, &master);
    }
}

/// A service is no longer its owner's; a gone owner of nothing is forgotten.
pub(super) fn disown(state: &mut State, owner: &MasterId, name: &InstanceName) {
    let Some(master) = state.masters.get_mut(owner) else {
        return;
    };
    master.services.remove(name);
    if master.services.is_empty() && master.presence != Presence::Connected {
        forget(state, owner);
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
    let Some(session) = state.masters.remove(master) else {
        return;
    };
    if let Presence::Gone { until } = session.presence {
        state.deadlines.remove(&(until, master.clone()));
        if let Some(of_address) = state.gone.get_mut(&session.address) {
            of_address.remove(master);
            if of_address.is_empty() {
                state.gone.remove(&session.address);
            }
        }
    }
}
