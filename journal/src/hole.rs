//! Stretches of history that cannot be used, and how they are found without reading events.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::store::{Sealed, SealedBlocks};

/// A file that was found good is read again after this time: a disk may have damaged it since without
/// a trace in its time of change.
const GOOD_FOR: Duration = Duration::from_secs(3600);

/// A stretch of history that is damaged or missing. What comes before and after it can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hole {
    /// The first event that cannot be used.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// What is wrong, with the file where that is known.
    pub why: String,
}

impl Hole {
    /// True where the hole has this event.
    #[must_use]
    pub const fn has(&self, sequence: u64) -> bool {
        self.first <= sequence && sequence <= self.last
    }
}

impl fmt::Display for Hole {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, why } = self;
        if first == last {
            return write!(formatter, "event {first} is damaged ({why})");
        }
        write!(formatter, "events {first} to {last} are damaged ({why})")
    }
}

/// What of a journal is on disk, by the names of its files: see [`crate::Journal::span`].
pub struct Span {
    /// The last event that is not there any more because it was compacted; 0 where none is.
    pub(crate) start: u64,
    /// The first event that is not sealed; nothing where all are.
    pub(crate) unsealed: Option<u64>,
    pub(crate) sealed: SealedBlocks,
}

impl Span {
    /// How many sealed files there are.
    #[must_use]
    pub fn files(&self) -> usize {
        self.sealed.blocks.len()
    }
}

/// Reads sealed files to find the damaged ones. Keeps in mind which were good, so that a second look is
/// only at those that changed.
#[derive(Debug, Default)]
pub struct Survey {
    /// By the first event of a file: what it looked like when it was good, and when that was.
    good: BTreeMap<u64, (Sealed, Instant)>,
}

impl Survey {
    /// The holes in the sealed history, and between it and what is new, oldest first.
    pub fn look(&mut self, span: &Span) -> Vec<Hole> {
        let mut holes: Vec<Hole> = Vec::new();
        let mut reached = span.start;
        for sealed in &span.sealed.blocks {
            add_gap(&mut holes, reached, sealed.first);
            reached = reached.max(sealed.last);
            if let Some(why) = self.damage(span, *sealed) {
                add(
                    &mut holes,
                    sealed.first.max(span.start + 1),
                    sealed.last,
                    why,
                );
            }
        }
        if let Some(unsealed) = span.unsealed {
            add_gap(&mut holes, reached, unsealed);
        }
        holes
    }

    fn damage(&mut self, span: &Span, sealed: Sealed) -> Option<String> {
        let known = self.good.get(&sealed.first);
        let same = |(good, at): &(Sealed, Instant)| {
            (good.last, good.bytes, good.modified) == (sealed.last, sealed.bytes, sealed.modified)
                && at.elapsed() < GOOD_FOR
        };
        if sealed.modified > 0 && known.is_some_and(same) {
            return None;
        }
        match span.sealed.reader.read(sealed) {
            // A disk that does not answer damages nothing; whoever reads the events is told.
            Err(error) if !error.is_damage() => None,
            Err(error) => {
                self.good.remove(&sealed.first);
                Some(error.to_string())
            }
            Ok(_) => {
                self.good.insert(sealed.first, (sealed, Instant::now()));
                None
            }
        }
    }
}

/// Adds what is missing between two numbers.
fn add_gap(holes: &mut Vec<Hole>, reached: u64, next: u64) {
    if next > reached + 1 {
        add(holes, reached + 1, next - 1, MISSING.to_owned());
    }
}

/// The longest reason that a hole is told with, in bytes: it names some files, not all.
const MAX_REASON_BYTES: usize = 600;

/// Why a stretch is a hole that no file has.
pub(crate) const MISSING: &str = "no file has them";

/// Adds a stretch; one that follows another without a gap is one hole with it.
pub(crate) fn add(holes: &mut Vec<Hole>, first: u64, last: u64, why: String) {
    match holes.last_mut() {
        Some(hole) if hole.last + 1 >= first => {
            hole.last = hole.last.max(last);
            if !hole.why.contains(&why) && hole.why.len() + why.len() < MAX_REASON_BYTES {
                hole.why = format!("{}; {why}", hole.why);
            }
        }
        Some(_) | None => holes.push(Hole { first, last, why }),
    }
}
