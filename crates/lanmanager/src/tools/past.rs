//! The journal, read while the LanManager may be writing it.

use std::ops::ControlFlow;
use std::path::Path;

use allexmaster_journal::{Error, Journal, Machine as _};
use allexmaster_lanmanager::files;
use allexmaster_lanmanager::rules::{Effect, Event, Rules, State};
use allexmaster_machine::Stamp;

/// One event, with the states around it.
pub(super) struct Step<'past> {
    pub(super) stamp: Stamp,
    pub(super) event: &'past Event,
    pub(super) before: &'past State,
    pub(super) after: &'past State,
    pub(super) effects: &'past [Effect],
}

/// The journal of a folder.
pub(super) struct Past {
    pub(super) journal: Journal<Rules>,
}

impl Past {
    pub(super) fn open(directory: &Path) -> Result<Self, Error> {
        let folder = files::folder(directory).join(files::JOURNAL);
        let journal = Journal::read_only(&folder)?;
        Ok(Self { journal })
    }

    /// The state after the last event, and when that was.
    pub(super) fn present(&mut self) -> Result<(State, Option<Stamp>), Error> {
        let stored = self.journal.stored_checkpoint()?.and_then(Result::ok);
        let (from, mut state) = match stored {
            Some((position, state)) => (position.sequence + 1, state),
            None => (self.first(), self.journal.base_state()?),
        };
        let mut last = None;
        for record in self.journal.records(from)? {
            let record = record?;
            last = Some(record.stamp);
            (state, _) = Rules::step(state, record.stamp, record.event);
        }
        Ok((state, last))
    }

    /// The number of the first event that there is.
    pub(super) fn first(&self) -> u64 {
        self.journal.start().sequence + 1
    }

    /// Lives all events again.
    pub(super) fn replay(
        &mut self,
        mut watch: impl FnMut(Step<'_>) -> ControlFlow<()>,
    ) -> Result<State, Error> {
        let mut state = self.journal.base_state()?;
        let first = self.first();
        for record in self.journal.records(first)? {
            let record = record?;
            let before = state.clone();
            let (after, effects) = Rules::step(state, record.stamp, record.event.clone());
            let flow = watch(Step {
                stamp: record.stamp,
                event: &record.event,
                before: &before,
                after: &after,
                effects: &effects,
            });
            state = after;
            if flow.is_break() {
                break;
            }
        }
        Ok(state)
    }
}
