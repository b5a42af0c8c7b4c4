//! The start of a run of the master: what was is compared with what is, and all
//! that must be true is asked for again.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::service::{Activity, Next, Process, StopReason};
use crate::state::Master;
use crate::step::Turn;
use crate::survivors::Survivors;
use crate::{
    BootId, ChildEffect, Deadline, Haste, Identity, Incarnation, InstanceName, JournalId, Lan,
    Outcome, Pid, Port, Settings, Shutdown, Signal, State, child, lan, requests, resume,
};

/// The configuration was read.
pub(crate) fn settings_loaded(state: &mut State, turn: &mut Turn, settings: Settings) {
    state.ports.configure(&settings);
    state.settings = settings;
    requests::settings_changed(state, turn);
}

/// The master started.
pub(crate) fn started(
    state: &mut State,
    turn: &mut Turn,
    (journal, boot, pid): (JournalId, BootId, Pid),
    mut found: Survivors,
    resumed: bool,
) {
    let run = Master {
        journal,
        boot,
        pid,
        started: turn.at,
    };
    if resumed && state.master.as_ref().is_some_and(|past| past.is_same(&run)) {
        resume::resume(state, turn, found);
        return;
    }
    let boot = run.boot.clone();
    let before = state.master.replace(run);
    let same_boot = before.is_none_or(|before| before.boot == boot);
    state.shutdown = Shutdown::No;
    state.haste = Haste::default();
    state.deadlines.clear(&Deadline::Drain);
    requests::forget_all(state);
    let cut = lan::cut(state, turn.at, 0);
    state.lan = Lan::Away {
        since: turn.at,
        failures: 0,
        reason: None,
    };
    lan::lose_claims(state, turn, cut);

    for instance in state.services.names() {
        let Some(service) = state.services.get(&instance) else {
            continue;
        };
        let Some((incarnation, _)) = service.activity.attempt() else {
            continue;
        };
        if let Some(identity) = found.child(incarnation, service.activity.process()) {
            adopt(state, turn, &instance, incarnation, identity);
        } else {
            let outcome = found.outcome(incarnation);
            lose(state, turn, &instance, incarnation, outcome, same_boot);
        }
    }
    found.end_strays(turn, state.settings.stop_grace);
    await_free_ports(state, turn);
    lan::dial(state, turn);
}

/// Asks to be told when other programs leave the ports that they were found on.
pub(crate) fn await_free_ports(state: &State, turn: &mut Turn) {
    let ports: Vec<Port> = state.ports.foreign().map(|(port, _)| port).collect();
    if !ports.is_empty() {
        turn.effect(ChildEffect::AwaitFree { ports });
    }
}

/// A child of an earlier run lives.
pub(crate) fn adopt(
    state: &mut State,
    turn: &mut Turn,
    instance: &InstanceName,
    incarnation: Incarnation,
    identity: Identity,
) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    turn.effect(ChildEffect::Adopt {
        incarnation,
        instance: instance.clone(),
        identity: identity.clone(),
    });
    match service.activity.clone() {
        // It was forked, and the crash came before that was recorded.
        Activity::Probing { ports, .. }
        | Activity::Spawning {
            ports,
            cancelled: None,
            ..
        } => {
            let process = Process {
                incarnation,
                identity,
                ports,
                spawned: turn.at,
                launcher: None,
            };
            child::begin(state, turn, instance, process);
        }
        Activity::Spawning {
            ports,
            cancelled: Some((why, next)),
            ..
        } => {
            let process = Process {
                incarnation,
                identity,
                ports,
                spawned: turn.at,
                launcher: None,
            };
            child::begin(state, turn, instance, process);
            child::stop(state, turn, instance, why, next);
        }
        Activity::Starting { process, .. } => child::begin(state, turn, instance, process),
        Activity::Up { .. } => child::publish(state, turn, instance),
        Activity::Stopping {
            process, kill_at, ..
        } => {
            let signal = if kill_at.is_some() {
                Signal::Terminate
            } else {
                Signal::Kill
            };
            turn.effect(ChildEffect::Signal {
                incarnation,
                identity: process.identity,
                signal,
            });
        }
        Activity::Waiting(_) | Activity::BackingOff { .. } | Activity::Failed { .. } => {}
    }
}

/// A child of an earlier run is gone, or never was.
fn lose(
    state: &mut State,
    turn: &mut Turn,
    instance: &InstanceName,
    incarnation: Incarnation,
    outcome: Option<Outcome>,
    same_boot: bool,
) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    match service.activity {
        // Nothing was forked.
        Activity::Probing { .. } => {
            child::stop(state, turn, instance, StopReason::Withdrawn, Next::Again);
        }
        // Whether it was forked is unknown, but it is not there: no failure of its own.
        Activity::Spawning { ports, .. } => {
            let until = turn.at.plus(state.settings.port_cooldown);
            for port in ports.given() {
                state.ports.block(port, until, &mut state.deadlines);
            }
            child::rest(state, turn, instance);
        }
        Activity::Starting { .. } | Activity::Up { .. } | Activity::Stopping { .. } => {
            let why = if same_boot {
                "while no master was running"
            } else {
                "the machine was restarted"
            };
            let outcome = outcome.unwrap_or_else(|| Outcome::Lost(Arc::from(why)));
            child::exited(state, turn, incarnation, outcome);
        }
        Activity::Waiting(_) | Activity::BackingOff { .. } | Activity::Failed { .. } => {}
    }
}
