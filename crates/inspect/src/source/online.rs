//! The journal of a master that runs, read page by page over its socket.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use allexmaster_journal::record::{Checksum, Record};
use allexmaster_journal::{Base, Hole, Journal, Passage, Position};
use allexmaster_state::State;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::line::{self, Line};
use super::{Pass, Source, Start};
use crate::error::InspectError;
use allexmaster_state::Rules;

/// The most records of one page: the loop of the master waits while it reads them, about 2 ms.
pub const MAX_PAGE_RECORDS: u64 = 1000;
/// The most bytes of one page, unless a single record has more: a quarter of the largest frame.
pub const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// The most bytes of a base in one page: as hexadecimal digits they are a half of the largest page.
const MAX_BASE_BYTES: usize = MAX_PAGE_BYTES / 4;
/// How often the base is read anew because the master compacted meanwhile, which it does seldom.
const ATTEMPTS: u32 = 3;

/// What a master is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageWish {
    /// Records from this number on.
    pub from: u64,
    pub most: u64,
    /// The bytes of the base from this one on, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// In place of the base: the oldest kept state after this event or a later one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<u64>,
}

/// Some records of a journal, as a master sends them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Page {
    pub identity: Uuid,
    /// The last record of the journal when the page was made.
    pub last: u64,
    /// The journal begins after this one: what was before was compacted.
    #[serde(default)]
    pub start: u64,
    /// A part of the base in hexadecimal digits; empty where it has no more.
    #[serde(default)]
    pub base: String,
    /// Each a [`Line`].
    pub records: Vec<String>,
    /// What is wrong with the record that should come next.
    #[serde(default)]
    pub damage: Option<String>,
    /// The hole that comes next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hole: Option<Hole>,
    /// The holes that are known; told with the first part of the base.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holes: Vec<Hole>,
}

