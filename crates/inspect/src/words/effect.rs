//! What has to be done, in one sentence.

use allexmaster_state::{Effect, Reply, Signal, State};

use super::{child, list, owner, ports};

/// What has to be done. `state` is the one after the event.
#[must_use]
pub fn effect(state: &State, effect: &Effect) -> String {
    match effect {
        Effect::Dial { failures: 0, .. } => "dial the LanManager".to_owned(),
        Effect::Dial { failures, .. } => {
            format!("dial the LanManager (failed before: {failures})")
        }
        Effect::Hang { .. } => "end the connection to the LanManager".to_owned(),
        Effect::Bid {
            instance, address, ..
        } => format!("bid for {instance}, offering {address}"),
        Effect::Abandon { instance, .. } => format!("give up the bid for {instance}"),
        Effect::Respond { record, .. } => {
            format!("tell the LanManager that {} runs", record.need.instance)
        }
        Effect::ReportDown { instance, .. } => {
            format!("tell the LanManager that {instance} is down")
        }
        Effect::ReportEngaged { module, .. } => {
            format!("tell the LanManager that {module} is in use")
        }
        Effect::AddNeed { .. } => "ask the LanManager to add a need".to_owned(),
        Effect::RemoveNeed { instance, .. } => {
            format!("ask the LanManager to remove the need {instance}")
        }
        Effect::ProbePorts { incarnation, ports } => format!(
            "test whether the ports {} are free for {}",
            list(ports),
            owner(state, *incarnation)
        ),
        Effect::Spawn(order) => format!(
            "start {} ({}) on {}",
            order.need.instance,
            order.need.module,
            ports(&order.ports)
        ),
        Effect::Adopt {
            instance, identity, ..
        } => format!("look after {instance}'s process {}", identity.pid),
        Effect::AwaitReady { incarnation, ports } => format!(
            "wait until {} answers on {}",
            child(state, *incarnation),
            list(ports)
        ),
        Effect::Signal {
            identity, signal, ..
        } => match signal {
            Signal::Terminate => format!("ask process {} to end (SIGTERM)", identity.pid),
            Signal::Kill => format!("kill process {} (SIGKILL)", identity.pid),
        },
        Effect::Publish { record } => format!("show {} to local tools", record.need.instance),
        Effect::Retract { instance } => format!("hide {instance} from local tools"),
        Effect::Reply { reply, .. } => match reply {
            Reply::Done(_) => "answer the caller: done".to_owned(),
            Reply::Rejected(rejection) => format!("answer the caller: {}", rejection.message()),
        },
        Effect::Exit => "end the program".to_owned(),
    }
}
