//! The clock is set forward, or the machine slept.

use allexmaster_state::{Event, Outcome, Timestamp};

use crate::story::{Stage, Story};

const YEAR: u64 = 365 * 24 * 3_600_000;

#[test]
fn time_that_nobody_lived_through_takes_nothing_from_any_deadline() {
    let mut story = Story::about("The clock is set forward by a year.");
    story
        .one_at_each_stage()
        .brought_to("Stopping", Stage::Starting)
        .brought_to("Crashed", Stage::Starting);
    story
        .restart("Stopping")
        .exits("Crashed", Outcome::Exited(1))
        .disconnect();
    let before: Vec<_> = story
        .state
        .deadlines
        .iter()
        .map(|(at, reason)| (at.plus(YEAR), reason.clone()))
        .collect();
    assert!(
        before.len() >= 4,
        "of children, ports and the dial: {before:?}"
    );
    story.happens(Event::ClockJumped { by: YEAR });
    let after: Vec<_> = story
        .state
        .deadlines
        .iter()
        .map(|(at, reason)| (at, reason.clone()))
        .collect();
    assert_eq!(after, before);
    let next = story.state.next_deadline().map(|(at, _)| at);
    assert!(next > Some(Timestamp(YEAR)));
}
