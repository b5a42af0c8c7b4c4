//! The end of a child: by itself, or because it is told to; and what comes after it.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::restart::Decision;
use crate::service::{Activity, ENDS_REMEMBERED, End, Failure, Next, Process, StopReason, Wait};
use crate::status::outcome_text;
use crate::step::Turn;
use crate::{
    ChildEffect, Descendant, Incarnation, InstanceName, LanEffect, Outcome, SessionEffect, Signal,
    State, Timestamp, claim, needs,
};

/// So long after the master's start, the end of a child that it found alive may still be that of
/// the master before: a child of AllexJS ends within 250 ms (more on a busy machine) of its master.
const MOURNING: u64 = 5_000;

/// A child lives, but serves nobody: it is stopped, and started anew by the restart policy.
pub(crate) fn failed(
    state: &mut State,
    turn: &mut Turn,
    incarnation: Incarnation,
    reason: Arc<str>,
) {
    let Some(instance) = state.services.owner(incarnation).cloned() else {
        return;
    };
    let stable_after = state.settings.restart.stable_after;
    let at = turn.at;
    let serves = state
        .services
        .change(&instance, &mut state.deadlines, |service| {
            match &service.activity {
                Activity::Up { since, .. } => {
                    if at.since(*since) >= stable_after {
                        service.history.failures = 0;
                    }
                    true
                }
                Activity::Starting { .. } => true,
                Activity::Waiting(_)
                | Activity::BackingOff { .. }
                | Activity::Failed { .. }
                | Activity::Probing { .. }
                | Activity::Spawning { .. }
                | Activity::Stopping { .. } => false,
            }
        });
    if serves == Some(true) {
        let why = StopReason::Failed(reason);
        stop(state, turn, &instance, why, Next::BackOff);
    }
}

/// The process of a child has ended, and others that it had started live on. They are ended too, with
/// a grace, before anything is started in its place: they may hold its ports, or do its work.
pub(crate) fn left_descendants(
    state: &mut State,
    turn: &mut Turn,
    incarnation: Incarnation,
    outcome: &Outcome,
    left: &[Descendant],
) {
    let Some(instance) = state.services.owner(incarnation).cloned() else {
        for descendant in left {
            turn.effect(ChildEffect::Signal {
                incarnation,
                identity: descendant.identity.clone(),
                signal: Signal::Kill,
            });
        }
        return;
    };
    let Some(service) = state.services.get(&instance) else {
        return;
    };
    match &service.activity {
        Activity::Starting { process, .. } | Activity::Up { process, .. } => {
            if is_nobodys_failure(state, turn, process, outcome) {
                let why = StopReason::Failed(left_text(outcome, left));
                stop(state, turn, &instance, why, Next::Again);
            } else {
                failed(state, turn, incarnation, left_text(outcome, left));
            }
        }
        Activity::Stopping { .. } => see_off(state, turn, &instance, left),
        Activity::Waiting(_)
        | Activity::BackingOff { .. }
        | Activity::Failed { .. }
        | Activity::Probing { .. }
        | Activity::Spawning { .. } => {}
    }
}

/// Tells those that a stopping child has left to end, too. One that had left its group hears of the
/// stop only now, so its grace begins now; except where all has to be gone by a time, because another
/// machine may start the service then.
fn see_off(state: &mut State, turn: &mut Turn, instance: &InstanceName, left: &[Descendant]) {
    let urgent = state.haste.urgent;
    let fresh = left.iter().any(|descendant| !descendant.in_group);
    let until = turn.at.plus(state.settings.stop_grace);
    let order = state
        .services
        .change(instance, &mut state.deadlines, |service| {
            let Activity::Stopping {
                process,
                kill_at,
                why,
                ..
            } = &mut service.activity
            else {
                return None;
            };
            if urgent {
                *kill_at = None;
            } else if fresh && *why != StopReason::CutOff {
                *kill_at = Some(until);
            }
            // Those of its group have had the signal that it had.
            let signal = match kill_at {
                Some(_) => Signal::Terminate,
                None => Signal::Kill,
            };
            Some((process.incarnation, process.identity.clone(), signal))
        });
    if let Some(Some((incarnation, identity, signal))) = order {
        turn.effect(ChildEffect::Signal {
            incarnation,
            identity,
            signal,
        });
    }
}

/// Why a child that has ended has failed, where others that it had started live on.
fn left_text(outcome: &Outcome, left: &[Descendant]) -> Arc<str> {
    let names = || {
        let pids = left.iter().map(|one| one.identity.pid.to_string());
        pids.collect::<Vec<_>>().join(", ")
    };
    let listener = left
        .iter()
        .find_map(|one| Some((one.identity.pid, one.listens.first()?)));
    let text = match (outcome, listener) {
        (Outcome::Exited(0), Some((pid, address))) => format!(
            "it put itself into the background (process {pid} listens on {address}): start it in the foreground"
        ),
        (Outcome::Exited(0), None) => format!(
            "it put itself into the background (process {} lives on): start it in the foreground",
            names()
        ),
        (Outcome::Exited(_) | Outcome::Signaled(_) | Outcome::Lost(_), _) => format!(
            "its child {}; what it had started lived on, and was ended: {}",
            outcome_text(outcome),
            names()
        ),
    };
    text.into()
}

