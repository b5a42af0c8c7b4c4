//! The LanManager's needs: appeared, withdrawn, and what a service without a
//! process waits for.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::service::{Activity, Failure, History, Next, StopReason, Wait};
use crate::step::Turn;
use crate::{
    Claim, Connection, InstanceName, Lan, Need, Service, Shutdown, State, child, claim, lan,
};

/// So many services are looked after at most: as many as there are port numbers.
/// Needs beyond that are left to other machines.
pub(crate) const MAX_SERVICES: usize = 65_536;

/// The LanManager has told all its unsatisfied needs, the last of them here: what has not
/// appeared on this connection is not asked for.
pub(crate) fn listed(
    state: &mut State,
    turn: &mut Turn,
    connection: Connection,
    needs: Vec<Arc<Need>>,
) {
    match &mut state.lan {
        Lan::Up {
            connection: present,
            listed,
            ..
        } if *present == connection => *listed = true,
        Lan::Up { .. } | Lan::Dialing { .. } | Lan::Away { .. } => return,
    }
    for need in needs {
        appeared(state, turn, connection, need);
    }
    for instance in state.services.names() {
        let wanted = state
            .services
            .get(&instance)
            .is_some_and(|service| service.wanted);
        if !wanted {
            gone(state, turn, &instance);
        }
    }
}

/// A need appeared, or appeared again.
pub(crate) fn appeared(
    state: &mut State,
    turn: &mut Turn,
    connection: Connection,
    need: Arc<Need>,
) {
    if state.lan.connection() != Some(connection) {
        return;
    }
    let instance = need.instance.clone();
    let known = state
        .services
        .change(&instance, &mut state.deadlines, |service| {
            let change = Change::between(&service.need, &need);
            service.need = Arc::clone(&need);
            service.wanted = true;
            match &mut service.claim {
                // The LanManager no longer has our row.
                claim @ Claim::Approved => *claim = Claim::None,
                // Nobody else's row is there any more either.
                claim @ Claim::Superseded { .. } => *claim = Claim::None,
                Claim::Responding { relisted, .. } => *relisted = true,
                Claim::None
                | Claim::Bidding { .. }
                | Claim::Held { .. }
                | Claim::Paused { .. }
                | Claim::CutOff { .. } => {}
            }
            change
        });
    match known {
        Some(Change::No) => engage(state, turn, &instance),
        Some(Change::Address) => review(state, turn, &instance),
        Some(Change::Module) => replace(state, turn, &instance),
        None if state.services.len() >= MAX_SERVICES => {}
        None => {
            let service = Service {
                need,
                wanted: true,
                claim: Claim::None,
                activity: Activity::Waiting(Wait::Lan),
                down_unreported: false,
                hold: None,
                history: History::default(),
            };
            state
                .services
                .insert(instance.clone(), service, &mut state.deadlines);
            engage(state, turn, &instance);
        }
    }
}

/// How a need that was listed again differs from what it was, as far as a rule cares.
enum Change {
    No,
    Address,
    Module,
}

impl Change {
    fn between(before: &Need, after: &Need) -> Self {
        if before.module != after.module {
            Self::Module
        } else if before.address != after.address {
            Self::Address
        } else {
            Self::No
        }
    }
}

/// Where there is no process yet, the decision to bid was made for another need.
fn review(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let waits = state
        .services
        .get(instance)
        .is_some_and(|service| matches!(service.activity, Activity::Waiting(_)));
    if waits {
        claim::abandon(state, turn, instance);
    }
    engage(state, turn, instance);
}

/// What runs, or failed, under this name is not what is wanted any more.
fn replace(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    match &service.activity {
        Activity::Waiting(_) => review(state, turn, instance),
        Activity::BackingOff { .. } | Activity::Failed { .. } => {
            wait_to_be_asked(state, turn, instance);
        }
        Activity::Probing { .. }
        | Activity::Spawning { .. }
        | Activity::Starting { .. }
        | Activity::Up { .. }
        | Activity::Stopping { .. } => {
            child::stop(
                state,
                turn,
                instance,
                StopReason::ModuleChanged,
                Next::Again,
            );
        }
    }
}

/// A need is no longer listed.
pub(crate) fn withdrawn(
    state: &mut State,
    turn: &mut Turn,
    connection: Connection,
    instance: &InstanceName,
) {
    if state.lan.connection() == Some(connection) {
        gone(state, turn, instance);
    }
}

