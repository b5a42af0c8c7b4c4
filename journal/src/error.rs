//! What can go wrong with a journal, and what to do about it.

use std::path::PathBuf;

use thiserror::Error;

use crate::store::StoreError;

/// Why a journal could not be opened, read or written.
#[derive(Debug, Error)]
pub enum Error {
    /// Another process has the journal open. Terminal for this process: it must not touch anything.
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
    /// A journal is to be put down where there is something already.
    #[error("{} is not empty: name a new folder, nothing in this one was touched", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The folder has the journal of another program.
    #[error("the journal is of {found}, not of {expected}: give this program a folder of its own")]
    OtherProgram {
        /// Whose it is.
        found: String,
        /// Who asked.
        expected: &'static str,
    },
    /// The journal is from the future. Nothing in it was touched.
    #[error(
        "the journal has format {major}.{minor} and this program reads up to {reads}.x: start the \
         version that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The major version found.
        major: u8,
        /// The minor version found.
        minor: u8,
        /// The newest major version that this program reads.
        reads: u8,
    },
    /// The events asked for were removed by a compaction.
    #[error("the history before event {first} was compacted: event {asked} is not there any more")]
    Compacted {
        /// The first event asked for.
        asked: u64,
        /// The first event that there is.
        first: u64,
    },
    /// The state that a compacted journal begins with cannot be used, and the events that led to it are
    /// gone. Nothing was touched.
    #[error(
        "the state that this compacted journal begins with is not usable, in neither of its copies \
         ({why}): put the file `base` back from a backup, or move the journal's folder away to begin a \
         new one"
    )]
    BaseDamaged {
        /// What is wrong with it.
        why: String,
    },
    /// The journal was compacted by a newer version of the rules. Nothing was touched.
    #[error(
        "the journal begins with a state of version {made_by} of the rules, and these are version \
         {known}: start the version that compacted it, or a newer one"
    )]
    NewerBase {
        /// The version that made the state.
        made_by: u32,
        /// The version of this program.
        known: u32,
    },
    /// Nothing is removed that a checkpoint has not proved to be done with.
    #[error(
        "the journal is not compacted, because it has no checkpoint that fits ({why}): start the \
         master once and stop it, then it has one"
    )]
    NoCheckpoint {
        /// Why not.
        why: String,
    },
    /// The events lead to another state than the checkpoint has. Nothing was removed.
    #[error(
        "the journal is not compacted: its checkpoint after event {sequence} is not the state that its \
         events lead to. Keep all of it, and report this (`replay --verify` tells more)"
    )]
    CheckpointDiffers {
        /// The event of the checkpoint.
        sequence: u64,
    },
    /// One compaction at a time.
    #[error("the journal is being compacted already: ask again when that is done")]
    Compacting,
    /// A thread of the compaction ended without an answer.
    #[error("the journal is not compacted: the thread for it could not be started, or broke down")]
    CompactionBroke,
    /// What the journal says of itself makes no sense, though it is there.
    #[error(
        "the journal's description of itself (journal.json) is not readable: put it back from a \
         backup, or move the journal's folder away to begin a new one"
    )]
    Header {
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// A record is whole, but this version does not know the event. Nothing was touched.
    #[error(
        "event {sequence} of kind {kind} is not known to this version: start the version that wrote \
         it, or a newer one"
    )]
    UnknownEvent {
        /// Its place.
        sequence: u64,
        /// The number of its kind.
        kind: u16,
        /// What is not understood.
        source: serde_json::Error,
    },
    /// A record does not verify or is missing.
    #[error(
        "event {sequence} cannot be used ({why}): open the journal again to set the damage aside"
    )]
    Damaged {
        /// The first event that cannot be used.
        sequence: u64,
        /// What is wrong with it.
        why: String,
        /// True where nothing follows it, as after a torn write.
        torn: bool,
    },
    /// The event cannot be put down so that it could be read again. Nothing was written.
    #[error("an event of kind {kind} cannot be recorded: its JSON form does not read back")]
    NotRecordable {
        /// The number of its kind.
        kind: u16,
        /// Why not.
        source: serde_json::Error,
    },
    /// The event is larger than any may be. Nothing was written.
    #[error("an event of kind {kind} takes {length} bytes, more than the {limit} that one may")]
    EventTooLarge {
        /// The number of its kind.
        kind: u16,
        /// The length of its recorded form in bytes.
        length: usize,
        /// The most that it may have.
        limit: usize,
    },
    /// The state cannot be put down as a checkpoint.
    #[error("the state cannot be written as a checkpoint: its JSON form cannot be made")]
    Checkpoint {
        /// Why not.
        source: serde_json::Error,
    },
    /// The loop cannot sleep until a deadline.
    #[error("the loop cannot start its timer: check the limits on open files and threads")]
    Runtime {
        /// What the system said.
        source: std::io::Error,
    },
    /// An earlier write failed, so nobody knows what is on disk. Opening the journal again finds out.
    #[error("the journal failed before and takes nothing more: start the program again")]
    Failed,
    /// The storage was opened again after a failure, and has not what it had confirmed.
    #[error(
        "the journal no longer has event {sequence}, which had been written: start the program again, \
         which begins from what is there"
    )]
    Lost {
        /// The last event that was written.
        sequence: u64,
    },
    /// The storage failed.
    #[error(transparent)]
    Storage(StoreError),
}

impl Error {
    /// True where it is worth trying again without a restart: the storage failed, and may recover.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            // What was open before may take a moment to let go of its lock.
            Self::Held { .. } | Self::Failed | Self::Storage(_) => true,
            Self::NotEmpty { .. }
            | Self::OtherProgram { .. }
            | Self::NewerFormat { .. }
            | Self::Header { .. }
            | Self::UnknownEvent { .. }
            | Self::Damaged { .. }
            | Self::NotRecordable { .. }
            | Self::EventTooLarge { .. }
            | Self::Checkpoint { .. }
            | Self::Runtime { .. }
            | Self::Compacted { .. }
            | Self::BaseDamaged { .. }
            | Self::NewerBase { .. }
            | Self::NoCheckpoint { .. }
            | Self::CheckpointDiffers { .. }
            | Self::Compacting
            | Self::CompactionBroke
            | Self::Lost { .. } => false,
        }
    }

    /// The error with all its reasons, in one line.
    #[must_use]
    pub fn with_reasons(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(reason) = source {
            text.push_str(": ");
            text.push_str(&reason.to_string());
            source = reason.source();
        }
        text
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Held { path, holder } => Self::Held { path, holder },
            StoreError::NoJournal { .. }
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
            | StoreError::Simulated => Self::Storage(error),
        }
    }
}
