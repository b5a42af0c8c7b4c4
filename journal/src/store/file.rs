//! A journal in one open file, which need not have a name: a log in memory that another process holds
//! open too outlives a killed process, not a reboot.
//!
//! ```text
//!  "allexjournal-log" │ u32 │ header │ u32 │ base │ record │ record │ …
//!                      lengths, big-endian
//! ```
//!
//! One write for each append and no sync. When the log has become long, its owner continues in a new
//! file, which begins with the state: [`crate::JournaledMachine::move_to`]. A record that was being
//! written when the process died is dropped: nothing was done about it yet. There is no history and no
//! checkpoint.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::files::failed;
use super::{Block, Extent, Part, Store, StoreError};

const MAGIC: &[u8; 16] = b"allexjournal-log";
const LENGTH_BYTES: u64 = 4;
/// Where a record has its sequence number: [`crate::record`].
const SEQUENCE_OFFSET: u64 = 8;
/// What stands for the path in errors: the file has no name of its own.
const NAME: &str = "the log in memory";

/// The storage of a journal in one file. See the module.
#[derive(Debug)]
pub struct FileStore {
    file: File,
    header_length: u64,
    base_length: u64,
    /// The number of the first record, once there is one.
    first: Option<u64>,
    /// Where the next record goes.
    end: u64,
    acknowledged: u64,
}

impl FileStore {
    /// Takes what is in the file; begins a log where it is empty.
    ///
    /// # Errors
    /// The file cannot be read or written, or is not such a log.
    pub fn open(file: File) -> Result<Self, StoreError> {
        Self::open_file(file).map_err(failed("open", Path::new(NAME)))
    }

    fn open_file(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut store = Self {
            file,
            header_length: 0,
            base_length: 0,
            first: None,
            end: length,
            acknowledged: 0,
        };
        if length == 0 {
            store.file.write_all_at(MAGIC, 0)?;
            store.write_part(store.header_place(), b"")?;
            store.write_part(store.base_place(), b"")?;
            store.end = store.records_place();
            return Ok(store);
        }
        if store.read(0, MAGIC.len() as u64)? != MAGIC {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is no log of a journal",
            ));
        }
        store.header_length = store.length_at(store.header_place())?;
        store.base_length = store.length_at(store.base_place())?;
        let records = store.records_place();
        let first = store.read(records + SEQUENCE_OFFSET, 8).ok();
        store.first = first.and_then(|bytes| bytes.try_into().ok().map(u64::from_be_bytes));
        if store.first.is_none() {
            store.end = records;
        }
        Ok(store)
    }

    const fn header_place(&self) -> u64 {
        MAGIC.len() as u64
    }

    const fn base_place(&self) -> u64 {
        self.header_place() + LENGTH_BYTES + self.header_length
    }

    const fn records_place(&self) -> u64 {
        self.base_place() + LENGTH_BYTES + self.base_length
    }

    /// The length of the part that stands at `place`.
    fn length_at(&self, place: u64) -> io::Result<u64> {
        let mut length = [0; LENGTH_BYTES as usize];
        self.file.read_exact_at(&mut length, place)?;
        let length = u64::from(u32::from_be_bytes(length));
        if place + LENGTH_BYTES + length > self.end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(length)
    }

    fn read(&self, place: u64, length: u64) -> io::Result<Vec<u8>> {
        if place + length > self.end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, place)?;
        Ok(bytes)
    }

    fn write_part(&self, place: u64, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.file.write_all_at(bytes, place + LENGTH_BYTES)?;
        self.file.write_all_at(&length.to_be_bytes(), place)
    }

    fn put_part(&mut self, part: Part, bytes: &[u8]) -> io::Result<()> {
        let moves = match part {
            Part::Header => self.header_length != bytes.len() as u64 && self.base_length > 0,
            Part::Base => false,
            Part::Checkpoint | Part::State(_) => return Ok(()),
        };
        if moves || self.end > self.records_place() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "records follow it: begin a new log",
            ));
        }
        match part {
            Part::Header => {
                self.write_part(self.header_place(), bytes)?;
                self.header_length = bytes.len() as u64;
                self.write_part(self.base_place(), b"")?;
                self.base_length = 0;
            }
            Part::Base | Part::Checkpoint | Part::State(_) => {
                self.write_part(self.base_place(), bytes)?;
                self.base_length = bytes.len() as u64;
            }
        }
        self.end = self.records_place();
        Ok(())
    }

    /// The only block: all records.
    fn block(&self) -> Result<Option<Block>, StoreError> {
        let Some(first) = self.first else {
            return Ok(None);
        };
        let records = self.records_place();
        let bytes = self.read(records, self.end - records);
        let bytes = bytes.map_err(failed("read", Path::new(NAME)))?;
        Ok(Some(Block { first, bytes }))
    }
}

impl AsFd for FileStore {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Store for FileStore {
    fn get(&mut self, part: Part) -> Result<Vec<Vec<u8>>, StoreError> {
        let (place, length) = match part {
            Part::Header => (self.header_place(), self.header_length),
            Part::Base => (self.base_place(), self.base_length),
            Part::Checkpoint | Part::State(_) => return Ok(Vec::new()),
        };
        if length == 0 {
            return Ok(Vec::new());
        }
        let bytes = self.read(place + LENGTH_BYTES, length);
        Ok(vec![bytes.map_err(failed("read", Path::new(NAME)))?])
    }

    fn put(&mut self, part: Part, bytes: &[u8]) -> Result<(), StoreError> {
        let put = self.put_part(part, bytes);
        put.map_err(failed("write", Path::new(NAME)))
    }

    fn append(&mut self, block: &Block) -> Result<(), StoreError> {
        if let Err(error) = self.file.write_all_at(&block.bytes, self.end) {
            // Part of it may be there; where it stays, the next opening drops it.
            let _ = self.file.set_len(self.end);
            return Err(failed("write", Path::new(NAME))(error));
        }
        self.first.get_or_insert(block.first);
        self.end += block.bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self, last: u64) -> Result<(), StoreError> {
        self.acknowledged = last;
        Ok(())
    }

    fn extent(&self) -> Extent {
        Extent {
            sealed_through: 0,
            unsealed_blocks: u64::from(self.first.is_some()),
            unsealed_bytes: self.end - self.records_place(),
            acknowledged: self.acknowledged,
        }
    }

    fn block_from(&mut self, first: u64) -> Result<Option<Block>, StoreError> {
        match self.first {
            Some(begins) if begins >= first => self.block(),
            Some(_) | None => Ok(None),
        }
    }

    fn block_holding(&mut self, sequence: u64) -> Result<Option<Block>, StoreError> {
        match self.first {
            Some(begins) if begins <= sequence => self.block(),
            Some(_) | None => Ok(None),
        }
    }

    fn set_aside(
        &mut self,
        _from: u64,
        kept: Option<&Block>,
    ) -> Result<Option<std::path::PathBuf>, StoreError> {
        // There is one block, of which the kept part is the beginning.
        let kept = kept.map_or(0, |kept| kept.bytes.len() as u64);
        if kept == 0 {
            self.first = None;
        }
        self.end = self.records_place() + kept;
        let cut = self.file.set_len(self.end);
        cut.map_err(failed("cut", Path::new(NAME)))?;
        Ok(None)
    }
}
