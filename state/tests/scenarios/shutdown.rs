//! The orderly end.

use allexmaster_state::{Event, Outcome, RequestId};
use serde_json::json;

use crate::story::{Stage, Story};

#[test]
fn a_stopping_master_ends_its_children_then_says_farewell() {
    let mut story = Story::about(
        "A stop with a service in each activity: the children end, the LanManager hears of it, the program ends.",
    );
    story.one_at_each_stage();
    story.stop();
    story.note("nothing new is begun").appears("Late");
    story
        .spawned("Spawning")
        .exits("Spawning", Outcome::Exited(0));
    story
        .exits("Starting", Outcome::Exited(0))
        .exits("Responding", Outcome::Exited(0));
    story.exits("Approved", Outcome::Exited(0));
    story
        .down_heard("Responding")
        .down_heard("Approved")
        .end("stop");
}

#[test]
fn a_second_request_kills() {
    let mut story = Story::about(
        "The child does not listen; the second request does not wait for its grace to end. A third kills again.",
    );
    story.brought_to("Time", Stage::Starting);
    story
        .stop()
        .stop()
        .stop()
        .exits("Time", Outcome::Signaled(9))
        .end("stop_twice");
}

#[test]
fn a_child_that_does_not_listen_is_killed_after_its_grace() {
    let mut story = Story::about("One request only: SIGKILL comes with the end of the grace.");
    story.brought_to("Time", Stage::Starting);
    story
        .stop()
        .wakes()
        .exits("Time", Outcome::Signaled(9))
        .end("stop_grace");
}

#[test]
fn the_farewell_does_not_last_for_ever() {
    let mut story = Story::about(
        "The LanManager does not answer: the master ends without it, and remembers what it has not told.",
    );
    story.brought_to("Time", Stage::Approved);
    story.stop().exits("Time", Outcome::Exited(0));
    story.waits(2_000).end("stop_farewell");
}

#[test]
fn a_second_request_ends_the_farewell() {
    let mut story = Story::about("Who asks twice does not wait for the LanManager either.");
    story.brought_to("Time", Stage::Approved);
    story
        .stop()
        .exits("Time", Outcome::Exited(0))
        .stop()
        .end("stop_farewell_cut_short");
}

#[test]
fn the_farewell_ends_with_the_connection() {
    let mut story =
        Story::about("The connection ends during the farewell: there is nobody to wait for.");
    story.brought_to("Time", Stage::Approved);
    story
        .stop()
        .exits("Time", Outcome::Exited(0))
        .disconnect()
        .end("stop_disconnected");
}

#[test]
fn a_master_without_children_stops_at_once() {
    let mut story = Story::about(
        "Nothing runs, nothing is to be told; whoever waits gets an answer, before the end and after it.",
    );
    story.given(|story| {
        story.disconnect();
    });
    let add = |request| Event::AddNeedRequested {
        request: RequestId(request),
        need: json!({ "instancename": "Web" }),
        sender: None,
    };
    story
        .happens(add(10))
        .stop()
        .happens(add(11))
        .restart("Time")
        .stop()
        .end("stop_at_once");
}
