//! What happened, in one sentence.

use allexmaster_lanmanager::rules::{Effect, Event, InstanceName, MasterId};
use allexmaster_machine::Stamp;
use serde_json::Value;

use super::past::Step;

/// When an event was, as people read it: UTC.
pub(super) fn time(at: u64) -> String {
    /// The last millisecond that RFC 3339 has a form for, at the end of the year 9999.
    const LAST_TIME: u64 = 253_402_300_799_999;
    let at = std::time::Duration::from_millis(at.min(LAST_TIME));
    let at = std::time::SystemTime::UNIX_EPOCH + at;
    humantime::format_rfc3339_millis(at).to_string()
}

/// So much of what became of an event is said; the start of a LanManager opens all needs.
const MAX_OUTCOMES: usize = 8;

/// One line for an event.
pub(super) fn line(step: &Step<'_>, about: Option<&InstanceName>) -> String {
    let Stamp { sequence, at, .. } = step.stamp;
    format!("{sequence:>8}  {}  {}", time(at.0), sentence(step, about))
}

/// What happened, and what became of it: of one need, where it is about one.
pub(super) fn sentence(step: &Step<'_>, about: Option<&InstanceName>) -> String {
    let master = |session: &MasterId| {
        if step.after.has_master(session) {
            step.after.master_text(session)
        } else {
            step.before.master_text(session)
        }
    };
    let some_master = |session: &Option<MasterId>| match session {
        Some(session) => master(session),
        None => "somebody".to_owned(),
    };
    let mut text = match step.event {
        Event::FilesRead { files, .. } => {
            format!("the files were read: {} needs", files.needs.len())
        }
        Event::Started { .. } => "the LanManager started".to_owned(),
        Event::MasterConnected {
            master: session, ..
        } => format!("the master {} is connected", master(session)),
        Event::MasterGone { master: session } => {
            format!("the master {} is gone", master(session))
        }
        Event::NeedAdded { need, .. } => format!("somebody asked for the need {}", need.name()),
        Event::NeedRemoved { name, .. } => format!("somebody asked to remove the need {name}"),
        Event::BidPlaced {
            opening, master, ..
        } => format!("{} bids for {}", some_master(master), opening.name),
        Event::BidderGone { opening, .. } => format!("a bid for {} was given up", opening.name),
        Event::Responded {
            opening,
            master: session,
            descriptor,
            ..
        } => match descriptor {
            Some(place) => format!(
                "{} says that {} runs at {} on {:?}",
                master(session),
                opening.name,
                place.address,
                place.ports()
            ),
            None => format!(
                "{} does not say where {} runs",
                master(session),
                opening.name
            ),
        },
        Event::PortsChecked { check, reachable } => {
            let name = &check.opening.name;
            if *reachable {
                format!("a port of {name} answers")
            } else {
                format!("no port of {name} answers")
            }
        }
        Event::ServiceDownReported { name, reporter, .. } => {
            format!("{} reports that {name} is down", some_master(reporter))
        }
        Event::ModuleEngaged { module, .. } => format!("the module {module} is in use"),
        Event::RuntimeNeedsWritten { .. } => "needs.runtime was written".to_owned(),
        Event::DeadlineReached => "a master has been away for longer than the grace".to_owned(),
        Event::CaughtUp => "all who stood at the doors after the start are in".to_owned(),
    };
    let effects = step.effects.iter();
    let effects = effects.filter(|effect| match (about, subject(effect)) {
        (Some(about), Some(name)) => about == name,
        (_, _) => true,
    });
    let mut outcomes: Vec<String> = effects.filter_map(outcome).collect();
    if outcomes.len() > MAX_OUTCOMES {
        let more = outcomes.len() - MAX_OUTCOMES;
        outcomes.truncate(MAX_OUTCOMES);
        outcomes.push(format!("and {more} more"));
    }
    if !outcomes.is_empty() {
        text.push_str(&format!(": {}", outcomes.join(", ")));
    }
    text
}

/// The need that an effect is about.
fn subject(effect: &Effect) -> Option<&InstanceName> {
    match effect {
        Effect::NeedOpened { opening, .. }
        | Effect::NeedSatisfied { opening, .. }
        | Effect::NeedClosed { opening } => Some(&opening.name),
        Effect::ServiceDown { name } => Some(name),
        Effect::Reply { .. }
        | Effect::ServiceUp { .. }
        | Effect::NatListed { .. }
        | Effect::ModuleListed { .. }
        | Effect::CheckPorts { .. }
        | Effect::WriteRuntimeNeeds { .. } => None,
    }
}

/// What an effect shows of a decision; nothing where it follows from the event.
fn outcome(effect: &Effect) -> Option<String> {
    use allexmaster_lanmanager::rules::Reply;
    Some(match effect {
        Effect::Reply { reply, .. } => match reply {
            Reply::BidActive { .. } => "the bid wins".to_owned(),
            Reply::BidRejected => "the bid is rejected, the need is for other machines".to_owned(),
            Reply::Refused(refusal) => format!("refused: {refusal}"),
            Reply::Count(0) => "it is not the listed one, so nothing changes".to_owned(),
            Reply::Welcome { .. }
            | Reply::Accepted { .. }
            | Reply::Done
            | Reply::Count(_)
            | Reply::Module(_) => return None,
        },
        Effect::NeedOpened { opening, .. } => format!("{} is needed", opening.name),
        Effect::NeedSatisfied { opening, .. } => format!("{} is satisfied", opening.name),
        Effect::NeedClosed { opening } => format!("{} is not needed any more", opening.name),
        Effect::ServiceDown { name } => format!("{name} is down"),
        Effect::ServiceUp { .. }
        | Effect::NatListed { .. }
        | Effect::ModuleListed { .. }
        | Effect::CheckPorts { .. }
        | Effect::WriteRuntimeNeeds { .. } => return None,
    })
}

/// Whether an event is about a need: it names it, or something of it changes with the event.
pub(super) fn concerns(step: &Step<'_>, name: &InstanceName) -> bool {
    let named = match step.event {
        Event::BidPlaced { opening, .. }
        | Event::BidderGone { opening, .. }
        | Event::Responded { opening, .. } => opening.name == *name,
        Event::PortsChecked { check, .. } => check.opening.name == *name,
        Event::NeedRemoved { name: of, .. } | Event::ServiceDownReported { name: of, .. } => {
            of == name
        }
        Event::NeedAdded { need, .. } => need.name() == name,
        Event::FilesRead { .. }
        | Event::Started { .. }
        | Event::MasterConnected { .. }
        | Event::MasterGone { .. }
        | Event::ModuleEngaged { .. }
        | Event::RuntimeNeedsWritten { .. }
        | Event::DeadlineReached
        | Event::CaughtUp => false,
    };
    named
        || step.before.need_view(name) != step.after.need_view(name)
        || step.before.owner(name) != step.after.owner(name)
}

/// A service's place in few words: `10.0.0.1 tcp 15000 http 16000`.
pub(super) fn place(row: &serde_json::Map<String, Value>) -> String {
    let mut text = row
        .get("ipaddress")
        .and_then(Value::as_str)
        .unwrap_or("?")
        .to_owned();
    for (column, word) in [("tcpport", "tcp"), ("httpport", "http"), ("wsport", "ws")] {
        if let Some(port) = row.get(column).and_then(Value::as_u64) {
            text.push_str(&format!(" {word} {port}"));
        }
    }
    text
}
