//! The life of a child: ports, spawn, ready. Its end stands in [`crate::ending`].

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::claim::{from_ranges, record, served};
use crate::service::{Activity, Failure, Lacking, Process};
use crate::step::Turn;
use crate::{
    ChildEffect, Claim, Holder, Identity, Incarnation, InstanceName, Launcher, MissingPackage,
    PerProtocol, Port, Protocol, SessionEffect, Signal, SpawnOrder, State, claim, install,
};

pub(crate) use crate::ending::{
    back_off, deadline, exited, failed, hurry, kill, left_descendants, rest, stop,
};

/// Starts a service whose bid is won: leases its ports and has them tested.
pub(crate) fn start(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    let wanted = service.need.ports;
    let takes = from_ranges(state, service);
    let incarnation = turn.incarnation();
    match lease(state, incarnation, &wanted, &takes) {
        Ok(ports) => {
            state
                .services
                .change(instance, &mut state.deadlines, |service| {
                    service.activity = Activity::Probing { incarnation, ports };
                });
            let ports = ports.given().collect();
            turn.effect(ChildEffect::ProbePorts { incarnation, ports });
        }
        Err(lacking) => no_port(state, turn, instance, lacking),
    }
}

/// There is no port for a child: its bid is given up, so that another machine may win the need.
fn no_port(state: &mut State, turn: &mut Turn, instance: &InstanceName, lacking: Lacking) {
    claim::abandon(state, turn, instance);
    if state.settings.bids_with_care() {
        claim::wait_for_port(state, turn, instance, lacking);
        return;
    }
    let shortage = match lacking {
        Lacking::Range(protocol) => Failure::RangeFull(protocol),
        Lacking::Port(port) => Failure::PortTaken(port),
    };
    back_off(state, turn, instance, shortage, false);
}

/// Leases the ports that are prescribed, and one of each range that is used; or none at all.
fn lease(
    state: &mut State,
    incarnation: Incarnation,
    wanted: &PerProtocol<Option<Port>>,
    takes: &PerProtocol<bool>,
) -> Result<PerProtocol<Option<Port>>, Lacking> {
    let mut leased = PerProtocol::default();
    for protocol in Protocol::ALL {
        let port = match *wanted.get(protocol) {
            Some(port) => state
                .ports
                .take_exactly(port, incarnation, &mut state.deadlines)
                .then_some(port)
                .ok_or(Lacking::Port(port)),
            None if *takes.get(protocol) => state
                .ports
                .take(protocol, incarnation)
                .ok_or(Lacking::Range(protocol)),
            None => continue,
        };
        match port {
            Ok(port) => *leased.get_mut(protocol) = Some(port),
            Err(lacking) => {
                for port in leased.given() {
                    state.ports.give_back(port);
                }
                return Err(lacking);
            }
        }
    }
    Ok(leased)
}

/// The ports were tested.
pub(crate) fn probed(
    state: &mut State,
    turn: &mut Turn,
    incarnation: Incarnation,
    taken: &[Port],
    holders: &[(Port, Holder)],
) {
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
            });
        turn.effect(ChildEffect::Spawn(SpawnOrder {
            incarnation,
            need,
            ports,
        }));
        return;
    }
    let taken: Vec<(Port, Option<Holder>)> = taken
        .iter()
        .map(|port| {
            let holder = holders.iter().find(|(held, _)| held == port);
            (*port, holder.map(|(_, holder)| holder.clone()))
        })
        .collect();
    match lease_others(state, turn, incarnation, ports, &need.ports, &taken) {
        // A report on ports that were exchanged before: that on the present ones is to come.
        Ok((_, fresh)) if fresh.is_empty() => {}
        Ok((ports, fresh)) => {
            state
                .services
                .change(&instance, &mut state.deadlines, |service| {
                    service.activity = Activity::Probing { incarnation, ports };
                });
            turn.effect(ChildEffect::ProbePorts {
                incarnation,
                ports: fresh,
            });
        }
        Err((ports, lacking)) => {
            for port in ports.given() {
                state.ports.give_back(port);
            }
            no_port(state, turn, &instance, lacking);
        }
    }
}

