//! The configuration changes while the master runs.

use allexmaster_state::ModuleName;

use crate::story::{Stage, Story, launcher, need};

#[test]
fn a_launcher_that_is_added_or_taken_away_is_noticed() {
    let mut story = Story::about(
        "A module gets its launcher: its need, refused before, is bid for. One loses it while it waits for its turn: it is bid for no longer.",
    );
    let web = || ModuleName::from("exec:web");
    let mut refused = need("Web");
    refused.module = web();
    story.appears_as(refused);
    story.set(|settings| {
        settings.launchers.insert(web(), launcher(true));
    });
    story.given(|story| {
        story
            .set(|settings| settings.bids_at_once = 1)
            .appears("Time");
    });
    story.set(|settings| {
        settings.launchers.remove("sample:clock");
    });
    story.end("launchers_changed");
}

#[test]
fn port_ranges_move_while_children_hold_ports_of_the_old_ones() {
    let mut story = Story::about(
        "The ranges move by one port: what is leased stays leased, is skipped by the new ranges, and comes back to them.",
    );
    story.brought_to("First", Stage::Won);
    story.brought_to("Second", Stage::Won);
    story.set(|settings| {
        settings.port_range_start.tcp = 15_001;
        settings.port_range_start.http = 16_001;
        settings.port_range_start.ws = 17_001;
    });
    story.appears("Third").challenged("Third");
    story.note("leases of the old range end");
    story.withdrawn("First").withdrawn("Second");
    story
        .appears("Fourth")
        .challenged("Fourth")
        .end("ranges_moved");
}

#[test]
fn only_the_ports_that_a_module_serves_are_awaited_and_told() {
    let mut story = Story::about(
        "A module that serves http only: three ports are leased, one is awaited, told and shown.",
    );
    story.given(|story| {
        story.set(|settings| {
            let clock = ModuleName::from("sample:clock");
            settings.launchers.insert(clock, launcher(true));
        });
        story.appears("Web").goes_on("Web", Stage::Spawning);
    });
    story.spawned("Web").ready("Web").end("http_only");
}
