//! The life of a child: ports, spawn, ready, end.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::claim::{record, served};
use crate::restart::Decision;
use crate::service::{Activity, Next, Process, StopReason, Trouble, Wait};
use crate::step::Turn;
use crate::{
    Claim, Effect, Identity, Incarnation, InstanceName, Outcome, PerProtocol, Port, Protocol,
    Signal, SpawnOrder, State, claim, needs,
};

/// Starts a service whose bid is won: leases its ports and has them tested.
pub(crate) fn start(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    let wanted = service.need.ports;
    let incarnation = turn.incarnation();
    match lease(state, incarnation, &wanted) {
        Ok(ports) => {
            state
                .services
                .change(instance, &mut state.deadlines, |service| {
                    service.activity = Activity::Probing { incarnation, ports };
                });
            let ports = ports.iter().map(|(_, port)| *port).collect();
            turn.effect(Effect::ProbePorts { incarnation, ports });
        }
        Err(shortage) => {
            claim::abandon(state, turn, instance);
            back_off(state, turn, instance, shortage, false);
        }
    }
}

/// Leases one port of each protocol, or none at all.
fn lease(
    state: &mut State,
    incarnation: Incarnation,
    wanted: &PerProtocol<Option<Port>>,
) -> Result<PerProtocol<Port>, Trouble> {
    let mut leased = PerProtocol {
        tcp: Port(0),
        http: Port(0),
        ws: Port(0),
    };
    let mut taken = Vec::new();
    for protocol in Protocol::ALL {
        let port = match *wanted.get(protocol) {
            Some(port) => state
                .ports
                .take_exactly(port, incarnation, &mut state.deadlines)
                .then_some(port)
                .ok_or(Trouble::PortTaken(port)),
            None => state
                .ports
                .take(protocol, incarnation)
                .ok_or(Trouble::RangeFull(protocol)),
        };
        match port {
            Ok(port) => {
                *leased.get_mut(protocol) = port;
                taken.push(port);
            }
            Err(shortage) => {
                for port in taken {
                    state.ports.give_back(port);
                }
                return Err(shortage);
            }
        }
    }
    Ok(leased)
}

/// The ports were tested.
pub(crate) fn probed(state: &mut State, turn: &mut Turn, incarnation: Incarnation, taken: &[Port]) {
    let Some(instance) = state.services.owner(incarnation).cloned() else {
        return;
    };
    let Some(service) = state.services.get(&instance) else {
        return;
    };
    let Activity::Probing { ports, .. } = service.activity else {
        return;
    };
    let need = Arc::clone(&service.need);
    if taken.is_empty() {
        state
            .services
            .change(&instance, &mut state.deadlines, |service| {
                service.activity = Activity::Spawning {
                    incarnation,
                    ports,
                    cancelled: None,
                };
                service.history.spawned = service.history.spawned.saturating_add(1);
            });
        turn.effect(Effect::Spawn(SpawnOrder {
            incarnation,
            need,
            ports,
        }));
        return;
    }
    match lease_others(state, turn, incarnation, ports, &need.ports, taken) {
        // A report on ports that were exchanged before: that on the present ones is to come.
        Ok((_, fresh)) if fresh.is_empty() => {}
        Ok((ports, fresh)) => {
            state
                .services
                .change(&instance, &mut state.deadlines, |service| {
                    service.activity = Activity::Probing { incarnation, ports };
                });
            turn.effect(Effect::ProbePorts {
                incarnation,
                ports: fresh,
            });
        }
        Err((ports, shortage)) => {
            for (_, port) in ports.iter() {
                state.ports.give_back(*port);
            }
            claim::abandon(state, turn, &instance);
            back_off(state, turn, &instance, shortage, false);
        }
    }
}

/// The leases of an attempt after some were exchanged, and those that are new.
type Exchanged = (PerProtocol<Port>, Vec<Port>);

/// Exchanges the leases of ports that somebody else holds.
fn lease_others(
    state: &mut State,
    turn: &Turn,
    incarnation: Incarnation,
    mut ports: PerProtocol<Port>,
    wanted: &PerProtocol<Option<Port>>,
    taken: &[Port],
) -> Result<Exchanged, (PerProtocol<Port>, Trouble)> {
    let until = turn.at.plus(state.settings.port_cooldown);
    let mut fresh = Vec::new();
    for protocol in Protocol::ALL {
        let port = *ports.get(protocol);
        if !taken.contains(&port) {
            continue;
        }
        state.ports.block(port, until, &mut state.deadlines);
        if let Some(prescribed) = *wanted.get(protocol) {
            return Err((ports, Trouble::PortTaken(prescribed)));
        }
        let Some(other) = state.ports.take(protocol, incarnation) else {
            return Err((ports, Trouble::RangeFull(protocol)));
        };
        *ports.get_mut(protocol) = other;
        fresh.push(other);
    }
    Ok((ports, fresh))
}

/// A child was forked.
pub(crate) fn spawned(
    state: &mut State,
    turn: &mut Turn,
    incarnation: Incarnation,
    identity: Identity,
) {
    let Some(instance) = state.services.owner(incarnation).cloned() else {
        // Nobody waits for it: it would be lost.
        turn.effect(Effect::Signal {
            incarnation,
            identity,
            signal: Signal::Kill,
        });
        return;
    };
    let Some(service) = state.services.get(&instance) else {
        return;
    };
    let Activity::Spawning {
        ports, cancelled, ..
    } = &service.activity
    else {
        return;
    };
    let (ports, cancelled) = (*ports, cancelled.clone());
    let process = Process {
        incarnation,
        identity,
        ports,
        spawned: turn.at,
    };
    begin(state, turn, &instance, process);
    if let Some((why, next)) = cancelled {
        stop(state, turn, &instance, why, next);
    }
}

