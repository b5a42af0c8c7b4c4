//! The master starts again.

use allexmaster_state::Event;
use allexmaster_state::{Ended, Incarnation, Outcome, RequestId, Survivor};
use serde_json::json;

use crate::story::{Stage, Story};

#[test]
fn living_children_are_adopted_in_every_activity() {
    let mut story = Story::about(
        "The master is killed with a service in each activity and comes back: what lives is adopted (also the child that was forked and never recorded), what was never forked waits, and calls are forgotten.",
    );
    story
        .one_at_each_stage()
        .brought_to("Stopping", Stage::Starting);
    story
        .brought_to("Cancelled", Stage::Spawning)
        .brought_to("Killed", Stage::Starting);
    story.given(|story| {
        story
            .restart("Stopping")
            .restart("Cancelled")
            .restart("Killed")
            .waits(10_000);
        story
            .restart("Starting")
            .exits("Starting", Outcome::Exited(0));
        story.goes_on("Starting", Stage::Starting).passes(5_000);
        story.happens(Event::AddNeedRequested {
            request: RequestId(10),
            need: json!({ "instancename": "Web" }),
            sender: None,
        });
    });
    story.start_finding(&[
        "Approved",
        "Cancelled",
        "Killed",
        "Responding",
        "Spawning",
        "Starting",
        "Stopping",
    ]);
    story
        .connect()
        .lists(&["Approved", "Responding", "Starting"])
        .end("master_back");
}

#[test]
fn lost_children_are_replaced_and_reported() {
    let mut story = Story::about(
        "The master comes back and finds no child: of one the system can tell the exit code, the others ended unseen.",
    );
    story
        .one_at_each_stage()
        .brought_to("Stopping", Stage::Starting);
    story.given(|story| {
        story.restart("Stopping");
    });
    let incarnation = story.attempt("Approved");
    let outcome = Outcome::Exited(7);
    story.start_with(
        Vec::new(),
        vec![Ended {
            incarnation,
            outcome,
        }],
    );
    story
        .connect()
        .lists(&["Approved"])
        .down_heard("Approved")
        .end("master_back_children_lost");
}

#[test]
fn a_child_that_ends_with_the_master_before_has_not_failed() {
    let mut story = Story::about(
        "A master is back before the children of the killed one have noticed: those that end by themselves then are started again without a pause, however often. One that fails then has failed.",
    );
    story.brought_to("Ends", Stage::Approved);
    story.brought_to("Fails", Stage::Approved);
    story.given(|story| {
        for name in ["Ends", "Fails"] {
            story.exits(name, Outcome::Exited(1));
            story.lists(&["Ends", "Fails"]).down_heard(name);
            story.goes_on(name, Stage::Approved);
        }
        story.passes(1_000);
    });
    story.start_finding(&["Ends", "Fails"]);
    story
        .passes(300)
        .exits("Ends", Outcome::Exited(0))
        .exits("Fails", Outcome::Exited(1))
        .end("ends_with_the_master_before");
}

#[test]
fn after_a_reboot_nothing_of_before_lives() {
    let mut story =
        Story::about("The machine was restarted: the children are gone, and the reason says so.");
    story.brought_to("Time", Stage::Approved);
    story.reboot().end("reboot");
}

#[test]
fn a_survivor_that_nobody_knows_is_killed() {
    let mut story = Story::about(
        "A process bears the name of an attempt that the journal no longer knows: nobody would ever end it.",
    );
    story.brought_to("Time", Stage::Approved);
    let stray = Survivor {
        incarnation: Incarnation {
            sequence: 3,
            index: 0,
        },
        identity: story.new_process(),
    };
    let known = story.survivor("Time");
    story
        .start_with(vec![stray, known], Vec::new())
        .end("unknown_survivor");
}

#[test]
fn a_child_of_a_child_is_not_mistaken_for_it() {
    let mut story = Story::about(
        "A child's own children bear its name too. While it lives they are its own business; when it is gone they are ended.",
    );
    story.brought_to("Lives", Stage::Approved);
    story.brought_to("Gone", Stage::Approved);
    story.brought_to("Forked", Stage::Spawning);
    let mut of = |name: &str| Survivor {
        incarnation: story.attempt(name),
        identity: story.new_process(),
    };
    let grandchildren = vec![of("Lives"), of("Gone")];
    let (first, second) = (of("Forked"), of("Forked"));
    let mut survivors = grandchildren;
    survivors.push(story.survivor("Lives"));
    survivors.extend([second, first]);
    story
        .start_with(survivors, Vec::new())
        .end("children_of_children");
}

#[test]
fn what_was_not_told_before_the_end_is_told_at_the_next_start() {
    let mut story = Story::about(
        "The master stopped while the LanManager was away: it is told at the next start, and the service is bid for after that.",
    );
    story.brought_to("Time", Stage::Approved);
    story.given(|story| {
        story.disconnect().stop().exits("Time", Outcome::Exited(0));
    });
    story
        .start()
        .connect()
        .lists(&["Time"])
        .down_heard("Time")
        .end("told_at_next_start");
}
