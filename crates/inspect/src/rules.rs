//! The rules, as the journal knows them.

use allexmaster_journal::{Machine, Stamp};
use allexmaster_state::{Effect, Event, Recorded, STEP_VERSION, State, Timestamp, step};

/// The state machine of the master: [`step`] and nothing else.
#[derive(Debug)]
pub enum Rules {}

impl Machine for Rules {
    type State = State;
    type Event = Event;
    type Effect = Effect;

    const PROGRAM: &'static str = "allexmaster";
    const STEP_VERSION: u32 = STEP_VERSION;

    fn kind(event: &Event) -> u16 {
        event.kind()
    }

    fn is_told(event: &Event) -> bool {
        event.is_told()
    }

    fn step(state: State, stamp: Stamp, event: Event) -> (State, Vec<Effect>) {
        step(state, recorded(stamp, event))
    }

    fn next_deadline(state: &State) -> Option<u64> {
        state.next_deadline().map(|(at, _)| at.0)
    }

    fn deadline_reached() -> Event {
        Event::DeadlineReached
    }

    fn clock_jumped(by: u64) -> Option<Event> {
        Some(Event::ClockJumped { by })
    }
}

/// The event with its stamp, as the rules take it.
#[must_use]
pub const fn recorded(stamp: Stamp, event: Event) -> Recorded {
    let Stamp {
        sequence,
        at,
        noise,
    } = stamp;
    Recorded {
        sequence,
        at: Timestamp(at),
        noise,
        event,
    }
}
