//! The rules, as the journal knows them.

use allexmaster_journal::{Inbox, Machine, Stamp};
use allexmaster_state::{Effect, Event, Recorded, STEP_VERSION, State, Timestamp, step};

use crate::sink::EventSink;

/// The state machine of the master: [`step`] and nothing else.
#[derive(Debug)]
pub enum Rules {}

/// The way in to the loop: every driver reports through one of these.
pub type EventInbox = Inbox<Rules>;

impl Machine for Rules {
    type State = State;
    type Event = Event;
    type Effect = Effect;

    const PROGRAM: &'static str = "allexmaster";
    const STEP_VERSION: u32 = STEP_VERSION;

    fn kind(event: &Event) -> u16 {
        event.kind()
    }

    fn step(state: State, stamp: Stamp, event: Event) -> (State, Vec<Effect>) {
        let Stamp {
            sequence,
            at,
            noise,
        } = stamp;
        step(
            state,
            Recorded {
                sequence,
                at: Timestamp(at),
                noise,
                event,
            },
        )
    }

    fn next_deadline(state: &State) -> Option<u64> {
        state.next_deadline().map(|(at, _)| at.0)
    }

    fn deadline_reached() -> Event {
        Event::DeadlineReached
    }
}

impl EventSink for EventInbox {
    async fn send(&self, event: Event) {
        // Where the loop has ended, the program ends.
        let _ = Self::send(self, event).await;
    }
}
