//! Named places at which a test can make the process die, to show that every one is survivable.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The four places of an event's way from the inbox to its effects.
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
}

impl fmt::Display for Point {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Received => "received",
            Self::Appended => "appended",
            Self::Durable => "durable",
            Self::Stepped => "stepped",
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
    "\"{setting}\" is no failpoint: write received, appended, durable or stepped, a colon, and the \
     number of an event, as in durable:17"
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
        let point = [
            Point::Received,
            Point::Appended,
            Point::Durable,
            Point::Stepped,
        ]
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
