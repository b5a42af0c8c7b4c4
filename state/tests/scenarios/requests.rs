//! Local calls.

use std::sync::Arc;

use allexmaster_state::{Event, InstanceName, LanAnswer, Outcome, RequestId};
use serde_json::json;

use crate::story::{Stage, Story};

fn add(request: u64) -> Event {
    Event::AddNeedRequested {
        request: RequestId(request),
        need: json!({ "instancename": "Web" }),
        sender: None,
    }
}

fn remove(request: u64) -> Event {
    Event::RemoveNeedRequested {
        request: RequestId(request),
        instance: InstanceName::from("Web"),
        sender: None,
    }
}

#[test]
fn calls_for_the_lan_manager_are_relayed_and_answered() {
    let mut story = Story::about(
        "Add and remove a need: relayed, done, refused; a late second answer changes nothing.",
    );
    let done = Event::LanCallAnswered {
        request: RequestId(10),
        answer: LanAnswer::Done(json!("Web")),
    };
    story.happens(add(10)).happens(done.clone());
    story.happens(remove(11)).happens(Event::LanCallAnswered {
        request: RequestId(11),
        answer: LanAnswer::Refused {
            code: Some(Arc::from("NO_NEED")),
            message: Arc::from("there is no need of this name"),
        },
    });
    story.happens(done).end("relay");
}

#[test]
fn calls_wait_for_the_lan_manager_within_bounds() {
    let mut story = Story::about(
        "The LanManager is away: the call waits, is sent after the reconnect, and again after the next one; silence and absence have an end.",
    );
    story.disconnect().happens(add(10)).reconnect();
    story.disconnect().reconnect();
    story.note("no answer in time");
    story.given(|story| {
        story.passes(30_000);
    });
    story.wakes();
    story.given(|story| {
        story.disconnect();
    });
    story.happens(remove(11));
    story.given(|story| {
        story.wakes().passes(30_000);
    });
    story
        .note("away for the whole time")
        .wakes()
        .end("relay_waits");
}

#[test]
fn too_many_waiting_calls_are_refused() {
    let mut story = Story::about("256 calls wait already: the next one is refused.");
    story.given(|story| {
        for request in 0..256 {
            story.happens(add(1_000 + request));
        }
    });
    story.happens(add(10)).end("too_many_calls");
}

#[test]
fn a_restart_does_what_the_activity_asks_for() {
    let mut story = Story::about(
        "A restart in each activity, of what pauses, of what is being stopped, and of what nobody knows.",
    );
    story
        .one_at_each_stage()
        .brought_to("Pausing", Stage::Spawning);
    story.given(|story| {
        story.not_spawned("Pausing");
    });
    for stage in Stage::ALL {
        story.note(stage.name()).restart(stage.name());
    }
    story.note("a pause is over").restart("Pausing");
    story.note("being stopped already").restart("Approved");
    story.note("unknown").restart("Nobody");
    story.note("the cancelled child, and one that ended");
    story
        .spawned("Spawning")
        .exits("Starting", Outcome::Exited(0))
        .end("operator_restart");
}

#[test]
fn a_stopped_service_is_held_until_it_is_started() {
    let mut story = Story::about(
        "A stop in each activity: no bid and no child any more, and the need is left to others; `start` ends that, `restart` does not.",
    );
    story
        .one_at_each_stage()
        .brought_to("Pausing", Stage::Spawning);
    story.given(|story| {
        story.not_spawned("Pausing");
    });
    for stage in Stage::ALL {
        story.note(stage.name()).hold(stage.name());
    }
    story.note("one that paused").hold("Pausing");
    story.note("stopped already").hold("Approved");
    story.note("unknown").hold("Nobody");
    story.note("they end");
    story
        .spawned("Spawning")
        .exits("Starting", Outcome::Signaled(15));
    story
        .note("a restart leaves it stopped")
        .restart("Starting");
    story.note("started again").release("Starting");
    story.end("held");
}

#[test]
fn a_hold_outlives_the_master_and_the_connection() {
    let mut story = Story::about(
        "A held service: the connection is lost and back, the need listed again, the master started again; it is still held.",
    );
    story.given(|story| {
        story.brought_to("Clock", Stage::Approved);
        story.hold("Clock").exits("Clock", Outcome::Signaled(15));
    });
    story
        .note("the LanManager goes and comes")
        .disconnect()
        .reconnect();
    story.note("another master").start_finding(&[]);
    story.end("held_over_a_restart");
}
