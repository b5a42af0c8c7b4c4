//! What is new: the records that are not sealed yet, in sled.
//!
//! sled `=0.34.7` is used as its source says, not as its documentation does:
//!
//! - `flush` writes and calls `sync_file_range`, which survives a kill but not a power cut. So every
//!   [`Tail::sync`] is followed by an fdatasync of the file `db` through a descriptor of our own.
//! - A value that makes a leaf longer than a quarter of a segment goes to a file of its own, which
//!   that fdatasync would not reach. So blocks are cut into chunks of [`CHUNK`] bytes.
//! - `generate_id` repeats itself after a crash. So keys are our own: the first sequence number of
//!   the block and the number of the chunk, both big-endian, so that their order is sled's.
//! - It panics on some corruptions. So every call is made where a panic is caught.
//! - It lets go of its file's lock some time after it was dropped, when the last of its threads has
//!   noticed. So opening it again in one process may take a moment.
//! - Its background flusher would write when it likes, and only logs when it fails. It is off.

use std::any::Any;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::files::failed;
use super::{Block, StoreError};

/// 16 entries make a leaf split, and up to 10 more can come before it does; 26 chunks are well
/// below the 128 KiB (a quarter of sled's segment of 512 KiB) from which on a leaf leaves the log.
const CHUNK: usize = 4096;

/// The tail is a few MiB; more cache would only hold what is never read again.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// sled's own file of all data, in the database's folder.
const DATA_FILE: &str = "db";
/// Blocks from this length on are compressed: a group of events then mostly fits into one chunk,
/// which sled writes in half the time. A single event gains nothing.
const COMPRESS_FROM: usize = 1024;

/// No block is longer than one batch; the limit is for lengths that are lies.
const MAX_BLOCK_BYTES: u32 = 256 * 1024 * 1024;

/// How long sled may take to let go of a database that this process had open before. The journal's
/// own lock says already that no other process has it.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(2);

const PLAIN: u8 = 0;
const COMPRESSED: u8 = 1;

const TREE: &[u8] = b"records";
const KEY_LENGTH: usize = 12;

/// So much of the database is read and written at a time by [`rewrite`].
const REWRITE_BYTES: usize = 256 * 1024;

/// The size of the tail.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TailSize {
    /// How many blocks.
    pub(super) blocks: u64,
    /// How many bytes of records, before compression.
    pub(super) bytes: u64,
}

/// The open database of one journal's unsealed blocks.
pub(super) struct Tail {
    path: PathBuf,
    database: sled::Db,
    records: sled::Tree,
    /// The second descriptor that makes flushes durable.
    data: File,
    size: TailSize,
}