/// A child ended.
pub(crate) fn exited(
    state: &mut State,
    turn: &mut Turn,
    incarnation: Incarnation,
    outcome: Outcome,
) {
    let Some(instance) = state.services.owner(incarnation).cloned() else {
        return;
    };
    let Some(service) = state.services.get(&instance) else {
        return;
    };
    let activity = service.activity.clone();
    let listed = service.claim.may_be_listed();
    let is_superseded = service.claim.is_superseded();
    let Some((_, ports)) = activity.attempt() else {
        return;
    };
    let until = turn.at.plus(state.settings.port_cooldown);
    for port in ports.given() {
        state.ports.block(port, until, &mut state.deadlines);
    }
    remember_end(state, turn, &instance, &outcome);
    claim::abandon(state, turn, &instance);
    let failure = Failure::Ended(outcome.clone());
    match activity {
        Activity::Up {
            process,
            since,
            approved,
            ..
        } => {
            turn.effect(SessionEffect::Retract {
                instance: instance.clone(),
            });
            if turn.at.since(since) >= state.settings.restart.stable_after {
                state
                    .services
                    .change(&instance, &mut state.deadlines, |service| {
                        service.history.failures = 0;
                    });
            }
            report_down(
                state,
                turn,
                &instance,
                (approved || listed) && !is_superseded,
            );
            if is_nobodys_failure(state, turn, &process, &outcome) {
                end_without_failure(state, turn, &instance, failure);
            } else {
                back_off(state, turn, &instance, failure, approved);
            }
        }
        Activity::Stopping {
            why,
            next,
            approved,
            ..
        } => {
            report_down(state, turn, &instance, approved);
            match (next, why) {
                (Next::Again, _) => rest(state, turn, &instance),
                (Next::BackOff, StopReason::Refused(why)) => {
                    back_off(state, turn, &instance, Failure::Refused(why), false);
                }
                (Next::BackOff, StopReason::Failed(why)) => {
                    back_off(state, turn, &instance, Failure::Failed(why), approved);
                }
                (Next::BackOff, StopReason::NotReady) => {
                    back_off(state, turn, &instance, Failure::NotReady, false);
                }
                (
                    Next::BackOff,
                    StopReason::Withdrawn
                    | StopReason::Restart
                    | StopReason::Held
                    | StopReason::ModuleChanged
                    | StopReason::Superseded(_)
                    | StopReason::CutOff
                    | StopReason::Shutdown,
                ) => back_off(state, turn, &instance, failure, false),
            }
        }
        Activity::Spawning {
            cancelled: Some(_), ..
        } => rest(state, turn, &instance),
        Activity::Probing { .. }
        | Activity::Spawning { .. }
        | Activity::Starting { .. }
        | Activity::Waiting(_)
        | Activity::BackingOff { .. }
        | Activity::Failed { .. } => back_off(state, turn, &instance, failure, false),
    }
}

/// Keeps the last ends, for people. A child that ended before it was recorded has no number to name.
fn remember_end(state: &mut State, turn: &Turn, instance: &InstanceName, outcome: &Outcome) {
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            let Some(process) = service.activity.process() else {
                return;
            };
            let ends = &mut service.history.ends;
            if ends.len() >= ENDS_REMEMBERED {
                ends.remove(0);
            }
            ends.push(End {
                at: turn.at,
                pid: process.identity.pid,
                outcome: outcome.clone(),
                event: turn.sequence,
            });
        });
}

/// The LanManager must hear that a service which it may list is down: now, or when it is back.
fn report_down(state: &mut State, turn: &mut Turn, instance: &InstanceName, listed: bool) {
    if !listed {
        return;
    }
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.down_unreported = true;
        });
    if let Some(connection) = state.lan.connection() {
        turn.effect(LanEffect::ReportDown {
            connection,
            instance: instance.clone(),
        });
    }
}

/// Tells a child to end, or sees to it that there will be none; its bid is given up.
pub(crate) fn stop(
    state: &mut State,
    turn: &mut Turn,
    instance: &InstanceName,
    why: StopReason,
    next: Next,
) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    let listed = service.claim.may_be_listed();
    // The LanManager lists the service somewhere else, where it runs on: its end is not told.
    let is_superseded = service.claim.is_superseded();
    let activity = service.activity.clone();
    if activity.attempt().is_some() {
        claim::abandon(state, turn, instance);
    }
    match activity {
        Activity::Probing { ports, .. } => {
            for port in ports.given() {
                state.ports.give_back(port);
            }
            rest(state, turn, instance);
        }
        Activity::Spawning {
            incarnation, ports, ..
        } => {
            let cancelled = Some((why, next));
            state
                .services
                .change(instance, &mut state.deadlines, |service| {
                    service.activity = Activity::Spawning {
                        incarnation,
                        ports,
                        cancelled,
                    };
                });
        }
        Activity::Starting { process, .. } => {
            terminate(state, turn, instance, process, why, next, false)
        }
        Activity::Up {
            process, approved, ..
        } => {
            turn.effect(SessionEffect::Retract {
                instance: instance.clone(),
            });
            let approved = (approved || listed) && !is_superseded;
            terminate(state, turn, instance, process, why, next, approved);
        }
        Activity::Waiting(_)
        | Activity::BackingOff { .. }
        | Activity::Failed { .. }
        | Activity::Stopping { .. } => {}
    }
}

