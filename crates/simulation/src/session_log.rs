//! The sessions with their log: the journal's machinery over a file that the keeper holds too, as
//! `allexmaster::sessions` has it, so what the engine writes to it survives the engine at once.

use std::fs::File;
use std::io;

use allexmaster_journal::store::{FileStore, StoreError};
use allexmaster_journal::{Clock, Error, JournaledMachine, Options};
use allexmaster_keeper::os;
use allexmaster_machine::Mono;
use allexmaster_sessions::{Input, Output, Sessions};
use thiserror::Error;

/// The sessions of an engine, and their log.
pub(crate) struct SessionLog {
    machine: JournaledMachine<Sessions>,
    file: File,
}

/// Why the sessions cannot be logged, or made again.
#[derive(Debug, Error)]
pub(crate) enum LogError {
    #[error(transparent)]
    File(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] Error),
}

/// A clock that stands.
struct At(Mono);

impl Clock<Mono> for At {
    fn now(&mut self) -> Mono {
        self.0
    }

    fn entropy(&mut self) -> u32 {
        0
    }
}

impl SessionLog {
    pub(crate) fn begin(sessions: &Sessions) -> Result<Self, LogError> {
        let (file, store) = new_file()?;
        let machine = JournaledMachine::begin(store, sessions, Options::default())?;
        Ok(Self { machine, file })
    }

    /// The sessions that a log makes.
    pub(crate) fn open(file: &File) -> Result<Self, LogError> {
        let file = file.try_clone()?;
        let store = Box::new(FileStore::open(file.try_clone()?)?);
        let (machine, _) = JournaledMachine::with_store(store, Options::default())?;
        Ok(Self { machine, file })
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        self.machine.state()
    }

    /// Logs an input, then takes it; gives what is to be done.
    pub(crate) fn commit(&mut self, now: u64, input: Input) -> Result<Vec<Output>, LogError> {
        Ok(self.machine.commit(&mut At(Mono(now)), vec![input])?)
    }

    /// Goes on in a new file, which begins with a snapshot.
    pub(crate) fn renew(&mut self) -> Result<(), LogError> {
        let (file, store) = new_file()?;
        self.machine.move_to(store)?;
        self.file = file;
        Ok(())
    }

    /// The log, for the keeper.
    pub(crate) fn file(&self) -> Result<File, LogError> {
        Ok(self.file.try_clone()?)
    }
}

fn new_file() -> Result<(File, Box<FileStore>), LogError> {
    let file = File::from(os::memory_file("simulated-sessions").map_err(io::Error::from)?);
    let store = FileStore::open(file.try_clone()?)?;
    Ok((file, Box::new(store)))
}
