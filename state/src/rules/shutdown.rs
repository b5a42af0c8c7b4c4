//! Stopping everything, in order: the children, then the LanManager's notice, then the program.

use serde::{Deserialize, Serialize};

use crate::service::{Activity, Failure, Next, StopReason, Wait};
use crate::step::Turn;
use crate::{
    Deadline, Effect, SessionEffect, State, StopSource, Timestamp, child, claim, needs, requests,
};

/// Whether the master is stopping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shutdown {
    /// It is not.
    #[default]
    No,
    /// Its children have been told to end.
    Children,
    /// They have ended; the LanManager has not yet acknowledged all ends.
    #[serde(rename = "farewell")]
    Drain,
    /// All is done.
    Done,
}

/// So long after the first Ctrl-C a further one means that somebody lost patience. Until then it may
/// be the same one, passed on by a program in between, or a nervous finger.
const PATIENCE: u64 = 1_000;

/// How a stopping master was asked to stop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Haste {
    /// Whether its children get no grace.
    pub urgent: bool,
    /// When Ctrl-C was pressed for the first time.
    pub interrupted: Option<Timestamp>,
}

impl Haste {
    /// Whether nothing was said of it.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Somebody wants the master to stop. A repetition changes nothing: it comes from a control group of
/// which every process is told, from a program that passes signals on, from two people. Only who says
/// that it is urgent, or presses Ctrl-C again after [`PATIENCE`], takes the children's grace away.
pub(crate) fn requested(state: &mut State, turn: &mut Turn, source: StopSource, urgent: bool) {
    if source == StopSource::Interrupt {
        let first = *state.haste.interrupted.get_or_insert(turn.at);
        state.haste.urgent |= turn.at.since(first) >= PATIENCE;
    }
    state.haste.urgent |= urgent;
    if state.shutdown == Shutdown::No {
        begin(state, turn);
    }
    if state.haste.urgent {
        match state.shutdown {
            Shutdown::Children => {
                for instance in state.services.names() {
                    child::kill(state, turn, &instance);
                }
            }
            Shutdown::Drain => finish(state, turn),
            Shutdown::No | Shutdown::Done => {}
        }
    }
    advance(state, turn);
}

fn begin(state: &mut State, turn: &mut Turn) {
    state.shutdown = Shutdown::Children;
    state.deadlines.clear(&Deadline::Dial);
    requests::reject_all(state, turn);
    for instance in state.services.names() {
        child::stop(state, turn, &instance, StopReason::Shutdown, Next::Again);
        claim::abandon(state, turn, &instance);
        calm(state, &instance);
        needs::reconsider(state, turn, &instance);
    }
}

/// A pause has no meaning any more. A failure stays what it is.
fn calm(state: &mut State, instance: &crate::InstanceName) {
    state.services.change(
        instance,
        &mut state.deadlines,
        |service| match &mut service.activity {
            Activity::BackingOff { .. } => service.activity = Activity::Waiting(Wait::Lan),
            // The reason of a stop under way changes with what comes after it.
            Activity::Stopping { next, why, .. } => {
                *next = Next::Again;
                *why = StopReason::Shutdown;
            }
            Activity::Failed {
                why: Failure::NoLauncher,
            }
            | Activity::Failed { .. }
            | Activity::Waiting(_)
            | Activity::Probing { .. }
            | Activity::Spawning { .. }
            | Activity::Starting { .. }
            | Activity::Up { .. } => {}
        },
    );
}

/// After each event of a stopping master: is it time for the next phase?
pub(crate) fn advance(state: &mut State, turn: &mut Turn) {
    if state.shutdown == Shutdown::Children && state.services.alive() == 0 {
        state.shutdown = Shutdown::Drain;
        let until = turn.at.plus(state.settings.farewell_timeout);
        state.deadlines.set(Deadline::Drain, until);
    }
    if state.shutdown == Shutdown::Drain {
        let all_told = state.services.unreported().next().is_none();
        if all_told || state.lan.connection().is_none() {
            finish(state, turn);
        }
    }
}

/// The LanManager had time enough. What it has not heard is told at the next start.
pub(crate) fn finish(state: &mut State, turn: &mut Turn) {
    if state.shutdown != Shutdown::Drain {
        return;
    }
    state.shutdown = Shutdown::Done;
    state.deadlines.clear(&Deadline::Drain);
    if let Some(connection) = state.lan.connection() {
        turn.effect(SessionEffect::HangUp { connection });
    }
    turn.effect(Effect::Exit);
}
