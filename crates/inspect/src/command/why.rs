//! `journal why`: the chain of causes.

use allexmaster_state::ServiceState;
use clap::Args;
use serde_json::{Value, json};

use super::{Answer, Question};
use crate::error::InspectError;
use crate::replay::Past;
use crate::screen::{Screen, Tone};
use crate::time::{Zone, find, rfc3339};
use crate::why::{Explanation, Link, Target, explain};
use crate::words;

const LINKS_SHOWN: usize = 12;
/// So many failures are named beside the last one.
const FAILURES_SHOWN: usize = 5;

/// Tell why a service, need, port or process is as it is.
///
/// A port or process leads to the service that had it last. `port:15000`, `pid:4711` and `need:Time`
/// say which is meant, where a number or name could be more than one.
#[derive(Debug, Args)]
pub(super) struct Why {
    /// Time, need:Time, port:15000, pid:4711, or a number that is either
    #[arg(value_name = "TARGET")]
    target: String,
    /// As it was at this event or time, and not at the end
    #[arg(long, value_name = "WHEN")]
    at: Option<String>,
    /// The whole chain
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Question for Why {
    fn answer(&self, past: &mut Past, screen: &mut Screen<'_>) -> Result<Answer, InspectError> {
        let until = match &self.at {
            Some(when) => find(past, &screen.zone, when)?,
            None => past.end()?.sequence,
        };
        if self.at.is_some() {
            past.must_have(until)?;
        }
        let explanation = explain(past, &Target::read(&self.target), until)?;
        if self.json {
            screen.json(&document(&explanation))?;
        } else {
            self.write(&explanation, screen)?;
            screen.holes(past)?;
        }
        Ok(Answer::Done)
    }
}

impl Why {
    fn write(&self, told: &Explanation, screen: &mut Screen<'_>) -> Result<(), InspectError> {
        if let Some(found) = &told.found {
            screen.hanging("", "", Tone::Faint, found)?;
        }
        let tone = told
            .status
            .as_ref()
            .map_or(Tone::Plain, |status| tone_of(status.state));
        let text = headline(told, &screen.zone);
        screen.hanging("", "", tone, &text)?;
        if let Some(text) = before(told, &screen.zone) {
            screen.hanging("", "", Tone::Waiting, &text)?;
        }
        if told.chain.is_empty() {
            return Ok(());
        }
        screen.line("")?;
        let skipped = if self.all {
            0
        } else {
            told.chain.len().saturating_sub(LINKS_SHOWN)
        };
        screen.line(&screen.paint(Tone::Strong, "How it came to this"))?;
        if skipped > 0 {
            let first = told.chain.first().map_or(0, |link| link.sequence);
            let text = format!("… {skipped} earlier changes since #{first} (--all shows them)");
            screen.hanging("  ", "  ", Tone::Faint, &text)?;
        }
        for link in told.chain.iter().skip(skipped) {
            write_link(screen, link)?;
        }
        Ok(())
    }
}

fn write_link(screen: &mut Screen<'_>, link: &Link) -> Result<(), InspectError> {
    let (time, number) = (screen.zone.time(link.at), format!("#{}", link.sequence));
    let plain = format!("  {time}  {number:<7} ");
    let head = format!(
        "  {}  {} ",
        screen.paint(Tone::Faint, &time),
        screen.paint(Tone::Strong, &format!("{number:<7}"))
    );
    let mut text = link.text.clone();
    if let Some(because) = link.because {
        text.push_str(&format!(" (because of #{because})"));
    }
    if let Some(became) = link.became {
        text.push_str(&format!("  ⇒ {became}"));
    }
    screen.hanging(&head, &plain, link.tone, &text)
}

/// That it had a life before the first event that there is.
fn before(told: &Explanation, zone: &Zone) -> Option<String> {
    let before = told.before.as_ref()?;
    if before.behind_hole {
        return Some(format!(
            "It was {} at {} (after #{}): what led to that is damaged, and not told.",
            before.state,
            zone.moment(before.at),
            before.sequence
        ));
    }
    Some(format!(
        "It was {} already at {}, where this journal begins (after #{}): what led to that is not told.",
        before.state,
        zone.moment(before.at),
        before.sequence
    ))
}

/// The answer in one or two sentences.
fn headline(told: &Explanation, zone: &Zone) -> String {
    let Some(status) = &told.status else {
        return format!(
            "{} is not known any more: it ended, nobody asked for it again, and it was forgotten{}.",
            told.instance,
            told.since
                .as_ref()
                .map(|link| mark(link, zone))
                .unwrap_or_default()
        );
    };
    let mut text = match status.state {
        ServiceState::BackingOff | ServiceState::Failed => not_running(told, zone),
        ServiceState::Waiting
        | ServiceState::Bidding
        | ServiceState::Starting
        | ServiceState::Checking
        | ServiceState::Running
        | ServiceState::Superseded
        | ServiceState::Stopping
        | ServiceState::Held => {
            let mut text = words::service_line(status);
            if let Some(since) = &told.since {
                text.push_str(&format!(
                    ", since {} (#{}): {}",
                    zone.seconds(since.at),
                    since.sequence,
                    since.text
                ));
            }
            text
        }
    };
    text.push('.');
    if status.state == ServiceState::Held {
        text.push_str(&format!(
            " `allexmaster start {}` starts it.",
            status.instance
        ));
    }
    if status.restarts > 0 && status.state == ServiceState::Running {
        let times = if status.restarts == 1 {
            "once".to_owned()
        } else {
            format!("{} times", status.restarts)
        };
        text.push_str(&format!(" It was started again {times}"));
        let trouble = told.chain.iter().rfind(|link| link.tone == Tone::Bad);
        if let Some(trouble) = trouble {
            text.push_str(&format!(
                ", the last time after this: {} at {} (#{})",
                trouble.text,
                zone.seconds(trouble.at),
                trouble.sequence
            ));
        }
        text.push('.');
    }
    text
}

fn not_running(told: &Explanation, zone: &Zone) -> String {
    let mut text = format!("{} is not running", told.instance);
    if let Some(last) = told.failures.last() {
        text.push_str(&format!(
            ": {} at {} (#{})",
            last.text,
            zone.seconds(last.at),
            last.sequence
        ));
    } else if let Some(reason) = told
        .status
        .as_ref()
        .and_then(|status| status.reason.as_ref())
    {
        text.push_str(&format!(": {reason}"));
    }
    let unseen = told.before.as_ref().map_or(0, |before| before.failures);
    if unseen > 0 {
        let known = told.failures.len().saturating_sub(1);
        let row = told.failures.len() + unseen as usize;
        text.push_str(&format!(
            ", the {} time in a row ({known} of the earlier ones are told below)",
            ordinal(row)
        ));
    } else if let [first, .., last] = told.failures.as_slice() {
        let earlier: Vec<String> = told
            .failures
            .iter()
            .rev()
            .skip(1)
            .take(FAILURES_SHOWN)
            .map(|link| format!("#{}", link.sequence))
            .collect();
        text.push_str(&format!(
            ", the {} time in a row within {} ({})",
            ordinal(told.failures.len()),
            crate::time::duration(last.at.saturating_sub(first.at)),
            earlier.into_iter().rev().collect::<Vec<_>>().join(", ")
        ));
    }
    match told.next {
        Some(next) => text.push_str(&format!(", so the next start is at {}", zone.time(next))),
        None => text.push_str(
            "; it is not started again until somebody asks (`allexmaster restart`) or the need comes \
             anew",
        ),
    }
    text
}

fn ordinal(number: usize) -> String {
    match number {
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        4 => "fourth".to_owned(),
        5 => "fifth".to_owned(),
        _ => format!("{number}th"),
    }
}

fn mark(link: &Link, zone: &Zone) -> String {
    format!(" at {} (#{})", zone.seconds(link.at), link.sequence)
}

/// How a state is coloured.
pub(crate) const fn tone_of(state: ServiceState) -> Tone {
    match state {
        ServiceState::Running => Tone::Good,
        ServiceState::Waiting
        | ServiceState::Bidding
        | ServiceState::Starting
        | ServiceState::Checking
        | ServiceState::Stopping
        | ServiceState::Held => Tone::Waiting,
        ServiceState::Superseded | ServiceState::BackingOff | ServiceState::Failed => Tone::Bad,
    }
}

fn document(told: &Explanation) -> Value {
    let link = |link: &Link| {
        json!({
            "sequence": link.sequence,
            "at": rfc3339(link.at),
            "text": link.text,
            "became": link.became,
            "because": link.because,
        })
    };
    json!({
        "service": told.instance,
        "text": headline(told, &Zone::utc()),
        "state": told.status.as_ref().map(|status| status.state),
        "reason": told.status.as_ref().and_then(|status| status.reason.clone()),
        "pid": told.status.as_ref().and_then(|status| status.pid),
        "since": told.since.as_ref().map(link),
        "failures": told.failures.iter().map(link).collect::<Vec<_>>(),
        "next": told.next.map(rfc3339),
        "chain": told.chain.iter().map(link).collect::<Vec<_>>(),
        "before": told.before.as_ref().map(|before| json!({
            "sequence": before.sequence, "at": rfc3339(before.at), "state": before.state,
            "failures": before.failures,
        })),
    })
}
