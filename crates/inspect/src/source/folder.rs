//! A journal in a folder, which a master may be writing meanwhile.

use std::path::{Path, PathBuf};

use allexmaster_journal::record::genesis;
use allexmaster_journal::{Hole, Journal, Machine as _, Position, Survey};
use allexmaster_state::State;
use uuid::Uuid;

use super::{Pass, Source, Start};
use crate::error::InspectError;
use allexmaster_state::Rules;

/// See the module.
pub struct FolderSource {
    folder: PathBuf,
    journal: Journal<Rules>,
    start: Start,
}

impl FolderSource {
    /// Opens the folder of a journal. What a master writes later is not seen.
    ///
    /// # Errors
    /// There is none, or it is of another program or a newer one.
    pub fn open(folder: &Path) -> Result<Self, InspectError> {
        let journal = Journal::<Rules>::read_only(folder)?;
        let start = match journal.base() {
            Some(base) => Start::compacted(journal.identity(), base)?,
            None => Start::whole(journal.identity()),
        };
        Ok(Self {
            folder: folder.to_owned(),
            journal,
            start,
        })
    }

    /// The journal itself, for what only a folder has.
    pub fn journal(&mut self) -> &mut Journal<Rules> {
        &mut self.journal
    }
}

/// What the first record of a journal is chained to.
pub(super) fn beginning(identity: Uuid) -> Position {
    Position {
        sequence: 0,
        checksum: genesis(Rules::PROGRAM, &identity.to_string()),
        at: 0,
    }
}

impl Source for FolderSource {
    fn place(&self) -> String {
        self.folder.display().to_string()
    }

    fn identity(&self) -> Uuid {
        self.journal.identity()
    }

    fn start(&self) -> &Start {
        &self.start
    }

    fn end(&mut self) -> Result<Position, InspectError> {
        // What is sealed ends where its name says; only what is new has to be read.
        let from = self.journal.sealed_through() + 1;
        let end = self
            .journal
            .pass(from, |_| std::ops::ControlFlow::Continue(()))?;
        Ok(end)
    }

    fn checkpoint(&mut self) -> Result<Option<(Position, State)>, InspectError> {
        Ok(self.journal.stored_checkpoint()?.and_then(Result::ok))
    }

    fn pass(&mut self, from: u64, pass: &mut Pass<'_>) -> Result<(), InspectError> {
        self.journal.pass(from, pass)?;
        Ok(())
    }

    fn state_from(&mut self, sequence: u64) -> Result<Option<Start>, InspectError> {
        let identity = self.journal.identity();
        let kept = self.journal.state_from(sequence)?;
        kept.map(|base| Start::kept(identity, &base)).transpose()
    }

    fn holes(&mut self) -> Vec<Hole> {
        // What cannot be looked at is told where it is read.
        let span = self.journal.span();
        span.map_or_else(|_| Vec::new(), |span| Survey::default().look(&span))
    }
}
