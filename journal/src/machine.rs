//! What the journal must know of a state machine: nothing but this trait.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What the journal adds to an event when it takes it in: its place, its time and its randomness.
///
/// `step` gets time and randomness from here and from nowhere else, so a replay decides as life did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The place of the event in its journal: 1, 2, 3 and so on, without a gap.
    pub sequence: u64,
    /// Milliseconds since the Unix epoch. Never less than in the event before, whatever the clock does.
    pub at: u64,
    /// Random bits for jitter, drawn once and then remembered.
    pub noise: u32,
}

/// A pure state machine that the journal can remember and replay.
///
/// `step` has to be total and deterministic: same state, stamp and event, same result, on any machine.
pub trait Machine: 'static {
    /// Everything that the machine knows. `default()` is what it knows before the first event.
    type State: Serialize + DeserializeOwned + Default + Clone + Send + 'static;
    /// What happened. Its JSON form stands in the journal for ever: treat it as a public format.
    type Event: Serialize + DeserializeOwned + Send + 'static;
    /// What has to be done. Never journaled: after a restart it is derived again.
    type Effect: Send + 'static;

    /// The name stored in the journal; a journal of another program is refused.
    const PROGRAM: &'static str;
    /// Raised whenever `step` or `State` changes: checkpoints of another version are thrown away
    /// and the state is rebuilt from the events, or from the base of a compacted journal on.
    const STEP_VERSION: u32;

    /// The number of the event's kind: explicit, and never used again for another kind.
    fn kind(event: &Self::Event) -> u16;

    /// Whether an event is one of those that are [counted](crate::Tail): told by somebody who has to
    /// know after a crash which of them the journal has. By default none is.
    fn is_told(event: &Self::Event) -> bool {
        let _ = event;
        false
    }

    /// The state after the event, and what has to be done because of it.
    fn step(
        state: Self::State,
        stamp: Stamp,
        event: Self::Event,
    ) -> (Self::State, Vec<Self::Effect>);

    /// The time, in milliseconds since the Unix epoch, at which [`Machine::deadline_reached`] is due.
    fn next_deadline(state: &Self::State) -> Option<u64>;

    /// The event that says that a deadline has passed.
    fn deadline_reached() -> Self::Event;

    /// The event that says that the clock was set forward by so many milliseconds, or that the machine
    /// slept: the machine moves its deadlines, which nobody had the time to meet. None where its
    /// deadlines are to pass with the clock.
    fn clock_jumped(by: u64) -> Option<Self::Event> {
        let _ = by;
        None
    }

    /// Reads an event from its recorded form.
    ///
    /// The place for conversions of old forms: a machine that changed the form of an event gives the
    /// new form a new kind number and converts the old number here, so `step` knows the newest only.
    ///
    /// # Errors
    /// The payload is not an event that this version knows.
    fn decode(kind: u16, payload: &[u8]) -> Result<Self::Event, serde_json::Error> {
        // The JSON names its variant itself, so the number is not needed as long as no form is old.
        let _ = kind;
        serde_json::from_slice(payload)
    }

    /// Reads the state that a compacted journal begins with, which an older version of the rules may
    /// have made.
    ///
    /// The events before it are gone, so every form that was ever released has to be read for ever:
    /// give what is new a default, or convert here. Never called for a version newer than this one.
    ///
    /// # Errors
    /// The JSON is not a state of that version.
    fn decode_base(step_version: u32, json: &[u8]) -> Result<Self::State, serde_json::Error> {
        // As long as no form of the state is old, all versions write the same one.
        let _ = step_version;
        serde_json::from_slice(json)
    }
}
