//! Ports: somebody else's, full ranges, prescribed ones, cool-down.

use allexmaster_state::{Need, Outcome, Port};

use crate::story::{Stage, Story, launcher, need};

fn prescribing(name: &str, port: u16) -> Need {
    let mut need = need(name);
    need.ports.http = Some(Port(port));
    need
}

#[test]
fn a_port_that_somebody_else_took_is_skipped() {
    let mut story = Story::about(
        "Somebody else holds the first http port, then the next: each is exchanged and left alone for a while.",
    );
    story.brought_to("Time", Stage::Won);
    story
        .ports_are_taken("Time", &[16_000])
        .ports_are_taken("Time", &[16_001]);
    story.note("a late report on ports that were exchanged says nothing of the present ones");
    story.ports_are_taken("Time", &[16_000]);
    story.ports_are_free("Time").end("port_taken");
}

#[test]
fn a_full_range_makes_the_need_wait_without_counting_as_a_failure() {
    let mut story = Story::about(
        "A range of one port: the second and third find it full and are not bid for; one of them is, after the first has ended and its port has cooled down.",
    );
    story.given(|story| {
        story.set(|settings| settings.port_range_size = 1);
    });
    story.brought_to("First", Stage::Starting);
    story.appears("Second").appears("Third").reason("Second");
    story.note("the first one ends for good");
    story.given(|story| {
        story.withdrawn("First").exits("First", Outcome::Exited(0));
    });
    story.reason("Second");
    story.note("the ports have cooled down");
    story.wakes();
    story.note("the bid is lost to another machine: its port is for the other need");
    story.withdrawn("Second").end("range_full");
}

#[test]
fn a_journal_of_before_bids_had_patience_is_decided_as_it_was() {
    let mut story = Story::about(
        "Settings of an older version: needs are bid for as they come, and a full range is found when the bid is won.",
    );
    story.given(|story| {
        story.set(|settings| {
            settings.bid_patience = 0;
            settings.port_range_size = 1;
        });
    });
    story.brought_to("First", Stage::Starting);
    story.appears("Second").challenged("Second");
    story.note("the first one ends for good");
    story.given(|story| {
        story.withdrawn("First").exits("First", Outcome::Exited(0));
    });
    story.wakes().challenged("Second");
    story.note("the ports have cooled down");
    story.given(|story| {
        story.waits(10_000);
    });
    story.challenged("Second").end("range_full_before");
}

#[test]
fn a_range_that_turns_out_full_gives_everything_back() {
    let mut story = Story::about(
        "The only http port is somebody else's: the other leases are given back, and it is bid for again when that one has left.",
    );
    story.given(|story| {
        story.set(|settings| settings.port_range_size = 1);
    });
    story.brought_to("Time", Stage::Won);
    story
        .ports_are_taken("Time", &[16_000])
        .reason("Time")
        .is_at_rest()
        .ports_are_freed(&[16_000])
        .end("range_full_after_probe");
}

#[test]
fn a_prescribed_port_is_used_or_waited_for() {
    let mut story = Story::about(
        "A need prescribes its port: free, held by another child, held by somebody else.",
    );
    story
        .appears_as(prescribing("Web", 8_080))
        .challenged("Web");
    story.note("another child has it");
    story
        .appears_as(prescribing("Other", 8_080))
        .reason("Other");
    story.note("somebody else has it");
    story
        .ports_are_taken("Web", &[8_080])
        .reason("Web")
        .is_at_rest();
    story.note("it is free: one of the two is bid for");
    story.ports_are_freed(&[8_080]).end("prescribed_port");
}

#[test]
fn a_launcher_takes_ports_of_the_protocols_alone_that_it_uses() {
    let mut story =
        Story::about("All ws ports are in use: what uses http alone is started all the same.");
    story.given(|story| {
        story.set(|settings| {
            settings.port_range_size = 1;
            let mut web = launcher(true);
            web.takes = web.serves;
            settings.launchers.insert("exec:web".into(), web);
        });
    });
    story.given(|story| {
        story.set(|settings| settings.port_range_size = 2);
        story.appears("Clock").challenged("Clock");
        story.ports_are_taken("Clock", &[15_000, 17_000]);
    });
    let mut web = need("Web");
    web.module = "exec:web".into();
    story
        .appears_as(web)
        .challenged("Web")
        .ports_are_free("Web");
    story
        .appears("Second")
        .reason("Second")
        .end("ports_used_alone");
}

#[test]
fn a_service_gets_its_prescribed_port_back_while_it_cools_down() {
    let mut story = Story::about(
        "The same service may have its cooling port again at once; dynamic ports are fresh ones.",
    );
    story.given(|story| {
        story
            .appears_as(prescribing("Web", 8_080))
            .goes_on("Web", Stage::Approved);
    });
    story
        .exits("Web", Outcome::Signaled(9))
        .appears_as(prescribing("Web", 8_080));
    story
        .down_heard("Web")
        .challenged("Web")
        .end("prescribed_port_cools_down");
}

#[test]
fn overlapping_ranges_never_give_a_port_to_two() {
    let mut story = Story::about(
        "All three ranges are the same: a port that one protocol gives back is free for all, and leased once.",
    );
    story.given(|story| {
        story.set(|settings| {
            settings.port_range_start.tcp = 15_000;
            settings.port_range_start.http = 15_000;
            settings.port_range_start.ws = 15_000;
        });
    });
    story.brought_to("First", Stage::Won);
    story.brought_to("Second", Stage::Won);
    story
        .withdrawn("First")
        .appears("Third")
        .challenged("Third")
        .end("overlapping_ranges");
}
