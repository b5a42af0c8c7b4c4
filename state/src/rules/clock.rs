//! Time that nobody lived through.

use crate::{Activity, Claim, Install, Service, State, Timestamp, Wait};

/// The clock was set forward, or the machine slept. Everything that is to be done later has as much
/// time left as it had before: a child that had ten seconds to end has not used them.
pub(crate) fn jumped(state: &mut State, by: u64) {
    state.deadlines.postpone_looked_up(by);
    for instance in state.services.names() {
        state
            .services
            .change(&instance, &mut state.deadlines, |service| {
                postpone(service, by);
            });
    }
    state.ports.postpone(by, &mut state.deadlines);
    for install in state.installs.values_mut() {
        if let Install::Failed { retry_at, .. } = install {
            *retry_at = retry_at.plus(by);
        }
    }
}

fn postpone(service: &mut Service, by: u64) {
    let later = |at: &mut Timestamp| *at = at.plus(by);
    match &mut service.activity {
        Activity::Waiting(Wait::Asked { forget_at }) => later(forget_at),
        Activity::BackingOff { until, .. } => later(until),
        Activity::Starting { ready_by, .. } => later(ready_by),
        Activity::Stopping { kill_at, .. } => kill_at.iter_mut().for_each(later),
        Activity::Waiting(_)
        | Activity::Failed { .. }
        | Activity::Probing { .. }
        | Activity::Spawning { .. }
        | Activity::Up { .. } => {}
    }
    match &mut service.claim {
        Claim::Held { respond_at, .. } => respond_at.iter_mut().for_each(later),
        Claim::Paused { until } => later(until),
        Claim::Superseded { until, .. } => until.iter_mut().for_each(later),
        // The time of the LanManager went on meanwhile.
        Claim::CutOff { .. } => {}
        Claim::None | Claim::Bidding { .. } | Claim::Responding { .. } | Claim::Approved => {}
    }
}