/// The leases of an attempt after some were exchanged, and those that are new.
type Exchanged = (PerProtocol<Option<Port>>, Vec<Port>);

/// Exchanges the leases of ports that somebody else holds.
fn lease_others(
    state: &mut State,
    turn: &mut Turn,
    incarnation: Incarnation,
    mut ports: PerProtocol<Option<Port>>,
    wanted: &PerProtocol<Option<Port>>,
    taken: &[(Port, Option<Holder>)],
) -> Result<Exchanged, (PerProtocol<Option<Port>>, Lacking)> {
    let until = turn.at.plus(state.settings.port_cooldown);
    let mut fresh = Vec::new();
    let mut foreign = Vec::new();
    let mut lacking = None;
    for protocol in Protocol::ALL {
        let found = taken
            .iter()
            .find(|(port, _)| ports.get(protocol) == &Some(*port));
        let Some((port, holder)) = found else {
            continue;
        };
        if state.settings.bids_with_care() {
            state.ports.found_foreign(*port, holder.clone());
            foreign.push(*port);
        } else {
            state.ports.block(*port, until, &mut state.deadlines);
        }
        *ports.get_mut(protocol) = None;
        let other = match wanted.get(protocol) {
            Some(prescribed) => Err(Lacking::Port(*prescribed)),
            None => state
                .ports
                .take(protocol, incarnation)
                .ok_or(Lacking::Range(protocol)),
        };
        match other {
            Ok(other) => {
                *ports.get_mut(protocol) = Some(other);
                fresh.push(other);
            }
            Err(none) => {
                lacking = Some(none);
                break;
            }
        }
    }
    if !foreign.is_empty() {
        turn.effect(ChildEffect::AwaitFree { ports: foreign });
    }
    match lacking {
        None => Ok((ports, fresh)),
        Some(lacking) => Err((ports, lacking)),
    }
}

/// A child was forked.
pub(crate) fn spawned(
    state: &mut State,
    turn: &mut Turn,
    incarnation: Incarnation,
    identity: Identity,
    launcher: Option<Launcher>,
) {
    let Some(instance) = state.services.owner(incarnation).cloned() else {
        // Nobody waits for it: it would be lost.
        turn.effect(ChildEffect::Signal {
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
        launcher,
    };
    begin(state, turn, &instance, process);
    if let Some((why, next)) = cancelled {
        stop(state, turn, &instance, why, next);
    }
}

/// Waits for the ports of a process to answer.
pub(crate) fn begin(state: &mut State, turn: &mut Turn, instance: &InstanceName, process: Process) {
    await_ready(state, turn, instance, &process);
    let ready_by = turn.at.plus(state.settings.ready_timeout);
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            // One that was starting when an earlier run of the master ended is counted already.
            if !matches!(service.activity, Activity::Starting { .. }) {
                service.history.spawned = service.history.spawned.saturating_add(1);
            }
            service.activity = Activity::Starting { process, ready_by };
        });
}

/// Asks to be told when the ports of a process answer.
pub(crate) fn await_ready(
    state: &State,
    turn: &mut Turn,
    instance: &InstanceName,
    process: &Process,
) {
    let Some(service) = state.services.get(instance) else {
        return;
    };
    let ports = served(state, service, process);
    turn.effect(ChildEffect::AwaitReady {
        incarnation: process.incarnation,
        ports: ports.given().collect(),
    });
}

/// A child could not be started.
pub(crate) fn not_spawned(
    state: &mut State,
    turn: &mut Turn,
    incarnation: Incarnation,
    reason: Arc<str>,
    missing: Option<MissingPackage>,
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
    for port in ports.given() {
        state.ports.give_back(port);
    }
    claim::abandon(state, turn, &instance);
    if cancelled {
        rest(state, turn, &instance);
    } else {
        let reason = match missing {
            Some(missing) => {
                let help = install::missing(state, turn, &missing);
                format!("{reason}; {help}").into()
            }
            None => reason,
        };
        back_off(state, turn, &instance, Failure::NotSpawned(reason), false);
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
            | Claim::Paused { .. }
            | Claim::Superseded { .. }
            | Claim::CutOff { .. },
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
        turn.effect(SessionEffect::Publish {
            record: record(state, service, process),
        });
    }
}
