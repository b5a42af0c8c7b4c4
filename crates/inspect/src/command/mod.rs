//! What can be asked of a journal on the command line.

mod answer;
mod compact;
mod copies;
mod info;
mod log;
mod repair;
mod replay;
mod show;
mod test;
mod timeline;
mod verify;
mod why;

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use allexmaster_journal::{Compaction, CompactionRequest};
use clap::{Args, Subcommand};

use crate::error::InspectError;
use crate::replay::Past;
use crate::screen::Screen;
use crate::source::{self, Ask, Beginning, OnlineSource};
use crate::time::Zone;
pub use answer::Answer;
pub use replay::Replay;
pub use show::Moment;
pub(crate) use show::with_times;
pub(crate) use why::tone_of;

/// What the commands need to know of the world.
pub struct Setting<'a> {
    pub folder: &'a Path,
    /// A way to ask the master of the folder, if one runs there.
    pub master: &'a dyn Fn() -> Option<Box<Ask>>,
    /// Has the running master of the folder, if there is one, compact its journal.
    pub compact: &'a dyn Fn(CompactionRequest) -> Option<Result<Compaction, String>>,
    pub screen: Screen<'a>,
}

/// Look at the journal: every input of the master's life, what it led to, and why.
///
/// Without --journal it is the journal of --directory: asked of the master where one runs there, and
/// read from a copy where none does. Nothing here ever disturbs a master, and only compact writes into a
/// journal.
#[derive(Debug, Args)]
pub struct Journal {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: JournalCommand,
}

/// Which journal.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// Another journal: an export, a master's folder, or a copy of a journal's folder
    #[arg(long, global = true, value_name = "PATH")]
    journal: Option<PathBuf>,
    /// Read the files, also where a master runs that could be asked
    #[arg(long, global = true)]
    offline: bool,
}

#[derive(Debug, Subcommand)]
enum JournalCommand {
    /// Tell what it is: its events, times, starts, size, checkpoint and health
    Info(info::Info),
    /// Show the events as lines, newest last
    Log(log::Log),
    /// Show one event, what it caused, and what it changed
    Show(show::Show),
    /// Tell why a service, need, port or process is as it is
    Why(why::Why),
    /// Draw what each service did over time, as one page that can be mailed
    Timeline(timeline::Timeline),
    /// Check that every record is the one that was written
    Verify(verify::Verify),
    /// Put the records that are good into a new journal
    Repair(repair::Repair),
    /// Remove old history, and keep what it led to
    Compact(compact::Compact),
    /// Write it, or a stretch of it, as lines of JSON
    Export(copies::Export),
    /// Turn a stretch of it into a test of the repository
    Test(test::Test),
    /// Make a journal's folder of an export
    Import(copies::Import),
}

/// A command that needs nothing but the records.
trait Question {
    fn answer(&self, past: &mut Past, screen: &mut Screen<'_>) -> Result<Answer, InspectError>;
}

impl Journal {
    /// Does what was asked.
    ///
    /// # Errors
    /// What cannot be done, and why.
    pub fn run(&self, setting: &mut Setting<'_>) -> Result<Answer, InspectError> {
        let place = &self.place;
        let command: &dyn Question = match &self.command {
            JournalCommand::Info(command) => return command.run(place, setting),
            JournalCommand::Log(command) => return command.run(place, setting),
            JournalCommand::Compact(command) => return command.run(place, setting),
            JournalCommand::Import(command) => return command.run(setting),
            JournalCommand::Show(command) => command,
            JournalCommand::Why(command) => command,
            JournalCommand::Timeline(command) => command,
            JournalCommand::Verify(command) => command,
            JournalCommand::Repair(command) => command,
            JournalCommand::Export(command) => command,
            JournalCommand::Test(command) => command,
        };
        let mut past = place.open(setting)?;
        command.answer(&mut past, &mut setting.screen)
    }
}

impl Place {
    fn open(&self, setting: &Setting<'_>) -> Result<Past, InspectError> {
        if let Some(path) = &self.journal {
            return Ok(Past::new(source::open(path)?));
        }
        if !self.offline
            && let Some(ask) = (setting.master)()
        {
            let place = format!("the master of {}", setting.folder.display());
            return Ok(Past::new(Box::new(OnlineSource::open(ask, place)?)));
        }
        Ok(Past::new(source::open(setting.folder)?))
    }

    /// Opens it once more, in another thread: the two readers do not wait for one another.
    fn reopen(
        &self,
        setting: &Setting<'_>,
    ) -> impl FnOnce() -> Result<Past, InspectError> + Send + use<> {
        let path = self.journal.clone();
        let folder = setting.folder.to_owned();
        let asked = path.is_none() && !self.offline;
        let ask = asked.then(|| (setting.master)()).flatten();
        move || {
            let source: Box<dyn source::Source> = match (path, ask) {
                (Some(path), _) => source::open(&path)?,
                (None, Some(ask)) => {
                    Box::new(OnlineSource::open(ask, folder.display().to_string())?)
                }
                (None, None) => source::open(&folder)?,
            };
            Ok(Past::new(source))
        }
    }

    /// The folder or file, where it is read from the disk.
    fn path<'a>(&'a self, setting: &'a Setting<'_>) -> &'a Path {
        self.journal.as_deref().unwrap_or(setting.folder)
    }
}

/// A point in a journal, and a range of them.
#[derive(Clone, Debug, Args)]
pub(crate) struct Range {
    /// From this event or time on (918, 03:12:07, "2026-11-22 03:12", 10m before the end)
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Up to this event or time
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
}

impl Range {
    fn find(
        &self,
        past: &mut Past,
        zone: &Zone,
    ) -> Result<std::ops::RangeInclusive<u64>, InspectError> {
        let first = match &self.since {
            None => past.first(),
            Some(text) if is_number(text) => crate::time::find(past, zone, text)?,
            // The events at that very time are wanted too.
            Some(text) => crate::time::find_first(past, zone, text)?,
        };
        let last = match &self.until {
            None => u64::MAX,
            Some(text) => crate::time::find(past, zone, text)?,
        };
        Ok(first..=last)
    }
}

/// Why a journal begins where it does, for JSON.
fn begins(past: &Past) -> &'static str {
    match past.beginning() {
        Beginning::Whole => "whole",
        Beginning::Stretch => "stretch",
        Beginning::Compacted => "compacted",
    }
}

/// Asks on the terminal. No terminal means no.
fn confirmed(question: &str) -> Result<bool, InspectError> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(false);
    }
    let mut answer = String::new();
    let mut asked = std::io::stderr().lock();
    write!(asked, "{question} [y/N] ")?;
    asked.flush()?;
    input.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "yes"))
}

fn is_number(text: &str) -> bool {
    text.trim().trim_start_matches('#').parse::<u64>().is_ok()
}
