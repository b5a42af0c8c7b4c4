//! `journal export` and `journal import`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use allexmaster_journal::{Base, Passage, Restore};
use allexmaster_state::STEP_VERSION;
use clap::Args;
use uuid::Uuid;

use super::{Answer, Question, Range, Setting};
use crate::error::InspectError;
use crate::redact::Redactor;
use crate::replay::Past;
use crate::screen::Screen;
use crate::source::{Beginning, ExportSource, ExportWriter, Source, Start};
use allexmaster_state::Rules;

/// Write the journal, or a stretch of it, as lines of JSON.
///
/// Each line keeps the checksum, so that an export can be verified like the journal itself. A stretch
/// begins with the state before it. With --redact every name, address, path, need detail and message
/// is replaced, the same one always by the same pseudonym; ports, times and process numbers stay.
#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    range: Range,
    /// The file; without it the lines go to the standard output
    #[arg(long, short = 'o', value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace whatever could tell somebody something of the machine
    #[arg(long)]
    redact: bool,
}

impl Question for Export {
    fn answer(&self, past: &mut Past, screen: &mut Screen<'_>) -> Result<Answer, InspectError> {
        let range = self.range.find(past, &screen.zone)?;
        match &self.output {
            None => {
                export(past, range, self.redact, &mut *screen.output)?;
            }
            Some(path) => {
                let file = create(path)?;
                let count = export(past, range, self.redact, BufWriter::new(file))?;
                let text = format!("{count} events are in {}", path.display());
                screen.line(&text)?;
                screen.note(past.note())?;
                screen.holes(past)?;
            }
        }
        Ok(Answer::Done)
    }
}

/// Makes a file that is not there yet, for its owner alone: events hold the properties of needs.
pub(crate) fn create(path: &Path) -> Result<File, InspectError> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|source| InspectError::Io {
        action: "make the new file",
        path: path.to_owned(),
        source,
    })
}

