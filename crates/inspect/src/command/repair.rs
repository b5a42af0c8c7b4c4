//! `journal repair`: what is good, in a new journal.

use std::ops::ControlFlow;
use std::path::PathBuf;

use allexmaster_journal::Restore;
use clap::Args;

use super::verify::survey;
use super::{Answer, Question, confirmed};
use crate::error::InspectError;
use crate::replay::Past;
use crate::screen::Screen;
use crate::source::Beginning;
use allexmaster_state::Rules;

/// Put the records that are good into a new journal, and tell what is left behind.
///
/// The damaged journal stays as it is. It tells first what it will do, and asks. To run a master on
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
        let first = past.first();
        let (last, damage) = survey(past)?;
        let Some(why) = damage else {
            screen.line(&format!(
                "nothing is to be repaired: {} records are good",
                last + 1 - first
            ))?;
            screen.note(past.note())?;
            return Ok(Answer::Done);
        };
        if last < first {
            return Err(InspectError::Refused(format!(
                "no record can be used: {why}"
            )));
        }
        screen.line(&format!("good: #{first} to #{last}"))?;
        screen.line(&format!("left behind: whatever follows, since {why}"))?;
        screen.line(&format!("new journal: {}", self.into.display()))?;
        screen.output.flush()?;
        if !self.yes && !confirmed("write it?")? {
            screen.line("nothing was done")?;
            return Ok(Answer::Found);
        }
        put_down(past, &self.into, last)?;
        screen.line(&format!(
            "{} events are in {}",
            last + 1 - first,
            self.into.display()
        ))?;
        screen.note(past.note())?;
        Ok(Answer::Done)
    }
}

fn put_down(past: &mut Past, folder: &std::path::Path, last: u64) -> Result<(), InspectError> {
    let base = super::copies::base(past.source())?;
    let first = past.first();
    let mut restore = Restore::<Rules>::begin(folder, past.identity(), base.as_ref())?;
    let mut failed = None;
    past.source().visit(first, &mut |record| {
        let stamp = record.stamp;
        let pushed = restore.push(stamp.at, stamp.entropy, record.kind, record.payload);
        failed = pushed.err();
        if failed.is_some() || stamp.sequence >= last {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    restore.finish()?;
    Ok(())
}
