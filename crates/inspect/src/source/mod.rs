//! Where records come from: a folder, an export, or a master that runs.

mod export;
mod folder;
mod line;
mod online;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use allexmaster_journal::record::Record;
use allexmaster_journal::{Base, Hole, Passage, Position};
use allexmaster_state::{STEP_VERSION, State};
use uuid::Uuid;

use crate::error::InspectError;
use allexmaster_state::Rules;
pub use export::{ExportSource, ExportWriter, Heading};
pub use folder::FolderSource;
use folder::beginning;
pub use line::Line;
pub use online::{Ask, MAX_PAGE_BYTES, MAX_PAGE_RECORDS, OnlineSource, Page, PageWish};

/// A journal that can be read, and is not written.
pub trait Source {
    /// Where it is, for people.
    fn place(&self) -> String;

    /// The identity that the journal was given when it was begun.
    fn identity(&self) -> Uuid;

    /// What stands before the first record: nothing, or the state at the start of a stretch.
    fn start(&self) -> &Start;

    /// The last record.
    ///
    /// # Errors
    /// The journal cannot be read up to there.
    fn end(&mut self) -> Result<Position, InspectError>;

    /// A stored state, and the record after which it holds.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn checkpoint(&mut self) -> Result<Option<(Position, State)>, InspectError>;

    /// The oldest state that is kept after this event or a later one: from there on the events behind a
    /// hole can be replayed.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn state_from(&mut self, sequence: u64) -> Result<Option<Start>, InspectError>;

    /// The holes that are known without reading the events.
    fn holes(&mut self) -> Vec<Hole>;

    /// Shows the records from a number on, each verified, and the holes between them, until `pass`
    /// breaks or they end. A hole at the end is shown, too.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn pass(&mut self, from: u64, pass: &mut Pass<'_>) -> Result<(), InspectError>;

    /// Shows the records from a number on, until `visit` breaks or they end.
    ///
    /// # Errors
    /// As [`Source::pass`]; [`InspectError::InHole`] at the first hole.
    fn visit(&mut self, from: u64, visit: &mut Visit<'_>) -> Result<(), InspectError> {
        let mut met = None;
        self.pass(from, &mut |passage| match passage {
            Passage::Record(record) => visit(record),
            Passage::Hole(hole) => {
                met = Some(hole.clone());
                ControlFlow::Break(())
            }
        })?;
        met.map_or(Ok(()), |hole| {
            let asked = format!("what follows event {}", hole.first - 1);
            Err(InspectError::InHole { asked, hole })
        })
    }
}

/// Takes one record, or hole, after the other.
pub type Pass<'a> = dyn FnMut(Passage<'_>) -> ControlFlow<()> + 'a;

/// Takes one record after the other.
pub type Visit<'a> = dyn FnMut(&Record<'_>) -> ControlFlow<()> + 'a;

/// What stands before the first record.
#[derive(Clone, Debug)]
pub struct Start {
    /// The record before the first one; number 0 at the beginning of a journal.
    pub position: Position,
    pub state: State,
    /// What became of the records before.
    pub beginning: Beginning,
    /// The state as an older version of the rules wrote it, where one did.
    pub older: Option<OlderState>,
}

/// Why a journal begins where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Nothing was before.
    Whole,
    /// It is a stretch of a longer one.
    Stretch,
    /// What was before was removed by a compaction.
    Compacted,
}

/// A state written by an older version of the rules, kept for programs that can read no newer one.
#[derive(Clone, Debug)]
pub struct OlderState {
    /// The version of the rules.
    pub step: u32,
    /// The state as JSON.
    pub json: String,
}

impl Start {
    /// The beginning of a journal of which nothing is missing.
    #[must_use]
    pub fn whole(identity: Uuid) -> Self {
        Self {
            position: beginning(identity),
            state: State::default(),
            beginning: Beginning::Whole,
            older: None,
        }
    }

    /// The beginning of a journal that was compacted.
    ///
    /// # Errors
    /// The base cannot be used.
    pub fn compacted(identity: Uuid, base: &Base) -> Result<Self, InspectError> {
        Self::at(identity, base, Beginning::Compacted)
    }

    /// The state that is kept behind a hole.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn kept(identity: Uuid, base: &Base) -> Result<Self, InspectError> {
        Self::at(identity, base, Beginning::Stretch)
    }

    fn at(identity: Uuid, base: &Base, beginning: Beginning) -> Result<Self, InspectError> {
        let step = base.step_version();
        let older = if step == STEP_VERSION {
            None
        } else {
            let json = base.json::<Rules>(identity)?;
            let json = String::from_utf8(json).map_err(std::io::Error::other)?;
            Some(OlderState { step, json })
        };
        Ok(Self {
            position: base.position(),
            state: base.state::<Rules>(identity)?,
            beginning,
            older,
        })
    }
}

/// Opens a folder of a master, the folder of its journal, or an export.
///
/// # Errors
/// There is nothing that can be read.
pub fn open(path: &Path) -> Result<Box<dyn Source>, InspectError> {
    if path.is_file() {
        return Ok(Box::new(ExportSource::open(path)?));
    }
    Ok(Box::new(FolderSource::open(&journal_folder(path))?))
}

/// The folder of the journal in the folder of a master; or the folder itself, where it has none.
#[must_use]
pub fn journal_folder(path: &Path) -> PathBuf {
    let inside = path.join(OWN_FOLDER).join(JOURNAL_FOLDER);
    if inside.is_dir() {
        inside
    } else {
        path.to_owned()
    }
}

/// The master's own folder inside its folder.
pub const OWN_FOLDER: &str = ".allexmaster";
/// The journal's folder inside that.
pub const JOURNAL_FOLDER: &str = "journal";
