//! What a front has left to do, and what its driver asks it.

use std::path::PathBuf;

use allexmaster_state::{Event, Identity, Incarnation, RequestId};

use crate::connection::{Line, Owner, Progress};
use crate::input::LineName;
use crate::local::request::LocalRequest;
use crate::machine::{Dialing, Front, FrontIdentity};
use crate::outbox::OutboxAck;

/// So many events may wait for the journal; then nothing more is read from anybody but local peers.
const UNTOLD_MOST: usize = 4_096;
/// And so many until nothing is read from them either.
const UNTOLD_LOCAL_MOST: usize = 8_192;

impl Front {
    /// Whose master it is.
    #[must_use]
    pub const fn identity(&self) -> &FrontIdentity {
        &self.identity
    }

    /// What the journal was known to have when its last effects came.
    #[must_use]
    pub const fn heard(&self) -> OutboxAck {
        OutboxAck {
            sequence: self.journaled,
            acked: self.heard,
        }
    }

    /// The event after number `after` that is not known to be in the journal, with its number.
    #[must_use]
    pub fn untold(&self, after: u64) -> Option<(u64, Event)> {
        let (first, _) = self.untold.front()?;
        let index = usize::try_from((after + 1).saturating_sub(*first)).ok()?;
        self.untold.get(index).cloned()
    }

    /// Whether a line may be read: not where too many events wait for the journal. Local peers are
    /// heard for longer than others: somebody may want to know what is the matter.
    #[must_use]
    pub fn may_read(&self, line: &LineName) -> bool {
        let is_local = |line: &Line| matches!(line.owner, Owner::Local(_));
        let most = if self.lines.get(line).is_some_and(is_local) {
            UNTOLD_LOCAL_MOST
        } else {
            UNTOLD_MOST
        };
        self.untold.len() < most
    }

    /// The questions about the state that are not answered.
    #[must_use]
    pub fn looks(&self) -> Vec<(RequestId, LocalRequest)> {
        let answered_elsewhere = self.upgrading.as_ref().map(|(request, _)| request);
        let looks = self.looks.iter();
        let looks = looks.filter(|(request, _)| Some(*request) != answered_elsewhere);
        looks
            .map(|(request, asked)| (*request, asked.clone()))
            .collect()
    }

    /// The program that the engine was being replaced by, and who asked.
    #[must_use]
    pub fn upgrading(&self) -> Option<(RequestId, PathBuf)> {
        self.upgrading.clone()
    }

    /// The dial that is under way.
    #[must_use]
    pub const fn dialing(&self) -> Option<Dialing> {
        self.dialing
    }

    /// All lines, each with how far its bytes have come.
    #[must_use]
    pub fn lines(&self) -> Vec<(LineName, Progress)> {
        let lines = self.lines.iter();
        lines
            .map(|(name, line)| (name.clone(), line.progress()))
            .collect()
    }

    /// Whether a line is known.
    #[must_use]
    pub fn has_line(&self, line: &LineName) -> bool {
        self.lines.contains_key(line)
    }

    /// The next bytes that a line is to send, at most so many, with the offset behind them.
    #[must_use]
    pub fn chunk(&self, line: &LineName, most: usize) -> Option<(Vec<u8>, u64)> {
        self.lines.get(line)?.chunk(most)
    }

    /// Whether a line is to end when everything is sent.
    #[must_use]
    pub fn is_finishing(&self, line: &LineName) -> bool {
        self.lines.get(line).is_some_and(|line| line.finishing)
    }

    /// The process of a child that is spoken to, and whether the master has its session with it.
    #[must_use]
    pub fn child(&self, incarnation: Incarnation) -> Option<(Identity, bool)> {
        let child = self.children.get(&incarnation)?;
        Some((child.identity.clone(), child.introduced))
    }

    /// All children that are spoken to.
    #[must_use]
    pub fn children(&self) -> Vec<Incarnation> {
        self.children.keys().copied().collect()
    }

    /// Lets what is left be sent on all lines, and end them then.
    pub fn finish_all(&mut self) {
        let lines: Vec<LineName> = self.lines.keys().cloned().collect();
        for line in lines {
            self.finish(&line);
        }
    }
}
