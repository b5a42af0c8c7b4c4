//! The orderly end.

use allexmaster_state::{Event, Outcome, RequestId, StopSource};
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
fn a_repeated_request_takes_nothing_from_the_grace() {
    let mut story = Story::about(
        "Whoever asks again, and however often, the child keeps its grace. Said to be urgent, it is killed.",
    );
    story.brought_to("Time", Stage::Starting);
    story
        .stop()
        .stop()
        .asked_to_stop(StopSource::Signal, false)
        .asked_to_stop(StopSource::Signal, false)
        .asked_to_stop(StopSource::Operator, true)
        .exits("Time", Outcome::Signaled(9))
        .end("stop_urgent");
}

#[test]
fn an_urgent_stop_leaves_no_grace_to_a_child_that_is_just_being_forked() {
    let mut story =
        Story::about("The child appears when the stop has begun, and is killed at once.");
    story.brought_to("Time", Stage::Spawning);
    story
        .asked_to_stop(StopSource::Operator, true)
        .spawned("Time")
        .wakes()
        .exits("Time", Outcome::Signaled(9))
        .end("stop_urgent_spawning");
}

#[test]
fn ctrl_c_is_urgent_when_it_is_pressed_again_after_a_while() {
    let mut story = Story::about(
        "One Ctrl-C can arrive twice, within a moment: it is one. A second later somebody wants it at once.",
    );
    story.brought_to("Time", Stage::Starting);
    story
        .asked_to_stop(StopSource::Interrupt, false)
        .waits(999)
        .asked_to_stop(StopSource::Interrupt, false)
        .waits(1)
        .asked_to_stop(StopSource::Signal, false)
        .asked_to_stop(StopSource::Interrupt, false)
        .exits("Time", Outcome::Signaled(9))
        .end("stop_interrupted");
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
fn an_urgent_request_ends_the_farewell() {
    let mut story = Story::about("Who is in a hurry does not wait for the LanManager either.");
    story.brought_to("Time", Stage::Approved);
    story
        .stop()
        .exits("Time", Outcome::Exited(0))
        .stop()
        .asked_to_stop(StopSource::Operator, true)
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
