//! `journal repair`: what is good, in a new journal.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;

use allexmaster_journal::Restore;
use clap::Args;

use super::{Answer, Place, Setting};
use crate::error::InspectError;
use crate::replay::Past;
use crate::rules::Rules;

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
        if past.first() > 1 {
            return Err(InspectError::Refused(
                "a stretch cannot be made a journal: it needs the first event".to_owned(),
            ));
        }
        let (last, damage) = survey(&mut past)?;
        let screen = &mut setting.screen;
        let Some(why) = damage else {
            screen.line(&format!(
                "nothing is to be repaired: {last} records are good"
            ))?;
            return Ok(Answer::Done);
        };
        if last == 0 {
            return Err(InspectError::Refused(format!(
                "no record can be used: {why}"
            )));
        }
        screen.line(&format!("good: #1 to #{last}"))?;
        screen.line(&format!("left behind: whatever follows, since {why}"))?;
        screen.line(&format!("new journal: {}", self.into.display()))?;
        screen.output.flush()?;
        if !self.yes && !confirmed()? {
            screen.line("nothing was done")?;
            return Ok(Answer::Found);
        }
        put_down(&mut past, &self.into, last)?;
        setting
            .screen
            .line(&format!("{last} events are in {}", self.into.display()))?;
        Ok(Answer::Done)
    }
}

/// The last good record, and what is wrong after it.
fn survey(past: &mut Past) -> Result<(u64, Option<String>), InspectError> {
    let mut last = 0;
    let visited = past.source().visit(1, &mut |record| {
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
    let mut restore = Restore::<Rules>::begin(folder, past.identity(), None)?;
    let mut failed = None;
    past.source().visit(1, &mut |record| {
        let stamp = record.stamp;
        let pushed = restore.push(stamp.at, stamp.noise, record.kind, record.payload);
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

/// Whether somebody says yes; where nobody can, that is a no.
fn confirmed() -> Result<bool, InspectError> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(false);
    }
    let mut answer = String::new();
    let mut question = std::io::stderr().lock();
    write!(question, "write it? [y/N] ")?;
    question.flush()?;
    input.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "yes"))
}