impl Tail {
    /// Opens or begins the database. The caller has made sure that nobody else has it open.
    ///
    /// Reads every key and value once, so that damage shows here and not later.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let began = Instant::now();
        loop {
            match Self::open_once(path) {
                Err(error) if is_locked(&error) => {
                    if began.elapsed() >= LOCK_TIMEOUT {
                        return Err(StoreError::Held {
                            path: path.to_owned(),
                            holder: None,
                        });
                    }
                    std::thread::sleep(LOCK_PAUSE);
                }
                opened => return opened,
            }
        }
    }

    fn open_once(path: &Path) -> Result<Self, StoreError> {
        let owned = path.to_owned();
        // On a thread of its own: a panic in sled's recovery ends that thread and nothing else.
        let opening = std::thread::Builder::new()
            .name("journal-open".to_owned())
            .spawn(move || Self::open_unguarded(&owned))
            .map_err(failed("start a thread to open", path))?;
        match opening.join() {
            Ok(opened) => opened,
            Err(panic) => Err(panicked("open it", path, panic.as_ref())),
        }
    }

    fn open_unguarded(path: &Path) -> Result<Self, StoreError> {
        let refused = refused("open it", path);
        let database = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .open()
            .map_err(&refused)?;
        let records = database.open_tree(TREE).map_err(&refused)?;
        let size = measure(&records).map_err(&refused)?;
        let data_path = path.join(DATA_FILE);
        // Windows wants the right to write for a sync.
        let data = File::options().read(true).write(true).open(&data_path);
        Ok(Self {
            data: data.map_err(failed("open", &data_path))?,
            path: path.to_owned(),
            database,
            records,
            size,
        })
    }

    /// Puts a block in, whole or not at all.
    pub(super) fn write(&mut self, block: &Block) -> Result<(), StoreError> {
        let stored = pack(&block.bytes);
        self.guarded("append to it", || {
            if stored.len() <= CHUNK {
                // One entry is atomic as it is, and without a batch's manifest sled writes once
                // where it would write twice.
                let key = key(block.first, 0);
                self.records.insert(key, &stored[..]).map(drop)
            } else {
                let mut batch = sled::Batch::default();
                insert(&mut batch, block.first, &stored);
                self.records.apply_batch(batch)
            }
        })?;
        self.size.blocks += 1;
        self.size.bytes += block.bytes.len() as u64;
        Ok(())
    }

    /// How much there is.
    pub(super) fn size(&self) -> TailSize {
        self.size
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.guarded("flush it", || self.database.flush())?;
        let data_path = self.path.join(DATA_FILE);
        self.data
            .sync_data()
            .map_err(failed("make durable", &data_path))
    }

    /// The block with the smallest first sequence number at or above `first`.
    pub(super) fn block_from(&self, first: u64) -> Result<Option<Block>, StoreError> {
        let Some(Block { first, bytes }) = self.stored_from(first)? else {
            return Ok(None);
        };
        match unpack(&bytes) {
            Ok(bytes) => Ok(Some(Block { first, bytes })),
            Err(why) => Err(StoreError::Packed {
                path: self.path.clone(),
                first,
                why,
            }),
        }
    }

    /// The same block as it is stored, whether or not it can be understood.
    pub(super) fn stored_from(&self, first: u64) -> Result<Option<Block>, StoreError> {
        self.guarded("read it", || {
            let mut entries = self.records.range(key(first, 0)..);
            let Some(entry) = entries.next() else {
                return Ok(None);
            };
            let (start, value) = entry?;
            let first = first_of(&start);
            let mut bytes = value.to_vec();
            for entry in entries {
                let (key, value) = entry?;
                if first_of(&key) != first {
                    break;
                }
                bytes.extend_from_slice(&value);
            }
            Ok(Some(Block { first, bytes }))
        })
    }

    /// The block with the greatest first sequence number at or below `sequence`.
    pub(super) fn block_holding(&self, sequence: u64) -> Result<Option<Block>, StoreError> {
        let last = self.guarded("read it", || {
            let up_to = key(sequence, u32::MAX);
            self.records.range(..=up_to).next_back().transpose()
        })?;
        match last {
            Some((key, _)) => self.block_from(first_of(&key)),
            None => Ok(None),
        }
    }

    /// Lets go of the blocks whose first sequence number is in the range, and puts `kept` in: one
    /// atomic batch, not yet durable.
    pub(super) fn replace(
        &mut self,
        range: RangeInclusive<u64>,
        kept: Option<&Block>,
    ) -> Result<(), StoreError> {
        let kept = kept.map(|kept| (kept.first, pack(&kept.bytes)));
        self.size = self.guarded("remove from it", || {
            let keys = key(*range.start(), 0)..=key(*range.end(), u32::MAX);
            let mut batch = sled::Batch::default();
            for entry in self.records.range(keys).keys() {
                batch.remove(entry?);
            }
            if let Some((first, stored)) = &kept {
                insert(&mut batch, *first, stored);
            }
            self.records.apply_batch(batch)?;
            measure(&self.records)
        })?;
        Ok(())
    }

    fn guarded<T>(
        &self,
        action: &'static str,
        work: impl FnOnce() -> sled::Result<T>,
    ) -> Result<T, StoreError> {
        // After a panic the journal is not used again, so no broken invariant is ever seen.
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => result.map_err(refused(action, &self.path)),
            Err(panic) => Err(panicked(action, &self.path, panic.as_ref())),
        }
    }
}

/// Writes the data of a closed database over itself, durably.
///
/// When a sync fails, Linux forgets that what it could not write is not on the disk: it can still be
/// read, and the next sync says that all is well. So before a database is used again after a
/// failure, all of it is written anew.
pub(super) fn rewrite(path: &Path) -> Result<(), StoreError> {
    let data_path = path.join(DATA_FILE);
    let mut file = match File::options().read(true).write(true).open(&data_path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("open", &data_path)(error)),
    };
    let mut write_over = || -> io::Result<()> {
        let mut bytes = vec![0; REWRITE_BYTES];
        let mut offset = 0;
        loop {
            file.seek(SeekFrom::Start(offset))?;
            let length = file.read(&mut bytes)?;
            if length == 0 {
                return file.sync_all();
            }
            file.seek(SeekFrom::Start(offset))?;
            file.write_all(&bytes[..length])?;
            offset += length as u64;
        }
    };
    write_over().map_err(failed("write again", &data_path))
}