fn gone(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let known = state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.wanted = false;
            (service.claim.clone(), service.activity.clone())
        });
    let Some((claim, activity)) = known else {
        return;
    };
    match claim {
        // Satisfied by us, or about to be told so: the answer to the response decides.
        Claim::Approved | Claim::Responding { .. } => return,
        // Satisfied by somebody else: its own time ends the child.
        Claim::Superseded { .. } => return,
        Claim::None
        | Claim::Bidding { .. }
        | Claim::Held { .. }
        | Claim::Paused { .. }
        | Claim::CutOff { .. } => {}
    }
    claim::abandon(state, turn, instance);
    match activity {
        Activity::Probing { .. } | Activity::Spawning { .. } | Activity::Starting { .. } => {
            child::stop(state, turn, instance, StopReason::Withdrawn, Next::Again);
        }
        Activity::Up {
            approved: false, ..
        } => {
            child::stop(state, turn, instance, StopReason::Withdrawn, Next::Again);
        }
        // A service that was approved once is not stopped because its need is
        // removed: that is AllexJS's way.
        Activity::Up { .. } | Activity::Stopping { .. } => {}
        Activity::Failed { .. } => wait_to_be_asked(state, turn, instance),
        Activity::Waiting(_) | Activity::BackingOff { .. } => reconsider(state, turn, instance),
    }
}

/// What a wanted service needs next: a bid, for a child that lives; a place in the queue, for none.
pub(crate) fn engage(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    match &service.activity {
        Activity::Waiting(_) => reconsider(state, turn, instance),
        Activity::Probing { .. }
        | Activity::Spawning {
            cancelled: None, ..
        }
        | Activity::Starting { .. }
        | Activity::Up { .. } => {
            if lan::may_bid(state, instance) {
                claim::bid(state, turn, instance);
            }
        }
        // A child that is to end is not announced: the next one will be.
        Activity::Spawning {
            cancelled: Some(_), ..
        }
        | Activity::Stopping { .. }
        | Activity::BackingOff { .. }
        | Activity::Failed { .. } => {}
    }
}

/// Decides anew what a service without a process waits for.
pub(crate) fn reconsider(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    let Activity::Waiting(present) = service.activity else {
        return;
    };
    if service.claim != Claim::None {
        return; // it waits for the LanManager's answer, or for its start
    }
    let next = match waits_for(state, service) {
        Ok(Wait::Bid { .. }) if matches!(present, Wait::Bid { .. }) => return,
        Ok(Wait::Bid { .. }) => Activity::Waiting(Wait::Bid {
            queued: turn.sequence,
        }),
        Ok(Wait::Asked { .. }) if matches!(present, Wait::Asked { .. }) => return,
        Ok(Wait::Asked { .. }) => {
            let forget_at = turn.at.plus(state.settings.forget_after);
            Activity::Waiting(Wait::Asked { forget_at })
        }
        Ok(wait) => Activity::Waiting(wait),
        Err(why) => {
            state
                .services
                .change(instance, &mut state.deadlines, |service| {
                    service.history.last_failure = Some((turn.at, why.clone()));
                });
            Activity::Failed { why }
        }
    };
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.activity = next
        });
}

fn waits_for(state: &State, service: &Service) -> Result<Wait, Failure> {
    let now = state.now;
    if service.hold.is_some() {
        return Ok(Wait::Held);
    }
    if state.shutdown != Shutdown::No {
        return Ok(Wait::Shutdown);
    }
    let Lan::Up { address, .. } = &state.lan else {
        return Ok(Wait::Lan);
    };
    if service.down_unreported {
        return Ok(Wait::DownReport);
    }
    if !service.wanted {
        return Ok(Wait::Asked { forget_at: now });
    }
    if !service.need.is_for(address) {
        return Ok(Wait::OtherMachine);
    }
    if state.settings.launcher(&service.need.module).is_none() {
        return Err(Failure::NoLauncher);
    }
    Ok(Wait::Bid { queued: 0 })
}

/// Nothing that failed before counts any longer.
fn wait_to_be_asked(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.activity = Activity::Waiting(Wait::Lan);
            service.history.failures = 0;
        });
    reconsider(state, turn, instance);
}

/// A service's own deadline has come while it had no process.
pub(crate) fn deadline(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    match &service.activity {
        Activity::Waiting(Wait::Asked { forget_at }) if *forget_at <= turn.at => {
            state.services.remove(instance, &mut state.deadlines);
        }
        Activity::BackingOff { until, .. } if *until <= turn.at => {
            state
                .services
                .change(instance, &mut state.deadlines, |service| {
                    service.activity = Activity::Waiting(Wait::Lan);
                });
            reconsider(state, turn, instance);
        }
        Activity::Waiting(_)
        | Activity::BackingOff { .. }
        | Activity::Failed { .. }
        | Activity::Probing { .. }
        | Activity::Spawning { .. }
        | Activity::Starting { .. }
        | Activity::Up { .. }
        | Activity::Stopping { .. } => {}
    }
}
