//! One copy of each service in the network.

use std::sync::Arc;

use allexmaster_state::{Event, InstanceName, Listed, OnDuplicate, Outcome, Place};
use serde_json::json;

use crate::story::{Stage, Story, need};

fn listed(story: &mut Story, name: &str, place: Place) {
    let connection = story.connection();
    let instance = InstanceName::from(name);
    story.happens(Event::ServicesListed {
        connection,
        services: vec![Listed { instance, place }],
    });
}

fn elsewhere(story: &mut Story, name: &str) {
    let by = Arc::from("10.0.0.2:16000");
    listed(story, name, Place::Elsewhere(by));
}

/// The connection is cut and made again, and meanwhile the need was satisfied.
fn cut(story: &mut Story) {
    story.given(|story| {
        story.brought_to("Time", Stage::Approved);
        story.disconnect().reconnect().lists(&[]);
    });
}

#[test]
fn a_copy_that_the_network_does_not_use_ends_and_its_end_is_not_told() {
    let mut story = Story::about(
        "After a cut the LanManager lists the service elsewhere: ours ends after its time. Its end is not reported, because the service runs on.",
    );
    cut(&mut story);
    elsewhere(&mut story, "Time");
    story.note("a changed row of the other copy does not prolong it");
    story.passes(1_000);
    elsewhere(&mut story, "Time");
    story.wakes().exits("Time", Outcome::Signaled(15));
    story.end("superseded");
}

#[test]
fn a_copy_that_the_network_does_not_use_may_crash_and_is_not_started_again() {
    let mut story = Story::about(
        "The superseded copy ends by itself before its time: nothing is reported or bid for.",
    );
    cut(&mut story);
    elsewhere(&mut story, "Time");
    story.exits("Time", Outcome::Signaled(11)).waits(10_000);
    story.end("superseded_crash");
}

#[test]
fn a_copy_that_is_to_be_kept_stays_until_the_configuration_says_otherwise() {
    let mut story = Story::about(
        "With onduplicate: keep the copy stays. Set to stop, it ends when the time since then is over.",
    );
    story.given(|story| {
        story.set(|settings| settings.on_duplicate = OnDuplicate::Keep);
    });
    cut(&mut story);
    elsewhere(&mut story, "Time");
    story.waits(60_000);
    story.set(|settings| settings.on_duplicate = OnDuplicate::Stop);
    story.wakes().end("superseded_kept");
}

#[test]
fn a_superseded_copy_is_announced_when_the_other_one_is_gone() {
    let mut story = Story::about(
        "Within its time the other copy's row goes, and the need is listed: ours is bid for and stays.",
    );
    cut(&mut story);
    elsewhere(&mut story, "Time");
    listed(&mut story, "Time", Place::Nowhere);
    story.appears("Time").challenged("Time").approved("Time");
    story.waits(60_000).end("superseded_no_more");
}

#[test]
fn a_bid_that_somebody_else_has_won_makes_a_running_copy_superseded() {
    let mut story = Story::about(
        "Two copies bid after the LanManager has lost its list; the other one wins while our bid waits.",
    );
    story.given(|story| {
        story.brought_to("Time", Stage::Approved);
        story.disconnect().reconnect().lists(&["Time"]);
    });
    story.withdrawn("Time");
    elsewhere(&mut story, "Time");
    story.wakes().end("superseded_bid");
}

#[test]
fn what_the_lan_manager_still_lists_here_is_approved_without_a_bid() {
    let mut story = Story::about(
        "A LanManager that has kept our row through the cut: nothing is bid for, and the end is told as ever.",
    );
    cut(&mut story);
    listed(&mut story, "Time", Place::Here);
    story.exits("Time", Outcome::Exited(1)).end("listed_here");
}

#[test]
fn an_exclusive_service_ends_before_another_machine_may_run_it() {
    let mut story = Story::about(
        "There must never be two. The LanManager waits 30 s for us, and was heard 20 s before the loss was noticed: the child is told to end at once, and is killed when the 30 s are over. A loss that lasts less ends nothing.",
    );
    story.given(|story| {
        let mut exclusive = need("Only");
        exclusive
            .details
            .insert("exclusive".to_owned(), json!(true));
        story.appears_as(exclusive).goes_on("Only", Stage::Approved);
        story.disconnect().wakes();
        let connection = story.connection();
        story.happens(Event::LanConnected {
            connection,
            endpoint: Arc::from("ws://10.0.0.254:23552"),
            address: Arc::from("10.0.0.1"),
            grace: Some(30_000),
        });
        story.lists(&[]);
        listed(story, "Only", Place::Here);
    });
    story.note("the line breaks, and is back in time");
    let lost = |story: &mut Story, silent| {
        let connection = story.connection();
        story.happens(Event::LanClosed {
            connection,
            reason: Arc::from("the peer was silent"),
            silent,
        });
    };
    lost(&mut story, 0);
    story.given(|story| {
        story.waits(19_000);
        let connection = story.connection();
        story.happens(Event::LanConnected {
            connection,
            endpoint: Arc::from("ws://10.0.0.254:23552"),
            address: Arc::from("10.0.0.1"),
            grace: Some(30_000),
        });
        story.lists(&[]);
        listed(story, "Only", Place::Here);
    });
    story.note("a machine that is cut off");
    lost(&mut story, 20_000);
    story.waits(10_000).end("exclusive");
}