impl Page {
    /// Reads a page, within the bounds.
    #[must_use]
    pub fn read(journal: &mut Journal<Rules>, wish: PageWish) -> Self {
        let last = journal.position().sequence;
        let mut page = Self {
            identity: journal.identity(),
            last,
            start: journal.start().sequence,
            base: String::new(),
            records: Vec::new(),
            damage: None,
            hole: None,
            holes: Vec::new(),
        };
        if let Some(offset) = wish.base {
            let state = match wish.state {
                None => Ok(journal.base().cloned()),
                Some(sequence) => journal.state_from(sequence),
            };
            match state {
                Ok(state) => page.base = part_of(state.as_ref(), offset),
                Err(error) => page.damage = Some(error.to_string()),
            }
        }
        if wish.from > last {
            return page;
        }
        let most = wish.most.clamp(1, MAX_PAGE_RECORDS);
        let mut bytes = 0;
        let visited = journal.pass(wish.from.max(1), |passage| {
            let record = match passage {
                Passage::Record(record) => record,
                Passage::Hole(hole) => {
                    page.hole = Some(hole.clone());
                    return ControlFlow::Break(());
                }
            };
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

fn part_of(base: Option<&Base>, offset: u64) -> String {
    let bytes = base.map_or(&[][..], Base::bytes);
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let rest = bytes.get(offset..).unwrap_or_default();
    let part = &rest[..rest.len().min(MAX_BASE_BYTES)];
    part.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Asks the master for a page.
pub type Ask = dyn FnMut(PageWish) -> Result<Page, String> + Send;

/// See the module.
pub struct OnlineSource {
    ask: Box<Ask>,
    identity: Uuid,
    start: Start,
    holes: Vec<Hole>,
    place: String,
}

impl OnlineSource {
    /// Asks the master who it is, and where its journal begins.
    ///
    /// # Errors
    /// It does not answer.
    pub fn open(mut ask: Box<Ask>, place: String) -> Result<Self, InspectError> {
        for _ in 0..ATTEMPTS {
            if let Some((identity, start, holes)) = begin(ask.as_mut())? {
                return Ok(Self {
                    ask,
                    identity,
                    start,
                    holes,
                    place,
                });
            }
        }
        let text = "the master compacts its journal again and again: ask later";
        Err(InspectError::Master(text.to_owned()))
    }

    fn page(&mut self, from: u64, most: u64) -> Result<Page, InspectError> {
        let wish = PageWish {
            from,
            most,
            base: None,
            state: None,
        };
        (self.ask)(wish).map_err(InspectError::Master)
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
        if last > end.sequence {
            self.pass(last, &mut |passage| {
                if let Passage::Record(record) = passage {
                    end = crate::replay::position_of(record);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            if end.sequence < last
                && let Some(kept) = self.state_from(last)?
            {
                end = kept.position;
            }
        }
        Ok(end)
    }

    fn checkpoint(&mut self) -> Result<Option<(Position, State)>, InspectError> {
        Ok(None)
    }

    fn pass(&mut self, from: u64, pass: &mut Pass<'_>) -> Result<(), InspectError> {
        let mut next = from.max(1);
        let Position {
            sequence, checksum, ..
        } = self.start.position;
        // The master verified the first one; from there on the chain is checked here.
        let mut previous: Option<Checksum> = (next == sequence + 1).then_some(checksum);
        let mut scratch = Vec::new();
        loop {
            let page = self.page(next, MAX_PAGE_RECORDS)?;
            if page.records.is_empty() && page.hole.is_none() {
                return page
                    .damage
                    .map_or(Ok(()), |why| Err(InspectError::Damaged(why)));
            }
            for text in &page.records {
                let show = |record: &Record<'_>| pass(Passage::Record(record));
                let shown = line::read(text, next, previous, &mut scratch, show);
                let (flow, checksum, _) = shown.map_err(|why| {
                    InspectError::Damaged(format!(
                        "the master's event {next} cannot be used: {why}"
                    ))
                })?;
                if flow.is_break() {
                    return Ok(());
                }
                previous = Some(checksum);
                next += 1;
            }
            if let Some(hole) = page.hole {
                if pass(Passage::Hole(&hole)).is_break() {
                    return Ok(());
                }
                previous = None;
                next = hole.last + 1;
            }
        }
    }

    fn state_from(&mut self, sequence: u64) -> Result<Option<Start>, InspectError> {
        let mut bytes = Vec::new();
        loop {
            let page = (self.ask)(PageWish {
                from: u64::MAX,
                most: 1,
                base: Some(bytes.len() as u64),
                state: Some(sequence),
            });
            let page = page.map_err(InspectError::Master)?;
            if let Some(why) = page.damage {
                return Err(InspectError::Damaged(why));
            }
            let part = bytes_of(&page.base)?;
            if part.is_empty() {
                break;
            }
            bytes.extend_from_slice(&part);
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        let base = Base::read::<Rules>(self.identity, &bytes)?;
        if base.position().sequence < sequence {
            // An older program, which knows of its base only.
            return Ok(None);
        }
        Start::kept(self.identity, &base).map(Some)
    }

    fn holes(&mut self) -> Vec<Hole> {
        self.holes.clone()
    }
}

fn bytes_of(digits: &str) -> Result<Vec<u8>, InspectError> {
    line::parse_hexadecimal(digits)
        .ok_or_else(|| InspectError::Master("the master's base is unreadable".to_owned()))
}

/// The identity and the beginning of a master's journal; nothing where it changed meanwhile.
fn begin(ask: &mut Ask) -> Result<Option<(Uuid, Start, Vec<Hole>)>, InspectError> {
    let mut bytes = Vec::new();
    let mut through = None;
    let mut holes = Vec::new();
    loop {
        let wish = PageWish {
            from: u64::MAX,
            most: 1,
            base: Some(bytes.len() as u64),
            state: None,
        };
        let page = ask(wish).map_err(InspectError::Master)?;
        if through.is_some_and(|through| through != page.start) {
            return Ok(None);
        }
        through = Some(page.start);
        let part = bytes_of(&page.base)?;
        if bytes.is_empty() {
            holes = page.holes;
        }
        bytes.extend_from_slice(&part);
        if page.start == 0 {
            return Ok(Some((page.identity, Start::whole(page.identity), holes)));
        }
        if part.is_empty() {
            let base = Base::read::<Rules>(page.identity, &bytes)?;
            return Ok(Some((
                page.identity,
                Start::compacted(page.identity, &base)?,
                holes,
            )));
        }
    }
}
