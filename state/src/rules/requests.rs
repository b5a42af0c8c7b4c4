//! Local calls: those that the LanManager must answer wait for it, within bounds.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::service::{Activity, Failure, Next, StopReason, Wait};
use crate::step::Turn;
use crate::{
    Deadline, Hold, InstanceName, LanAnswer, LanEffect, Rejection, Reply, RequestId, Sender,
    Shutdown, State, child, claim, needs,
};

/// So many calls may wait for the LanManager at once.
pub(crate) const MAX_REQUESTS: usize = 256;

/// A local call that waits for the LanManager.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LanRequest {
    /// What the LanManager is asked.
    pub call: LanCall,
    /// Whether it was asked, on the present connection.
    pub sent: bool,
}

/// What the LanManager is asked for somebody local.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LanCall {
    /// To have a further need.
    AddNeed(Value),
    /// To forget a need.
    RemoveNeed(InstanceName),
}

/// Relays a call to the LanManager, now or when it is back.
pub(crate) fn relay(state: &mut State, turn: &mut Turn, request: RequestId, call: LanCall) {
    let rejection = if state.shutdown != Shutdown::No {
        Rejection::Stopping
    } else if state.requests.len() >= MAX_REQUESTS {
        Rejection::TooManyRequests
    } else {
        state
            .requests
            .insert(request, LanRequest { call, sent: false });
        let until = turn.at.plus(state.settings.request_timeout);
        state.deadlines.set(Deadline::Request(request), until);
        send_all(state, turn);
        return;
    };
    turn.reply(request, Reply::Rejected(rejection));
}

/// Sends what has not been sent, if the LanManager is there. Both calls may be
/// made twice without harm, so what was sent on a lost connection is sent again.
pub(crate) fn send_all(state: &mut State, turn: &mut Turn) {
    let Some(connection) = state.lan.connection() else {
        return;
    };
    for (request, pending) in &mut state.requests {
        if pending.sent {
            continue;
        }
        pending.sent = true;
        let request = *request;
        turn.effect(match &pending.call {
            LanCall::AddNeed(need) => LanEffect::AddNeed {
                connection,
                request,
                need: need.clone(),
            },
            LanCall::RemoveNeed(instance) => LanEffect::RemoveNeed {
                connection,
                request,
                instance: instance.clone(),
            },
        });
    }
}

/// The connection was lost: nothing counts as sent.
pub(crate) fn not_sent(state: &mut State) {
    for pending in state.requests.values_mut() {
        pending.sent = false;
    }
}

/// The LanManager answered.
pub(crate) fn answered(state: &mut State, turn: &mut Turn, request: RequestId, answer: LanAnswer) {
    let reply = match answer {
        LanAnswer::Done(value) => Reply::Done(value),
        LanAnswer::Refused { code, message } => Reply::Rejected(Rejection::Lan { code, message }),
    };
    finish(state, turn, request, reply);
}

/// A call has waited long enough.
pub(crate) fn deadline(state: &mut State, turn: &mut Turn, request: RequestId) {
    let sent = state
        .requests
        .get(&request)
        .is_some_and(|pending| pending.sent);
    let rejection = if sent {
        Rejection::LanSilent
    } else {
        Rejection::LanAway
    };
    finish(state, turn, request, Reply::Rejected(rejection));
}

/// The master stops: nobody waits any longer.
pub(crate) fn reject_all(state: &mut State, turn: &mut Turn) {
    while let Some((request, _)) = state.requests.first_key_value() {
        let request = *request;
        finish(state, turn, request, Reply::Rejected(Rejection::Stopping));
    }
}

/// Those who waited are gone with the last run of the master.
pub(crate) fn forget_all(state: &mut State) {
    while let Some((request, _)) = state.requests.pop_first() {
        state.deadlines.clear(&Deadline::Request(request));
    }
}

fn finish(state: &mut State, turn: &mut Turn, request: RequestId, reply: Reply) {
    if state.requests.remove(&request).is_some() {
        state.deadlines.clear(&Deadline::Request(request));
        turn.reply(request, reply);
    }
}

/// Somebody wants a child to be started anew; or a service that was given up to be tried again. One
/// that was stopped stays so.
pub(crate) fn restart(
    state: &mut State,
    turn: &mut Turn,
    request: RequestId,
    instance: InstanceName,
) {
    if !accepts_order(state, turn, request, &instance) {
        return;
    }
    let done = answer(state, &instance);
    match state.services.get(&instance).map(|known| &known.activity) {
        Some(Activity::BackingOff { .. } | Activity::Failed { .. }) => {
            retry(state, turn, &instance);
        }
        Some(
            Activity::Starting { .. }
            | Activity::Up { .. }
            | Activity::Spawning { .. }
            | Activity::Stopping { .. },
        ) => end(state, turn, &instance, StopReason::Restart),
        Some(Activity::Waiting(_) | Activity::Probing { .. }) | None => {}
    }
    turn.reply(request, done);
}

