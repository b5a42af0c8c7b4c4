//! What happened, in one sentence.

use std::sync::Arc;

use allexmaster_state::{
    BidAnswer, Deadline, Descendant, Ended, Event, Lan, LanAnswer, Listed, Need, Place, Port,
    Recorded, ResponseAnswer, Sender, Settings, State, StopSource, Survivor,
};
use serde_json::Value;

use super::{child, list, outcome, owner};

/// What happened. `state` is the one that the event met, from which names are known.
#[must_use]
pub fn event(state: &State, recorded: &Recorded) -> String {
    match &recorded.event {
        Event::SettingsLoaded { settings } => settings_loaded(settings),
        Event::MasterStarted {
            pid,
            survivors,
            ended,
            resumed,
            ..
        } => started(state, (pid.0, *resumed), survivors, ended),
        Event::LanConnected {
            endpoint, address, ..
        } => format!("the LanManager at {endpoint} let us in; it sees us as {address}"),
        Event::LanClosed { reason, .. } => lan_closed(state, reason),
        Event::NeedsListed { needs, .. } => needs_listed(needs),
        Event::NeedAppeared { need, .. } => format!("the LanManager needs {}", self::need(need)),
        Event::NeedWithdrawn { instance, .. } => {
            format!("the LanManager no longer lists the need for {instance}")
        }
        Event::ServicesListed { services, .. } => services_listed(services),
        Event::BidAnswered {
            instance, answer, ..
        } => match answer {
            BidAnswer::Challenged => format!("our bid for {instance} won: it is to be started"),
            BidAnswer::Rejected => format!("our bid for {instance} was turned down"),
            BidAnswer::Failed(why) => format!("our bid for {instance} came to nothing: {why}"),
        },
        Event::ResponseAnswered {
            instance, answer, ..
        } => match answer {
            ResponseAnswer::Approved => {
                format!("the LanManager reached {instance} and approved it")
            }
            ResponseAnswer::Unreachable => {
                format!("the LanManager could reach none of {instance}'s ports")
            }
            ResponseAnswer::Refused(why) => format!("the LanManager refused {instance}: {why}"),
            ResponseAnswer::Failed(why) => {
                format!("the announcement of {instance} came to nothing: {why}")
            }
        },
        Event::ServiceDownAcknowledged { instance, .. } => {
            format!("the LanManager has heard that {instance} is down")
        }
        Event::PortsProbed {
            incarnation, taken, ..
        } if taken.is_empty() => {
            format!("the ports for {} are free", owner(state, *incarnation))
        }
        Event::PortsProbed {
            incarnation,
            taken,
            holders,
        } => {
            let who = |port: &Port| {
                let holder = holders.iter().find(|(held, _)| held == port);
                let holder = holder.map(|(_, holder)| holder);
                holder.map_or_else(
                    || port.to_string(),
                    |who| format!("{port} (process {}, {})", who.pid, who.name),
                )
            };
            format!(
                "somebody else holds port {}, meant for {}",
                list(taken.iter().map(who)),
                owner(state, *incarnation)
            )
        }
        Event::PortsFreed { ports } => {
            format!("port {} is free again: the other program left", list(ports))
        }
        Event::ChildSpawned { .. }
        | Event::ChildNotSpawned { .. }
        | Event::ChildReady { .. }
        | Event::ChildFailed { .. }
        | Event::ForeignListener { .. }
        | Event::DescendantsLeft { .. }
        | Event::DescendantsEnded { .. }
        | Event::ChildExited { .. } => of_child(state, &recorded.event),
        Event::StraysFound { strays } => format!(
            "found what children of earlier runs had started: process {}",
            list(strays.iter().map(|stray| stray.identity.pid))
        ),
        Event::InstallEnded { package, complaint } => match complaint {
            None => format!("npm has installed {package}"),
            Some(complaint) => format!("npm could not install {package}: {complaint}"),
        },
        Event::ModuleEngaged { module, .. } => format!("the module {module} is in use"),
        Event::StopRequested { source, urgent, .. } => {
            let who = match source {
                StopSource::Operator => "somebody",
                StopSource::Signal => "a signal",
                StopSource::Interrupt => "Ctrl-C",
            };
            let how = if *urgent {
                " at once, without a grace for its children"
            } else {
                ""
            };
            format!("{who} asked the master to stop{how}")
        }
        Event::RestartRequested {
            instance, sender, ..
        } => format!("{} asked for a restart of {instance}", who(sender)),
        Event::HoldRequested {
            instance, sender, ..
        } => format!("{} stopped {instance}", who(sender)),
        Event::StartRequested {
            instance, sender, ..
        } => format!("{} started {instance}", who(sender)),
        Event::AddNeedRequested { need, sender, .. } => {
            format!("{} asked to add the need {}", who(sender), name_in(need))
        }
        Event::RemoveNeedRequested {
            instance, sender, ..
        } => format!("{} asked to remove the need {instance}", who(sender)),
        Event::LanCallAnswered { answer, .. } => match answer {
            LanAnswer::Done(_) => "the LanManager did what somebody had asked for".to_owned(),
            LanAnswer::Refused { message, .. } => {
                format!("the LanManager refused what somebody had asked for: {message}")
            }
        },
        Event::DeadlineReached => deadline(state, recorded),
        Event::ClockJumped { by } => format!(
            "the clock was set forward by {}, or the machine slept: all deadlines moved with it",
            crate::time::duration(*by)
        ),
    }
}

