//! The engine comes back to connections that outlived it.

use allexmaster_state::{Ended, Event, Incarnation, Outcome, RequestId, Survivor};
use serde_json::json;

use crate::story::{Stage, Story};

/// A service in each activity and each claim, a call that waits, and one that was told to end
/// before it was forked.
fn one_of_everything(story: &mut Story) {
    story
        .one_at_each_stage()
        .brought_to("Stopping", Stage::Starting)
        .brought_to("Killed", Stage::Starting)
        .brought_to("Cancelled", Stage::Spawning)
        .brought_to("BackingOff", Stage::Starting)
        .brought_to("Waiting", Stage::Listed);
    story.given(|story| {
        story
            .exits("BackingOff", Outcome::Exited(1))
            .restart("Killed")
            .passes(8_000)
            .restart("Stopping")
            .restart("Cancelled")
            .waits(3_000);
        story.happens(Event::AddNeedRequested {
            request: RequestId(10),
            need: json!({ "instancename": "Web" }),
            sender: None,
        });
        story.passes(500);
    });
}

fn ended(story: &Story, name: &str, outcome: Outcome) -> Ended {
    Ended {
        incarnation: story.attempt(name),
        outcome,
    }
}

#[test]
fn an_engine_that_comes_back_goes_on_where_it_was() {
    let mut story = Story::about(
        "The engine is killed with a service in each activity and comes back, all children alive: claims, calls and deadlines stay, nothing is dialed, bid or answered again; only the drivers of the children are asked again.",
    );
    one_of_everything(&mut story);
    story
        .resume_finding(&["Approved", "Killed", "Responding", "Starting", "Stopping"])
        .approved("Responding")
        .ports_are_free("Spawning")
        .spawned("Spawning")
        .end("resumed");
}

#[test]
fn children_that_were_forked_but_not_recorded_go_on() {
    let mut story = Story::about(
        "The engine is killed between fork and record: the child is taken over; one that was to be stopped as soon as it exists is stopped.",
    );
    story
        .brought_to("Spawning", Stage::Spawning)
        .brought_to("Cancelled", Stage::Spawning);
    story.given(|story| {
        story.restart("Cancelled");
    });
    story
        .resume_finding(&["Spawning", "Cancelled"])
        .ready("Spawning")
        .end("resumed_after_fork");
}

#[test]
fn children_that_ended_while_no_engine_ran_have_ended_as_any_other() {
    let mut story = Story::about(
        "Nobody lives when the engine is back, and whoever kept the exit codes tells them: each is the failure, or the end, that it was; what was listed is reported down on the connection that is still there. What was only ordered is tested and ordered again.",
    );
    one_of_everything(&mut story);
    let gone = vec![
        ended(&story, "Approved", Outcome::Signaled(11)),
        ended(&story, "Responding", Outcome::Exited(0)),
        ended(&story, "Starting", Outcome::Exited(2)),
        ended(&story, "Stopping", Outcome::Exited(0)),
        ended(&story, "Killed", Outcome::Signaled(9)),
    ];
    story
        .come_back(true, Vec::new(), gone)
        .down_heard("Approved")
        .end("resumed_children_ended");
}

#[test]
fn a_child_that_ended_before_its_fork_was_recorded_counts_as_forked_and_failed() {
    let mut story = Story::about(
        "A child was forked and ended at once, while the engine was away: it failed, so there is a pause, and what it started itself is not taken for it. Of another one nobody can tell more than that it is gone.",
    );
    story
        .brought_to("Spawning", Stage::Spawning)
        .brought_to("Approved", Stage::Approved);
    let gone = vec![ended(&story, "Spawning", Outcome::Exited(1))];
    let left = vec![story.survivor("Spawning")];
    story
        .come_back(true, left, gone)
        .end("resumed_child_failed_at_once");
}

#[test]
fn an_engine_that_was_killed_while_it_dialed_or_waited_to_dial_leaves_that_as_it_was() {
    let mut story = Story::about(
        "The connection is being made, and then is away: the dial is still under way, or its time stands.",
    );
    story.brought_to("Time", Stage::Approved);
    story.given(|story| {
        story.disconnect();
    });
    story.resume_finding(&["Time"]).wakes();
    story
        .resume_finding(&["Time"])
        .connect()
        .lists(&["Time"])
        .end("resumed_while_dialing");
}

#[test]
fn a_shutdown_goes_on() {
    let mut story = Story::about(
        "The engine is killed while the master stops: children that ended count, the others are told again, and at the end it ends, also where it is killed once more on its way out.",
    );
    story
        .brought_to("Ended", Stage::Approved)
        .brought_to("Deaf", Stage::Approved);
    story.given(|story| {
        story.stop();
    });
    let gone = vec![ended(&story, "Ended", Outcome::Exited(0))];
    let alive = vec![story.survivor("Deaf")];
    story
        .come_back(true, alive, gone)
        .down_heard("Ended")
        .exits("Deaf", Outcome::Exited(0))
        .down_heard("Deaf")
        .resume_finding(&[])
        .end("resumed_shutdown");
}

#[test]
fn strays_are_killed_at_a_return_too() {
    let mut story = Story::about(
        "A process bears the name of an attempt that the journal no longer knows; another the name of a child that is gone.",
    );
    story
        .brought_to("Lives", Stage::Approved)
        .brought_to("Gone", Stage::Approved);
    let unknown = Survivor {
        incarnation: Incarnation {
            sequence: 3,
            index: 0,
        },
        identity: story.new_process(),
    };
    let mut of = |name: &str| Survivor {
        incarnation: story.attempt(name),
        identity: story.new_process(),
    };
    let grandchildren = [of("Lives"), of("Gone")];
    let known = story.survivor("Lives");
    let mut alive = vec![unknown, known];
    alive.extend(grandchildren);
    story
        .come_back(true, alive, Vec::new())
        .end("resumed_strays");
}

#[test]
fn what_calls_itself_a_return_of_another_run_is_a_start() {
    let mut story = Story::about(
        "The journal knows another run of the master: whatever the program believes, the connections are not those of the state.",
    );
    story.brought_to("Time", Stage::Approved);
    story
        .renumber()
        .resume_finding(&["Time"])
        .end("resumed_by_another_run");
}
