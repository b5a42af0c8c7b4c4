//! `journal verify`: is every record the one that was written?

use std::ops::ControlFlow;

use clap::Args;
use serde_json::json;

use super::{Answer, Question, begins};
use crate::error::InspectError;
use crate::replay::Past;
use crate::screen::Screen;

/// Check that every record is the one that was written: its checksum, its place, and the chain.
///
/// `replay --verify` does this too, and recomputes every state besides.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Question for Verify {
    fn answer(&self, past: &mut Past, screen: &mut Screen<'_>) -> Result<Answer, InspectError> {
        let first = past.first();
        let (last, damage) = survey(past)?;
        let good = (last + 1).saturating_sub(first);
        if self.json {
            screen.json(&json!({
                "place": past.place(), "healthy": damage.is_none(), "first": first, "last": last,
                "records": good, "damage": damage, "begins": begins(past),
            }))?;
        } else {
            let text = match &damage {
                None if good == 0 => "the journal is empty".to_owned(),
                None => {
                    format!("{good} records, #{first} to #{last}: each is the one that was written")
                }
                Some(why) if good == 0 => format!("no record can be used: {why}"),
                Some(why) => format!("#{first} to #{last} are good; then: {why}"),
            };
            screen.line(&text)?;
            screen.note(past.note())?;
        }
        Ok(Answer::of(damage.is_none()))
    }
}

/// The last good record, and what is wrong after it.
pub(super) fn survey(past: &mut Past) -> Result<(u64, Option<String>), InspectError> {
    let first = past.first();
    let mut last = first - 1;
    let visited = past.source().visit(first, &mut |record| {
        last = record.stamp.sequence;
        ControlFlow::Continue(())
    });
    match visited {
        Ok(()) => Ok((last, None)),
        Err(error) if error.is_damage() => Ok((last, Some(error.to_string()))),
        Err(error) => Err(error),
    }
}
