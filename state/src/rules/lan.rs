//! The connection to the LanManager.

use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::step::Turn;
use crate::{
    Activity, Claim, Connection, Deadline, InstanceName, LanEffect, SessionEffect, Shutdown, State,
    Timestamp, needs, requests,
};

/// The connection to the LanManager.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lan {
    /// There is none; the next dial is a deadline.
    Away {
        /// Since when.
        since: Timestamp,
        /// How many dials have failed since then.
        failures: u32,
        /// Why, for people; absent before the first dial.
        reason: Option<Arc<str>>,
    },
    /// One is being made.
    Dialing {
        /// Its name.
        connection: Connection,
        /// Since when there is none.
        since: Timestamp,
        /// How many dials have failed since then.
        failures: u32,
        /// Why the last one failed or ended.
        reason: Option<Arc<str>>,
    },
    /// The LanManager has let us in.
    Up {
        /// The name of the connection.
        connection: Connection,
        /// What was dialed.
        endpoint: Arc<str>,
        /// The address that it sees us under.
        address: Arc<str>,
        /// Since when.
        since: Timestamp,
        /// Whether it has told its needs.
        listed: bool,
        /// How long it waits for a master that is gone before others may run its services, in
        /// milliseconds; absent where it does not say it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grace: Option<u64>,
    },
}

impl Default for Lan {
    fn default() -> Self {
        Self::Away {
            since: Timestamp(0),
            failures: 0,
            reason: None,
        }
    }
}

impl Lan {
    /// The connection, while the LanManager is there.
    #[must_use]
    pub const fn connection(&self) -> Option<Connection> {
        match self {
            Self::Up { connection, .. } => Some(*connection),
            Self::Away { .. } | Self::Dialing { .. } => None,
        }
    }
}

/// Dials, unless there is a connection or the master stops.
pub(crate) fn dial(state: &mut State, turn: &mut Turn) {
    let Lan::Away {
        since,
        failures,
        reason,
    } = &state.lan
    else {
        return;
    };
    if state.shutdown != Shutdown::No {
        return;
    }
    let connection = turn.connection();
    let failures = *failures;
    state.lan = Lan::Dialing {
        connection,
        since: *since,
        failures,
        reason: reason.clone(),
    };
    state.deadlines.clear(&Deadline::Dial);
    turn.effect(SessionEffect::Dial {
        connection,
        failures,
    });
}

/// What is known of a connection when it begins.
pub(crate) struct SeenAs {
    pub(crate) endpoint: Arc<str>,
    pub(crate) address: Arc<str>,
    pub(crate) grace: Option<u64>,
}

/// The LanManager let us in: it is told what it has missed.
pub(crate) fn connected(
    state: &mut State,
    turn: &mut Turn,
    connection: Connection,
    seen_as: SeenAs,
) {
    let Lan::Dialing {
        connection: dialed, ..
    } = state.lan
    else {
        return;
    };
    if dialed != connection {
        return;
    }
    let SeenAs {
        endpoint,
        address,
        grace,
    } = seen_as;
    state.lan = Lan::Up {
        connection,
        endpoint,
        address,
        since: turn.at,
        listed: false,
        grace,
    };
    for instance in state.services.names() {
        state
            .services
            .change(&instance, &mut state.deadlines, |service| {
                if matches!(service.claim, Claim::CutOff { .. }) {
                    service.claim = Claim::None;
                }
            });
    }
    for instance in state.services.unreported() {
        turn.effect(LanEffect::ReportDown {
            connection,
            instance: instance.clone(),
        });
    }
    for module in &state.engaged {
        turn.effect(LanEffect::ReportEngaged {
            connection,
            module: module.clone(),
        });
    }
    requests::send_all(state, turn);
}

/// The connection ended, or a dial failed.
pub(crate) fn closed(
    state: &mut State,
    turn: &mut Turn,
    connection: Connection,
    reason: Arc<str>,
    silent: u64,
) {
    let cut = cut(state, turn.at, silent);
    let (since, failures) = match &state.lan {
        Lan::Up {
            connection: present,
            ..
        } if *present == connection => (turn.at, 0),
        Lan::Dialing {
            connection: present,
            since,
            failures,
            ..
        } if *present == connection => (*since, failures.saturating_add(1)),
        Lan::Up { .. } | Lan::Dialing { .. } | Lan::Away { .. } => return,
    };
    state.lan = Lan::Away {
        since,
        failures,
        reason: Some(reason),
    };
    if failures == 0 {
        lose_claims(state, turn, cut);
        requests::not_sent(state);
    }
    schedule_dial(state, turn, failures);
}