/// Writes the events of a range; returns how many.
pub(crate) fn export(
    past: &mut Past,
    range: std::ops::RangeInclusive<u64>,
    redact: bool,
    output: impl Write,
) -> Result<u64, InspectError> {
    let first = (*range.start()).max(past.first());
    let start = start_before(past, first)?;
    let identity = past.identity();
    let mut redactor = redact.then(|| Redactor::new(identity));
    let (identity, start) = match &mut redactor {
        None => (identity, start),
        Some(redactor) => redactor.start(&start)?,
    };
    let mut writer = ExportWriter::begin(output, identity, redact, &start)?;
    let mut count = 0;
    let mut next = first;
    // Up to the next hole, or to a state behind one.
    let mut kept: Option<Start> = None;
    loop {
        let (mut failed, mut hole) = (None, None);
        past.source().pass(next, &mut |passage| {
            let record = match passage {
                Passage::Record(record) => record,
                Passage::Hole(met) => {
                    hole = Some(met.clone());
                    return ControlFlow::Break(());
                }
            };
            if record.stamp.sequence > *range.end() {
                return ControlFlow::Break(());
            }
            let written = match &mut redactor {
                None => writer.push(record),
                Some(redactor) => redactor.redacted(record, |record| writer.push(record)),
            };
            let state = kept.take_if(|kept| kept.position.sequence == record.stamp.sequence);
            let state = state.map_or(Ok(()), |kept| write_kept(&mut writer, &mut redactor, &kept));
            match written.and(state) {
                Ok(()) => {
                    count += 1;
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let Some(mut hole) = hole.filter(|hole| hole.first <= *range.end()) else {
            break;
        };
        next = hole.last + 1;
        let state = past.source().state_from(hole.last)?;
        if redact {
            // It names files.
            hole.why = "its bytes are not those that were written".to_owned();
        }
        writer.hole(&hole)?;
        match state {
            Some(state) if state.position.sequence == hole.last => {
                write_kept(&mut writer, &mut redactor, &state)?;
            }
            later => kept = later,
        }
    }
    writer.finish()?;
    Ok(count)
}

fn write_kept(
    writer: &mut ExportWriter<impl Write>,
    redactor: &mut Option<Redactor>,
    kept: &Start,
) -> Result<(), InspectError> {
    match redactor {
        None => writer.kept(kept),
        Some(redactor) => writer.kept(&redactor.start(kept)?.1),
    }
}

/// The position and state before an event.
fn start_before(past: &mut Past, first: u64) -> Result<Start, InspectError> {
    if first == past.first() {
        return Ok(past.source().start().clone());
    }
    if past.has_hole_in(first - 1, first - 1) {
        // Where a hole ends there; the events of a hole itself are told where they are reached.
        let kept = past.source().state_from(first - 1)?;
        return kept
            .filter(|kept| kept.position.sequence == first - 1)
            .map_or_else(
                || past.must_have(first - 1).and(Err(nothing_before(first))),
                Ok,
            );
    }
    past.must_have(first - 1)?;
    let mut position = None;
    past.visit_records(first - 1, &mut |record| {
        position = Some(crate::replay::position_of(record));
        ControlFlow::Break(())
    })?;
    let state = past.state_after(first - 1)?.clone();
    let position = position.ok_or_else(|| nothing_before(first))?;
    Ok(Start {
        position,
        state,
        beginning: Beginning::Stretch,
        older: None,
    })
}

fn nothing_before(first: u64) -> InspectError {
    InspectError::Refused(format!("event {} cannot be read", first - 1))
}

/// Make a journal's folder of an export.
///
/// The export has to begin with the first event, or where its journal was compacted. The journal keeps its identity, so it is a copy:
/// run a master on one of the two only.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The export
    #[arg(value_name = "EXPORT")]
    export: PathBuf,
    /// The new folder, which has to be empty or absent
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

impl Import {
    pub(super) fn run(&self, setting: &mut Setting<'_>) -> Result<Answer, InspectError> {
        let mut source = ExportSource::open(&self.export)?;
        if source.start().beginning == Beginning::Stretch {
            return Err(InspectError::Refused(format!(
                "{} is a stretch that begins with event {}: only an export from the first event on \
                 makes a journal. Every other command reads it as it is (--journal)",
                self.export.display(),
                source.start().position.sequence + 1
            )));
        }
        // All of it verifies, or nothing is begun.
        source.end()?;
        let start = source.start().clone();
        let count = put_down(&mut source, &start, u64::MAX, &self.folder)?;
        let text = format!(
            "{count} events are in the journal {}",
            self.folder.display()
        );
        setting.screen.line(&text)?;
        let past = Past::new(Box::new(source));
        setting.screen.note(past.note())?;
        setting.screen.holes(&past)?;
        Ok(Answer::Done)
    }
}

/// Puts the records from a state on, up to `last`, into a new journal; returns how many. Behind a hole it
/// goes on with the next state that was kept.
pub(super) fn put_down(
    source: &mut dyn Source,
    start: &Start,
    last: u64,
    folder: &Path,
) -> Result<u64, InspectError> {
    let identity = source.identity();
    let begin = base(identity, start)?;
    let mut restore = Restore::<Rules>::begin(folder, identity, begin.as_ref())?;
    let (mut next, mut count) = (start.position.sequence + 1, 0);
    loop {
        let (mut failed, mut hole) = (None, None);
        source.pass(next, &mut |passage| {
            let record = match passage {
                Passage::Record(record) => record,
                Passage::Hole(met) => {
                    hole = Some(met.clone());
                    return ControlFlow::Break(());
                }
            };
            let stamp = record.stamp;
            count += 1;
            match restore.push(stamp.at, stamp.entropy, record.kind, record.payload) {
                Ok(_) if stamp.sequence < last => ControlFlow::Continue(()),
                Ok(_) => ControlFlow::Break(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let Some(hole) = hole.filter(|hole| hole.first <= last) else {
            break;
        };
        let Some(kept) = source.state_from(hole.last)? else {
            break;
        };
        next = kept.position.sequence + 1;
        if let Some(base) = base(identity, &kept)? {
            restore.resume(&base)?;
        }
    }
    restore.finish()?;
    Ok(count)
}

/// What a new journal has to begin with to go on as this one does.
fn base(identity: Uuid, start: &Start) -> Result<Option<Base>, InspectError> {
    if start.position.sequence == 0 {
        return Ok(None);
    }
    let (step, json) = match &start.older {
        Some(older) => (older.step, older.json.clone()),
        None => {
            let json = serde_json::to_string(&start.state).map_err(std::io::Error::from)?;
            (STEP_VERSION, json)
        }
    };
    let base = Base::new::<Rules>(identity, start.position, step, json.as_bytes())?;
    Ok(Some(base))
}
