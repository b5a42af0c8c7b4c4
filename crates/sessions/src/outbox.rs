//! The events for the rules: numbered, and kept until the rules' journal has them.

use std::collections::VecDeque;

use allexmaster_state::{Effect, Event, SessionEffect};
use serde::{Deserialize, Serialize};

/// What the rules' journal is known to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxAck {
    /// The number of the journal's last event whose effects have come.
    pub sequence: u64,
    /// How many events of the sessions the journal has up to there.
    pub acked: u64,
}

impl OutboxAck {
    /// Counts the next event of the journal.
    pub const fn record(&mut self, sequence: u64, event: &Event) {
        self.sequence = sequence;
        self.acked += event.originates_in_sessions() as u64;
    }
}

/// What the events caused that a killed engine recorded and the sessions have not got yet.
#[derive(Debug, Default)]
pub struct ReplayedEffects {
    /// Up to where they go.
    pub ack: OutboxAck,
    /// Those for the sessions, in order.
    pub effects: Vec<SessionEffect>,
}

impl ReplayedEffects {
    /// Of a replay that begins after this.
    #[must_use]
    pub const fn after(ack: OutboxAck) -> Self {
        Self {
            ack,
            effects: Vec::new(),
        }
    }

    /// Takes the next event of the replay.
    pub fn replay(&mut self, sequence: u64, event: &Event, effects: Vec<Effect>) {
        self.ack.record(sequence, event);
        let effects = effects.into_iter().filter_map(Effect::into_session);
        self.effects.extend(effects);
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outbox {
    ack: OutboxAck,
    /// How many events were emitted so far.
    emitted: u64,
    /// Those that the journal is not known to have, each with its number.
    unacked: VecDeque<(u64, Event)>,
}

impl Outbox {
    /// Empty; the journal's events up to `sequence` do not concern it.
    pub(crate) fn after(sequence: u64) -> Self {
        Self {
            ack: OutboxAck { sequence, acked: 0 },
            ..Self::default()
        }
    }

    pub(crate) fn emit(&mut self, event: Event) {
        self.emitted += 1;
        self.unacked.push_back((self.emitted, event));
    }

    pub(crate) fn acknowledge(&mut self, ack: OutboxAck) {
        self.ack = ack;
        let is_acked = |(number, _): &(u64, Event)| *number <= ack.acked;
        while self.unacked.front().is_some_and(is_acked) {
            self.unacked.pop_front();
        }
    }

    pub(crate) const fn ack(&self) -> OutboxAck {
        self.ack
    }

    /// The unacknowledged event after number `after`, with its number.
    pub(crate) fn next(&self, after: u64) -> Option<(u64, Event)> {
        let (first, _) = self.unacked.front()?;
        let index = usize::try_from((after + 1).saturating_sub(*first)).ok()?;
        self.unacked.get(index).cloned()
    }

    /// How many events wait for the journal.
    pub(crate) fn len(&self) -> usize {
        self.unacked.len()
    }
}
