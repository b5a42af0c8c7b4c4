//! What is, in few words.

use allexmaster_state::{
    Activity, Claim, InstanceName, Service, ServiceState, ServiceStatus, State, Wait,
};

/// What it is time for, when a service's deadline has come.
pub(super) fn due(state: &State, instance: &InstanceName) -> String {
    match state.services.get(instance) {
        Some(service) => due_of(service, instance),
        None => format!("{instance} has something to do"),
    }
}

fn due_of(service: &Service, instance: &InstanceName) -> String {
    if service.claim.deadline() == service.deadline() && service.claim.deadline().is_some() {
        return match &service.claim {
            Claim::Superseded { by, .. } => {
                format!("{instance} is to end here, as the network uses the one at {by}")
            }
            Claim::CutOff { .. } => format!(
                "{instance} is to end, as there must never be two and another machine may run it now"
            ),
            Claim::None
            | Claim::Bidding { .. }
            | Claim::Held { .. }
            | Claim::Responding { .. }
            | Claim::Approved
            | Claim::Paused { .. } => format!("to announce {instance} again"),
        };
    }
    match &service.activity {
        Activity::Waiting(Wait::Asked { .. }) => {
            format!("to forget {instance}, which nobody asks for")
        }
        Activity::BackingOff { .. } => format!("{instance}'s pause is over"),
        Activity::Starting { .. } => format!("{instance} took too long until its ports answered"),
        Activity::Stopping { .. } => format!("{instance} took too long to end"),
        Activity::Waiting(_)
        | Activity::Failed { .. }
        | Activity::Probing { .. }
        | Activity::Spawning { .. }
        | Activity::Up { .. } => format!("{instance} has something to do"),
    }
}

/// A service in one line: `Clock is running as process 4711 on 15000/16000/17000`.
#[must_use]
pub fn service_line(status: &ServiceStatus) -> String {
    let mut text = format!("{} is {}", status.instance, verb(status.state));
    if let Some(pid) = status.pid {
        text.push_str(&format!(" as process {pid}"));
    }
    if let Some(reason) = &status.reason {
        text.push_str(&format!(": {reason}"));
    }
    text
}

fn verb(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Waiting => "waiting",
        ServiceState::Bidding => "being bid for",
        ServiceState::Starting => "starting",
        ServiceState::Checking => "being checked by the LanManager",
        ServiceState::Running => "running",
        ServiceState::Superseded => "superseded",
        ServiceState::Stopping => "stopping",
        ServiceState::BackingOff => "backing off",
        ServiceState::Failed => "given up",
        ServiceState::Held => "held",
    }
}

/// A change of a service that people see: `Clock: running → backing-off`.
#[must_use]
pub fn difference_of_status(
    before: Option<&ServiceStatus>,
    after: Option<&ServiceStatus>,
) -> Option<String> {
    let word = |status: Option<&ServiceStatus>| status.map_or("-", |status| status.state.as_str());
    let name = after.or(before)?.instance.clone();
    let (old, new) = (word(before), word(after));
    (old != new).then(|| format!("{name}: {old} → {new}"))
}

/// The whole state in one line: how many services there are, by what they do.
#[must_use]
pub fn outline(state: &State) -> String {
    let mut counts = std::collections::BTreeMap::<ServiceState, usize>::new();
    for status in state.service_statuses() {
        *counts.entry(status.state).or_default() += 1;
    }
    let lan = state.lan_status().state;
    if counts.is_empty() {
        return format!("no services; the LanManager is {lan}");
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    format!("{}; the LanManager is {lan}", parts.join(", "))
}
