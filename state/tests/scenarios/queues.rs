//! Bounds, and who comes first.

use std::sync::Arc;

use allexmaster_state::{BidAnswer, Outcome};

use crate::story::{Stage, Story};

#[test]
fn needs_are_bid_for_in_an_order_of_each_masters_own() {
    let mut story = Story::about(
        "Two bids at once, four needs: neither by name nor by arrival, and the same in every replay.",
    );
    story.given(|story| {
        story.set(|settings| settings.bids_at_once = 2);
    });
    story.lists(&["A", "B", "C", "D"]).end("own_order");
}

#[test]
fn a_bid_that_only_waits_makes_room_for_a_need_that_was_not_bid_for() {
    let mut story = Story::about(
        "One bid at once, two needs, both being started elsewhere: each is bid for in turn, with twice the patience each time; with one need left, its bid waits on and nothing is due.",
    );
    story.given(|story| {
        story.set(|settings| settings.bids_at_once = 1);
    });
    story.lists(&["A", "B"]).wakes().wakes().wakes();
    story.note("the other is withdrawn, and forgotten");
    story
        .withdrawn("A")
        .waits(60_000)
        .is_at_rest()
        .end("bid_makes_room");
}

#[test]
fn what_waited_for_a_port_and_now_for_a_place_has_time_passing_between_its_looks() {
    let mut story = Story::about(
        "Ports for two, one bid at once: when a port is free again while another bid only waits, the need that waited for the port is next in line, and the journal does not fill.",
    );
    story.given(|story| {
        story.set(|settings| {
            settings.bids_at_once = 1;
            settings.port_range_size = 2;
        });
        story.brought_to("X", Stage::Approved);
        story.appears("A");
        story.appears("B");
        story.withdrawn("X").exits("X", Outcome::Exited(0));
    });
    // The port of X cools down; then the bid that only waits makes room, and so on.
    for _ in 0..6 {
        // A patience that was over already is acted on at once, and then nothing more is due now.
        story.wakes();
        if story.is_due_now() {
            story.wakes();
        }
        assert!(!story.is_due_now());
    }
    story.end("waits_for_a_place_with_a_port");
}

#[test]
fn needs_that_cannot_be_placed_wait_without_a_deadline() {
    let mut story = Story::about("Thousands of needs, ports for ten.");
    story.given(|story| {
        story.set(|settings| settings.port_range_size = 10);
        let names: Vec<String> = (0..5_000).map(|number| format!("N{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        story.lists(&names);
        for _ in 0..10 {
            let bid = names.iter().find(|name| story.has_bid(name));
            let name = bid.expect("a bid while there is a port");
            story.goes_on(name, Stage::Approved);
        }
        assert!(
            !names.iter().any(|name| story.has_bid(name)),
            "no port, no bid"
        );
        story.is_at_rest();
    });
}

#[test]
fn bids_are_bounded_and_go_to_those_who_waited_longest() {
    let mut story = Story::about(
        "Two bids at once, five needs: each place that becomes free goes to the one that has waited longest; who failed stands at the end again.",
    );
    story.given(|story| {
        story.set(|settings| {
            settings.bid_patience = 0;
            settings.bids_at_once = 2;
        });
    });
    story.lists(&["A", "B", "C"]).appears("AA").appears("D");
    story.bid_is("A", BidAnswer::Failed(Arc::from("timeout")));
    story.wakes();
    story
        .challenged("B")
        .challenged("C")
        .bid_is("AA", BidAnswer::Failed(Arc::from("timeout")));
    story.end("bids_at_once");
}

#[test]
fn starts_are_bounded_and_a_bid_that_is_won_but_not_started_counts_as_open() {
    let mut story = Story::about(
        "One start at once, two bids at once: nobody hoards needs that another machine could start.",
    );
    story.given(|story| {
        story.set(|settings| {
            settings.bid_patience = 0;
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
