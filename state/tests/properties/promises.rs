//! What the rules promise, beyond the invariants of the state itself.

use allexmaster_state::{
    Activity, ChildEffect, InstanceName, Recorded, Service, Signal, State, step,
};

use crate::chaos;
use crate::world::World;

/// The state that the events of a journal lead to.
pub(crate) fn replay(journal: &[Recorded]) -> State {
    journal
        .iter()
        .cloned()
        .fold(State::default(), |state, recorded| step(state, recorded).0)
}

pub(crate) fn replay_equals_life(world: &World) {
    assert_eq!(replay(world.journal()), world.state);
}

pub(crate) fn stored_and_read_back_it_is_the_same(state: &State) {
    let stored = serde_json::to_string(state).expect("a state is always JSON");
    let read: State = serde_json::from_str(&stored).expect("a stored state is readable");
    assert_eq!(&read, state);
}

/// Whether every need that this machine can satisfy is satisfied, and nothing else runs.
pub(crate) fn is_settled(world: &World) -> bool {
    unsatisfied(world).is_none() && unneeded(world).is_none()
}

pub(crate) fn all_needs_are_satisfied_once(world: &World) {
    if let Some((instance, why)) = unsatisfied(world) {
        panic!("{instance} {why}: {:#?}", world.state);
    }
}

pub(crate) fn nothing_unneeded_runs(world: &World) {
    if let Some(instance) = unneeded(world) {
        panic!("{instance} runs, but nobody needs it: {:#?}", world.state);
    }
}

fn unsatisfied(world: &World) -> Option<(InstanceName, &'static str)> {
    let mine = world
        .lan_manager
        .needs
        .values()
        .filter(|need| chaos::can_be_satisfied(need));
    for need in mine {
        let instance = &need.instance;
        let living: Vec<_> = world
            .machine
            .living()
            .filter(|child| child.instance == *instance)
            .collect();
        let why = match (world.lan_manager.services.get(instance), living.as_slice()) {
            (None, _) => "is not in the LanManager's list",
            (Some((_, pid)), [child]) if child.identity.pid == *pid => {
                if is_known_as_approved(&world.state, instance) {
                    continue;
                }
                "is listed, but the rules would not report its end"
            }
            (Some(_), _) => "is listed with a process that is not its only one",
        };
        return Some((instance.clone(), why));
    }
    None
}

/// Whether the claim says so or not (the answer may have been lost): its end will be told.
fn is_known_as_approved(state: &State, instance: &InstanceName) -> bool {
    let service = state.services.get(instance);
    service.is_some_and(|service| matches!(service.activity, Activity::Up { approved: true, .. }))
}

/// A process that nobody needs: not listed, and never approved.
fn unneeded(world: &World) -> Option<InstanceName> {
    world
        .machine
        .living()
        .find(|child| {
            let service = world.state.services.get(&child.instance);
            let process = service.and_then(|service| service.activity.process());
            let known = process.is_some_and(|process| process.identity == child.identity);
            let approved = is_known_as_approved(&world.state, &child.instance);
            !(known && approved)
        })
        .map(|child| child.instance.clone())
}

/// SIGKILL is for those who were told to end, and for those whom nobody knows.
pub(crate) fn nobody_who_serves_is_killed(state: &State, effect: &ChildEffect) {
    if let ChildEffect::Signal {
        incarnation,
        signal: Signal::Kill,
        ..
    } = effect
        && let Some(instance) = state.services.owner(*incarnation)
    {
        let activity = state
            .services
            .get(instance)
            .map(|service| &service.activity);
        assert!(
            matches!(activity, Some(Activity::Stopping { .. })),
            "{instance} is killed without having been told to end"
        );
    }
}

/// The engine is back. What the LanManager and local callers know of the master has not changed,
/// except for services whose children ended meanwhile.
pub(crate) fn the_connection_did_not_notice(before: &State, after: &State) {
    assert_eq!(after.lan, before.lan);
    assert_eq!(after.requests, before.requests);
    assert_eq!(after.master, before.master);
    for (instance, service) in before.services.iter() {
        let now = after
            .services
            .get(instance)
            .expect("no service is forgotten");
        assert_eq!(now.wanted, service.wanted, "{instance}");
        let attempt = |service: &Service| service.activity.attempt().map(|(name, _)| name);
        // One without a child may have got a place, or a port, that another one left.
        if attempt(service).is_some() && attempt(now) == attempt(service) {
            assert_eq!(now.claim, service.claim, "{instance}");
            assert_eq!(now.history.failures, service.history.failures);
        }
    }
}

/// At the end: no process, and the LanManager has heard of every end, or will at the next start.
pub(crate) fn nothing_is_left(world: &World) {
    if let Some(child) = world.machine.living().next() {
        panic!("{} outlives the master", child.instance);
    }
    if world.lan_manager.session.is_none() {
        return; // the next session deletes all rows
    }
    for instance in world.lan_manager.services.keys() {
        let will_be_told = world
            .state
            .services
            .unreported()
            .any(|name| name == instance);
        assert!(will_be_told, "nobody tells that {instance} is down");
    }
}
