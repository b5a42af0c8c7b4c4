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
//! Sealed events cannot be hurt by whatever happens to the database of the new ones, and cost
//! nothing when a journal is opened: only their names are read.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::files::{self, failed};
use super::{Block, Sealed, SealedBlocks, SealedReader, StoreError};

const EXTENSION: &str = "sealed";
const MAGIC: &[u8; 14] = b"allexjournal\x01\x00";
const HASH_LENGTH: usize = 32;
/// No seal is larger than one batch and the tail that it closes; see `journal::SEAL_BYTES`.
const MAX_SEALED_BYTES: u64 = 256 * 1024 * 1024;

/// The sealed files of one journal, by their first sequence number.
pub(super) struct History {
    folder: PathBuf,
    /// First to last sequence number of each file.
    files: BTreeMap<u64, u64>,
}

/// Reads sealed files by their names alone.
struct SealedFiles {
    folder: PathBuf,
}

impl SealedReader for SealedFiles {
    fn read(&self, sealed: Sealed) -> Result<Block, StoreError> {
        read(&self.folder, sealed.first, sealed.last)
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
        Ok(history)
    }

    /// The last sealed sequence number; 0 where nothing is sealed.
    pub(super) fn sealed_through(&self) -> u64 {
        self.files.last_key_value().map_or(0, |(_, last)| *last)
    }

    /// The files, oldest first.
    pub(super) fn sealed(&self) -> SealedBlocks {
        let blocks = self.files.iter().map(|(&first, &last)| Sealed {
            first,
            last,
            // One that cannot be looked at shows as damage when it is read.
            bytes: fs::metadata(self.path(first, last)).map_or(0, |facts| facts.len()),
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
            let path = self.path(*first, *last);
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failed("remove", &path)(error)),
            }
            self.files.remove(first);
        }
        Ok(waste.len().saturating_sub(most))
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

    /// Moves the files that begin at or after `from` to `destination`; tells how many there were.
    pub(super) fn move_away(&mut self, from: u64, destination: &Path) -> Result<usize, StoreError> {
        let moving = self.files.split_off(&from);
        for (first, last) in moving.iter().rev() {
            let source = self.path(*first, *last);
            let target = destination.join(source.file_name().unwrap_or_default());
            fs::rename(&source, target).map_err(failed("move aside", &source))?;
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
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        // Its name was there when the folder was listed.
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(StoreError::Gone { path }),
        Err(error) => return Err(failed("read", &path)(error)),
    };
    match open_sealed(&bytes) {
        Ok(bytes) => Ok(Block { first, bytes }),
        Err(why) => Err(StoreError::Sealed { path, why }),
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

fn range_of(path: &Path) -> Option<(u64, u64)> {
    if path.extension()? != EXTENSION {
        return None;
    }
    let (first, last) = path.file_stem()?.to_str()?.split_once('-')?;
    let range = (first.parse().ok()?, last.parse().ok()?);
    (range.0 <= range.1).then_some(range)
}
