//! Bids, challenges, responses.

use std::sync::Arc;

use allexmaster_state::{BidAnswer, Outcome, ResponseAnswer};

use crate::story::{Stage, Story};

#[test]
fn a_need_is_satisfied_from_an_empty_journal_on() {
    let mut story = Story::from_nothing(
        "From the first start to a running service: settings, dial, needs, bid, ports, child, response, approval.",
    );
    story.load().start().connect().lists(&["Time"]);
    story.goes_on("Time", Stage::Approved).end("first_start");
}

#[test]
fn a_bid_that_comes_to_nothing_is_made_again_after_a_pause() {
    let mut story =
        Story::about("A bid fails, and fails again: each time a pause, the second one longer.");
    story
        .appears("Time")
        .bid_is("Time", BidAnswer::Failed(Arc::from("timeout")))
        .wakes();
    story.bid_is("Time", BidAnswer::Failed(Arc::from("timeout")));
    story.wakes().end("bid_fails");
}

#[test]
fn a_bid_that_is_turned_down_is_not_made_again_before_the_need_is_listed_anew() {
    let mut story = Story::about(
        "The LanManager turns a bid down: it would do so again, so nothing is due until it speaks of the need again.",
    );
    story.appears("Time").bid_is("Time", BidAnswer::Rejected);
    story.reason("Time").is_at_rest();
    story.appears("Time").end("bid_rejected");
}

#[test]
fn a_bid_is_lost_with_the_connection() {
    let mut story = Story::about(
        "The connection ends while a bid is open: another is made after the reconnect.",
    );
    story.brought_to("Time", Stage::Listed);
    story
        .disconnect()
        .reconnect()
        .lists(&["Time"])
        .end("bid_lost");
}

#[test]
fn a_service_that_cannot_be_reached_is_stopped_after_three_checks() {
    let mut story = Story::about(
        "The LanManager reaches none of the ports: the same bid is answered again, and the third time it is enough.",
    );
    story.brought_to("Time", Stage::Responding);
    for _ in 0..2 {
        story
            .response_is("Time", ResponseAnswer::Unreachable)
            .wakes();
    }
    story.response_is("Time", ResponseAnswer::Unreachable);
    story
        .exits("Time", Outcome::Exited(0))
        .waits(1_000_000)
        .end("unreachable");
}

#[test]
fn a_refused_service_is_stopped_and_tried_again() {
    let mut story =
        Story::about("The LanManager refuses a response: the child ends, a pause, another bid.");
    story.brought_to("Time", Stage::Responding);
    story.response_is("Time", ResponseAnswer::Refused(Arc::from("NOT_ACCEPTED")));
    story
        .exits("Time", Outcome::Signaled(15))
        .wakes()
        .end("refused");
}

#[test]
fn a_response_without_an_answer_leaves_the_child_alone() {
    let mut story = Story::about(
        "No answer to a response: whether it was approved is unknown. The child stays; while its need is listed it is announced again, and its end is reported.",
    );
    story.brought_to("Time", Stage::Responding);
    story.response_is("Time", ResponseAnswer::Failed(Arc::from("timeout")));
    story
        .wakes()
        .challenged("Time")
        .response_is("Time", ResponseAnswer::Failed(Arc::from("timeout")));
    story.note("this time it was approved, and the need is listed no longer");
    story.withdrawn("Time");
    story
        .exits("Time", Outcome::Exited(1))
        .down_heard("Time")
        .end("response_fails");
}

#[test]
fn a_running_child_whose_bid_fails_keeps_running() {
    let mut story = Story::about(
        "The bid for a child that already runs is rejected, then fails: a pause, and another bid.",
    );
    story.brought_to("Time", Stage::Approved);
    story
        .appears("Time")
        .bid_is("Time", BidAnswer::Rejected)
        .wakes();
    story
        .bid_is("Time", BidAnswer::Failed(Arc::from("timeout")))
        .wakes();
    story
        .challenged("Time")
        .approved("Time")
        .end("bid_for_running_child_fails");
}

#[test]
fn a_need_listed_again_while_its_response_is_checked_makes_the_approval_out_of_date() {
    let mut story = Story::about(
        "The need is listed anew while the response is open: the approval counts for nothing, the child is announced again.",
    );
    story.brought_to("Time", Stage::Responding);
    story
        .appears("Time")
        .response_is("Time", ResponseAnswer::Approved);
    story
        .challenged("Time")
        .approved("Time")
        .end("listed_again_while_responding");
}

#[test]
fn a_need_listed_again_after_the_approval_is_satisfied_by_the_same_child() {
    let mut story = Story::about(
        "The LanManager has lost our row and lists the need again: the child is announced again, not started again.",
    );
    story.brought_to("Time", Stage::Approved);
    story
        .appears("Time")
        .challenged("Time")
        .approved("Time")
        .end("listed_again_when_approved");
}

#[test]
fn a_child_that_ends_while_its_response_is_checked_is_reported_down() {
    let mut story = Story::about(
        "The approval may be on the way when the child ends, or is stopped: the LanManager is told in both cases.",
    );
    story.brought_to("Time", Stage::Responding);
    story.exits("Time", Outcome::Exited(1));
    story.brought_to("Clock", Stage::Responding);
    story
        .restart("Clock")
        .exits("Clock", Outcome::Exited(0))
        .end("ends_while_responding");
}

#[test]
fn the_status_counts_running_services_that_the_lan_manager_does_not_know_of() {
    let mut story = Story::about("Services run, the connection ends, and comes back.");
    let unannounced = |story: &Story| story.state.lan_status().unannounced;

    assert_eq!(unannounced(&story), 0, "nothing runs");
    story.brought_to("Time", Stage::Approved);
    assert_eq!(unannounced(&story), 0, "the only one is approved");
    story.brought_to("Storage", Stage::Starting);
    assert_eq!(unannounced(&story), 0, "one more starts, but does not run");
    story.ready("Storage");
    assert_eq!(unannounced(&story), 1, "it runs, and its response is out");
    story.disconnect();
    assert_eq!(
        unannounced(&story),
        2,
        "without a connection, none is known"
    );
}
