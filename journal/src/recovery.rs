//! What had to be repaired when a journal was opened: never done silently.

use std::fmt;
use std::path::PathBuf;

use crate::hole::Hole;

/// One thing that was not as a clean stop leaves it. `Display` is a line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// sled died while it wrote a snapshot; the unfinished file, which would make every later open
    /// fail, was moved aside.
    UnfinishedSnapshot {
        /// Where it is now.
        path: PathBuf,
    },
    /// sled could not start from its snapshots; it was made to read its whole log instead.
    SnapshotsSetAside {
        /// Where the database as it was found is.
        path: PathBuf,
        /// What sled said.
        why: String,
    },
    /// sled could not open its database at all. A fresh one was begun: events after the last sealed
    /// one are lost to the program, but not to people.
    DatabaseSetAside {
        /// Where it is now.
        path: PathBuf,
        /// What sled said.
        why: String,
    },
    /// The last write was cut off, as a power cut does it: nothing of it had been acted on.
    TornTail {
        /// The first event that is gone.
        sequence: u64,
        /// Where its bytes are now.
        path: Option<PathBuf>,
    },
    /// The records from here on do not verify or are missing. What comes before is used.
    Damaged {
        /// The first event that cannot be used.
        sequence: u64,
        /// What is wrong with it.
        why: String,
        /// Where the bytes are now.
        path: Option<PathBuf>,
    },
    /// A stretch does not verify or is missing, but the state that it led to was kept. Nothing was moved.
    Hole(Hole),
    /// More events had been durable than the journal has: the disk or sled lost them.
    EventsLost {
        /// The last event that is there.
        last: u64,
        /// The last event that is known to have been there.
        acknowledged: u64,
    },
    /// One of the two copies of the state that a compacted journal begins with was missing, damaged or
    /// older, as after a kill. It was made again from the other one.
    BaseCopied,
    /// The checkpoint was not used and the state rebuilt from the events. Costs time, loses nothing.
    CheckpointDiscarded {
        /// Why it does not fit.
        why: String,
    },
}

impl Recovery {
    /// True where events that had been acknowledged may be lost, so that somebody should look.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        match self {
            Self::DatabaseSetAside { .. }
            | Self::Damaged { .. }
            | Self::Hole(_)
            | Self::EventsLost { .. } => true,
            Self::UnfinishedSnapshot { .. }
            | Self::SnapshotsSetAside { .. }
            | Self::TornTail { .. }
            | Self::BaseCopied
            | Self::CheckpointDiscarded { .. } => false,
        }
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |path: &Option<PathBuf>| match path {
            Some(path) => format!("its bytes are in {}", path.display()),
            None => "nothing of it is there".to_owned(),
        };
        match self {
            Self::UnfinishedSnapshot { path } => write!(
                formatter,
                "an unfinished snapshot of the database was moved to {}",
                path.display()
            ),
            Self::SnapshotsSetAside { path, why } => write!(
                formatter,
                "the database was rebuilt from its log ({why}); as it was found it is {}",
                path.display()
            ),
            Self::DatabaseSetAside { path, why } => write!(
                formatter,
                "EVENTS MAY BE LOST: the database could not be opened ({why}) and is now {}; the \
                 journal goes on from the last sealed event",
                path.display()
            ),
            Self::TornTail { sequence, path } => write!(
                formatter,
                "the last write was cut off at event {sequence}, before anything acted on it; {}",
                place(path)
            ),
            Self::Damaged {
                sequence,
                why,
                path,
            } => write!(
                formatter,
                "EVENTS ARE LOST: from event {sequence} on the journal does not verify ({why}); {}; \
                 the journal goes on from the event before",
                place(path)
            ),
            Self::Hole(hole) => write!(
                formatter,
                "{hole}; the state after them was kept, and nothing but the history of these events is \
                 lost"
            ),
            Self::EventsLost { last, acknowledged } => write!(
                formatter,
                "EVENTS ARE LOST: the journal ends with event {last}, but event {acknowledged} \
                 had been written"
            ),
            Self::BaseCopied => formatter.write_str(
                "one of the two copies of the state that the journal begins with was not usable; it was \
                 made again from the other one",
            ),
            Self::CheckpointDiscarded { why } => write!(
                formatter,
                "the checkpoint was not used ({why}); the state was rebuilt from the events"
            ),
        }
    }
}