/// Somebody wants a service not to run here: its child is stopped, and its need is left to others.
pub(crate) fn hold(
    state: &mut State,
    turn: &mut Turn,
    request: RequestId,
    instance: InstanceName,
    sender: Option<Sender>,
) {
    if !accepts_order(state, turn, request, &instance) {
        return;
    }
    let done = answer(state, &instance);
    let since = turn.at;
    state
        .services
        .change(&instance, &mut state.deadlines, |service| {
            // The first order is the one that holds.
            service.hold.get_or_insert(Hold { since, sender });
        });
    match state.services.get(&instance).map(|known| &known.activity) {
        Some(Activity::BackingOff { .. } | Activity::Failed { .. }) => {
            retry(state, turn, &instance);
        }
        Some(Activity::Waiting(_)) => {
            claim::abandon(state, turn, &instance);
            needs::reconsider(state, turn, &instance);
        }
        Some(
            Activity::Probing { .. }
            | Activity::Spawning { .. }
            | Activity::Starting { .. }
            | Activity::Up { .. }
            | Activity::Stopping { .. },
        ) => end(state, turn, &instance, StopReason::Held),
        None => {}
    }
    turn.reply(request, done);
}

/// Somebody wants a service to run: one that was stopped, that failed, or that pauses.
pub(crate) fn start(
    state: &mut State,
    turn: &mut Turn,
    request: RequestId,
    instance: InstanceName,
) {
    if !accepts_order(state, turn, request, &instance) {
        return;
    }
    let done = answer(state, &instance);
    state
        .services
        .change(&instance, &mut state.deadlines, |service| {
            service.hold = None;
            if let Activity::Stopping { next, .. } = &mut service.activity {
                *next = Next::Again;
            }
        });
    match state.services.get(&instance).map(|known| &known.activity) {
        Some(Activity::BackingOff { .. } | Activity::Failed { .. }) => {
            retry(state, turn, &instance);
        }
        Some(Activity::Waiting(_)) => needs::reconsider(state, turn, &instance),
        Some(
            Activity::Probing { .. }
            | Activity::Spawning { .. }
            | Activity::Starting { .. }
            | Activity::Up { .. }
            | Activity::Stopping { .. },
        )
        | None => {}
    }
    turn.reply(request, done);
}

/// Whether an order about a service can be followed; where it cannot, it is refused.
fn accepts_order(
    state: &State,
    turn: &mut Turn,
    request: RequestId,
    instance: &InstanceName,
) -> bool {
    let rejection = if state.shutdown != Shutdown::No {
        Rejection::Stopping
    } else if state.services.get(instance).is_none() {
        Rejection::UnknownInstance(instance.clone())
    } else {
        return true;
    };
    turn.reply(request, Reply::Rejected(rejection));
    false
}

/// The answer to an order that is followed: with the process that there is now.
fn answer(state: &State, instance: &InstanceName) -> Reply {
    let process = state.services.get(instance);
    let process = process.and_then(|service| service.activity.process());
    let pid = process.map(|process| process.identity.pid.0);
    Reply::Done(json!({ "instancename": instance.as_str(), "pid": pid }))
}

/// Ends what there is of a child. One that is to end already is started again afterwards; where it is
/// held, that is its reason now.
fn end(state: &mut State, turn: &mut Turn, instance: &InstanceName, reason: StopReason) {
    let stopping = state
        .services
        .change(instance, &mut state.deadlines, |service| {
            let Activity::Stopping { next, why, .. } = &mut service.activity else {
                return false;
            };
            *next = Next::Again;
            if reason == StopReason::Held {
                *why = reason.clone();
            }
            true
        });
    if stopping == Some(false) {
        child::stop(state, turn, instance, reason, Next::Again);
    }
}

/// A pause or a failure is over because somebody says so.
fn retry(state: &mut State, turn: &mut Turn, instance: &InstanceName) {
    state
        .services
        .change(instance, &mut state.deadlines, |service| {
            service.history.failures = 0;
            service.activity = Activity::Waiting(Wait::Lan);
        });
    needs::reconsider(state, turn, instance);
}

/// The configuration changed: what it refused before, or would refuse now, is decided anew.
pub(crate) fn settings_changed(state: &mut State, turn: &mut Turn) {
    for instance in state.services.names() {
        claim::settings_changed(state, &instance);
        let Some(service) = state.services.get(&instance) else {
            continue;
        };
        let refused = Activity::Failed {
            why: Failure::NoLauncher,
        };
        if service.activity == refused {
            retry(state, turn, &instance);
        } else {
            needs::reconsider(state, turn, &instance);
        }
    }
}
