//! The sessions and their log: a journal in a file without a name, which the keeper holds open too, so
//! that it outlives the process.
//!
//! The log begins with a snapshot and has every input after it, so it makes the same sessions again.
//! When it has become long, a new file with a new snapshot takes its place.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use allexmaster_journal::store::{FileStore, StoreError};
use allexmaster_journal::{Clock, Error, JournaledMachine, Options};
use allexmaster_keeper::os;
use allexmaster_machine::Mono;
use allexmaster_sessions::{Input, Output, Sessions};
use thiserror::Error;

/// A log of so many bytes after its snapshot gets a new one: it is replayed in some tens of
/// milliseconds, which is what a restart may take.
const MAX_LOG_BYTES: u64 = 4 * 1_024 * 1_024;

/// The sessions with their log.
pub struct SessionLog {
    machine: JournaledMachine<Sessions>,
    file: File,
    /// How many bytes the file had when it began.
    snapshot_bytes: u64,
}

/// Why there is no log, or it cannot be used.
#[derive(Debug, Error)]
pub enum SessionLogError {
    #[error("the system has no memory for the log of the connections")]
    NoMemory(#[from] io::Error),
    #[error("the log of the connections is not one that this program knows")]
    Unknown(#[from] StoreError),
    #[error("the log of the connections cannot be used")]
    Journal(#[from] Error),
}

/// A clock that stands.
struct At(Mono);

impl Clock<Mono> for At {
    fn now(&mut self) -> Mono {
        self.0
    }

    /// The sessions use no chance.
    fn entropy(&mut self) -> u32 {
        0
    }
}

impl SessionLog {
    /// Begins a log with these sessions.
    ///
    /// # Errors
    /// The system has no memory left.
    pub fn begin(sessions: &Sessions) -> Result<Self, SessionLogError> {
        let (file, store) = new_file()?;
        let machine = JournaledMachine::begin(store, sessions, Options::default())?;
        Self::with(machine, file)
    }

    /// Makes the sessions of a log again. A record that was being written when the process died is
    /// dropped: nothing was done about it yet.
    ///
    /// # Errors
    /// It is damaged, or of another version of the program.
    pub fn open(descriptor: OwnedFd) -> Result<Self, SessionLogError> {
        let file = File::from(descriptor);
        let store = Box::new(FileStore::open(file.try_clone()?)?);
        let (machine, _) = JournaledMachine::with_store(store, Options::default())?;
        Self::with(machine, file)
    }

    fn with(machine: JournaledMachine<Sessions>, file: File) -> Result<Self, SessionLogError> {
        let snapshot_bytes = file.metadata()?.len();
        Ok(Self {
            machine,
            file,
            snapshot_bytes,
        })
    }

    #[must_use]
    pub fn sessions(&self) -> &Sessions {
        self.machine.state()
    }

    /// Logs an input, then takes it; gives what is to be done.
    ///
    /// # Errors
    /// It could not be logged, and was not taken.
    pub fn commit(&mut self, now: Mono, input: &Input) -> Result<Vec<Output>, SessionLogError> {
        let inputs = std::slice::from_ref(input);
        Ok(self.machine.take_in(&mut At(now), inputs, &mut |_, _| ())?)
    }

    /// Whether it is time to [`renew`](Self::renew) it. The larger the snapshot, the less often.
    #[must_use]
    pub fn is_long(&mut self) -> bool {
        let bytes = self.machine.journal().extent().unsealed_bytes;
        bytes > MAX_LOG_BYTES && bytes > self.snapshot_bytes
    }

    /// Continues in a new file, which begins with the sessions as they are.
    ///
    /// # Errors
    /// The system has no memory left; the log goes on as it was.
    pub fn renew(&mut self) -> Result<(), SessionLogError> {
        let (file, store) = new_file()?;
        self.machine.move_to(store)?;
        self.snapshot_bytes = file.metadata()?.len();
        self.file = file;
        Ok(())
    }

    /// Logs nothing from now on, until it is [renewed](Self::renew).
    pub fn detach(&mut self) {
        self.machine.detach();
    }
}

fn new_file() -> Result<(File, Box<FileStore>), SessionLogError> {
    let descriptor = os::memory_file("allexmaster-sessions");
    let file = File::from(descriptor.map_err(io::Error::from)?);
    let store = FileStore::open(file.try_clone()?)?;
    Ok((file, Box::new(store)))
}

impl AsFd for SessionLog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl fmt::Debug for SessionLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SessionLog")
    }
}