fn of_child(state: &State, event: &Event) -> String {
    match event {
        Event::ChildSpawned {
            incarnation,
            identity,
            ..
        } => format!(
            "{}'s child runs as process {}",
            owner(state, *incarnation),
            identity.pid
        ),
        Event::ChildNotSpawned {
            incarnation,
            reason,
            ..
        } => format!(
            "{}'s child could not be started: {reason}",
            owner(state, *incarnation)
        ),
        Event::ChildReady { incarnation } => {
            format!("{} answers on its ports", child(state, *incarnation))
        }
        Event::ChildFailed {
            incarnation,
            reason,
        } => format!("{} serves nobody: {reason}", child(state, *incarnation)),
        Event::ForeignListener { incarnation, port } => format!(
            "{} serves nobody: another program listens on its port {port}",
            child(state, *incarnation)
        ),
        Event::ChildExited {
            incarnation,
            outcome,
        } => format!("{} {}", child(state, *incarnation), self::outcome(outcome)),
        Event::DescendantsLeft {
            incarnation,
            outcome,
            left,
        } => format!(
            "{} {}, and others that it had started live on: {}",
            child(state, *incarnation),
            self::outcome(outcome),
            list(left.iter().map(descendant))
        ),
        Event::DescendantsEnded {
            incarnation,
            killed,
            left,
        } => {
            let mut text = child(state, *incarnation);
            if !killed.is_empty() {
                let count = killed.len();
                text.push_str(&format!(
                    " had started what did not end, so {count} had to be killed: process {}",
                    list(killed)
                ));
            }
            if !left.is_empty() {
                text.push_str(&format!(
                    "; the system does not let the master end process {}",
                    list(left)
                ));
            }
            text
        }
        Event::SettingsLoaded { .. }
        | Event::StraysFound { .. }
        | Event::MasterStarted { .. }
        | Event::LanConnected { .. }
        | Event::LanClosed { .. }
        | Event::NeedsListed { .. }
        | Event::NeedAppeared { .. }
        | Event::NeedWithdrawn { .. }
        | Event::ServicesListed { .. }
        | Event::BidAnswered { .. }
        | Event::ResponseAnswered { .. }
        | Event::ServiceDownAcknowledged { .. }
        | Event::PortsProbed { .. }
        | Event::PortsFreed { .. }
        | Event::InstallEnded { .. }
        | Event::ModuleEngaged { .. }
        | Event::StopRequested { .. }
        | Event::RestartRequested { .. }
        | Event::AddNeedRequested { .. }
        | Event::RemoveNeedRequested { .. }
        | Event::HoldRequested { .. }
        | Event::StartRequested { .. }
        | Event::LanCallAnswered { .. }
        | Event::DeadlineReached
        | Event::ClockJumped { .. } => String::new(),
    }
}