/// Waits for the ports of a process to answer.
pub(crate) fn begin(state: &mut State, turn: &mut Turn, instance: &InstanceName, process: Process) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    let ports = served(state, service, &process.ports);
    let ports = ports.iter().filter_map(|(_, port)| *port).collect();
    let incarnation = process.incarnation;
    let ready_by = turn.at.plus(state.settings.ready_timeout);
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.activity = Activity::Starting { process, ready_by };
        });
    turn.effect(Effect::AwaitReady { incarnation, ports });
}

/// A child could not be started.
pub(crate) fn not_spawned(
    state: &mut State,
    turn: &mut Turn,
    incarnation: Incarnation,
    reason: Arc<str>,
) {
    let Some(instance) = state.services.owner(incarnation).cloned() else {
        return;
    };
    let Some(service) = state.services.get(&instance) else {
        return;
    };
    let Activity::Spawning {
        ports, cancelled, ..
    } = &service.activity
    else {
        return;
    };
    let (ports, cancelled) = (*ports, cancelled.is_some());
    for (_, port) in ports.iter() {
        state.ports.give_back(*port);
    }
    claim::abandon(state, turn, &instance);
    if cancelled {
        rest(state, turn, &instance);
    } else {
        back_off(state, turn, &instance, Trouble::NotSpawned(reason), false);
    }
}

/// A child's ports answer.
pub(crate) fn ready(state: &mut State, turn: &mut Turn, incarnation: Incarnation) {
    let Some(instance) = state.services.owner(incarnation).cloned() else {
        return;
    };
    let moved = state
        .services
        .change(&instance, &mut state.deadlines, |service| {
            let Activity::Starting { process, .. } = &service.activity else {
                return false;
            };
            let process = process.clone();
            let since = turn.at;
            service.activity = Activity::Up {
                process,
                since,
                approved: false,
                unreachable: 0,
            };
            true
        });
    if moved != Some(true) {
        return;
    }
    publish(state, turn, &instance);
    match state.services.get(&instance).map(|service| &service.claim) {
        Some(Claim::Held { .. }) => claim::respond(state, turn, &instance),
        Some(
            Claim::None
            | Claim::Bidding { .. }
            | Claim::Responding { .. }
            | Claim::Approved
            | Claim::Paused { .. },
        )
        | None => {}
    }
}

/// Shows a running child to local tools.
pub(crate) fn publish(state: &State, turn: &mut Turn, instance: &InstanceName) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    if let Activity::Up { process, .. } = &service.activity {
        turn.effect(Effect::Publish {
            record: record(state, service, process),
        });
    }
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
    let Some((_, ports)) = activity.attempt() else {
        return;
    };
    let until = turn.at.plus(state.settings.port_cooldown);
    for (_, port) in ports.iter() {
        state.ports.block(*port, until, &mut state.deadlines);
    }
    claim::abandon(state, turn, &instance);
    let trouble = Trouble::Ended(outcome);
    match activity {
        Activity::Up {
            since, approved, ..
        } => {
            turn.effect(Effect::Retract {
                instance: instance.clone(),
            });
            if turn.at.since(since) >= state.settings.restart.stable_after {
                state
                    .services
                    .change(&instance, &mut state.deadlines, |service| {
                        service.history.failures = 0;
                    });
            }
            report_down(state, turn, &instance, approved || listed);
            back_off(state, turn, &instance, trouble, approved);
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
                    back_off(state, turn, &instance, Trouble::Refused(why), false);
                }
                (Next::BackOff, StopReason::NotReady) => {
                    back_off(state, turn, &instance, Trouble::NotReady, false);
                }
                (
                    Next::BackOff,
                    StopReason::Withdrawn
                    | StopReason::Restart
                    | StopReason::ModuleChanged
                    | StopReason::Shutdown,
                ) => back_off(state, turn, &instance, trouble, false),
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
        | Activity::Failed { .. } => back_off(state, turn, &instance, trouble, false),
    }
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
        turn.effect(Effect::ReportDown {
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
    let activity = service.activity.clone();
    if activity.attempt().is_some() {
        claim::abandon(state, turn, instance);
    }
    match activity {
        Activity::Probing { ports, .. } => {
            for (_, port) in ports.iter() {
                state.ports.give_back(*port);
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
            turn.effect(Effect::Retract {
                instance: instance.clone(),
            });
            let approved = approved || listed;
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
    let kill_at = Some(turn.at.plus(state.settings.stop_grace));
    turn.effect(Effect::Signal {
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
        turn.effect(Effect::Signal {
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

/// There is no process and something went wrong: a pause, by the restart policy.
pub(crate) fn back_off(
    state: &mut State,
    turn: &mut Turn,
    instance: &InstanceName,
    trouble: Trouble,
    approved: bool,
) {
    let policy = state.settings.restart;
    let port_retry = state.settings.port_retry;
    let (at, noise) = (turn.at, turn.noise);
    let pause = state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.history.last_trouble = Some((at, trouble.clone()));
            let decision = if trouble.is_port_shortage() {
                Decision::After(port_retry)
            } else {
                service.history.failures = service.history.failures.saturating_add(1);
                policy.decide(service.history.failures, approved, noise)
            };
            match decision {
                Decision::After(0) => service.activity = Activity::Waiting(Wait::Lan),
                Decision::After(pause) => {
                    service.activity = Activity::BackingOff {
                        until: at.plus(pause),
                        why: trouble,
                    };
                }
                Decision::GiveUp => service.activity = Activity::Failed { why: trouble },
            }
            decision
        });
    if pause == Some(Decision::After(0)) {
        needs::reconsider(state, turn, instance);
    }
}
