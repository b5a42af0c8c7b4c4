//! Removes old history, and keeps the state that it led to.
//!
//! ```text
//!  before   1 ───────────────────────── N │ N+1 ──────── checkpoint ── last
//!           └── sealed files, verified ──┘│└── verified ─────┘
//!                                         │
//!  after                           base N │ N+1 ──────────────────── last
//! ```
//!
//! # Theory of operation
//!
//! The base is a state like any other: that after event N, where a sealed file ends. It is made by
//! replaying what is to go, and nothing goes before a replay up to the newest checkpoint has shown that
//! the events still lead to the very state that life had there. The chain of checksums goes on from the
//! base's, as it went on from event N's.
//!
//! In this order, each step durable before the next: the journal says that it may begin with a base
//! (so that older programs refuse it); the base is written, twice; the sealed files before it are
//! removed, the oldest first. A process that is killed in between leaves a journal that begins either
//! where it did or after the base, and waste that the next start removes.
//!
//! The replay runs on a thread of its own and reads only what no longer changes. The loop of a running
//! machine only writes the base and removes a few files in a turn.

mod job;

use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::base::Base;
use crate::error::Error;
use crate::failpoint::{self, Point};
use crate::journal::Journal;
use crate::store::{Part, Sealed};
use allexmaster_machine::Machine;
use job::Prepared;

/// So many files are removed in one turn of the loop: some milliseconds at most.
const RELEASED_AT_ONCE: usize = 16;

/// A running machine begins to compact when the history is so much larger or older than it may be, as
/// a fraction of the bound: then it is done seldom, and each time for something.
const SLACK_PARTS: u64 = 4;

/// What a compaction may remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactionRequest {
    /// What happened within so many milliseconds before the last event is kept.
    pub keep: u64,
    /// Where it is given: of the sealed history only so many bytes are kept, however new they are.
    pub most_bytes: Option<u64>,
    /// Nothing is removed; it is only told what would be.
    pub dry_run: bool,
    /// Whatever is damaged goes too, and all before it.
    #[serde(default)]
    pub cut: bool,
}

/// The bounds within which a running machine keeps its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// What happened within so many milliseconds before the last event is kept; 0: all of it.
    pub keep: u64,
    /// So many bytes of sealed history are kept at most, whatever `keep` says; 0: as many as there are.
    pub most_bytes: u64,
}

impl Bounds {
    /// Where nothing else is configured: two weeks, in which somebody asks why; and no more than a
    /// disk is likely to have to spare.
    pub const USUAL: Self = Self {
        keep: 14 * 24 * 60 * 60 * 1000,
        most_bytes: 256 * 1024 * 1024,
    };
}

/// What a compaction removed, or would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// The first event that there was.
    pub first: u64,
    /// The last event that goes; the one before `first` where nothing does.
    pub through: u64,
    /// When that was, in milliseconds since the Unix epoch.
    pub through_at: u64,
    /// The last event of the journal.
    pub last: u64,
    /// The event whose checkpoint was verified.
    pub checkpoint: u64,
    /// The room that it gives, in bytes.
    pub freed_bytes: u64,
    /// The room that the kept sealed history takes, in bytes.
    pub kept_bytes: u64,
    /// Whether it was done.
    pub done: bool,
}

impl Compaction {
    /// How many events go.
    #[must_use]
    pub const fn events(&self) -> u64 {
        (self.through + 1).saturating_sub(self.first)
    }
}

/// What the end of a compaction is told with.
pub type CompactionEnd = Result<Compaction, Error>;

/// A compaction on its way.
pub(crate) enum Stage {
    /// The history is being replayed on another thread.
    Preparing {
        thread: JoinHandle<Result<Prepared, Error>>,
        answer: Option<oneshot::Sender<CompactionEnd>>,
    },
    /// The base is written; files before it are removed.
    Releasing {
        /// None where a killed process left the files.
        told: Option<Compaction>,
        answer: Option<oneshot::Sender<CompactionEnd>>,
    },
}

impl<M: Machine> Journal<M> {
    /// Removes old history, all at once: for a journal that nobody lives from.
    ///
    /// # Errors
    /// [`Error::NoCheckpoint`], [`Error::CheckpointDiffers`] or [`Error::Damaged`] before anything was
    /// removed; or the storage failed.
    pub fn compact(&mut self, request: CompactionRequest) -> CompactionEnd {
        if self.compaction.is_some() {
            while self.tend_compaction().is_none() && self.compaction.is_some() {}
        }
        let prepared = self.job(request)?.run()?;
        let mut told = prepared.told;
        if let Some(base) = prepared.base.filter(|_| !request.dry_run) {
            self.begin_with(base)?;
            while self.release_some()? > 0 {}
            told.done = true;
        }
        Ok(told)
    }

    /// Begins to remove old history while the journal is in use. [`crate::JournaledMachine::maintain`] goes on with
    /// it; the answer comes when it is done.
    pub fn compact_in_background(
        &mut self,
        request: CompactionRequest,
    ) -> oneshot::Receiver<CompactionEnd> {
        let (answer, answered) = oneshot::channel();
        if let Err((error, Some(answer))) = self.begin_work(request, Some(answer)) {
            // Whoever asked may have gone.
            let _ = answer.send(Err(error));
        }
        answered
    }

    /// True while a compaction waits for [`crate::JournaledMachine::maintain`].
    pub(crate) fn is_compacting(&self) -> bool {
        self.compaction.is_some()
    }

