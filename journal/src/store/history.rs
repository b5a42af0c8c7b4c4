//! What is old: sealed files, written once and never changed.
//!
//! ```text
//! 00000000000000000001-00000000000000004096.sealed
//!   "allexjournal" 1 0    magic and format (major, minor)
//!   u64                   length of the records, big-endian
//!   LZ4 block             the records
//!   32 bytes              BLAKE3 of everything before
//! ```
//!
//! For each file the state after its last record is kept (`../states/00000000000000004096.state`), as long
//! as these states do not take more room than they are worth: what follows a damaged file is replayed
//! from there.
//!
//! Sealed events cannot be hurt by whatever happens to the database of the new ones, and cost
//! nothing when a journal is opened: only their names are read.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::files::{self, failed};
use super::{Block, Sealed, SealedBlocks, SealedReader, StoreError};

const EXTENSION: &str = "sealed";
const STATES: &str = "states";
const STATE_EXTENSION: &str = "state";
const MAGIC: &[u8; 14] = b"allexjournal\x01\x00";
const HASH_LENGTH: usize = 32;
/// No seal is larger than one batch and the tail that it closes; see `journal::SEAL_BYTES`.
const MAX_SEALED_BYTES: u64 = 256 * 1024 * 1024;

/// The sealed files of one journal, by their first sequence number.
pub(super) struct History {
    folder: PathBuf,
    /// First to last sequence number of each file.
    files: BTreeMap<u64, u64>,
    /// The length of each kept state, by the event that it follows.
    states: BTreeMap<u64, u64>,
}

/// Reads sealed files by their names alone.
struct SealedFiles {
    folder: PathBuf,
}

impl SealedReader for SealedFiles {
    fn read(&self, sealed: Sealed) -> Result<Block, StoreError> {
        read(&self.folder, sealed.first, sealed.last)
    }

    fn state(&self, sequence: u64) -> Option<Vec<u8>> {
        fs::read(state_path(&self.folder, sequence)).ok()
    }
}

impl History {
    /// Reads the names in the folder, which is created where it does not exist.
    pub(super) fn open(folder: PathBuf) -> Result<Self, StoreError> {
        files::create_folder(&folder)?;
        Self::read_only(folder)
    }

    /// Reads the names in the folder, if there is one.
    pub(super) fn read_only(folder: PathBuf) -> Result<Self, StoreError> {
        let mut history = Self {
            files: BTreeMap::new(),
            states: BTreeMap::new(),
            folder,
        };
        if !history.folder.is_dir() {
            return Ok(history);
        }
        let listing = fs::read_dir(&history.folder).map_err(failed("read", &history.folder))?;
        for entry in listing {
            let entry = entry.map_err(failed("read", &history.folder))?;
            if let Some((first, last)) = range_of(&entry.path()) {
                history.files.insert(first, last);
            }
        }
        // Without them there is a journal all the same.
        let states = fs::read_dir(states_folder(&history.folder));
        for entry in states.into_iter().flatten().flatten() {
            if let Some(sequence) = state_of(&entry.path()) {
                let length = entry.metadata().map_or(0, |facts| facts.len());
                history.states.insert(sequence, length);
            }
        }
        Ok(history)
    }

    /// The last sealed sequence number; 0 where nothing is sealed.
    pub(super) fn sealed_through(&self) -> u64 {
        self.files.last_key_value().map_or(0, |(_, last)| *last)
    }

    /// The files, oldest first.
    pub(super) fn sealed(&self) -> SealedBlocks {
        let blocks = self.files.iter().map(|(&first, &last)| {
            // One that cannot be looked at shows as damage when it is read.
            let facts = fs::metadata(self.path(first, last)).ok();
            let modified = facts.as_ref().and_then(|facts| facts.modified().ok());
            let modified = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            Sealed {
                first,
                last,
                bytes: facts.map_or(0, |facts| facts.len()),
                state_bytes: self.states.get(&last).copied().unwrap_or(0),
                modified: modified.map_or(0, |at| at.as_nanos()),
            }
        });
        SealedBlocks {
            blocks: blocks.collect(),
            reader: Box::new(SealedFiles {
                folder: self.folder.clone(),
            }),
        }
    }

    /// See [`super::Store::release`].
    pub(super) fn release(&mut self, through: u64, most: usize) -> Result<usize, StoreError> {
        let waste = self.files.iter().filter(|(_, last)| **last <= through);
        let waste: Vec<(u64, u64)> = waste.map(|(first, last)| (*first, *last)).collect();
        for (first, last) in waste.iter().take(most) {
            remove(&self.path(*first, *last))?;
            self.files.remove(first);
        }
        let left = waste.len().saturating_sub(most);
        if left == 0 && most > 0 {
            let states: Vec<u64> = self.states.range(..=through).map(|(at, _)| *at).collect();
            for sequence in states {
                remove(&state_path(&self.folder, sequence))?;
                self.states.remove(&sequence);
            }
        }
        Ok(left)
    }

