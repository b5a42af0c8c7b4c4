//! The time in which the journal cannot be written.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The pause before the first attempt to open the storage again: long enough for a passing fault to be
/// over, too short for anybody to notice.
pub(crate) const RETRY_FIRST: Duration = Duration::from_millis(100);

/// The longest pause between two attempts. An attempt on a full disk costs little, and after somebody
/// has made room the program should go on soon.
pub(crate) const MAX_RETRY_PAUSE: Duration = Duration::from_secs(5);

/// Since when and why the journal cannot be written, and what waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// Since when, in milliseconds since the Unix epoch.
    pub since: u64,
    /// Why, in one line for people: of the last try.
    pub reason: String,
    /// How many tries to go on have failed.
    pub failed_tries: u64,
    /// How many events wait in memory for the journal.
    pub waiting: usize,
}

/// Where the loop shows the outage that there is. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct OutageBoard(Arc<Mutex<Option<Outage>>>);

impl OutageBoard {
    /// Why and since when the journal cannot be written; nothing while it can.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn show(&self, outage: Option<Outage>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = outage;
    }
}

impl Outage {
    pub(crate) fn new(since: u64, error: &Error, waiting: usize) -> Self {
        Self {
            since,
            reason: error.with_reasons(),
            failed_tries: 0,
            waiting,
        }
    }

    pub(crate) fn failed_again(&mut self, error: &Error, waiting: usize) {
        self.reason = error.with_reasons();
        self.failed_tries += 1;
        self.waiting = waiting;
    }
}