    /// Begins to compact where the history is beyond its bounds.
    pub(crate) fn keep_within(&mut self, bounds: Bounds) -> Option<CompactionEnd> {
        let slack = |bound: u64| bound.saturating_add(bound / SLACK_PARTS);
        let parts = self.sealed().blocks;
        let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
        let too_large = bounds.most_bytes > 0 && bytes > bounds.most_bytes;
        let now = self.position().at;
        // Of damaged ones the age is not known.
        let too_old = bounds.keep > 0
            && parts
                .iter()
                .find_map(|oldest| self.end_of(*oldest))
                .is_some_and(|at| now.saturating_sub(at) > slack(bounds.keep));
        if !(too_large || too_old) {
            return None;
        }
        let request = CompactionRequest {
            keep: if bounds.keep > 0 {
                bounds.keep
            } else {
                u64::MAX
            },
            most_bytes: too_large.then(|| bounds.most_bytes - bounds.most_bytes / SLACK_PARTS),
            dry_run: false,
            cut: false,
        };
        let begun = self.begin_work(request, None);
        begun.err().map(|(error, _)| Err(error))
    }

    /// Goes on with a compaction; tells its end. A failure leaves the journal as good as it was.
    pub(crate) fn tend_compaction(&mut self) -> Option<CompactionEnd> {
        let (end, answer) = match self.compaction.take()? {
            Stage::Preparing { thread, answer } if !thread.is_finished() => {
                self.compaction = Some(Stage::Preparing { thread, answer });
                return None;
            }
            Stage::Preparing { thread, answer } => match self.take_over(thread) {
                Ok((told, true)) => {
                    let told = Some(told);
                    self.compaction = Some(Stage::Releasing { told, answer });
                    return None;
                }
                Ok((told, false)) => (Ok(told), answer),
                Err(error) => (Err(error), answer),
            },
            Stage::Releasing { told, answer } => match self.release_some() {
                Ok(0) => (Ok(told?), answer),
                Ok(_) => {
                    self.compaction = Some(Stage::Releasing { told, answer });
                    return None;
                }
                Err(error) => (Err(error), answer),
            },
        };
        match (answer, end) {
            (None, end) => Some(end),
            (Some(answer), Ok(told)) => {
                let _ = answer.send(Ok(told));
                told.done.then_some(Ok(told))
            }
            (Some(answer), Err(error)) => {
                let _ = answer.send(Err(error));
                None
            }
        }
    }

    /// Lets a compaction be, because the storage failed. What of it is done stays done, and the rest
    /// can be begun again.
    pub(crate) fn give_up_compaction(&mut self) {
        let answer = match self.compaction.take() {
            Some(Stage::Preparing { answer, .. } | Stage::Releasing { answer, .. }) => answer,
            None => None,
        };
        if let Some(answer) = answer {
            // Whoever asked may have gone.
            let _ = answer.send(Err(Error::Failed));
        }
    }

    fn begin_work(
        &mut self,
        request: CompactionRequest,
        answer: Option<oneshot::Sender<CompactionEnd>>,
    ) -> Result<(), (Error, Option<oneshot::Sender<CompactionEnd>>)> {
        if self.compaction.is_some() {
            return Err((Error::Compacting, answer));
        }
        let job = match self.job(request) {
            Ok(job) => job,
            Err(error) => return Err((error, answer)),
        };
        let thread = std::thread::Builder::new()
            .name("compaction".to_owned())
            .spawn(move || job.run());
        match thread {
            Ok(thread) => {
                self.compaction = Some(Stage::Preparing { thread, answer });
                Ok(())
            }
            Err(_) => Err((Error::CompactionBroke, answer)),
        }
    }

    /// Uses what the thread has prepared: true where there is something to remove.
    fn take_over(
        &mut self,
        thread: JoinHandle<Result<Prepared, Error>>,
    ) -> Result<(Compaction, bool), Error> {
        let prepared = thread.join().map_err(|_| Error::CompactionBroke)??;
        let mut told = prepared.told;
        match prepared.base {
            None => Ok((told, false)),
            Some(base) => {
                self.begin_with(base)?;
                told.done = true;
                Ok((told, true))
            }
        }
    }

    /// The journal begins with this base from now on.
    fn begin_with(&mut self, base: Base) -> Result<(), Error> {
        let (failpoint, through) = (self.options().failpoint, base.position().sequence);
        failpoint::pass(failpoint, Point::CompactionVerified, 1, through);
        let header = self.header.clone().raised();
        self.store()?.put(Part::Header, &header.bytes()?)?;
        self.header = header;
        failpoint::pass(failpoint, Point::FormatRaised, 1, through);
        self.store()?.put(Part::Base, base.bytes())?;
        self.start = base.position();
        self.base = Some(base);
        self.oldest = None;
        failpoint::pass(failpoint, Point::BaseWritten, 1, through);
        Ok(())
    }

    /// Removes some of the files before the beginning; tells how many are left.
    fn release_some(&mut self) -> Result<usize, Error> {
        let left = self.release(RELEASED_AT_ONCE)?;
        let through = self.start.sequence;
        failpoint::pass(self.options().failpoint, Point::HistoryReleased, 1, through);
        Ok(left)
    }

    /// The time of the last record of the oldest sealed block; nothing where it cannot be read.
    fn end_of(&mut self, oldest: Sealed) -> Option<u64> {
        if let Some((first, at)) = self.oldest
            && first == oldest.first
        {
            return Some(at);
        }
        let at = job::end_of(self.sealed().reader.as_ref(), oldest).ok()?;
        self.oldest = Some((oldest.first, at));
        Some(at)
    }
}
