//! The rules as a machine that a journal records.

use allexmaster_machine::{Machine, Stamp, Wall};

use super::{Effect, Event, State, kind, step};

/// The state machine of the LanManager: [`step()`] and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Rules;

impl Machine for Rules {
    type State = State;
    type Event = Event;
    type Effect = Effect;
    type Time = Wall;

    const PROGRAM: &'static str = "allexlanmanager";
    const STEP_VERSION: u32 = 1;

    fn kind(event: &Event) -> u16 {
        kind(event)
    }

    fn step(state: State, stamp: Stamp, event: Event) -> (State, Vec<Effect>) {
        step(state, stamp, event)
    }

    fn next_deadline(state: &State) -> Option<Wall> {
        state.next_deadline().map(|(at, _)| at)
    }

    fn deadline_reached() -> Event {
        Event::DeadlineReached
    }
}
