//! A journal in a folder on disk.
//!
//! ```text
//! journal/
//!   lock         held while open; has the number of the process that holds it
//!   acknowledged the number of the last durable event, noted without a sync
//!   journal.json what the journal says of itself, written once
//!   tail/        sled: the newest records
//!   history/     sealed files: all older ones
//!   states/      the states after sealed files; only needed behind a damaged one
//!   checkpoint   the state as of some event; only a cache
//!   base         the state that a compacted journal begins with
//!   base-copy    the same once more
//!   set-aside/   whatever could not be used; made when needed, never read, never deleted
//! ```

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs4::{FileExt, TryLockError};

use super::files::{self, Note, failed};
use super::history::History;
use super::tail::{self, Tail};
use super::{Block, Extent, Location, Part, SealedBlocks, Store, StoreError};
use crate::clock::{Clock, SystemClock};
use crate::recovery::Recovery;

const LOCK: &str = "lock";
pub(super) const HEADER: &str = "journal.json";
pub(super) const TAIL: &str = "tail";
/// The copy of a damaged database from which sled is made to read its log. Gone after the start.
const REBUILT: &str = "tail-rebuilt";
pub(super) const HISTORY: &str = "history";
pub(super) const CHECKPOINT: &str = "checkpoint";
pub(super) const ACKNOWLEDGED: &str = "acknowledged";
const SET_ASIDE: &str = "set-aside";
/// The file in which sled keeps its settings.
const SETTINGS: &str = "conf";
/// The files in which sled keeps the place of its pages.
const SNAPSHOT_PREFIX: &str = "snap.";
/// What the name of a snapshot ends with while sled writes it.
const SNAPSHOT_UNFINISHED: &str = ".generating";

/// The storage of a journal in a folder. See the module.
pub struct FolderStore {
    folder: PathBuf,
    tail: Tail,
    history: History,
    acknowledged: Note,
    /// Dropped last, when the database is closed.
    lock: Arc<File>,
}

/// A folder in which a journal is opened, and opened again. Keeps the lock in between, so that no
/// other process can take the journal while its storage does not work.
pub struct FolderLocation {
    folder: PathBuf,
    lock: Option<Arc<File>>,
}

impl FolderLocation {
    /// The folder, of which nothing is opened yet.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            lock: None,
        }
    }
}

impl Location for FolderLocation {
    fn open(&mut self) -> Result<(Box<dyn Store>, Vec<Recovery>), StoreError> {
        let (store, recoveries) = FolderStore::open(&self.folder)?;
        self.lock = Some(Arc::clone(&store.lock));
        Ok((Box::new(store), recoveries))
    }

    fn reopen(&mut self) -> Result<(Box<dyn Store>, Vec<Recovery>), StoreError> {
        let Some(lock) = &self.lock else {
            return self.open();
        };
        if !self.folder.join(HEADER).is_file() {
            return Err(StoreError::Missing {
                path: self.folder.clone(),
            });
        }
        files::prove_room(&self.folder)?;
        tail::rewrite(&self.folder.join(TAIL))?;
        let (store, recoveries) = FolderStore::open_locked(&self.folder, Arc::clone(lock))?;
        Ok((Box::new(store), recoveries))
    }
}

impl FolderStore {
    /// Opens or begins the storage in `folder`, and tells what it had to repair.
    ///
    /// # Errors
    /// [`StoreError::Held`] at once if another process has it; otherwise what the disk says.
    pub fn open(folder: &Path) -> Result<(Self, Vec<Recovery>), StoreError> {
        files::create_folder(folder)?;
        let lock = Arc::new(take_lock(folder)?);
        Self::open_locked(folder, lock)
    }

    fn open_locked(folder: &Path, lock: Arc<File>) -> Result<(Self, Vec<Recovery>), StoreError> {
        let mut recoveries = Vec::new();
        let history = History::open(folder.join(HISTORY))?;
        let mut tail = open_tail(folder, &mut recoveries)?;
        // sled made its files without a sync of the folders that name them.
        files::sync_folder(&folder.join(TAIL))?;
        files::sync_folder(folder)?;
        let acknowledged = Note::open(folder.join(ACKNOWLEDGED))?;
        // A crash between a seal and the removal of what it sealed leaves both.
        if history.sealed_through() > 0 {
            tail.replace(0..=history.sealed_through(), None)?;
        }
        let store = Self {
            folder: folder.to_owned(),
            tail,
            history,
            acknowledged,
            lock,
        };
        Ok((store, recoveries))
    }
}

impl Store for FolderStore {
    fn get(&mut self, part: Part) -> Result<Vec<Vec<u8>>, StoreError> {
        files::read_part(&self.folder, part)
    }

