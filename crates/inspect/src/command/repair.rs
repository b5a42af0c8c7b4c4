//! `journal repair`: what is good, in a new journal.

use std::path::PathBuf;

use clap::Args;

use super::copies::put_down;
use super::verify::{Found, survey};
use super::{Answer, Question, confirmed};
use crate::error::InspectError;
use crate::replay::Past;
use crate::screen::{Screen, Tone};
use crate::source::{Beginning, Start};

/// Put the records that are good into a new journal, and tell what is left behind.
///
/// A journal cannot have a hole within, so the new one begins behind the last hole, with the state that
/// was kept there. The damaged journal stays as it is. It tells first what it will do, and asks. To run a master on
/// the new journal, move the folder .allexmaster/journal away, and the new one in its place.
#[derive(Debug, Args)]
pub(super) struct Repair {
    /// The new folder, which has to be empty or absent
    #[arg(value_name = "FOLDER")]
    into: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Question for Repair {
    fn answer(&self, past: &mut Past, screen: &mut Screen<'_>) -> Result<Answer, InspectError> {
        if past.source().start().beginning == Beginning::Stretch {
            return Err(InspectError::Refused(
                "a stretch cannot be made a journal: it needs the events before it".to_owned(),
            ));
        }
        let found = survey(past)?;
        if found.holes.is_empty() {
            screen.line(&format!(
                "nothing is to be repaired: {} records are good",
                found.good
            ))?;
            screen.note(past.note())?;
            return Ok(Answer::Done);
        }
        let (start, last) = usable(past, &found)?;
        let first = start.position.sequence + 1;
        if last < first && start.position.sequence == 0 {
            return Err(InspectError::Refused(format!(
                "no record can be used: {}",
                found.damage()
            )));
        }
        let good = if last < first {
            format!("good: the state after #{}", first - 1)
        } else {
            format!("good: #{first} to #{last}")
        };
        screen.line(&good)?;
        for (from, to) in &found.stretches {
            if *to < first || *from > last {
                screen.line(&format!(
                    "left behind: #{from} to #{to}, which are good, but on the other side of a hole"
                ))?;
            }
        }
        for hole in &found.holes {
            screen.hanging(
                "left behind: ",
                "left behind: ",
                Tone::Plain,
                &hole.to_string(),
            )?;
        }
        screen.line(&format!("new journal: {}", self.into.display()))?;
        screen.output.flush()?;
        if !self.yes && !confirmed("write it?")? {
            screen.line("nothing was done")?;
            return Ok(Answer::Found);
        }
        let count = put_down(past.source(), &start, last, &self.into)?;
        screen.line(&format!("{count} events are in {}", self.into.display()))?;
        screen.note(past.note())?;
        Ok(Answer::Done)
    }
}

/// The newest part of the journal that has no hole: the state that it begins with, and its last event.
fn usable(past: &mut Past, found: &Found) -> Result<(Start, u64), InspectError> {
    let mut start = past.source().start().clone();
    for hole in &found.holes {
        match past.source().state_from(hole.last)? {
            Some(kept) => start = kept,
            // Nothing that follows can be used without a state.
            None => return Ok((start, hole.first - 1)),
        }
    }
    Ok((start, found.last))
}
