//! Events and effects in words, and what changed in the state.

use std::collections::BTreeMap;
use std::fmt::Display;

use allexmaster_state::{
    ChildEffect, Deadline, Effect, Event, Incarnation, LanEffect, Need, PerProtocol, Port,
    Recorded, ServiceRecord, SessionEffect, State,
};
use serde_json::{Map, Value, json};

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
    let mut changes = Vec::new();
    difference("", &shape(before), &shape(after), &mut changes);
    for change in &changes {
        text.push_str(&format!("        {change}\n"));
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
        Event::LanClosed { connection, reason } => {
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
        Event::PortsProbed { incarnation, taken } => {
            format!("ports of {incarnation} probed; taken: {}", list(taken))
        }
        Event::ChildSpawned {
            incarnation,
            identity,
        } => format!("child {incarnation} runs as pid {}", identity.pid),
        Event::ChildNotSpawned {
            incarnation,
            reason,
        } => format!("child {incarnation} could not be started: {reason}"),
        Event::ChildReady { incarnation } => format!("child {incarnation} answers on its ports"),
        Event::ChildFailed {
            incarnation,
            reason,
        } => format!("child {incarnation} serves nobody: {reason}"),
        Event::ChildExited {
            incarnation,
            outcome,
        } => format!("child {incarnation} ended: {}", json(outcome)),
        Event::ModuleEngaged { module } => format!("module {module} is in use"),
        Event::StopRequested { request, source } => {
            format!(
                "stop asked for by {} (call {})",
                json(source),
                option(*request)
            )
        }
        Event::RestartRequested { request, instance } => {
            format!("call {request}: restart {instance}")
        }
        Event::AddNeedRequested { request, need } => format!("call {request}: add need {need}"),
        Event::RemoveNeedRequested { request, instance } => {
            format!("call {request}: remove need {instance}")
        }
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
        ChildEffect::Spawn(order) => format!(
            "spawn {} for {} on {}",
            order.incarnation,
            order.need.instance,
            ports(&order.ports)
        ),
        ChildEffect::Adopt {
            incarnation,
            instance,
            identity,
        } => format!("adopt {incarnation} of {instance}, pid {}", identity.pid),
        ChildEffect::AwaitReady { incarnation, ports } => {
            format!("await that {incarnation} answers on {}", list(ports))
        }
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

fn ports(ports: &PerProtocol<Port>) -> String {
    format!("{}/{}/{}", ports.tcp, ports.http, ports.ws)
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
    brief(&serde_json::to_value(value).expect("what the rules say is always JSON"))
}

/// The state as it is compared: the stored one, with lists of pairs as tables, and
/// the ports of the three protocols, of one holder, or of one moment, side by side.
fn shape(state: &State) -> Value {
    let mut shape = serde_json::to_value(state).expect("a state is always JSON");
    let deadlines = state
        .deadlines
        .iter()
        // Each blocked port has one; it stands beside the port.
        .filter(|(_, reason)| !matches!(reason, Deadline::PortUsable(_)))
        .map(|(at, reason)| (json(reason), Value::from(at.0)));
    shape["deadlines"] = Value::Object(deadlines.collect());
    let mut leases: BTreeMap<Incarnation, Vec<String>> = BTreeMap::new();
    for (port, holder) in state.ports.leases() {
        leases.entry(holder).or_default().push(port.to_string());
    }
    let mut blocked: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (port, until) in state.ports.blocked() {
        let until = format!("until {until}");
        blocked.entry(until).or_default().push(port.to_string());
    }
    let mut pools = Map::new();
    for field in ["first", "end", "watermark", "released"] {
        let pool = |protocol: &str| brief(&shape["ports"]["pools"][protocol][field]);
        let together = format!("{}/{}/{}", pool("tcp"), pool("http"), pool("ws"));
        pools.insert(field.into(), Value::from(together));
    }
    shape["ports"] = json!({ "leases": table(leases), "blocked": table(blocked), "pools": pools });
    if let Some(fields) = shape.as_object_mut() {
        fields.remove("now"); // it stands beside each event
    }
    shape
}

fn table(rows: BTreeMap<impl Display, Vec<String>>) -> Value {
    let rows = rows
        .into_iter()
        .map(|(key, values)| (key.to_string(), Value::from(values.join(" "))));
    Value::Object(rows.collect())
}

/// One line for each place that differs: `path: before → after`.
fn difference(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    if before == after {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        lines.push(format!("{path}: {} → {}", variant(before), brief(after)));
        return;
    };
    // Another variant of an enum is another thing, not a thing that changed.
    let may_be_variant = path == "lan" || path.starts_with("services.");
    if let ([variant], [other]) = (keys(old).as_slice(), keys(new).as_slice())
        && may_be_variant
        && variant != other
    {
        lines.push(format!("{path}: {variant} → {}", brief(after)));
        return;
    }
    let mut both: Vec<&String> = old.keys().chain(new.keys()).collect();
    both.sort();
    both.dedup();
    for key in both {
        let path = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        match (old.get(key), new.get(key)) {
            (Some(old), Some(new)) => difference(&path, old, new, lines),
            (Some(old), None) => lines.push(format!("{path}: {} → gone", brief(old))),
            (None, Some(new)) => lines.push(format!("{path}: new {}", brief(new))),
            (None, None) => {}
        }
    }
}

/// What an enum was; its fields were shown when it became so.
fn variant(value: &Value) -> String {
    let only = value.as_object().filter(|fields| fields.len() == 1);
    let name = only.and_then(|fields| fields.keys().next());
    name.cloned().unwrap_or_else(|| brief(value))
}

fn keys(fields: &Map<String, Value>) -> Vec<&String> {
    fields.keys().collect()
}

/// JSON without what says nothing: quotes, and fields that are absent or empty.
fn brief(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(brief).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => brief_object(fields),
    }
}

fn brief_object(fields: &Map<String, Value>) -> String {
    if let (3, Some(tcp), Some(http), Some(ws)) = (
        fields.len(),
        fields.get("tcp"),
        fields.get("http"),
        fields.get("ws"),
    ) {
        return format!("{}/{}/{}", brief(tcp), brief(http), brief(ws));
    }
    if let (3, Some(boot), Some(pid)) = (fields.len(), fields.get("boot"), fields.get("pid")) {
        return format!("{} of {}", brief(pid), brief(boot));
    }
    let mut keys: Vec<&String> = fields.keys().collect();
    keys.sort();
    let shown: Vec<String> = keys
        .into_iter()
        .map(|key| (key, &fields[key]))
        .filter(|(_, value)| !says_nothing(value))
        .map(|(key, value)| format!("{key}: {}", brief(value)))
        .collect();
    format!("{{{}}}", shown.join(", "))
}

fn says_nothing(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}
