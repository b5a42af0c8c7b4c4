//! The life of a child, and the pauses between two of them.

use allexmaster_state::{Event, Incarnation, ModuleName, Outcome, RequestId, StopSource, Survivor};

use crate::story::{Stage, Story};

#[test]
fn a_child_that_cannot_be_started_is_tried_again() {
    let mut story =
        Story::about("The fork fails: the ports go back unused, the bid is given up, a pause.");
    story.brought_to("Time", Stage::Spawning);
    story.not_spawned("Time").wakes().end("not_spawned");
}

#[test]
fn a_child_whose_ports_do_not_answer_in_time_is_stopped_and_killed() {
    let mut story =
        Story::about("Not ready in time: SIGTERM, and after the grace SIGKILL; then a pause.");
    story.brought_to("Time", Stage::Starting);
    story
        .wakes()
        .wakes()
        .exits("Time", Outcome::Signaled(9))
        .wakes()
        .end("not_ready");
}

#[test]
fn a_child_that_lives_but_serves_nobody_is_stopped_and_replaced() {
    let mut story = Story::about(
        "A child fails while it starts, and another one after its approval: each is stopped; the one that was approved comes back without a pause, when the LanManager has heard of its end. A second report, and one on a child that ends already, change nothing.",
    );
    for stage in [Stage::Starting, Stage::Approved] {
        let name = stage.name();
        story.note(name).brought_to(name, stage);
        story
            .fails(name)
            .fails(name)
            .exits(name, Outcome::Signaled(15));
    }
    story.end("child_fails");
}

#[test]
fn a_child_that_ends_in_any_activity_is_replaced() {
    let mut story = Story::about(
        "A child ends before it was recorded, while it starts, while it is checked, and when it was approved: only the last one is replaced without a pause.",
    );
    for stage in [
        Stage::Spawning,
        Stage::Starting,
        Stage::Responding,
        Stage::Approved,
    ] {
        story.note(stage.name()).brought_to(stage.name(), stage);
        story.exits(stage.name(), Outcome::Exited(1));
    }
    story.end("child_exits");
}

#[test]
fn a_killed_service_is_back_after_the_lan_manager_has_heard() {
    let mut story = Story::about(
        "An approved child is killed: reported, listed again, heard, bid for without a pause.",
    );
    story.brought_to("Time", Stage::Approved);
    story
        .exits("Time", Outcome::Signaled(9))
        .appears("Time")
        .down_heard("Time");
    story.given(|story| {
        story.goes_on("Time", Stage::Approved);
    });
    story.note("it ends a second time before it was stable: now there is a pause");
    story
        .exits("Time", Outcome::Exited(1))
        .down_heard("Time")
        .appears("Time")
        .wakes();
    story.given(|story| {
        story.goes_on("Time", Stage::Approved).passes(10_000);
    });
    story.note("it was up long enough to count as stable: no pause");
    story
        .exits("Time", Outcome::Exited(1))
        .end("killed_service");
}

#[test]
fn pauses_double_up_to_the_longest_and_jitter_moves_them() {
    let mut story = Story::about(
        "Failure after failure: 500 ms, doubled up to the longest; the entropy of the event moves a pause by up to a fifth.",
    );
    story.given(|story| {
        story
            .set(|settings| settings.restart.delay_most = 3_000)
            .appears("Time");
    });
    for entropy in [u32::MAX / 2 + 1, 0, u32::MAX, u32::MAX / 2 + 1, 0] {
        story.given(|story| {
            story.goes_on("Time", Stage::Spawning).entropy(entropy);
        });
        story.not_spawned("Time");
        story.given(|story| {
            story.wakes();
        });
    }
    story.end("backoff");
}

#[test]
fn a_service_that_fails_too_often_is_given_up_until_the_operator_asks_for_it() {
    let mut story = Story::about(
        "Two attempts are allowed: after the third failure it is given up; `restart` begins anew.",
    );
    story.given(|story| {
        story
            .set(|settings| settings.restart.attempts = 2)
            .appears("Time");
    });
    for _ in 0..3 {
        story.given(|story| {
            story.goes_on("Time", Stage::Starting);
        });
        story.exits("Time", Outcome::Exited(1));
        if story.state.next_deadline().is_some() {
            story.given(|story| {
                story.waits(60_000);
            });
        }
    }
    story.restart("Time").end("given_up");
}

#[test]
fn a_service_that_was_given_up_begins_anew_when_its_need_appears_anew() {
    let mut story =
        Story::about("Given up, withdrawn, listed again: nothing that failed before counts.");
    story.given(|story| {
        story
            .set(|settings| settings.restart.attempts = 1)
            .appears("Time");
        for _ in 0..2 {
            story.goes_on("Time", Stage::Spawning).not_spawned("Time");
            story.waits(60_000);
        }
    });
    story
        .appears("Time")
        .withdrawn("Time")
        .appears("Time")
        .end("given_up_and_listed_again");
}

#[test]
fn a_module_that_a_child_has_loaded_is_reported_now_and_after_each_connect() {
    let mut story =
        Story::about("A module in use is reported at once, and again on the next connection.");
    story.happens(Event::ModuleEngaged {
        module: ModuleName::from("allex_timeservice"),
        request: Some(RequestId(7)),
    });
    story.disconnect().reconnect().end("module_engaged");
}

#[test]
fn what_a_child_leaves_behind_is_ended_before_another_is_started() {
    let mut story = Story::about(
        "The child crashes; a process of its group, and one that left the group, live on. They get the grace of a stop.",
    );
    story.brought_to("Time", Stage::Approved);
    story
        .leaves(
            "Time",
            Outcome::Signaled(11),
            &[(true, None), (false, None)],
        )
        .wakes()
        .exits("Time", Outcome::Signaled(11))
        .end("descendants_left");
}

#[test]
fn a_child_that_puts_itself_into_the_background_is_told_to_stay_in_the_foreground() {
    let mut story = Story::about(
        "The process ends with code 0 while another one, which it had started, serves: no child to look after.",
    );
    story.brought_to("Time", Stage::Responding);
    story
        .leaves(
            "Time",
            Outcome::Exited(0),
            &[(false, Some("127.0.0.1:16000"))],
        )
        .exits("Time", Outcome::Exited(0))
        .end("descendants_in_the_background");
}

#[test]
fn who_has_left_the_group_of_a_stopping_child_has_a_grace_of_its_own() {
    let mut story = Story::about(
        "The child needs most of its grace; what had left its group hears of the stop only then. Urgent, nobody has a grace.",
    );
    story.brought_to("Time", Stage::Approved);
    story
        .stop()
        .waits(9_000)
        .leaves("Time", Outcome::Exited(0), &[(true, None)])
        .note("one of its group was told with it")
        .leaves("Time", Outcome::Exited(0), &[(false, None)])
        .asked_to_stop(StopSource::Operator, true)
        .leaves("Time", Outcome::Exited(0), &[(false, None)])
        .exits("Time", Outcome::Exited(0))
        .end("descendants_at_a_stop");
}

#[test]
fn strays_of_earlier_runs_are_ended_with_a_grace() {
    let mut story = Story::about("They belong to no service that the master knows.");
    let stray = Survivor {
        incarnation: Incarnation {
            sequence: 3,
            index: 0,
        },
        identity: story.new_process(),
    };
    story
        .happens(Event::StraysFound {
            strays: vec![stray],
        })
        .end("strays");
}
