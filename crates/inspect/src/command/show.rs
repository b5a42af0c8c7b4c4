//! `journal show`: one event, whole.

use std::ops::ControlFlow;

use allexmaster_state::{Change, Effect, Recorded, State};
use clap::Args;
use serde_json::json;

use super::{Answer, Question};
use crate::error::InspectError;
use crate::failure;
use crate::replay::{Past, Step, Watch};
use crate::screen::{Screen, Tone};
use crate::time::{Zone, find, rfc3339};
use crate::words::{self, SHORT};

/// Show one event, what it caused, and what it changed in the state.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The event: its number, or the last one before a time
    #[arg(value_name = "WHEN")]
    when: String,
    /// Print JSON, with the state before and after
    #[arg(long)]
    json: bool,
}

impl Question for Show {
    fn answer(&self, past: &mut Past, screen: &mut Screen<'_>) -> Result<Answer, InspectError> {
        let sequence = find(past, &screen.zone, &self.when)?;
        past.must_have(sequence)?;
        let moment = Moment::at(past, sequence)?;
        if self.json {
            screen.json(&moment.document())?;
        } else {
            moment.write(screen)?;
            screen.holes(past)?;
        }
        Ok(Answer::Done)
    }
}

/// One event with all that it led to.
pub struct Moment {
    pub recorded: Recorded,
    pub effects: Vec<Effect>,
    /// The state that it met.
    pub before: State,
    /// The state that it left.
    pub after: State,
}

impl Moment {
    /// Replays it.
    ///
    /// # Errors
    /// There is no such event, or the journal cannot be read up to it.
    pub fn at(past: &mut Past, sequence: u64) -> Result<Self, InspectError> {
        let mut taker = Taker {
            before: None,
            moment: None,
        };
        past.replay(sequence..=sequence, &mut taker)?;
        taker.moment.ok_or_else(|| InspectError::NoSuchEvent {
            asked: sequence,
            place: past.place(),
            first: past.first(),
            last: sequence.saturating_sub(1),
        })
    }

    #[must_use]
    pub fn changes(&self) -> Vec<Change> {
        SHORT.difference(&self.before, &self.after)
    }

    fn document(&self) -> serde_json::Value {
        json!({
            "sequence": self.recorded.sequence,
            "at": rfc3339(self.recorded.at.0),
            "kind": self.recorded.event.kind_name(),
            "text": words::event(&self.before, &self.recorded),
            "event": self.recorded.event,
            "effects": self.effects,
            "texts": self.effects.iter().map(|effect| words::effect(&self.after, effect)).collect::<Vec<_>>(),
            "changes": self.changes().iter().map(|change| json!({
                "place": change.place, "before": change.before, "after": change.after,
            })).collect::<Vec<_>>(),
            "before": self.before,
            "after": self.after,
        })
    }

    fn write(&self, screen: &mut Screen<'_>) -> Result<(), InspectError> {
        let recorded = &self.recorded;
        let number = format!("#{}", recorded.sequence);
        let when = screen.zone.moment(recorded.at.0);
        let heading = format!(
            "{}  {when}  {}",
            screen.paint(Tone::Strong, &number),
            screen.paint(Tone::Faint, recorded.event.kind_name())
        );
        screen.line(&heading)?;
        let tone = failure::tone(&self.before, recorded);
        let text = words::event(&self.before, recorded);
        screen.hanging("  ", "  ", tone, &text)?;
        screen.line("")?;
        let what = if self.effects.is_empty() {
            "it caused nothing"
        } else {
            "it caused"
        };
        screen.line(&screen.paint(Tone::Strong, what))?;
        for effect in &self.effects {
            let text = words::effect(&self.after, effect);
            screen.hanging("  → ", "  → ", Tone::Plain, &text)?;
        }
        screen.line("")?;
        write_changes(screen, &self.changes(), "it changed")
    }
}

/// Each change in a line, or in three where that is too long.
pub(super) fn write_changes(
    screen: &mut Screen<'_>,
    changes: &[Change],
    heading: &str,
) -> Result<(), InspectError> {
    let none = format!("{heading} nothing");
    let heading = if changes.is_empty() { &none } else { heading };
    screen.line(&screen.paint(Tone::Strong, heading))?;
    for change in changes {
        let (old, new) = (change.before.as_deref(), change.after.as_deref());
        let old = with_times(&screen.zone, old.unwrap_or("(nothing)"));
        let new = with_times(&screen.zone, new.unwrap_or("(gone)"));
        let place = with_times(&screen.zone, &change.place);
        let length = place.len() + old.len() + new.len() + 7;
        if screen.width.is_none_or(|width| length <= width) {
            let line = format!(
                "  {}: {} → {}",
                place,
                screen.paint(Tone::Bad, &old),
                screen.paint(Tone::Good, &new)
            );
            screen.line(&line)?;
        } else {
            screen.line(&format!("  {place}:"))?;
            screen.hanging("    - ", "    - ", Tone::Bad, &old)?;
            screen.hanging("    + ", "    + ", Tone::Good, &new)?;
        }
    }
    Ok(())
}

/// Milliseconds since the Unix epoch as times of day. In a state, no other number has so many digits.
pub(crate) fn with_times(zone: &Zone, text: &str) -> String {
    const DIGITS: usize = 13;
    let mut shown = String::with_capacity(text.len());
    let mut digits = String::new();
    for letter in text.chars().chain(['\0']) {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        match digits.parse() {
            Ok(at) if digits.len() == DIGITS => shown.push_str(&zone.time(at)),
            Ok(_) | Err(_) => shown.push_str(&digits),
        }
        digits.clear();
        if letter != '\0' {
            shown.push(letter);
        }
    }
    shown
}

struct Taker {
    before: Option<State>,
    moment: Option<Moment>,
}

impl Watch for Taker {
    fn before(&mut self, state: &State, _recorded: &Recorded) {
        self.before = Some(state.clone());
    }

    fn after(&mut self, step: Step<'_>) -> ControlFlow<()> {
        self.moment = self.before.take().map(|before| Moment {
            recorded: step.recorded.clone(),
            effects: step.effects.to_vec(),
            before,
            after: step.state.clone(),
        });
        ControlFlow::Break(())
    }
}