    fn put(&mut self, part: Part, bytes: &[u8]) -> Result<(), StoreError> {
        files::write_part(&self.folder, part, bytes)?;
        if let Part::State(sequence) = part {
            self.history.has_state(sequence, bytes.len() as u64);
        }
        Ok(())
    }

    fn append(&mut self, block: &Block) -> Result<(), StoreError> {
        self.tail.write(block)
    }

    fn sync(&mut self, last: u64) -> Result<(), StoreError> {
        self.tail.sync()?;
        self.acknowledged.write(last)
    }

    fn extent(&self) -> Extent {
        let tail = self.tail.size();
        Extent {
            sealed_through: self.history.sealed_through(),
            unsealed_blocks: tail.blocks,
            unsealed_bytes: tail.bytes,
            acknowledged: self.acknowledged.number(),
        }
    }

    fn block_from(&mut self, first: u64) -> Result<Option<Block>, StoreError> {
        match self.history.block_from(first)? {
            Some(block) => Ok(Some(block)),
            None => self.tail.block_from(first),
        }
    }

    fn block_holding(&mut self, sequence: u64) -> Result<Option<Block>, StoreError> {
        match self.tail.block_holding(sequence)? {
            Some(block) => Ok(Some(block)),
            None => self.history.block_holding(sequence),
        }
    }

    fn keeps_history(&self) -> bool {
        true
    }

    fn seal(&mut self, block: &Block, last: u64) -> Result<(), StoreError> {
        self.history.seal(block, last)?;
        self.tail.replace(block.first..=last, None)?;
        // Nothing depends on the removal, but what sled has not written stays in its memory.
        self.tail.sync()
    }

    fn set_aside(
        &mut self,
        from: u64,
        kept: Option<&Block>,
    ) -> Result<Option<PathBuf>, StoreError> {
        let place = new_place(&self.folder, &format!("from-event-{from}"))?;
        let mut moved = 0;
        let mut next = Some(from);
        while let Some(first) = next
            && let Some(block) = self.tail.stored_from(first)?
        {
            let name = format!("{:020}.block", block.first);
            files::write_whole(&place.join(name), &block.bytes)?;
            moved += 1;
            next = block.first.checked_add(1);
        }
        self.tail.replace(from..=u64::MAX, kept)?;
        self.tail.sync()?;
        // Last, and backwards: after a crash the damage is still there to be found, and `kept`, which
        // lies within what is still sealed, is dropped and made again.
        moved += self.history.move_away(from, &place)?;
        if moved == 0 {
            fs::remove_dir(&place).map_err(failed("remove the empty folder", &place))?;
            return Ok(None);
        }
        Ok(Some(place))
    }

    fn release(&mut self, through: u64, most: usize) -> Result<usize, StoreError> {
        self.history.release(through, most)
    }

    fn sealed(&self) -> Option<SealedBlocks> {
        Some(self.history.sealed())
    }
}

/// The single-instance guard. The kernel lets it go with the process, however that ends.
fn take_lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let mut lock = options.open(&path).map_err(failed("open", &path))?;
    match FileExt::try_lock(&lock) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Who holds it is a help for people; without it the answer is still "held".
            let read = lock.read_to_string(&mut text).ok();
            return Err(StoreError::Held {
                path: folder.to_owned(),
                holder: read.and_then(|_| text.trim().parse().ok()),
            });
        }
        Err(TryLockError::Error(source)) => return Err(failed("lock", &path)(source)),
    }
    // Over what is there, which needs no room on a full disk.
    let text = format!("{}\n", std::process::id());
    let written = lock
        .rewind()
        .and_then(|()| lock.write_all(text.as_bytes()))
        .and_then(|()| lock.set_len(text.len() as u64));
    written.map_err(failed("write", &path))?;
    Ok(lock)
}