fn terminate(
    state: &mut State,
    turn: &mut Turn,
    instance: &InstanceName,
    process: Process,
    why: StopReason,
    next: Next,
    approved: bool,
) {
    let grace = if state.haste.urgent {
        0
    } else {
        state.settings.stop_grace
    };
    let kill_at = Some(turn.at.plus(grace));
    turn.effect(ChildEffect::Signal {
        incarnation: process.incarnation,
        identity: process.identity.clone(),
        signal: Signal::Terminate,
    });
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.activity = Activity::Stopping {
                process,
                kill_at,
                why,
                next,
                approved,
            };
        });
}

/// A child that has been told to end has no longer than until then.
pub(crate) fn hurry(state: &mut State, instance: &InstanceName, gone_by: Timestamp) {
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            if let Activity::Stopping {
                kill_at: Some(at), ..
            } = &mut service.activity
            {
                *at = gone_by.min(*at);
            }
        });
}

/// Kills a child that has been told to end.
pub(crate) fn kill(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let order = state
        .services
        .change(instance, &mut state.deadlines, |service| {
            let Activity::Stopping {
                process, kill_at, ..
            } = &mut service.activity
            else {
                return None;
            };
            *kill_at = None;
            Some((process.incarnation, process.identity.clone()))
        });
    if let Some(Some((incarnation, identity))) = order {
        turn.effect(ChildEffect::Signal {
            incarnation,
            identity,
            signal: Signal::Kill,
        });
    }
}

/// The time of a service with a process has come.
pub(crate) fn deadline(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    match &service.activity {
        Activity::Starting { ready_by, .. } if *ready_by <= turn.at => {
            stop(state, turn, instance, StopReason::NotReady, Next::BackOff);
        }
        Activity::Stopping {
            kill_at: Some(at), ..
        } if *at <= turn.at => {
            kill(state, turn, instance);
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

/// There is no process and nothing went wrong: the service waits for its turn.
pub(crate) fn rest(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.activity = Activity::Waiting(Wait::Lan);
        });
    needs::reconsider(state, turn, instance);
}

/// Whether the end of a child that was up is no failure of its own. A machine that restarts ends
/// all, which nobody sees; a child of AllexJS ends with its master, which the next master sees where
/// it is there soon enough.
fn is_nobodys_failure(state: &State, turn: &Turn, process: &Process, outcome: &Outcome) -> bool {
    let started = state.master.as_ref().map(|master| master.started);
    let mourns = started
        .is_some_and(|started| process.spawned < started && turn.at.since(started) < MOURNING);
    match outcome {
        Outcome::Lost(_) => true,
        Outcome::Exited(code) => *code == 0 && mourns,
        Outcome::Signaled(_) => false,
    }
}

/// A child that was up has ended, and that says nothing of how the next will fare.
fn end_without_failure(
    state: &mut State,
    turn: &mut Turn,
    instance: &InstanceName,
    failure: Failure,
) {
    let at = turn.at;
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.history.last_failure = Some((at, failure));
        });
    rest(state, turn, instance);
}

/// There is no process and something went wrong: a pause, by the restart policy.
pub(crate) fn back_off(
    state: &mut State,
    turn: &mut Turn,
    instance: &InstanceName,
    failure: Failure,
    approved: bool,
) {
    let policy = state.settings.restart;
    let outside = state
        .services
        .get(instance)
        .map(|service| claim::pause_after_failure(state, service))
        .unwrap_or_default();
    let (at, entropy) = (turn.at, turn.entropy);
    let pause = state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.history.last_failure = Some((at, failure.clone()));
            let decision = if failure.is_outside() {
                Decision::After(outside)
            } else {
                service.history.failures = service.history.failures.saturating_add(1);
                policy.decide(service.history.failures, approved, entropy)
            };
            match decision {
                Decision::After(0) => service.activity = Activity::Waiting(Wait::Lan),
                Decision::After(pause) => {
                    service.activity = Activity::BackingOff {
                        until: at.plus(pause),
                        why: failure,
                    };
                }
                Decision::GiveUp => service.activity = Activity::Failed { why: failure },
            }
            decision
        });
    if pause == Some(Decision::After(0)) {
        needs::reconsider(state, turn, instance);
    }
}
