//! A journal that is only read: whoever writes it is not disturbed, and nothing in its folder changes.
//!
//! ```text
//! tail/     copied to a temporary folder first, and opened there (sled writes when it opens)
//! history/  read where it is: its files never change
//! ```
//!
//! The copy comes before the look at the history: what a running master seals meanwhile is then in
//! both, and never in neither. The base of a compacted journal is read last: what is older than it is
//! not looked at, whether or not it is still there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::TempDir;

use super::files::{self, Note, failed};
use super::folder::{ACKNOWLEDGED, HEADER, HISTORY, TAIL, copy_without_snapshots};
use super::history::History;
use super::tail::Tail;
use super::{Block, Extent, Part, SealedBlocks, Store, StoreError};

/// How often a copy is made again because the journal was written meanwhile. A copy takes some
/// milliseconds, a write comes rarely; who writes without a pause is better asked over its socket.
const ATTEMPTS: u32 = 10;

/// The storage of a journal in a folder, to be read. Every write is refused.
pub struct ReadingStore {
    folder: PathBuf,
    acknowledged: u64,
    tail: Option<Tail>,
    /// Why the newest records cannot be read.
    tail_damage: Option<String>,
    history: History,
    /// When the base was last written: a compaction writes it before it removes files.
    base: Option<SystemTime>,
    /// The copy; gone with this store.
    _copy: TempDir,
}

impl ReadingStore {
    /// Copies what is new, and opens the copy.
    ///
    /// # Errors
    /// [`StoreError::NoJournal`] where there is none, or what the disk says. A damaged database is no
    /// error here: it shows where its records would be read.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        if !folder.join(HEADER).is_file() {
            return Err(StoreError::NoJournal {
                path: folder.to_owned(),
            });
        }
        // Before the copy, so that what it names is in the copy.
        let acknowledged = Note::read_only(&folder.join(ACKNOWLEDGED))?;
        let copy = tempfile::Builder::new()
            .prefix("allexmaster-journal-")
            .tempdir()
            .map_err(failed("make a temporary folder in", &std::env::temp_dir()))?;
        let source = folder.join(TAIL);
        let target = copy.path().join(TAIL);
        let (tail, tail_damage) = open_copy(&source, &target)?;
        let base = base_written(folder);
        let history = History::read_only(folder.join(HISTORY))?;
        Ok(Self {
            base,
            folder: folder.to_owned(),
            acknowledged,
            tail,
            tail_damage,
            history,
            _copy: copy,
        })
    }

    fn refuse<T>(&self) -> Result<T, StoreError> {
        Err(StoreError::OnlyRead {
            path: self.folder.clone(),
        })
    }

    /// A file that a compaction has removed meanwhile is not damaged.
    fn removed(&self, error: StoreError) -> StoreError {
        if let StoreError::Sealed { path, .. } = &error
            && !path.exists()
            && base_written(&self.folder) != self.base
        {
            return StoreError::Gone { path: path.clone() };
        }
        error
    }

    fn tail(&self) -> Result<Option<&Tail>, StoreError> {
        match (&self.tail, &self.tail_damage) {
            (Some(tail), _) => Ok(Some(tail)),
            (None, None) => Ok(None),
            (None, Some(why)) => Err(StoreError::Panicked {
                action: "open a copy of it",
                path: self.folder.join(TAIL),
                message: why.clone(),
            }),
        }
    }
}

/// The database, or why there is none to read; nothing of both where the journal has none.
type Copied = (Option<Tail>, Option<String>);

fn open_copy(source: &Path, target: &Path) -> Result<Copied, StoreError> {
    if !source.is_dir() {
        return Ok((None, None));
    }
    let mut attempt = 1;
    loop {
        let before = last_write(source);
        if target.exists() {
            fs::remove_dir_all(target).map_err(failed("remove the copy", target))?;
        }
        copy_without_snapshots(source, target)?;
        let quiet = before == last_write(source);
        let opened = Tail::open(target);
        match opened {
            Ok(tail) if quiet || attempt >= ATTEMPTS => return Ok((Some(tail), None)),
            Err(error) if error.is_damage() && (quiet || attempt >= ATTEMPTS) => {
                return Ok((None, Some(error.to_string())));
            }
            Err(error) if !error.is_damage() => return Err(error),
            // It was written while it was copied.
            Ok(_) | Err(_) => attempt += 1,
        }
    }
}

fn base_written(folder: &Path) -> Option<SystemTime> {
    files::base_path(folder).metadata().ok()?.modified().ok()
}

/// When any file of the database was last written, and how long they are together.
fn last_write(folder: &Path) -> (Option<SystemTime>, u64) {
    let Ok(entries) = fs::read_dir(folder) else {
        return (None, 0);
    };
    let facts = entries.filter_map(|entry| entry.ok()?.metadata().ok());
    facts.fold((None, 0), |(latest, length), facts| {
        let written = facts.modified().ok();
        (latest.max(written), length + facts.len())
    })
}

impl Store for ReadingStore {
    fn get(&mut self, part: Part) -> Result<Vec<Vec<u8>>, StoreError> {
        files::read_part(&self.folder, part)
    }

    fn put(&mut self, _part: Part, _bytes: &[u8]) -> Result<(), StoreError> {
        self.refuse()
    }

    fn append(&mut self, _block: &Block) -> Result<(), StoreError> {
        self.refuse()
    }

    fn sync(&mut self, _last: u64) -> Result<(), StoreError> {
        self.refuse()
    }

    fn extent(&self) -> Extent {
        let tail = self.tail.as_ref().map(Tail::size).unwrap_or_default();
        Extent {
            sealed_through: self.history.sealed_through(),
            unsealed_blocks: tail.blocks,
            unsealed_bytes: tail.bytes,
            acknowledged: self.acknowledged,
        }
    }

    fn block_from(&mut self, first: u64) -> Result<Option<Block>, StoreError> {
        let found = self.history.block_from(first);
        match found.map_err(|error| self.removed(error))? {
            Some(block) => Ok(Some(block)),
            None => self.tail()?.map_or(Ok(None), |tail| tail.block_from(first)),
        }
    }

    fn block_holding(&mut self, sequence: u64) -> Result<Option<Block>, StoreError> {
        // The copy may still have what was sealed after it was made: what is sealed goes first.
        if sequence > self.history.sealed_through()
            && let Some(tail) = self.tail()?
            && let Some(block) = tail.block_holding(sequence)?
        {
            return Ok(Some(block));
        }
        let found = self.history.block_holding(sequence);
        found.map_err(|error| self.removed(error))
    }

    fn set_aside(
        &mut self,
        _from: u64,
        _kept: Option<&Block>,
    ) -> Result<Option<PathBuf>, StoreError> {
        self.refuse()
    }

    fn seal(&mut self, _block: &Block, _last: u64) -> Result<(), StoreError> {
        self.refuse()
    }

    fn sealed(&self) -> Option<SealedBlocks> {
        Some(self.history.sealed())
    }

    fn release(&mut self, _through: u64, _most: usize) -> Result<usize, StoreError> {
        self.refuse()
    }
}
