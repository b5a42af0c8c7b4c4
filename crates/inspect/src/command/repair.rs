//! `journal repair`: what is good, in a new journal.

use std::ops::ControlFlow;
use std::path::PathBuf;

use allexmaster_journal::Restore;
use clap::Args;

use super::{Answer, Place, Setting, confirmed};
use crate::error::InspectError;
use crate::replay::Past;
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

impl Repair {
    pub(super) fn run(
        &self,
        place: &Place,
        setting: &mut Setting<'_>,
    ) -> Result<Answer, InspectError> {
        let mut past = place.open(setting)?;
        if past.source().start().beginning == Beginning::Stretch {
            return Err(InspectError::Refused(
                "a stretch cannot be made a journal: it needs the events before it".to_owned(),
            ));
        }
        let first = past.first();
        let (last, damage) = survey(&mut past)?;
        let screen = &mut setting.screen;
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
        put_down(&mut past, &self.into, last)?;
        setting.screen.line(&format!(
            "{} events are in {}",
            last + 1 - first,
            self.into.display()
        ))?;
        setting.screen.note(past.note())?;
        Ok(Answer::Done)
    }
}

/// The last good record, and what is wrong after it.
fn survey(past: &mut Past) -> Result<(u64, Option<String>), InspectError> {
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
