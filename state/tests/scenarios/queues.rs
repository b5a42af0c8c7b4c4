//! Bounds, and who comes first.

use allexmaster_state::{BidAnswer, Outcome};

use crate::story::Story;

#[test]
fn bids_are_bounded_and_go_to_those_who_waited_longest() {
    let mut story = Story::about(
        "Two bids at once, five needs: each place that becomes free goes to the one that has waited longest; who failed stands at the end again.",
    );
    story.given(|story| {
        story.set(|settings| settings.bids_at_once = 2);
    });
    story.lists(&["A", "B", "C"]).appears("AA").appears("D");
    story.bid_is("A", BidAnswer::Rejected);
    story.wakes();
    story
        .challenged("B")
        .challenged("C")
        .bid_is("AA", BidAnswer::Rejected);
    story.end("bids_at_once");
}

#[test]
fn starts_are_bounded_and_a_bid_that_is_won_but_not_started_counts_as_open() {
    let mut story = Story::about(
        "One start at once, two bids at once: nobody hoards needs that another machine could start.",
    );
    story.given(|story| {
        story.set(|settings| {
            settings.bids_at_once = 2;
            settings.starts_at_once = 1;
        });
    });
    story.lists(&["A", "B", "C", "D"]);
    story.challenged("A").challenged("B").challenged("C");
    story.note("the first one is up: its place goes to the next, and a bid is free");
    story
        .ports_are_free("A")
        .spawned("A")
        .ready("A")
        .end("starts_at_once");
}

#[test]
fn a_service_that_fails_holds_up_nobody() {
    let mut story = Story::about(
        "One start at once: the child that fails makes room at once, while it pauses.",
    );
    story.given(|story| {
        story.set(|settings| settings.starts_at_once = 1);
        story
            .lists(&["Bad", "Good"])
            .challenged("Bad")
            .challenged("Good");
        story.ports_are_free("Bad").spawned("Bad");
    });
    story
        .exits("Bad", Outcome::Exited(1))
        .end("failing_holds_up_nobody");
}