/// Opens sled's database by the gentlest means that works, and tells which it was.
fn open_tail(folder: &Path, recoveries: &mut Vec<Recovery>) -> Result<Tail, StoreError> {
    let path = folder.join(TAIL);
    let rebuilt = folder.join(REBUILT);
    finish_rebuild(&path, &rebuilt)?;
    remove_unfinished_snapshots(folder, &path, recoveries)?;
    let why = match Tail::open(&path) {
        Ok(tail) => return Ok(tail),
        Err(error) if error.is_damage() => said(&error),
        Err(error) => {
            drop_own_snapshots(&path);
            return Err(error);
        }
    };
    // Without snapshots sled reads its whole log. It may overwrite what it does not understand, and
    // after a panic it never lets go of the file's lock: so it gets a copy.
    copy_without_snapshots(&path, &rebuilt)?;
    make_durable(&rebuilt)?;
    let opened = Tail::open(&rebuilt).map(drop);
    let aside = new_place(folder, "database")?.join(TAIL);
    match opened {
        Ok(()) => {
            fs::rename(&path, &aside).map_err(failed("move aside", &path))?;
            finish_rebuild(&path, &rebuilt)?;
            recoveries.push(Recovery::SnapshotsSetAside { path: aside, why });
        }
        Err(error) if error.is_damage() => {
            fs::remove_dir_all(&rebuilt).map_err(failed("remove the copy", &rebuilt))?;
            fs::rename(&path, &aside).map_err(failed("move aside", &path))?;
            let why = said(&error);
            recoveries.push(Recovery::DatabaseSetAside { path: aside, why });
        }
        Err(error) => return Err(error),
    }
    Tail::open(&path)
}

/// Puts a rebuilt database in the place of the one that was moved aside; where that is still there,
/// the rebuild did not come to its end and is made again if it is needed.
fn finish_rebuild(path: &Path, rebuilt: &Path) -> Result<(), StoreError> {
    if !rebuilt.exists() {
        return Ok(());
    }
    if path.exists() {
        return fs::remove_dir_all(rebuilt).map_err(failed("remove the copy", rebuilt));
    }
    fs::rename(rebuilt, path).map_err(failed("put in place", path))?;
    files::sync_folder(files::parent(path))
}

/// sled takes an unfinished snapshot for the newest one and fails for ever; without it, it is well.
fn remove_unfinished_snapshots(
    folder: &Path,
    tail: &Path,
    recoveries: &mut Vec<Recovery>,
) -> Result<(), StoreError> {
    for snapshot in snapshots(tail)? {
        let name = snapshot.file_name().unwrap_or_default().to_owned();
        if !name.to_string_lossy().ends_with(SNAPSHOT_UNFINISHED) {
            continue;
        }
        let path = new_place(folder, "unfinished-snapshot")?.join(name);
        fs::rename(&snapshot, &path).map_err(failed("move aside", &snapshot))?;
        recoveries.push(Recovery::UnfinishedSnapshot { path });
    }
    Ok(())
}

/// Removes what sled left of the snapshot that it could not write just now. Those of earlier
/// processes were moved aside before, so this is of no use to anybody.
fn drop_own_snapshots(tail: &Path) {
    let Ok(snapshots) = snapshots(tail) else {
        return;
    };
    for snapshot in snapshots {
        if snapshot.to_string_lossy().ends_with(SNAPSHOT_UNFINISHED) {
            // What stays is moved aside by the next start.
            let _ = fs::remove_file(snapshot);
        }
    }
}

fn snapshots(tail: &Path) -> Result<Vec<PathBuf>, StoreError> {
    if !tail.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(tail).map_err(failed("read", tail))? {
        let entry = entry.map_err(failed("read", tail))?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(SNAPSHOT_PREFIX) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Copies the files of the database but its snapshots and settings. Its only folder, `blobs`, stays
/// empty, as values are small. Not durable yet.
pub(super) fn copy_without_snapshots(from: &Path, to: &Path) -> Result<(), StoreError> {
    files::create_folder(to)?;
    let snapshots = snapshots(from)?;
    for entry in fs::read_dir(from).map_err(failed("read", from))? {
        let source = entry.map_err(failed("read", from))?.path();
        // sled writes its settings anew, always the same; damaged ones would cost the whole database.
        let settings = source.file_name().is_some_and(|name| name == SETTINGS);
        if source.is_file() && !settings && !snapshots.contains(&source) {
            let target = to.join(source.file_name().unwrap_or_default());
            fs::copy(&source, &target).map_err(failed("copy", &source))?;
        }
    }
    Ok(())
}

/// Makes the files of a folder durable, and their names.
fn make_durable(folder: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(folder).map_err(failed("read", folder))? {
        let path = entry.map_err(failed("read", folder))?.path();
        let synced = File::open(&path).and_then(|file| file.sync_all());
        synced.map_err(failed("make durable", &path))?;
    }
    files::sync_folder(folder)
}

/// A new folder for what cannot be used, with the reason and the time in its name.
fn new_place(folder: &Path, reason: &str) -> Result<PathBuf, StoreError> {
    let all = folder.join(SET_ASIDE);
    files::create_folder(&all)?;
    let place = files::free_name(&all, &format!("{reason}-{}", SystemClock.now()));
    files::create_folder(&place)?;
    Ok(place)
}

/// An error with its cause, in one line.
fn said(error: &StoreError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
