//! Where the bytes of a journal are: one trait, three implementations.
//!
//! - [`FolderStore`]: a folder on disk, with sled for new records and sealed files for old ones.
//! - [`FileStore`]: one open file that need not have a name, for a log that outlives the process.
//! - [`FakeDisk`]: memory that fails and tears writes as a disk does, for simulations.
//!
//! One suite of tests holds them to this contract. [`ReadingStore`] reads a folder that another
//! process may be writing.

mod fake_disk;
#[cfg(unix)]
mod file;
mod files;
mod folder;
mod history;
mod reading;
mod tail;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::recovery::Recovery;

pub use fake_disk::{FakeDisk, Fault};
#[cfg(unix)]
pub use file::FileStore;
pub use files::keep_private;
pub use folder::{FolderLocation, FolderStore};
pub use reading::ReadingStore;

/// Whole records, one after the other, that were written together or sealed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The sequence number of the first record.
    pub first: u64,
    /// The records. The last one may be torn, if the store was.
    pub bytes: Vec<u8>,
}

/// A small part of a journal beside its records. It is replaced as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What the journal says of itself: format, program, identity.
    Header,
    /// The state that the journal begins with. Kept in more than one copy where a disk could damage it.
    Base,
    /// A later state. Only a cache: a store need not keep it.
    Checkpoint,
    /// The state after the event with this number, where a sealed block ends: from it a replay goes on
    /// behind a block that is damaged. A store need not keep it; [`Store::release`] removes it.
    State(u64),
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// The last sealed sequence number; 0 where nothing is sealed.
    pub sealed_through: u64,
    /// How many blocks are not sealed: entries of the database.
    pub unsealed_blocks: u64,
    /// How many bytes of records are not sealed, before compression.
    pub unsealed_bytes: u64,
    /// The last sequence number that a sync confirmed; 0 where it is not known. After a crash it may
    /// be too low, never too high.
    pub acknowledged: u64,
}

/// A sealed block, as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The sequence number of the first record.
    pub first: u64,
    /// The sequence number of the last record.
    pub last: u64,
    /// How much room it takes, in bytes.
    pub bytes: u64,
    /// How much room the state that is kept after it takes, in bytes; 0 where none is.
    pub state_bytes: u64,
    /// When it was last written, in nanoseconds since the Unix epoch; 0 where that is not known.
    pub modified: u128,
}

/// Reads sealed blocks.
pub trait SealedReader: Send {
    /// Reads one.
    ///
    /// # Errors
    /// It is gone or damaged, or the storage cannot be read.
    fn read(&self, sealed: Sealed) -> Result<Block, StoreError>;

    /// The state that is kept after an event ([`Part::State`]); nothing where none can be read.
    fn state(&self, sequence: u64) -> Option<Vec<u8>>;
}

/// The sealed blocks of a store, oldest first, and a way to read them from another thread. Blocks that
/// are released later can no longer be read.
pub struct SealedBlocks {
    /// What there is.
    pub blocks: Vec<Sealed>,
    /// Reads one of them.
    pub reader: Box<dyn SealedReader>,
}

/// Where a journal's storage is, so that it can be opened again after it failed.
pub trait Location: Send {
    /// Opens or begins the storage, and reports what had to be repaired.
    ///
    /// # Errors
    /// As [`FolderStore::open`].
    fn open(&mut self) -> Result<(Box<dyn Store>, Vec<Recovery>), StoreError>;

    /// Opens the storage again after it failed and was dropped. Never begins a new one. What can be
    /// read from it then is on disk, whatever the failure was.
    ///
    /// # Errors
    /// It still does not work: try again later.
    fn reopen(&mut self) -> Result<(Box<dyn Store>, Vec<Recovery>), StoreError>;
}

/// The storage of one journal. Knows positions and bytes; nothing of events or states.
///
/// The last four methods are for stores that move old records to a sealed history.
pub trait Store: Send {
    /// All copies of a part; none where it was never put. A copy that is missing is empty.
    ///
    /// # Errors
    /// The storage cannot be read.
    fn get(&mut self, part: Part) -> Result<Vec<Vec<u8>>, StoreError>;

    /// Replaces a part, whole or not at all. Durable on return.
    ///
    /// # Errors
    /// The storage cannot be written.
    fn put(&mut self, part: Part, bytes: &[u8]) -> Result<(), StoreError>;

    /// Takes a block. It need not be durable before [`Store::sync`] returns.
    ///
    /// # Errors
    /// The storage cannot be written.
    fn append(&mut self, block: &Block) -> Result<(), StoreError>;

    /// Makes everything that was appended durable, against a kill and a power cut, and notes `last` as
    /// [`Extent::acknowledged`].
    ///
    /// # Errors
    /// The storage cannot be written; what was appended since the last sync may be there or not.
    fn sync(&mut self, last: u64) -> Result<(), StoreError>;

    /// How much there is.
    fn extent(&self) -> Extent;

