//! A stretch of a journal as a text that a person can read and a test can compare.

use std::fmt::Write as _;

use crate::error::InspectError;
use crate::replay::{Past, Step, Watch};
use crate::words::{self, SHORT};
use allexmaster_state::{Recorded, State};
use std::ops::ControlFlow;

/// Each event with the time since the first one, what it caused, and what it changed.
///
/// # Errors
/// The journal cannot be read.
pub fn transcript(past: &mut Past) -> Result<String, InspectError> {
    let mut writer = Writer::default();
    let range = past.first()..=u64::MAX;
    past.replay(range, &mut writer)?;
    Ok(writer.text)
}

#[derive(Default)]
struct Writer {
    text: String,
    began: Option<u64>,
    before: Option<State>,
}

impl Watch for Writer {
    fn before(&mut self, state: &State, recorded: &Recorded) {
        let began = *self.began.get_or_insert(recorded.at.0);
        // Writing to a text cannot fail.
        let _ = writeln!(
            self.text,
            "{:>4} {:>8} ms  {}",
            recorded.sequence,
            recorded.at.0.saturating_sub(began),
            words::event(state, recorded)
        );
        self.before = Some(state.clone());
    }

    fn after(&mut self, step: Step<'_>) -> ControlFlow<()> {
        for effect in step.effects {
            let _ = writeln!(self.text, "       → {}", words::effect(step.state, effect));
        }
        let changes = self
            .before
            .take()
            .map(|before| SHORT.difference(&before, step.state))
            .unwrap_or_default();
        for change in changes {
            let (old, new) = (change.before.as_deref(), change.after.as_deref());
            let _ = writeln!(
                self.text,
                "         {}: {} → {}",
                change.place,
                old.unwrap_or("(nothing)"),
                new.unwrap_or("(gone)")
            );
        }
        ControlFlow::Continue(())
    }
}