fn descendant(descendant: &Descendant) -> String {
    let pid = descendant.identity.pid;
    match descendant.listens.as_slice() {
        [] => format!("process {pid}"),
        addresses => format!("process {pid} (listens on {})", list(addresses)),
    }
}

/// Who gave an order.
fn who(sender: &Option<Sender>) -> String {
    match sender {
        Some(sender) => format!("{sender}, process {},", sender.pid),
        None => "somebody".to_owned(),
    }
}

fn services_listed(services: &[Listed]) -> String {
    let one = |listed: &Listed| match &listed.place {
        Place::Here => format!("{} here, as before", listed.instance),
        Place::Elsewhere(by) => format!("{} at {by}, not here", listed.instance),
        Place::Nowhere => format!("{} nowhere any more", listed.instance),
    };
    format!("the LanManager lists {}", list(services.iter().map(one)))
}

fn needs_listed(needs: &[Arc<Need>]) -> String {
    if needs.is_empty() {
        return "the LanManager has told all its needs".to_owned();
    }
    let names = list(needs.iter().map(|need| &need.instance));
    format!("the LanManager has told all its needs: {names}")
}

fn settings_loaded(settings: &Settings) -> String {
    let start = &settings.port_range_start;
    format!(
        "the configuration was read: ports from {}, {} and {}; modules: {}",
        start.tcp,
        start.http,
        start.ws,
        list(settings.launchers.keys())
    )
}

fn started(
    state: &State,
    (pid, resumed): (u32, bool),
    survivors: &[Survivor],
    ended: &[Ended],
) -> String {
    let mut text = match state.master {
        None => format!("the master started as process {pid}"),
        Some(_) if resumed => {
            format!("the master's engine is back, on the connections that process {pid} kept")
        }
        Some(_) => format!("the master started again, as process {pid}"),
    };
    if !survivors.is_empty() {
        let alive = survivors
            .iter()
            .map(|survivor| child(state, survivor.incarnation));
        text.push_str(&format!("; alive: {}", list(alive)));
    }
    if !ended.is_empty() {
        let ended = ended.iter().map(|ended| {
            format!(
                "{} {}",
                child(state, ended.incarnation),
                outcome(&ended.outcome)
            )
        });
        text.push_str(&format!("; ended meanwhile: {}", list(ended)));
    }
    text
}

fn lan_closed(state: &State, reason: &str) -> String {
    match state.lan {
        Lan::Up { .. } => format!("the connection to the LanManager ended: {reason}"),
        Lan::Dialing { .. } | Lan::Away { .. } => {
            format!("the LanManager could not be reached: {reason}")
        }
    }
}

fn need(need: &Need) -> String {
    let mut text = format!("{} ({})", need.instance, need.module);
    if let Some(address) = need
        .address
        .as_deref()
        .filter(|address| !address.is_empty())
    {
        text.push_str(&format!(" on {address}"));
    }
    let prescribed: Vec<String> = need
        .ports
        .iter()
        .filter_map(|(protocol, port)| port.map(|port| format!("{protocol} {port}")))
        .collect();
    if !prescribed.is_empty() {
        text.push_str(&format!(" on port {}", list(prescribed)));
    }
    text
}

fn name_in(need: &Value) -> &str {
    need.get("instancename")
        .and_then(Value::as_str)
        .unwrap_or("without a name")
}

fn deadline(state: &State, recorded: &Recorded) -> String {
    let due: Vec<String> = state
        .deadlines
        .iter()
        .take_while(|(at, _)| *at <= recorded.at)
        .map(|(_, reason)| match reason {
            Deadline::Dial => "to dial the LanManager".to_owned(),
            Deadline::Service(instance) => super::state::due(state, instance),
            Deadline::PortUsable(port) => format!("port {port} may be used again"),
            Deadline::Bids => "bids that only wait make room for other needs".to_owned(),
            Deadline::Request(_) => "a call has waited long enough".to_owned(),
            Deadline::Drain => "the good-bye has taken long enough".to_owned(),
        })
        .collect();
    if due.is_empty() {
        return "time passed, and nothing was due".to_owned();
    }
    format!("it is time: {}", list(due))
}