    /// The block with the smallest first sequence number at or above `first`.
    ///
    /// # Errors
    /// The storage, or that block, cannot be read.
    fn block_from(&mut self, first: u64) -> Result<Option<Block>, StoreError>;

    /// The block with the greatest first sequence number at or below `sequence`.
    ///
    /// # Errors
    /// The storage, or that block, cannot be read.
    fn block_holding(&mut self, sequence: u64) -> Result<Option<Block>, StoreError>;

    /// Takes every block that begins at or after `from` out of the journal, and puts `kept` (records
    /// that still verify) in. Returns where the bytes are kept for people, if anywhere.
    ///
    /// # Errors
    /// The storage cannot be written.
    fn set_aside(&mut self, from: u64, kept: Option<&Block>)
    -> Result<Option<PathBuf>, StoreError>;

    /// Whether the store has a sealed history.
    fn keeps_history(&self) -> bool {
        false
    }

    /// Replaces the unsealed blocks up to number `last` by one sealed block, which is durable before
    /// they are removed.
    ///
    /// # Errors
    /// The storage cannot be written, or has no sealed history.
    fn seal(&mut self, block: &Block, last: u64) -> Result<(), StoreError> {
        let _ = (block, last);
        Err(StoreError::NoHistory)
    }

    /// The sealed blocks; `None` for a store without a sealed history.
    fn sealed(&self) -> Option<SealedBlocks> {
        None
    }

    /// Removes up to `most` sealed blocks that end at or before number `through`, and the states kept
    /// after them, the oldest first; returns how many blocks are left.
    ///
    /// # Errors
    /// The storage cannot be written.
    fn release(&mut self, through: u64, most: usize) -> Result<usize, StoreError> {
        let _ = (through, most);
        Ok(0)
    }
}

/// What can go wrong in the storage.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process has the journal open.
    #[error(
        "the journal {} is held by {}: stop that one first, or work in another folder",
        path.display(),
        holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Held {
        /// The journal's folder.
        path: PathBuf,
        /// The process that holds it, as it wrote itself down.
        holder: Option<u32>,
    },
    /// There is no journal to be read.
    #[error("there is no journal in {}: name the folder of a master, or of its journal", path.display())]
    NoJournal {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The journal was opened to be read.
    #[error("the journal {} was opened to be read, and is not written", path.display())]
    OnlyRead {
        /// The journal's folder.
        path: PathBuf,
    },
    /// The storage failed, and was closed to be opened again.
    #[error(
        "the journal cannot be written and is closed until it can be; its files can be read \
         meanwhile (--offline)"
    )]
    Closed,
    /// The journal that was open is not there any more.
    #[error("the journal {} has gone: put its folder, or the disk that it is on, back", path.display())]
    Missing {
        /// The journal's folder.
        path: PathBuf,
    },
    /// Records are never sealed in this storage.
    #[error("this journal keeps no sealed history, so nothing of it can be sealed")]
    NoHistory,
    /// The operating system refused.
    #[error("cannot {action} {}: check its permissions, and that the disk works and is not full", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// sled refused.
    #[error("the database {} failed, cannot {action}: check that the disk works and is not full", path.display())]
    Database {
        /// What was tried.
        action: &'static str,
        /// The database's folder.
        path: PathBuf,
        /// What sled said.
        source: sled::Error,
    },
    /// sled panicked, which its 0.34 line does on some corruptions.
    #[error("the database {} broke down while it tried to {action}: {message}", path.display())]
    Panicked {
        /// What was tried.
        action: &'static str,
        /// The database's folder.
        path: PathBuf,
        /// What the panic said.
        message: String,
    },
    /// A sealed file is not what was written.
    #[error("the sealed file {} is damaged: {why}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// The last record that it holds, by its name.
        last: u64,
        /// What does not fit.
        why: &'static str,
    },
    /// A sealed file was removed by a compaction since its name was read.
    #[error("{} was compacted away while the journal was read: ask again", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// A block of new records is not what was written.
    #[error("the records from {first} on in {} are damaged: {why}", path.display())]
    Packed {
        /// The database's folder.
        path: PathBuf,
        /// The first of them.
        first: u64,
        /// What does not fit.
        why: &'static str,
    },
    /// A simulated fault.
    #[error("the simulated disk failed")]
    Simulated,
}

impl StoreError {
    /// True where the bytes are bad, as against a disk that did not answer.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Sealed { .. } | Self::Packed { .. } | Self::Panicked { .. } => true,
            // Everything else that sled says comes from bytes that make no sense to it.
            Self::Database { source, .. } => !matches!(source, sled::Error::Io(_)),
            Self::Held { .. }
            | Self::NoJournal { .. }
            | Self::OnlyRead { .. }
            | Self::Closed
            | Self::NoHistory
            | Self::Missing { .. }
            | Self::Io { .. }
            | Self::Gone { .. }
            | Self::Simulated => false,
        }
    }
}