/// sled has no other sign for it than these words, which its version is pinned for.
fn is_locked(error: &StoreError) -> bool {
    match error {
        StoreError::Database {
            source: sled::Error::Io(said),
            ..
        } => said.to_string().starts_with("could not acquire lock"),
        StoreError::Held { .. }
        | StoreError::NoJournal { .. }
        | StoreError::OnlyRead { .. }
        | StoreError::Closed
        | StoreError::NoHistory
        | StoreError::Missing { .. }
        | StoreError::Io { .. }
        | StoreError::Database { .. }
        | StoreError::Panicked { .. }
        | StoreError::Sealed { .. }
        | StoreError::Packed { .. }
        | StoreError::Gone { .. }
        | StoreError::Simulated => false,
    }
}

/// How much there is. Reads every entry.
fn measure(records: &sled::Tree) -> sled::Result<TailSize> {
    let mut size = TailSize::default();
    for entry in records.iter() {
        let (key, value) = entry?;
        let starts = key.ends_with(&0_u32.to_be_bytes());
        size.blocks += u64::from(starts);
        size.bytes += match (starts, value.split_first()) {
            (true, Some((&COMPRESSED, rest))) => rest
                .first_chunk::<4>()
                .map_or(0, |length| u64::from(u32::from_be_bytes(*length))),
            (true, Some((_, rest))) => rest.len() as u64,
            // The further chunks of a compressed block, counted twice, only make the seal earlier.
            (true, None) | (false, _) => value.len() as u64,
        };
    }
    Ok(size)
}

fn insert(batch: &mut sled::Batch, first: u64, stored: &[u8]) {
    for (number, chunk) in (0_u32..).zip(stored.chunks(CHUNK)) {
        batch.insert(&key(first, number), chunk);
    }
}

/// A block as it is stored: a byte that says how, and the records; if they are compressed, with
/// their length in front.
fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut stored;
    match u32::try_from(bytes.len()) {
        Ok(length) if bytes.len() >= COMPRESS_FROM && length <= MAX_BLOCK_BYTES => {
            let compressed = lz4_flex::block::compress(bytes);
            stored = Vec::with_capacity(compressed.len() + 5);
            stored.push(COMPRESSED);
            stored.extend_from_slice(&length.to_be_bytes());
            stored.extend_from_slice(&compressed);
        }
        Ok(_) | Err(_) => {
            stored = Vec::with_capacity(bytes.len() + 1);
            stored.push(PLAIN);
            stored.extend_from_slice(bytes);
        }
    }
    stored
}

/// The records in a stored block, or what is wrong with it.
fn unpack(stored: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (how, rest) = stored.split_first().ok_or("it is empty")?;
    match *how {
        PLAIN => Ok(rest.to_vec()),
        COMPRESSED => {
            let (length, compressed) = rest.split_first_chunk::<4>().ok_or("it is too short")?;
            let length = u32::from_be_bytes(*length);
            if length > MAX_BLOCK_BYTES {
                return Err("it claims an impossible length");
            }
            lz4_flex::block::decompress(compressed, length as usize)
                .map_err(|_| "it does not decompress")
        }
        _ => Err("it is stored in no known way"),
    }
}

fn key(first: u64, chunk: u32) -> [u8; KEY_LENGTH] {
    let mut key = [0; KEY_LENGTH];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// A key of another length is none of ours; as 0 it shows as damage where it is read.
fn first_of(key: &[u8]) -> u64 {
    key.first_chunk::<8>()
        .map_or(0, |first| u64::from_be_bytes(*first))
}

fn refused(action: &'static str, path: &Path) -> impl Fn(sled::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Database {
        action,
        path: path.clone(),
        source,
    }
}

fn panicked(action: &'static str, path: &Path, panic: &(dyn Any + Send)) -> StoreError {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it gave no reason".to_owned());
    StoreError::Panicked {
        action,
        path: path.to_owned(),
        message,
    }
}
