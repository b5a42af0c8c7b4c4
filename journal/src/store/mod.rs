//! Where the bytes of a journal are: behind one trait, with two implementations.
//!
//! [`FolderStore`] keeps them in a folder on disk (sled for what is new, sealed files for what is
//! old); [`MemoryStore`] keeps them in memory and can crash in every way that a disk can. One suite
//! of tests holds both to this contract.

mod folder;

mod tail;

mod history;

mod files;

mod memory;

mod reading;

mod closed;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::recovery::Recovery;

pub(crate) use closed::ClosedStore;
pub use folder::{FolderPlace, FolderStore};
pub use memory::{Fault, MemoryStore};
pub use reading::ReadingStore;

/// Whole records, one after the other, that were written together or sealed together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The sequence number of the first record.
    pub first: u64,
    /// The records. The last one may be torn, if the store was.
    pub bytes: Vec<u8>,
}

/// The size of what is not sealed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unsealed {
    /// How many blocks: entries of the database.
    pub blocks: u64,
    /// How many bytes of records, not compressed.
    pub bytes: u64,
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
}

/// Reads sealed blocks.
pub trait SealedReader: Send {
    /// Reads one.
    ///
    /// # Errors
    /// It is gone or damaged, or the storage cannot be read.
    fn read(&self, sealed: Sealed) -> Result<Block, StoreError>;
}

/// Where a journal's storage is, so that it can be opened again after it failed.
pub trait Place: Send {
    /// Opens or begins the storage, and tells what had to be repaired.
    ///
    /// # Errors
    /// As [`FolderStore::open`].
    fn open(&mut self) -> Result<(Box<dyn Store>, Vec<Recovery>), StoreError>;

    /// Opens it again after it failed: whoever had it open has dropped it. Begins nothing. What can
    /// be read from it then is on disk, whatever the failure was.
    ///
    /// # Errors
    /// It still does not work: try again later.
    fn open_again(&mut self) -> Result<(Box<dyn Store>, Vec<Recovery>), StoreError>;
}

/// The storage of one journal. Knows places and bytes; nothing of records, events or states.
pub trait Store: Send {
    /// What the journal says of itself, if it was begun.
    ///
    /// # Errors
    /// The storage cannot be read.
    fn header(&mut self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Begins the journal, or raises its format. Durable on return.
    ///
    /// # Errors
    /// The storage cannot be written.
    fn put_header(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Takes in a block. It need not be durable before [`Store::sync`] returns.
    ///
    /// # Errors
    /// The storage cannot be written.
    fn write(&mut self, block: &Block) -> Result<(), StoreError>;

    /// Makes everything that was written durable: against a kill and against a power cut.
    ///
    /// # Errors
    /// The storage cannot be written; what was written since the last sync may be there or not.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// Notes that everything up to `sequence` is durable, to know later if the storage lost some of
    /// it. The note itself may be lost: it is only ever too low.
    ///
    /// # Errors
    /// The storage cannot be written.
    fn acknowledge(&mut self, sequence: u64) -> Result<(), StoreError>;

    /// The last sequence number that was noted; 0 where none is known.
    ///
    /// # Errors
    /// The storage cannot be read.
    fn acknowledged(&mut self) -> Result<u64, StoreError>;

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

    /// Puts the blocks that follow the sealed ones up to `block`'s last record into a sealed one.
    /// Durable before the old ones are let go.
    ///
    /// # Errors
    /// The storage cannot be written.
    fn seal(&mut self, block: &Block, last: u64) -> Result<(), StoreError>;

    /// The last sealed sequence number; 0 where nothing is sealed.
    fn sealed_through(&self) -> u64;

    /// How much is not sealed.
    fn unsealed(&self) -> Unsealed;

    /// Takes every block that begins at or after `from` out of the journal, keeping the bytes for
    /// people in a place that it names, and puts `kept` (records that still verify) in.
    ///
    /// # Errors
    /// The storage cannot be written.
    fn set_aside(&mut self, from: u64, kept: Option<&Block>)
    -> Result<Option<PathBuf>, StoreError>;

    /// All copies of the state that the journal begins with; none where nothing was ever compacted.
    ///
    /// # Errors
    /// The storage cannot be read.
    fn bases(&mut self) -> Result<Vec<Vec<u8>>, StoreError>;

    /// Makes `bytes` the state that the journal begins with, `through` the last event before it. On
    /// return it is durable, in more than one copy, and the journal begins after that event.
    ///
    /// # Errors
    /// The storage cannot be written; the journal begins where it did.
    fn put_base(&mut self, bytes: &[u8], through: u64) -> Result<(), StoreError>;

    /// Tells the store that the journal begins after this event. What is before it is only waste.
    fn begin_after(&mut self, through: u64);

    /// Removes up to `most` sealed blocks from before the beginning; tells how many are left there.
    ///
    /// # Errors
    /// The storage cannot be written.
    fn release(&mut self, most: usize) -> Result<usize, StoreError>;

    /// The sealed blocks from the beginning on, oldest first.
    fn sealed(&self) -> Vec<Sealed>;

    /// A way to read sealed blocks from another thread. What is removed later it does not find.
    fn sealed_reader(&self) -> Box<dyn SealedReader>;

    /// The newest checkpoint, if there is one.
    ///
    /// # Errors
    /// The storage cannot be read.
    fn checkpoint(&mut self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Replaces the checkpoint, whole or not at all.
    ///
    /// # Errors
    /// The storage cannot be written.
    fn put_checkpoint(&mut self, bytes: &[u8]) -> Result<(), StoreError>;
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
            | Self::Missing { .. }
            | Self::Io { .. }
            | Self::Gone { .. }
            | Self::Simulated => false,
        }
    }
}
