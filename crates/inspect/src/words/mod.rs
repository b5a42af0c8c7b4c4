//! Events, effects and states in plain sentences.

mod effect;
mod event;
mod state;

use allexmaster_state::{Incarnation, InstanceName, Outcome, PerProtocol, Port, State, Style};

pub use effect::effect;
pub use event::event;
pub use state::{difference_of_status, outline, service_line};

/// How differences are shown: a journal is of one boot mostly.
pub(crate) const SHORT: Style = Style { boots: false };

/// How a child ended, so that `its child` can stand before it.
#[must_use]
pub fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited(code) => format!("exited with code {code}"),
        Outcome::Signaled(signal) => match signal_name(*signal) {
            name if name.starts_with("SIG") => format!("was ended by {name} (signal {signal})"),
            number => format!("was ended by {number}"),
        },
        Outcome::Lost(why) => format!("ended unseen ({why})"),
    }
}

/// `SIGTERM`; a number where it has no name of its own.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let index = usize::try_from(signal).unwrap_or_default();
    match index.checked_sub(1).and_then(|index| NAMES.get(index)) {
        Some(name) => format!("SIG{name}"),
        None => format!("signal {signal}"),
    }
}

/// A child by the name of its service and its process, as far as the state knows them.
pub(crate) fn child(state: &State, incarnation: Incarnation) -> String {
    let Some(instance) = state.services.owner(incarnation) else {
        return format!("child {incarnation}");
    };
    match process_of(state, instance) {
        Some(pid) => format!("{instance}'s child (process {pid})"),
        None => format!("{instance}'s child"),
    }
}

fn process_of(state: &State, instance: &InstanceName) -> Option<u32> {
    let service = state.services.get(instance)?;
    let process = service.activity.process()?;
    Some(process.identity.pid.0)
}

/// The owner of an attempt, or its number.
fn owner(state: &State, incarnation: Incarnation) -> String {
    match state.services.owner(incarnation) {
        Some(instance) => instance.to_string(),
        None => format!("attempt {incarnation}"),
    }
}

fn ports(ports: &PerProtocol<Option<Port>>) -> String {
    let each = ports.iter();
    let each = each.filter_map(|(protocol, port)| port.map(|port| format!("{protocol} {port}")));
    each.collect::<Vec<_>>().join(", ")
}

/// `a`, `a and b`, `a, b and c`; past a number that can be read at once, how many more.
pub(crate) fn list<Item: ToString>(items: impl IntoIterator<Item = Item>) -> String {
    const SHOWN: usize = 5;
    let mut items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    let more = items.len().saturating_sub(SHOWN);
    if more > 1 {
        items.truncate(SHOWN);
        items.push(format!("{more} more"));
    }
    match items.split_last() {
        None => "none".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}
