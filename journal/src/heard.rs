//! How far somebody outside has followed the journal.

/// A place in the journal up to which somebody knows what was caused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The number of the last event.
    pub sequence: u64,
    /// How many events up to there were [told](crate::Machine::is_told).
    pub told: u64,
}
