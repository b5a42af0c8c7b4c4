//! What has to be done, in one sentence.

use allexmaster_state::{ChildEffect, Effect, LanEffect, Reply, SessionEffect, Signal, State};

use super::{child, list, owner, ports};

/// What has to be done. `state` is the one after the event.
#[must_use]
pub fn effect(state: &State, effect: &Effect) -> String {
    match effect {
        Effect::Child(effect) => child_effect(state, effect),
        Effect::Session(effect) => session_effect(effect),
        Effect::Install { package } => format!("have npm install {package}"),
        Effect::Exit => "end the program".to_owned(),
    }
}

fn child_effect(state: &State, effect: &ChildEffect) -> String {
    match effect {
        ChildEffect::ProbePorts { incarnation, ports } => format!(
            "test whether the ports {} are free for {}",
            list(ports),
            owner(state, *incarnation)
        ),
        ChildEffect::AwaitFree { ports } => {
            format!(
                "watch for the other programs on port {} to leave",
                list(ports)
            )
        }
        ChildEffect::Spawn(order) => format!(
            "start {} ({}) on {}",
            order.need.instance,
            order.need.module,
            ports(&order.ports)
        ),
        ChildEffect::Adopt {
            instance, identity, ..
        } => format!("look after {instance}'s process {}", identity.pid),
        ChildEffect::AwaitReady { incarnation, ports } => format!(
            "wait until {} answers on {}",
            child(state, *incarnation),
            list(ports)
        ),
        ChildEffect::Reap { incarnation } => format!("reap {}", child(state, *incarnation)),
        ChildEffect::Signal {
            identity, signal, ..
        } => match signal {
            Signal::Terminate => format!("ask process {} to end (SIGTERM)", identity.pid),
            Signal::Kill => format!("kill process {} (SIGKILL)", identity.pid),
        },
        ChildEffect::EndStray {
            identity, grace, ..
        } => format!(
            "end process {}, which nobody needs: SIGTERM, and SIGKILL after {}",
            identity.pid,
            crate::time::duration(*grace)
        ),
    }
}

fn session_effect(effect: &SessionEffect) -> String {
    match effect {
        SessionEffect::Dial { failures: 0, .. } => "dial the LanManager".to_owned(),
        SessionEffect::Dial { failures, .. } => {
            format!("dial the LanManager (failed before: {failures})")
        }
        SessionEffect::HangUp { .. } => "end the connection to the LanManager".to_owned(),
        SessionEffect::Publish { record } => {
            format!("show {} to local tools", record.need.instance)
        }
        SessionEffect::Retract { instance } => format!("hide {instance} from local tools"),
        SessionEffect::Reply { reply, .. } => match reply {
            Reply::Done(_) => "answer the caller: done".to_owned(),
            Reply::Rejected(rejection) => format!("answer the caller: {}", rejection.message()),
        },
        SessionEffect::Lan(effect) => lan_effect(effect),
    }
}

fn lan_effect(effect: &LanEffect) -> String {
    match effect {
        LanEffect::Bid {
            instance, address, ..
        } => format!("bid for {instance}, offering {address}"),
        LanEffect::Abandon { instance, .. } => format!("give up the bid for {instance}"),
        LanEffect::Respond { record, .. } => {
            format!("tell the LanManager that {} runs", record.need.instance)
        }
        LanEffect::ReportDown { instance, .. } => {
            format!("tell the LanManager that {instance} is down")
        }
        LanEffect::ReportEngaged { module, .. } => {
            format!("tell the LanManager that {module} is in use")
        }
        LanEffect::AddNeed { .. } => "ask the LanManager to add a need".to_owned(),
        LanEffect::RemoveNeed { instance, .. } => {
            format!("ask the LanManager to remove the need {instance}")
        }
    }
}
