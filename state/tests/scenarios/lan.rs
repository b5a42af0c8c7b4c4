//! The connection to the LanManager.

use allexmaster_state::Outcome;

use crate::story::{Stage, Story};

#[test]
fn the_lan_manager_is_dialed_again_and_again() {
    let mut story = Story::from_nothing(
        "Nobody answers: dial, pause, dial, each pause twice the last one, up to the longest.",
    );
    story.given(|story| {
        story.load();
    });
    story.start();
    for _ in 0..7 {
        story.disconnect().wakes();
    }
    story.entropy(u32::MAX).disconnect().end("dial");
}

#[test]
fn nothing_that_runs_is_stopped_or_started_twice_when_the_lan_manager_goes_away() {
    let mut story = Story::about(
        "The connection ends with a service in each activity: all claims end, all children stay, and each is announced again.",
    );
    story.one_at_each_stage();
    story.disconnect();
    story.note("children go on without it");
    story
        .ports_are_free("Probing")
        .spawned("Spawning")
        .ready("Starting");
    story.reconnect();
    story.lists(&[
        "Approved",
        "Bidding",
        "Probing",
        "Responding",
        "Spawning",
        "Starting",
    ]);
    story.note("those that are up respond as soon as they are challenged");
    story
        .challenged("Approved")
        .challenged("Starting")
        .challenged("Probing");
    story.end("lan_lost");
}

#[test]
fn what_is_not_needed_after_a_reconnect_is_stopped_unless_it_was_approved() {
    let mut story = Story::about(
        "After the reconnect nothing is listed: what was never approved ends, what was approved once stays.",
    );
    story.one_at_each_stage();
    story
        .disconnect()
        .reconnect()
        .lists(&[])
        .end("lan_back_without_needs");
}

#[test]
fn an_end_that_the_lan_manager_missed_is_told_until_it_has_heard() {
    let mut story = Story::about(
        "A service goes down while the LanManager is away, and the connection is lost before it has heard: told again, and only then bid for.",
    );
    story.brought_to("Time", Stage::Approved);
    story.disconnect().exits("Time", Outcome::Exited(1));
    story.reconnect().lists(&["Time"]);
    story.note("lost again before the answer");
    story
        .disconnect()
        .reconnect()
        .lists(&["Time"])
        .down_heard("Time")
        .end("down_report");
}

#[test]
fn a_pause_that_ends_before_the_lan_manager_has_heard_leads_to_no_bid() {
    let mut story = Story::about(
        "The backoff is over, but the LanManager has yet to hear of the end: the bid waits.",
    );
    story.brought_to("Time", Stage::Approved);
    story.given(|story| {
        story
            .exits("Time", Outcome::Exited(1))
            .appears("Time")
            .down_heard("Time");
        story.goes_on("Time", Stage::Approved);
    });
    story
        .exits("Time", Outcome::Exited(1))
        .appears("Time")
        .wakes()
        .down_heard("Time");
    story.end("pause_before_down_report");
}
