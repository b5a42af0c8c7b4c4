//! The return of a master whose connections outlived it. Whoever holds them takes every effect
//! toward them exactly once, so nothing of that is repeated here: the LanManager's word, the
//! claims and the calls stay as they are. The drivers of the children are new, and what was on its
//! way to or from them is lost: they are asked again.

use alloc::sync::Arc;

use crate::service::Activity;
use crate::step::Turn;
use crate::survivors::Survivors;
use crate::{
    ChildEffect, Effect, Identity, Incarnation, InstanceName, Outcome, PerProtocol, Port, Shutdown,
    State, boot, child,
};

/// The deciding part of the master is back.
pub(crate) fn resume(state: &mut State, turn: &mut Turn, mut found: Survivors) {
    for instance in state.services.names() {
        let Some(service) = state.services.get(&instance) else {
            continue;
        };
        let Some((incarnation, _)) = service.activity.attempt() else {
            continue;
        };
        let recorded = service.activity.process();
        if let Some(outcome) = found.ended(incarnation, recorded) {
            miss(state, turn, &instance, incarnation, Some(outcome));
        } else if let Some(identity) = found.child(incarnation, recorded) {
            keep(state, turn, &instance, incarnation, identity);
        } else {
            miss(state, turn, &instance, incarnation, None);
        }
    }
    found.end_strays(turn, state.settings.stop_grace);
    boot::await_free_ports(state, turn);
    // All was done, and the program was killed on its way out.
    if state.shutdown == Shutdown::Done {
        turn.effect(Effect::Exit);
    }
}

/// A child lives: it is looked after again, and what is known of it stays.
fn keep(
    state: &mut State,
    turn: &mut Turn,
    instance: &InstanceName,
    incarnation: Incarnation,
    identity: Identity,
) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    match &service.activity {
        Activity::Starting { process, .. } => {
            let process = process.clone();
            look_after(turn, instance, incarnation, identity);
            child::await_ready(state, turn, instance, &process);
        }
        Activity::Up { .. } => look_after(turn, instance, incarnation, identity),
        // What was forked before that could be recorded goes on, and what was told to end is
        // told again, as after any start.
        Activity::Probing { .. }
        | Activity::Spawning { .. }
        | Activity::Stopping { .. }
        | Activity::Waiting(_)
        | Activity::BackingOff { .. }
        | Activity::Failed { .. } => boot::adopt(state, turn, instance, incarnation, identity),
    }
}

fn look_after(
    turn: &mut Turn,
    instance: &InstanceName,
    incarnation: Incarnation,
    identity: Identity,
) {
    turn.effect(ChildEffect::Adopt {
        incarnation,
        instance: instance.clone(),
        identity,
    });
}

/// There is no child: it ended meanwhile, or never was.
fn miss(
    state: &mut State,
    turn: &mut Turn,
    instance: &InstanceName,
    incarnation: Incarnation,
    outcome: Option<Outcome>,
) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    match (&service.activity, outcome) {
        (Activity::Probing { ports, .. }, _) => {
            let ports = *ports;
            probe(state, turn, instance, incarnation, ports);
        }
        // Nobody bears the name and none can appear any more, so a second child of the attempt
        // would not live beside a first. But one may have lived for a moment, unseen, and have
        // left somebody on its ports: they are tested again before it is forked.
        (
            Activity::Spawning {
                ports,
                cancelled: None,
                ..
            },
            None,
        ) => {
            let ports = *ports;
            probe(state, turn, instance, incarnation, ports);
        }
        // It was forked, and ended before either was recorded.
        (Activity::Spawning { .. }, Some(outcome)) => {
            state
                .services
                .change(instance, &mut state.deadlines, |service| {
                    service.history.spawned = service.history.spawned.saturating_add(1);
                });
            child::exited(state, turn, incarnation, outcome);
        }
        (
            Activity::Spawning {
                cancelled: Some(_), ..
            }
            | Activity::Starting { .. }
            | Activity::Up { .. }
            | Activity::Stopping { .. },
            outcome,
        ) => {
            let unseen = || Outcome::Lost(Arc::from("while the master was being started again"));
            child::exited(state, turn, incarnation, outcome.unwrap_or_else(unseen));
        }
        (Activity::Waiting(_) | Activity::BackingOff { .. } | Activity::Failed { .. }, _) => {}
    }
}

/// Has all ports of an attempt tested; those that were exchanged before may be among them.
fn probe(
    state: &mut State,
    turn: &mut Turn,
    instance: &InstanceName,
    incarnation: Incarnation,
    ports: PerProtocol<Option<Port>>,
) {
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.activity = Activity::Probing { incarnation, ports };
        });
    let ports = ports.given().collect();
    turn.effect(ChildEffect::ProbePorts { incarnation, ports });
}
