//! Needs: withdrawn, changed, for others, unknown.

use std::sync::Arc;

use allexmaster_state::{ModuleName, Need, Outcome};

use crate::story::{ADDRESS, Stage, Story, launcher, need};

#[test]
fn a_need_withdrawn_in_any_activity_ends_cleanly() {
    let mut story = Story::about(
        "Withdrawn while bidding, probing, spawning, starting, checked, and when approved: the last two are no withdrawal but the approval itself.",
    );
    story.one_at_each_stage();
    for stage in Stage::ALL {
        story.note(stage.name()).withdrawn(stage.name());
    }
    story.note("the cancelled child exists now, and is told to end");
    story
        .spawned("Spawning")
        .exits("Spawning", Outcome::Signaled(15));
    story
        .exits("Starting", Outcome::Signaled(15))
        .end("withdrawn");
}

#[test]
fn a_need_withdrawn_while_nothing_runs_is_forgotten_after_a_while() {
    let mut story =
        Story::about("Withdrawn in a pause: it waits to be asked again, and is forgotten.");
    story.brought_to("Time", Stage::Spawning);
    story
        .not_spawned("Time")
        .withdrawn("Time")
        .wakes()
        .wakes()
        .end("forgotten");
}

#[test]
fn a_need_that_comes_back_while_its_child_is_cancelled_gets_a_new_child() {
    let mut story = Story::about(
        "Withdrawn while its child is being forked, and listed again: the child still ends, then a new bid.",
    );
    story.brought_to("Time", Stage::Spawning);
    story.withdrawn("Time").appears("Time").spawned("Time");
    story
        .exits("Time", Outcome::Signaled(15))
        .end("back_while_cancelled");
}

#[test]
fn a_cancelled_child_that_never_came_to_be_leaves_nothing() {
    let mut story = Story::about(
        "Withdrawn while its child is being forked, and the fork fails: no failure of the service.",
    );
    story.brought_to("Time", Stage::Spawning);
    story
        .withdrawn("Time")
        .not_spawned("Time")
        .end("cancelled_and_not_spawned");
}

fn other_module(name: &str) -> Need {
    let mut need = need(name);
    need.module = ModuleName::from("exec:web");
    need
}

#[test]
fn another_module_under_the_same_name_replaces_what_runs() {
    let mut story = Story::about(
        "The LanManager asks for another module under a name, in each activity, and after a failure.",
    );
    story.given(|story| {
        let web = ModuleName::from("exec:web");
        story.set(|settings| {
            settings.launchers.insert(web, launcher(true));
        });
    });
    story
        .one_at_each_stage()
        .brought_to("Failing", Stage::Spawning);
    story.given(|story| {
        story.not_spawned("Failing");
    });
    for stage in Stage::ALL {
        story
            .note(stage.name())
            .appears_as(other_module(stage.name()));
    }
    story
        .note("after a failure")
        .appears_as(other_module("Failing"));
    story.note("the old ones have ended");
    story
        .exits("Approved", Outcome::Exited(0))
        .down_heard("Approved")
        .end("module_changed");
}

#[test]
fn a_module_that_the_configuration_does_not_allow_is_never_started() {
    let mut story = Story::about("No launcher for the module: no bid, and status can tell why.");
    story.appears_as(other_module("Web")).end("no_launcher");
}

#[test]
fn a_need_changed_to_an_unknown_module_while_a_bid_is_open_is_not_started() {
    let mut story = Story::about(
        "The bid was made for a module that this machine has; the need now names one that it has not.",
    );
    story.brought_to("Web", Stage::Listed);
    story
        .appears_as(other_module("Web"))
        .end("module_changed_to_unknown");
}

#[test]
fn only_needs_for_this_machine_are_bid_for() {
    let mut story = Story::about(
        "Needs for another address, for a network with us in it, for our address; then the first one is moved to us, and the last one away.",
    );
    let at = |name: &str, address: &str| Need {
        address: Some(Arc::from(address)),
        ..need(name)
    };
    story.appears_as(at("Other", "10.0.0.9"));
    story.appears_as(at("Net", "10.0.0.0/24"));
    story.appears_as(at("Own", ADDRESS));
    story.appears_as(at("Other", ADDRESS));
    story.appears_as(at("Own", "10.0.0.9")).end("addresses");
}
