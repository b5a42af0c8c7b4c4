//! Scenarios as readable transcripts: each event, the effects it caused and the
//! difference it made to the state.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use allexmaster_machine::{Stamp, Wall};
use serde_json::{Value, json};

use super::*;

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
        let before = flat(&json!(self.state));
        let _ = writeln!(self.text, "\n#{} at {at}: {}", self.sequence, words(&event));
        let state = std::mem::take(&mut self.state);
        let (state, effects) = step(state, stamp, event);
        self.state = state;
        self.state.check().unwrap();
        for effect in &effects {
            let _ = writeln!(self.text, "  => {}", effect_words(effect));
        }
        for line in difference(&before, &flat(&json!(self.state))) {
            let _ = writeln!(self.text, "     {line}");
        }
        effects
    }

    /// The transcript.
    pub(super) fn text(self) -> String {
        self.text
    }
}

fn words(event: &Event) -> String {
    compact(&json!(event))
}

fn effect_words(effect: &Effect) -> String {
    compact(&json!(effect))
}

/// JSON without the quotes that only make it harder to read.
fn compact(value: &Value) -> String {
    value.to_string().replace('"', "").replace(',', ", ")
}

/// Every leaf of the state by its path.
fn flat(value: &Value) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    collect(value, String::new(), &mut leaves);
    leaves
}

fn collect(value: &Value, path: String, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) if !members.is_empty() && path.matches('.').count() < 2 => {
            for (name, member) in members {
                let separator = if path.is_empty() { "" } else { "." };
                collect(member, format!("{path}{separator}{name}"), leaves);
            }
        }
        // Only what is in it counts.
        Value::Object(members) if members.is_empty() => {}
        Value::Object(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_) => {
            leaves.insert(path, compact(value));
        }
    }
}

fn difference(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, value) in before {
        match after.get(path) {
            None => lines.push(format!("- {path}: {value}")),
            Some(now) if now != value => lines.push(format!("~ {path}: {value} -> {now}")),
            Some(_) => {}
        }
    }
    for (path, value) in after {
        if !before.contains_key(path) {
            lines.push(format!("+ {path}: {value}"));
        }
    }
    lines
}
