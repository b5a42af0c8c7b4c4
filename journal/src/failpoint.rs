//! Named places at which a test can make the process die, to show that every one is survivable.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The places of an event's way from the inbox to its effects, and those of a compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The event is in memory; nothing was written.
    Received,
    /// The event was handed to the storage, which may still lose it.
    Appended,
    /// The event is on disk; the state does not know it yet.
    Durable,
    /// The state knows it; no effect was performed.
    Stepped,
    /// A compaction has verified what it removes; nothing was written.
    CompactionVerified,
    /// The journal says that it may begin with a base; it has none yet, or an older one.
    FormatRaised,
    /// The new base is on disk; all that it replaces is there, too.
    BaseWritten,
    /// Some of what the base replaces is gone.
    HistoryReleased,
}

impl Point {
    const ALL: [Self; 8] = [
        Self::Received,
        Self::Appended,
        Self::Durable,
        Self::Stepped,
        Self::CompactionVerified,
        Self::FormatRaised,
        Self::BaseWritten,
        Self::HistoryReleased,
    ];
}

impl fmt::Display for Point {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Received => "received",
            Self::Appended => "appended",
            Self::Durable => "durable",
            Self::Stepped => "stepped",
            Self::CompactionVerified => "compaction-verified",
            Self::FormatRaised => "format-raised",
            Self::BaseWritten => "base-written",
            Self::HistoryReleased => "history-released",
        })
    }
}

/// A point, and the event whose passing of that point aborts the process. Unset in production.
///
/// Written `durable:17`: die when the batch that holds event 17 is durable. The program reads it
/// once at its start (from `ALLEXMASTER_FAILPOINT`) and hands it in with the [`Options`](crate::Options).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failpoint {
    /// Where to die.
    pub point: Point,
    /// The sequence number of the event that triggers it.
    pub sequence: u64,
}

/// The setting was not `POINT:SEQUENCE`.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "\"{setting}\" is no failpoint: write received, appended, durable, stepped, compaction-verified, \
     format-raised, base-written or history-released, a colon, and the number of an event, as in \
     durable:17"
)]
pub struct BadFailpoint {
    /// What was given.
    pub setting: String,
}

impl FromStr for Failpoint {
    type Err = BadFailpoint;

    fn from_str(setting: &str) -> Result<Self, BadFailpoint> {
        let bad = || BadFailpoint {
            setting: setting.to_owned(),
        };
        let (name, sequence) = setting.split_once(':').ok_or_else(bad)?;
        let point = Point::ALL
            .into_iter()
            .find(|point| point.to_string() == name)
            .ok_or_else(bad)?;
        let sequence = sequence.parse().map_err(|_| bad())?;
        Ok(Self { point, sequence })
    }
}

/// Dies here if the failpoint says so: as abruptly as a kill, nothing is flushed or dropped.
pub(crate) fn pass(failpoint: Option<Failpoint>, here: Point, first: u64, last: u64) {
    if let Some(Failpoint { point, sequence }) = failpoint
        && point == here
        && (first..=last).contains(&sequence)
    {
        std::process::abort();
    }
}
