//! What can go wrong when a journal is looked at.

use std::path::PathBuf;

use thiserror::Error;

/// Why a journal could not be looked at.
#[derive(Debug, Error)]
pub enum InspectError {
    /// The journal itself.
    #[error(transparent)]
    Journal(#[from] allexmaster_journal::Error),
    /// An export is not what was written.
    #[error("{} cannot be used from line {line} on: {why}", path.display())]
    Export {
        /// The file.
        path: PathBuf,
        /// The first line that cannot be used, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
    /// The master did not answer.
    #[error("{0}")]
    Master(String),
    /// There is no such event.
    #[error("there is no event {asked}: {} has {first} to {last}", place)]
    NoSuchEvent {
        /// The event asked for.
        asked: u64,
        /// The journal.
        place: String,
        /// The first event that there is.
        first: u64,
        /// The last event that there is.
        last: u64,
    },
    /// There was such an event once, or there may have been.
    #[error(
        "{asked} is not there any more: the history of {place} before #{first} was compacted; what it \
         led to, and what came after, is there"
    )]
    Compacted {
        /// What was asked for.
        asked: String,
        /// The journal.
        place: String,
        /// The first event that there is.
        first: u64,
    },
    /// A time or number was not understood.
    #[error(
        "`{text}` is no point in the journal: give a number (918), a time (03:12:07, 2026-11-22 \
         03:12, 2026-11-22T03:12:07Z) or how long before the end (10m, 2h)"
    )]
    NoMoment {
        /// What was given.
        text: String,
    },
    /// Nothing of that name ever was.
    #[error(
        "the journal knows no service, port or process {target}{}{}", hint(.known),
        .before.as_ref().map(|note| format!("; {note}")).unwrap_or_default()
    )]
    UnknownTarget {
        /// What was asked about.
        target: String,
        /// What it might have been.
        known: Vec<String>,
        /// That there was something before the beginning, where there was.
        before: Option<String>,
    },
    /// The master did not compact its journal.
    #[error("{0}")]
    NotCompacted(String),
    /// It cannot be done, and this is why and what to do.
    #[error("{0}")]
    Refused(String),
}

impl InspectError {
    /// Whether the journal is at fault, and not the way in which it was asked for.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Journal(_) | Self::Export { .. } => true,
            Self::Io { .. }
            | Self::Output(_)
            | Self::Master(_)
            | Self::NoSuchEvent { .. }
            | Self::Compacted { .. }
            | Self::NoMoment { .. }
            | Self::UnknownTarget { .. }
            | Self::NotCompacted(_)
            | Self::Refused(_) => false,
        }
    }
}

fn hint(known: &[String]) -> String {
    if known.is_empty() {
        return String::new();
    }
    format!(". It knows: {}", known.join(", "))
}
