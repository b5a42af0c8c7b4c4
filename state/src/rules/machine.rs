//! The rules as a machine that a journal records.

use alloc::vec::Vec;

use allexmaster_machine::{Machine, Stamp};

use crate::{Effect, Event, Recorded, STEP_VERSION, State, Timestamp, step};

/// The state machine of the master: [`step()`] and nothing else.
#[derive(Debug)]
pub enum Rules {}

impl Machine for Rules {
    type State = State;
    type Event = Event;
    type Effect = Effect;
    type Time = Timestamp;

    const PROGRAM: &'static str = "allexmaster";
    const STEP_VERSION: u32 = STEP_VERSION;

    fn kind(event: &Event) -> u16 {
        event.kind()
    }

    fn step(state: State, stamp: Stamp, event: Event) -> (State, Vec<Effect>) {
        step(state, Recorded::new(stamp, event))
    }

    fn next_deadline(state: &State) -> Option<Timestamp> {
        state.next_deadline().map(|(at, _)| at)
    }

    fn deadline_reached() -> Event {
        Event::DeadlineReached
    }

    fn clock_jumped(by: u64) -> Option<Event> {
        Some(Event::ClockJumped { by })
    }
}
