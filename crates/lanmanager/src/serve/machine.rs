//! The rules as a machine that the journal remembers.

use allexmaster_journal::{Machine, Stamp};

use crate::rules;

/// The LanManager as the journal sees it.
#[derive(Clone, Copy, Debug)]
pub struct Rules;

impl Machine for Rules {
    type State = rules::State;
    type Event = rules::Event;
    type Effect = rules::Effect;

    const PROGRAM: &'static str = "allexlanmanager";
    const STEP_VERSION: u32 = 1;

    fn kind(event: &rules::Event) -> u16 {
        rules::kind(event)
    }

    fn step(
        state: rules::State,
        stamp: Stamp,
        event: rules::Event,
    ) -> (rules::State, Vec<rules::Effect>) {
        rules::step(state, stamp, event)
    }

    fn next_deadline(state: &rules::State) -> Option<u64> {
        state.next_deadline().map(|(at, _)| at)
    }

    fn deadline_reached() -> rules::Event {
        rules::Event::DeadlineReached
    }
}
