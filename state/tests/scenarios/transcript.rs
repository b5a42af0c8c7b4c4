//! Events and effects in words, and what changed in the state.

use std::fmt::Display;

use allexmaster_state::{
    Change, ChildEffect, Effect, Event, LanEffect, Need, PerProtocol, Port, Recorded,
    ServiceRecord, SessionEffect, State, Style,
};

const STYLE: Style = Style { boots: true };

/// One event with all that it led to.
pub(crate) fn block(
    recorded: &Recorded,
    effects: &[Effect],
    before: &State,
    after: &State,
) -> String {
    let mut text = format!(
        "{:>3} {:>6} ms  {}\n",
        recorded.sequence,
        recorded.at.0,
        event(&recorded.event)
    );
    for effect in effects {
        text.push_str(&format!("      → {}\n", self::effect(effect)));
    }
    let changes = STYLE.difference(before, after);
    for Change {
        place,
        before,
        after,
    } in &changes
    {
        let change = match (before, after) {
            (Some(before), Some(after)) => format!("{before} → {after}"),
            (Some(before), None) => format!("{before} → gone"),
            (None, after) => format!("new {}", option(after.as_deref())),
        };
        text.push_str(&format!("        {place}: {change}\n"));
    }
    if effects.is_empty() && changes.is_empty() {
        text.push_str("        (nothing changes)\n");
    }
    text
}

fn event(event: &Event) -> String {
    match event {
        Event::SettingsLoaded { .. } => "settings loaded".into(),
        Event::MasterStarted {
            boot,
            survivors,
            ended,
            resumed,
            ..
        } => {
            let how = if *resumed { "is back" } else { "started" };
            let survivors = list(
                survivors
                    .iter()
                    .map(|found| format!("{} (pid {})", found.incarnation, found.identity.pid)),
            );
            let ended = list(
                ended
                    .iter()
                    .map(|end| format!("{} {}", end.incarnation, json(&end.outcome))),
            );
            format!("master {how}, {boot}; alive: {survivors}; ended: {ended}")
        }
        Event::LanConnected {
            connection,
            address,
            ..
        } => format!("LanManager lets us in on {connection}, sees us as {address}"),
        Event::LanClosed {
            connection, reason, ..
        } => {
            format!("connection {connection} is closed: {reason}")
        }
        Event::NeedsListed { connection, needs } => format!(
            "needs on {connection}: {}",
            list(needs.iter().map(|need| self::need(need)))
        ),
        Event::NeedAppeared { connection, need } => {
            format!("need appears on {connection}: {}", self::need(need))
        }
        Event::NeedWithdrawn {
            connection,
            instance,
        } => format!("need is no longer listed on {connection}: {instance}"),
        Event::ServicesListed {
            connection,
            services,
        } => format!(
            "services on {connection}: {}",
            list(services.iter().map(|listed| format!(
                "{} {}",
                listed.instance,
                json(&listed.place)
            )))
        ),
        Event::BidAnswered {
            instance,
            bid,
            answer,
        } => format!("bid {bid} for {instance}: {}", json(answer)),
        Event::ResponseAnswered {
            instance,
            bid,
            answer,
        } => format!("response on {bid} for {instance}: {}", json(answer)),
        Event::ServiceDownAcknowledged { instance, .. } => {
            format!("LanManager has heard that {instance} is down")
        }
        Event::PortsProbed {
            incarnation, taken, ..
        } => {
            format!("ports of {incarnation} probed; taken: {}", list(taken))
        }
        Event::PortsFreed { ports } => format!("ports are free again: {}", list(ports)),
        Event::ChildSpawned {
            incarnation,
            identity,
            ..
        } => format!("child {incarnation} runs as pid {}", identity.pid),
        Event::ChildNotSpawned {
            incarnation,
            reason,
            missing,
        } => {
            let missing = missing.as_ref().map(|missing| &missing.package);
            let missing =
                missing.map_or_else(String::new, |package| format!("; missing: {package}"));
            format!("child {incarnation} could not be started: {reason}{missing}")
        }
        Event::ChildReady { incarnation } => format!("child {incarnation} answers on its ports"),
        Event::ChildFailed {
            incarnation,
            reason,
        } => format!("child {incarnation} serves nobody: {reason}"),
        Event::ForeignListener { incarnation, port } => {
            format!("another program listens on port {port} of child {incarnation}")
        }
        Event::ChildExited {
            incarnation,
            outcome,
        } => format!("child {incarnation} ended: {}", json(outcome)),
        Event::DescendantsLeft {
            incarnation,
            outcome,
            left,
        } => format!(
            "child {incarnation} ended: {}; left: {}",
            json(outcome),
            json(left)
        ),
        Event::DescendantsEnded {
            incarnation,
            killed,
            left,
        } => format!(
            "descendants of {incarnation}: killed {}, left {}",
            json(killed),
            json(left)
        ),
        Event::StraysFound { strays } => format!("strays: {}", json(strays)),
        Event::InstallEnded { package, complaint } => match complaint {
            Some(complaint) => format!("npm could not install {package}: {complaint}"),
            None => format!("npm has installed {package}"),
        },
        Event::ModuleEngaged { module, request } => {
            format!("module {module} is in use (call {})", option(*request))
        }
        Event::StopRequested {
            request,
            source,
            urgent,
        } => {
            format!(
                "{}stop asked for by {} (call {})",
                if *urgent { "urgent " } else { "" },
                json(source),
                option(*request)
            )
        }
        Event::RestartRequested {
            request, instance, ..
        } => format!("call {request}: restart {instance}"),
        Event::HoldRequested {
            request, instance, ..
        } => format!("call {request}: stop {instance}"),
        Event::StartRequested {
            request, instance, ..
        } => format!("call {request}: start {instance}"),
        Event::AddNeedRequested { request, need, .. } => {
            format!("call {request}: add need {need}")
        }
        Event::RemoveNeedRequested {
            request, instance, ..
        } => format!("call {request}: remove need {instance}"),
        Event::LanCallAnswered { request, answer } => {
            format!("LanManager answers call {request}: {}", json(answer))
        }
        Event::DeadlineReached => "a deadline is reached".into(),
        Event::ClockJumped { by } => format!("the clock jumps by {by} ms"),
    }
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Child(effect) => child_effect(effect),
        Effect::Session(effect) => session_effect(effect),
        Effect::Install { package } => format!("install {package}"),
        Effect::Exit => "exit".into(),
    }
}

