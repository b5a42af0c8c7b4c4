//! What the journal has of the events that the sessions emit, and what it owes them.

use allexmaster_state::{Effect, Event, SessionEffect};

/// Up to which event of the journal the sessions have their effects, and how many of the events that
/// they emitted are among those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxAck {
    /// The number of the last event.
    pub sequence: u64,
    /// How many events of the sessions the journal has, since the sessions began.
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
