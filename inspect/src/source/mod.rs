//! Where records come from: a folder, an export, or a master that runs.

mod export;
mod folder;
mod line;
mod online;

use std::ops::ControlFlow;
use std::path::Path;

use allexmaster_journal::Position;
use allexmaster_journal::record::Record;
use allexmaster_state::State;
use uuid::Uuid;

use crate::error::InspectError;
pub use export::{ExportSource, ExportWriter, Heading};
pub use folder::FolderSource;
pub use line::Line;
pub use online::{Ask, MAX_PAGE_BYTES, MAX_PAGE_RECORDS, OnlineSource, Page};

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

    /// A state that somebody wrote down, and the record after which it holds.
    ///
    /// # Errors
    /// The journal cannot be read.
    fn checkpoint(&mut self) -> Result<Option<(Position, State)>, InspectError>;

    /// Shows the records from a number on, each verified, until `visit` breaks or they end.
    ///
    /// # Errors
    /// The journal cannot be read, or a record does not verify; those before it were shown.
    fn visit(&mut self, from: u64, visit: &mut Visit<'_>) -> Result<(), InspectError>;
}

/// Takes one record after the other.
pub type Visit<'a> = dyn FnMut(&Record<'_>) -> ControlFlow<()> + 'a;

/// What stands before the first record.
#[derive(Clone, Debug)]
pub struct Start {
    /// The record before the first one; number 0 at the beginning of a journal.
    pub position: Position,
    /// The state then.
    pub state: State,
}

/// Opens a folder of a master, the folder of its journal, or an export.
///
/// # Errors
/// There is nothing that can be read.
pub fn open(path: &Path) -> Result<Box<dyn Source>, InspectError> {
    if path.is_file() {
        return Ok(Box::new(ExportSource::open(path)?));
    }
    let inside = path.join(OWN_FOLDER).join(JOURNAL_FOLDER);
    let folder = if inside.is_dir() {
        inside.as_path()
    } else {
        path
    };
    Ok(Box::new(FolderSource::open(folder)?))
}

/// The master's own folder inside its folder.
pub const OWN_FOLDER: &str = ".allexmaster";
/// The journal's folder inside that.
pub const JOURNAL_FOLDER: &str = "journal";
