//! What can go wrong when a journal is looked at.

use std::path::PathBuf;

use allexmaster_journal::Hole;
use thiserror::Error;

/// Why a journal could not be looked at.
#[derive(Debug, Error)]
pub enum InspectError {
    #[error(transparent)]
    Journal(#[from] allexmaster_journal::Error),
    #[error("{} cannot be used from line {line} on: {why}", path.display())]
    Export {
        path: PathBuf,
        /// The first line that cannot be used, from 1.
        line: u64,
        why: String,
    },
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
    #[error("{0}")]
    Master(String),
    /// What the running master says of its journal.
    #[error("{0}")]
    Damaged(String),
    /// What was asked for is in a hole.
    #[error("{asked} cannot be told: {hole}")]
    InHole { asked: String, hole: Hole },
    /// What was asked for is behind a hole, and before the next state that was kept.
    #[error(
        "{asked} cannot be told: events {first} to {last} are whole, but no state from before them was \
         kept (`journal export` has them)"
    )]
    Untold {
        asked: String,
        first: u64,
        last: u64,
    },
    #[error("there is no event {asked}: {} has {first} to {last}", place)]
    NoSuchEvent {
        asked: u64,
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
        asked: String,
        place: String,
        /// The first event that there is.
        first: u64,
    },
    #[error(
        "`{text}` is no point in the journal: give a number (918), a time (03:12:07, 2026-11-22 \
         03:12, 2026-11-22T03:12:07Z) or how long before the end (10m, 2h)"
    )]
    NoMoment { text: String },
    #[error(
        "the journal knows no service, port or process {target}{}{}", hint(.known),
        .before.as_ref().map(|note| format!("; {note}")).unwrap_or_default()
    )]
    UnknownTarget {
        target: String,
        /// What it might have been.
        known: Vec<String>,
        /// That there was something before the beginning, where there was.
        before: Option<String>,
    },
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
            Self::Journal(_)
            | Self::Export { .. }
            | Self::Damaged(_)
            | Self::InHole { .. }
            | Self::Untold { .. } => true,
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
