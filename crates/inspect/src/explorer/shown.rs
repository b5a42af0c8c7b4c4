//! The event that is shown, with as much around it as is known without waiting.

use allexmaster_state::{Effect, Recorded, State};

use crate::command::Moment;
use crate::error::InspectError;
use crate::replay::Past;

/// An event: at once with all that it led to where a state before it is at hand, and without where the
/// journal has to be read up to it first.
pub struct Shown {
    pub recorded: Recorded,
    /// The state that it left, where that is known yet.
    pub after: Option<State>,
    /// What it met and caused, where that is known yet.
    pub cause: Option<Cause>,
}

/// What an event met, and what it caused.
pub struct Cause {
    /// The state that it met.
    pub before: State,
    pub effects: Vec<Effect>,
}

impl Shown {
    /// Looks it up. With `all_read` nothing is left out, since nothing nearer will ever be at hand.
    ///
    /// # Errors
    /// There is no such event, or the journal cannot be read there.
    pub fn at(past: &mut Past, sequence: u64, all_read: bool) -> Result<Self, InspectError> {
        if all_read || past.is_near(sequence)? {
            return Moment::at(past, sequence).map(Self::from);
        }
        let (recorded, after) = past.glance(sequence)?;
        Ok(Self {
            recorded,
            after,
            cause: None,
        })
    }
}

impl From<Moment> for Shown {
    fn from(moment: Moment) -> Self {
        let Moment {
            recorded,
            effects,
            before,
            after,
        } = moment;
        Self {
            recorded,
            after: Some(after),
            cause: Some(Cause { before, effects }),
        }
    }
}