fn session_effect(effect: &SessionEffect) -> String {
    match effect {
        SessionEffect::Dial {
            connection,
            failures,
        } => format!("dial as {connection} (failed before: {failures})"),
        SessionEffect::HangUp { connection } => format!("end connection {connection}"),
        SessionEffect::Publish { record } => format!("publish {}", self::record(record)),
        SessionEffect::Retract { instance } => format!("retract {instance}"),
        SessionEffect::Reply { request, reply } => {
            format!("reply to call {request}: {}", json(reply))
        }
        SessionEffect::Lan(effect) => lan_effect(effect),
    }
}

fn lan_effect(effect: &LanEffect) -> String {
    match effect {
        LanEffect::Bid {
            connection,
            instance,
            bid,
            address,
        } => format!("bid {bid} for {instance} on {connection}, offering {address}"),
        LanEffect::Abandon { instance, bid } => format!("give up bid {bid} for {instance}"),
        LanEffect::Respond { bid, record } => format!("respond on {bid}: {}", self::record(record)),
        LanEffect::ReportDown {
            connection,
            instance,
        } => format!("report on {connection} that {instance} is down"),
        LanEffect::ReportEngaged { connection, module } => {
            format!("report on {connection} that {module} is in use")
        }
        LanEffect::AddNeed {
            connection,
            request,
            need,
        } => format!("ask on {connection} for call {request} to add need {need}"),
        LanEffect::RemoveNeed {
            connection,
            request,
            instance,
        } => format!("ask on {connection} for call {request} to remove need {instance}"),
    }
}

fn child_effect(effect: &ChildEffect) -> String {
    match effect {
        ChildEffect::ProbePorts { incarnation, ports } => {
            format!("probe for {incarnation} the ports {}", list(ports))
        }
        ChildEffect::AwaitFree { ports } => format!("await that {} are free", list(ports)),
        ChildEffect::Spawn(order) => format!(
            "spawn {} for {} on {}",
            order.incarnation,
            order.need.instance,
            optional_ports(&order.ports)
        ),
        ChildEffect::Adopt {
            incarnation,
            instance,
            identity,
        } => format!("adopt {incarnation} of {instance}, pid {}", identity.pid),
        ChildEffect::AwaitReady { incarnation, ports } => {
            format!("await that {incarnation} answers on {}", list(ports))
        }
        ChildEffect::Reap { incarnation } => format!("reap {incarnation}"),
        ChildEffect::EndStray {
            incarnation,
            identity,
            grace,
        } => format!(
            "end stray {incarnation} (pid {}) within {grace}",
            identity.pid
        ),
        ChildEffect::Signal {
            incarnation,
            identity,
            signal,
        } => format!(
            "signal {incarnation} (pid {}): {}",
            identity.pid,
            json(signal)
        ),
    }
}

fn need(need: &Need) -> String {
    let address = need.address.as_deref();
    let address = address.map(|address| format!(" at {address}"));
    let prescribed: Vec<String> = need
        .ports
        .iter()
        .filter_map(|(protocol, port)| port.map(|port| format!(" with {protocol} {port}")))
        .collect();
    format!(
        "{} = {}{}{}",
        need.instance,
        need.module,
        address.unwrap_or_default(),
        prescribed.concat()
    )
}

fn record(record: &ServiceRecord) -> String {
    format!(
        "{}, pid {}, ports {}, address {}",
        record.need.instance,
        record.pid,
        optional_ports(&record.ports),
        option(record.address.as_deref())
    )
}

fn optional_ports(ports: &PerProtocol<Option<Port>>) -> String {
    format!(
        "{}/{}/{}",
        option(ports.tcp),
        option(ports.http),
        option(ports.ws)
    )
}

fn option(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() {
        return "none".into();
    }
    items.join(", ")
}

fn json(value: &impl serde::Serialize) -> String {
    STYLE.brief(&serde_json::to_value(value).expect("what the rules say is always JSON"))
}
