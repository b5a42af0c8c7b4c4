//! What every event-sourced machine of this project is: a pure function over recorded events.
//!
//! ```text
//!  event + Stamp ──► step(State) ──► State + effects
//!                        │
//!                        └── next_deadline(State): when it wants DeadlineReached
//! ```
//!
//! Three machines implement [`Machine`]: the master's rules, the master's sessions and the
//! LanManager's rules. The journal records and replays any of them; this crate depends on none.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod time;

use alloc::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use time::{Mono, Time, Wall};

/// What the journal adds to an event when it records it: sequence number, time and entropy.
///
/// `step` gets time and entropy from here and from nowhere else, so a replay decides what the
/// original run decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp<T = Wall> {
    /// The number of the event in its journal: 1, 2, 3 and so on, without a gap.
    pub sequence: u64,
    /// When the event was recorded. Never earlier than the event before, even if the clock is set back.
    pub at: T,
    /// Random bits, for jitter; recorded with the event.
    pub entropy: u32,
}

impl<T> Stamp<T> {
    /// The same stamp with its time converted.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Stamp<U> {
        Stamp {
            sequence: self.sequence,
            at: convert(self.at),
            entropy: self.entropy,
        }
    }
}

/// A pure state machine that a journal can record and replay.
///
/// `step` has to be total and deterministic: same state, stamp and event, same result, on any host.
pub trait Machine: 'static {
    /// Everything that the machine knows. `default()` is the state before the first event.
    type State: Serialize + DeserializeOwned + Default + Send + 'static;
    /// What happened. Its recorded form is a public format.
    type Event: Serialize + DeserializeOwned + Send + 'static;
    /// What has to be done. Never recorded: after a restart it is derived again.
    type Effect: Send + 'static;
    /// The clock that the stamps and deadlines are of.
    type Time: Time;

    /// The name stored in the journal; a journal of another program is refused.
    const PROGRAM: &'static str;
    /// Raised whenever `step` or `State` changes. Checkpoints of another version are discarded, and
    /// the state is rebuilt from the events, or from the base of a compacted journal on.
    const STEP_VERSION: u32;
    /// The longest recorded form of an event, in bytes. A larger event is refused before anything is
    /// written.
    const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;

    /// The number of the event's kind: explicit, and never used again for another kind.
    fn kind(event: &Self::Event) -> u16;

    /// The state after the event, and the effects that it causes.
    fn step(
        state: Self::State,
        stamp: Stamp<Self::Time>,
        event: Self::Event,
    ) -> (Self::State, Vec<Self::Effect>);

    /// The time at which [`Machine::deadline_reached`] is due.
    fn next_deadline(state: &Self::State) -> Option<Self::Time>;

    /// The event that says that a deadline has passed.
    fn deadline_reached() -> Self::Event;

    /// The event that says that the clock was set forward by so many milliseconds, or that the host
    /// was suspended: the machine moves its deadlines, because that time could not be used. `None`
    /// where its deadlines are to pass with the clock.
    fn clock_jumped(by: u64) -> Option<Self::Event> {
        let _ = by;
        None
    }

    /// Appends the recorded form of an event. JSON by default; a machine whose events carry raw bytes
    /// uses a binary form for them.
    ///
    /// # Errors
    /// The event has no recorded form.
    fn encode(event: &Self::Event, output: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        output.append(&mut serde_json::to_vec(event)?);
        Ok(())
    }

    /// Reads an event from its recorded form.
    ///
    /// The place for conversions of old forms: a machine that changes the form of an event gives the
    /// new form a new kind number and converts the old number here, so that `step` knows only the
    /// newest.
    ///
    /// # Errors
    /// The payload is not an event that this version knows.
    fn decode(kind: u16, payload: &[u8]) -> Result<Self::Event, serde_json::Error> {
        // The JSON names its variant, so the number is not needed as long as no form is old.
        let _ = kind;
        serde_json::from_slice(payload)
    }

    /// Reads the state that a compacted journal begins with, which an older version of the machine
    /// may have written. Never called for a version newer than this one.
    ///
    /// The events before it are gone, so every released form has to be readable for ever: give new
    /// fields a default, or convert here.
    ///
    /// # Errors
    /// The JSON is not a state of that version.
    fn decode_base(step_version: u32, json: &[u8]) -> Result<Self::State, serde_json::Error> {
        // As long as no form of the state is old, all versions write the same one.
        let _ = step_version;
        serde_json::from_slice(json)
    }
}