    /// A state was put down.
    pub(super) fn has_state(&mut self, sequence: u64, length: u64) {
        self.states.insert(sequence, length);
    }

    pub(super) fn block_from(&self, first: u64) -> Result<Option<Block>, StoreError> {
        match self.files.range(first..).next() {
            Some((&first, &last)) => self.read(first, last).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn block_holding(&self, sequence: u64) -> Result<Option<Block>, StoreError> {
        match self.files.range(..=sequence).next_back() {
            Some((&first, &last)) => self.read(first, last).map(Some),
            None => Ok(None),
        }
    }

    /// Writes a sealed file. Durable on return.
    pub(super) fn seal(&mut self, block: &Block, last: u64) -> Result<(), StoreError> {
        let mut bytes = Vec::with_capacity(block.bytes.len() / 2 + 64);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(block.bytes.len() as u64).to_be_bytes());
        bytes.extend_from_slice(&lz4_flex::block::compress(&block.bytes));
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        files::write_whole(&self.path(block.first, last), &bytes)?;
        self.files.insert(block.first, last);
        Ok(())
    }

    /// Moves the files that begin at or after `from` to `destination`, and the states after such events;
    /// tells how many files there were.
    pub(super) fn move_away(&mut self, from: u64, destination: &Path) -> Result<usize, StoreError> {
        let moving = self.files.split_off(&from);
        let states = self.states.split_off(&from);
        let states = states.keys().map(|at| state_path(&self.folder, *at));
        let files = moving.iter().map(|(first, last)| self.path(*first, *last));
        for source in states.chain(files.rev()) {
            let target = destination.join(source.file_name().unwrap_or_default());
            match fs::rename(&source, target) {
                // Who damages a journal may have removed files of it.
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed("move aside", &source)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        if !moving.is_empty() {
            files::sync_folder(destination)?;
            files::sync_folder(&self.folder)?;
        }
        Ok(moving.len())
    }

    fn path(&self, first: u64, last: u64) -> PathBuf {
        path_in(&self.folder, first, last)
    }

    fn read(&self, first: u64, last: u64) -> Result<Block, StoreError> {
        read(&self.folder, first, last)
    }
}

fn path_in(folder: &Path, first: u64, last: u64) -> PathBuf {
    folder.join(format!("{first:020}-{last:020}.{EXTENSION}"))
}

fn read(folder: &Path, first: u64, last: u64) -> Result<Block, StoreError> {
    let path = path_in(folder, first, last);
    if fs::metadata(&path).is_ok_and(|facts| facts.len() > MAX_SEALED_BYTES) {
        let why = "it is longer than any";
        return Err(StoreError::Sealed { path, last, why });
    }
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Its name was there when the folder was listed.
            let why = "it is not there any more";
            return Err(StoreError::Sealed { path, last, why });
        }
        Err(error) => return Err(failed("read", &path)(error)),
    };
    match open_sealed(&bytes) {
        Ok(bytes) => Ok(Block { first, bytes }),
        Err(why) => Err(StoreError::Sealed { path, last, why }),
    }
}

/// The records in the content of a sealed file, or what is wrong with it.
fn open_sealed(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (content, hash) = bytes
        .split_last_chunk::<HASH_LENGTH>()
        .ok_or("it is too short")?;
    if blake3::hash(content).as_bytes() != hash {
        return Err("its hash does not fit");
    }
    let rest = content
        .strip_prefix(MAGIC)
        .ok_or("it has another format; a newer version may be able to read it")?;
    let (length, compressed) = rest.split_first_chunk::<8>().ok_or("it is too short")?;
    let length = u64::from_be_bytes(*length);
    if length > MAX_SEALED_BYTES {
        return Err("it claims an impossible length");
    }
    let length = usize::try_from(length).map_err(|_| "it claims an impossible length")?;
    lz4_flex::block::decompress(compressed, length).map_err(|_| "it does not decompress")
}

/// The folder of the states that are kept for the files of a history.
fn states_folder(history: &Path) -> PathBuf {
    history.with_file_name(STATES)
}

/// The file of the state after an event.
pub(super) fn state_path(history: &Path, sequence: u64) -> PathBuf {
    states_folder(history).join(format!("{sequence:020}.{STATE_EXTENSION}"))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn state_of(path: &Path) -> Option<u64> {
    if path.extension()? != STATE_EXTENSION {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

fn range_of(path: &Path) -> Option<(u64, u64)> {
    if path.extension()? != EXTENSION {
        return None;
    }
    let (first, last) = path.file_stem()?.to_str()?.split_once('-')?;
    let range = (first.parse().ok()?, last.parse().ok()?);
    (range.0 <= range.1).then_some(range)
}
