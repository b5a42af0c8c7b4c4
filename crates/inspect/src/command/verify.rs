//! `journal verify`: is every record the one that was written?

use std::ops::ControlFlow;

use allexmaster_journal::{Hole, Passage};
use clap::Args;
use serde_json::json;

use super::{Answer, Question, begins};
use crate::error::InspectError;
use crate::replay::Past;
use crate::screen::{Screen, Tone};

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
        let found = survey(past)?;
        let healthy = found.holes.is_empty();
        let damage = (!healthy).then(|| found.damage());
        if self.json {
            screen.json(&json!({
                "place": past.place(), "healthy": healthy, "first": first, "last": found.last,
                "records": found.good, "damage": damage, "holes": found.holes,
                "begins": begins(past),
            }))?;
            return Ok(Answer::of(healthy));
        }
        let text = match (healthy, found.good) {
            (true, 0) => "the journal is empty".to_owned(),
            (true, good) => format!(
                "{good} records, #{first} to #{}: each is the one that was written",
                found.last
            ),
            (false, 0) => "no record can be used".to_owned(),
            (false, good) => format!(
                "{good} records are good: {}",
                found
                    .stretches
                    .iter()
                    .map(stretch)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        };
        screen.line(&text)?;
        for hole in &found.holes {
            screen.hanging("  ", "  ", Tone::Bad, &hole.to_string())?;
        }
        if !healthy {
            let advice = "what comes after a hole is replayed from the state that was kept behind it. \
                 `journal repair FOLDER` and `journal compact` make a journal without holes, which \
                 begins behind the last one";
            screen.hanging("  ", "  ", Tone::Plain, advice)?;
        }
        screen.note(past.note())?;
        Ok(Answer::of(healthy))
    }
}

/// What verifies in a journal.
pub(super) struct Found {
    /// How many records are good.
    pub(super) good: u64,
    /// The first and last number of each stretch of them.
    pub(super) stretches: Vec<(u64, u64)>,
    pub(super) holes: Vec<Hole>,
    /// The last good record; the one before the first where there is none.
    pub(super) last: u64,
}

impl Found {
    /// What is wrong, in a line.
    pub(super) fn damage(&self) -> String {
        let holes: Vec<String> = self.holes.iter().map(ToString::to_string).collect();
        holes.join("; ")
    }
}

fn stretch((first, last): &(u64, u64)) -> String {
    format!("#{first} to #{last}")
}

/// Reads every record.
pub(super) fn survey(past: &mut Past) -> Result<Found, InspectError> {
    let first = past.first();
    let mut found = Found {
        good: 0,
        stretches: Vec::new(),
        holes: Vec::new(),
        last: first - 1,
    };
    let visited = past.source().pass(first, &mut |passage| {
        match passage {
            Passage::Record(record) => {
                let sequence = record.stamp.sequence;
                match found.stretches.last_mut() {
                    Some((_, last)) if *last + 1 == sequence => *last = sequence,
                    Some(_) | None => found.stretches.push((sequence, sequence)),
                }
                found.good += 1;
                found.last = sequence;
            }
            Passage::Hole(hole) => found.holes.push(hole.clone()),
        }
        ControlFlow::Continue(())
    });
    match visited {
        Ok(()) => Ok(found),
        Err(error) if error.is_damage() => {
            let first = found.last + 1;
            found.holes.push(Hole {
                first,
                last: first,
                why: format!("{error}, and nothing after it is looked at"),
            });
            Ok(found)
        }
        Err(error) => Err(error),
    }
}