fn schedule_dial(state: &mut State, turn: &Turn, failures: u32) {
    if state.shutdown != Shutdown::No {
        return;
    }
    let first = state.settings.dial_retry;
    let pause = first
        .saturating_mul(1 << failures.min(16))
        .min(state.settings.dial_retry_most);
    // Up to a quarter more, so that many masters do not come back in step.
    let jitter = (pause / 4).saturating_mul(u64::from(turn.entropy)) / u64::from(u32::MAX);
    state
        .deadlines
        .set(Deadline::Dial, turn.at.plus(pause.saturating_add(jitter)));
}

/// When a child must be told to end, and must have ended, of whose service there must never be two.
#[derive(Clone, Copy)]
pub(crate) struct Cut {
    until: Timestamp,
    gone_by: Timestamp,
}

/// The times for a connection that ends now. The LanManager may have lost it as soon as it was heard
/// last, and lets others run our services a grace later. By then the child must have ended, so it is
/// told before: by the time it has to end, or by half the grace where that is less. Absent where the
/// LanManager tells no grace: one of JavaScript frees nobody's services.
pub(crate) fn cut(state: &State, now: Timestamp, silent: u64) -> Option<Cut> {
    let Lan::Up {
        grace: Some(grace), ..
    } = state.lan
    else {
        return None;
    };
    let margin = state.settings.stop_grace.min(grace / 2);
    let in_time = |after: u64| now.plus(after.saturating_sub(silent));
    Some(Cut {
        until: in_time(grace - margin),
        gone_by: in_time(grace),
    })
}

/// With the connection end all bids, all approvals, and all that was listed.
/// The children stay: they will be announced again.
pub(crate) fn lose_claims(state: &mut State, turn: &mut Turn, cut: Option<Cut>) {
    for instance in state.services.names() {
        state
            .services
            .change(&instance, &mut state.deadlines, |service| {
                service.wanted = false;
                // Whether the response was approved is unknown: the LanManager may list the child.
                if let (Claim::Responding { .. }, Activity::Up { approved, .. }) =
                    (&service.claim, &mut service.activity)
                {
                    *approved = true;
                }
                let has_child = service.activity.attempt().is_some()
                    && !matches!(service.activity, Activity::Stopping { .. });
                service.claim = match (&service.claim, cut) {
                    (kept @ Claim::CutOff { .. }, _) if has_child => kept.clone(),
                    (_, Some(Cut { until, gone_by }))
                        if has_child && service.need.is_exclusive() =>
                    {
                        Claim::CutOff { until, gone_by }
                    }
                    (_, _) => Claim::None,
                };
            });
        needs::reconsider(state, turn, &instance);
    }
}

/// The LanManager has heard that a service went down; it may be bid for again.
pub(crate) fn down_acknowledged(
    state: &mut State,
    turn: &mut Turn,
    connection: Connection,
    instance: &InstanceName,
) {
    if state.lan.connection() != Some(connection) {
        return;
    }
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.down_unreported = false;
        });
    needs::reconsider(state, turn, instance);
}

/// A module is in use on this machine: told now, and after each connect.
pub(crate) fn module_engaged(state: &mut State, turn: &mut Turn, module: crate::ModuleName) {
    if state.engaged.len() >= MAX_ENGAGED_MODULES && !state.engaged.contains(&module) {
        return;
    }
    if let Some(connection) = state.lan.connection() {
        turn.effect(LanEffect::ReportEngaged {
            connection,
            module: module.clone(),
        });
    }
    state.engaged.insert(module);
}

/// Most modules that are listed as in use; reports of further ones are dropped. The LanManager's
/// limit is the same.
pub const MAX_ENGAGED_MODULES: usize = 10_000;

/// Whether a service could be bid for at all: nothing of the last child is unreported.
pub(crate) fn may_bid(state: &State, instance: &InstanceName) -> bool {
    state.lan.connection().is_some()
        && state.shutdown == Shutdown::No
        && state.services.get(instance).is_some_and(|service| {
            service.wanted && !service.down_unreported && service.claim == Claim::None
        })
}
