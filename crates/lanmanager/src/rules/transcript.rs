//! Scenarios as readable transcripts: each event, the effects it caused and the
//! difference it made to the state.

use std::fmt::Write as _;

use allexmaster_machine::{Stamp, Wall};
use allexmaster_state::{Change, Style};
use serde_json::{Value, json};

use super::*;

const STYLE: Style = Style { boots: true };

/// Plays events at given times and writes down what happens.
pub(super) struct Scenario {
    pub(super) state: State,
    sequence: u64,
    text: String,
}

impl Scenario {
    /// Opens with prose that says what the scenario shows.
    pub(super) fn new(prose: &str) -> Self {
        Self {
            state: State::default(),
            sequence: 0,
            text: format!("{prose}\n"),
        }
    }

    /// Lets an event happen, `at` milliseconds after the beginning.
    pub(super) fn event(&mut self, at: u64, event: Event) -> Vec<Effect> {
        self.sequence += 1;
        let stamp = Stamp {
            sequence: self.sequence,
            at: Wall(at),
            entropy: 0,
        };
        let before = json!(self.state);
        let _ = writeln!(
            self.text,
            "\n{:>3} {at:>6} ms  {}",
            self.sequence,
            sentence(&json!(event))
        );
        let state = std::mem::take(&mut self.state);
        let (state, effects) = step(state, stamp, event);
        self.state = state;
        self.state.check().unwrap();
        for effect in &effects {
            let _ = writeln!(self.text, "      → {}", sentence(&json!(effect)));
        }
        for change in STYLE.difference_of_values(&before, &json!(self.state)) {
            let Change {
                place,
                before,
                after,
            } = change;
            let _ = match (before, after) {
                (Some(old), Some(new)) => writeln!(self.text, "        {place}: {old} → {new}"),
                (Some(old), None) => writeln!(self.text, "        {place}: {old} → gone"),
                (None, new) => writeln!(
                    self.text,
                    "        {place}: new {}",
                    new.unwrap_or_default()
                ),
            };
        }
        effects
    }

    /// The transcript.
    pub(super) fn text(self) -> String {
        self.text
    }
}

/// `{"BidPlaced": {"bidder": "b1"}}` as `bid placed: bidder b1`.
fn sentence(value: &Value) -> String {
    let fields = value.as_object().filter(|fields| fields.len() == 1);
    let Some((name, inner)) = fields.and_then(|fields| fields.iter().next()) else {
        return STYLE.brief(value);
    };
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    let parts = match inner {
        Value::Object(fields) => fields
            .iter()
            .map(|(field, value)| format!("{field} {}", STYLE.brief(value)))
            .collect::<Vec<_>>()
            .join(", "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            STYLE.brief(inner)
        }
    };
    format!("{words}: {parts}")
}
