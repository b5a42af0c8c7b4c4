//! The journal of a master that runs, read page by page over its socket.

use std::ops::ControlFlow;

use allexmaster_journal::record::Checksum;
use allexmaster_journal::{Journal, Position};
use allexmaster_state::State;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::folder::beginning;
use super::line::{self, Line};
use super::{Source, Start, Visit};
use crate::error::InspectError;
use crate::rules::Rules;

/// The most records of one page: the loop of the master waits while it reads them, about 2 ms.
pub const MAX_PAGE_RECORDS: u64 = 1000;
/// The most bytes of one page, unless a single record has more: a quarter of the largest frame.
pub const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// Some records of a journal, as a master sends them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Page {
    /// The journal's identity.
    pub identity: Uuid,
    /// The last record of the journal when the page was made.
    pub last: u64,
    /// Each a [`Line`].
    pub records: Vec<String>,
    /// What is wrong with the record that should come next.
    #[serde(default)]
    pub damage: Option<String>,
}

impl Page {
    /// Reads a page: the records from a number on, within the bounds.
    #[must_use]
    pub fn read(journal: &mut Journal<Rules>, from: u64, most: u64) -> Self {
        let last = journal.position().sequence;
        let mut page = Self {
            identity: journal.identity(),
            last,
            records: Vec::new(),
            damage: None,
        };
        if from > last {
            return page;
        }
        let most = most.clamp(1, MAX_PAGE_RECORDS);
        let mut bytes = 0;
        let visited = journal.visit(from.max(1), |record| {
            // What verifies is JSON, since it was written as such.
            let line = Line::write(record).unwrap_or_default();
            bytes += line.len();
            page.records.push(line);
            if page.records.len() as u64 >= most || bytes >= MAX_PAGE_BYTES {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        page.damage = visited.err().map(|error| error.to_string());
        page
    }
}

/// Asks the master for a page: from which record on, and how many at most.
pub type Ask = dyn FnMut(u64, u64) -> Result<Page, String> + Send;

/// See the module.
pub struct OnlineSource {
    ask: Box<Ask>,
    identity: Uuid,
    start: Start,
    place: String,
}

impl OnlineSource {
    /// Asks the master who it is.
    ///
    /// # Errors
    /// It does not answer.
    pub fn open(mut ask: Box<Ask>, place: String) -> Result<Self, InspectError> {
        let page = ask(u64::MAX, 1).map_err(InspectError::Master)?;
        let start = Start {
            position: beginning(page.identity),
            state: State::default(),
        };
        Ok(Self {
            ask,
            identity: page.identity,
            start,
            place,
        })
    }

    fn page(&mut self, from: u64, most: u64) -> Result<Page, InspectError> {
        (self.ask)(from, most).map_err(InspectError::Master)
    }
}

impl Source for OnlineSource {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn identity(&self) -> Uuid {
        self.identity
    }

    fn start(&self) -> &Start {
        &self.start
    }

    fn end(&mut self) -> Result<Position, InspectError> {
        let last = self.page(u64::MAX, 1)?.last;
        let mut end = self.start.position;
        if last > 0 {
            self.visit(last, &mut |record| {
                end = Position {
                    sequence: record.stamp.sequence,
                    checksum: record.checksum,
                    at: record.stamp.at,
                };
                ControlFlow::Break(())
            })?;
        }
        Ok(end)
    }

    fn checkpoint(&mut self) -> Result<Option<(Position, State)>, InspectError> {
        Ok(None)
    }

    fn visit(&mut self, from: u64, visit: &mut Visit<'_>) -> Result<(), InspectError> {
        let mut next = from.max(1);
        // The master verified the first one; from there on the chain is checked here.
        let mut previous: Option<Checksum> = (next == 1).then_some(self.start.position.checksum);
        let mut scratch = Vec::new();
        loop {
            let page = self.page(next, MAX_PAGE_RECORDS)?;
            if page.records.is_empty() {
                return page
                    .damage
                    .map_or(Ok(()), |why| Err(InspectError::Master(why)));
            }
            for text in &page.records {
                let shown = line::read(text, next, previous, &mut scratch, &mut *visit);
                let (flow, checksum, _) = shown.map_err(|why| {
                    InspectError::Master(format!("the master's event {next} cannot be used: {why}"))
                })?;
                if flow.is_break() {
                    return Ok(());
                }
                previous = Some(checksum);
                next += 1;
            }
        }
    }
}
