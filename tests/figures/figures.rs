//! Figures of the whole program, each against its baseline in the same run.
//!
//! `cargo bench --bench figures [-- NEEDS [EVENTS]]`: 1,000 needs and 1,000,000 more events by
//! default; `--small` is for the gate. The baseline spawns the same program as often, all at once,
//! then waits for the ports.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on panics")]

mod service;
mod world;

use std::time::Duration;

use allexmaster_testkit::report;
use service::Service;
use world::{Progress, World};

/// What is measured where nothing else is said: needs, events, killed children.
const SIZE: [usize; 3] = [1_000, 1_000_000, 50];
const SMALL: [usize; 3] = [20, 2_000, 3];

fn main() {
    let [needs, events, kills] = report::sizes(SIZE, SMALL);
    let needs = u16::try_from(needs).unwrap();
    let folder = tempfile::tempdir().unwrap();
    match Service::native(folder.path()) {
        Ok(native) => {
            satisfied(&native, needs).stop();
        }
        Err(why) => report::not_run("figures with native services", &why),
    }
    let mut world = satisfied(&Service::Sample, needs);

    let back = report::median_and_most(&world.back_after_a_kill(kills));
    for (what, time) in [("median", back.0), ("longest", back.1)] {
        report::milliseconds(
            &format!("a child killed with -9: back, approved ({what} of {kills})"),
            Duration::from_secs_f64(time),
        );
    }

    world.kill_master();
    world.add_events(events);
    let again = world.restart();
    report::milliseconds(
        &format!("keeper and engine killed, {events} more events: all {needs} children adopted"),
        again.spawned,
    );
    report::milliseconds(
        "  the same, until the LanManager has approved all again",
        again.approved,
    );
    memory("memory of the restarted master", &world);
    report::count(
        "children that were started twice, or lost",
        world.wrong_children(),
    );
    report::seconds(
        &format!("stop of the master with {needs} children"),
        world.stop(),
    );
}

/// Has a master satisfy so many needs, and prints what it takes.
fn satisfied(service: &Service, needs: u16) -> World {
    let kind = service.name();
    let bare = service.bare_loop(needs);
    report::seconds(
        &format!("bare loop: spawn {needs} {kind} services, then connect to each"),
        bare,
    );
    let world = World::start(service, needs);
    let Progress {
        answers,
        spawned,
        approved,
    } = world.progress();
    report::seconds(
        &format!("{needs} needs of {kind} services satisfied, from the start of the master"),
        approved,
    );
    report::milliseconds("  of this until the master answers", answers);
    report::milliseconds("  of this until the last child is spawned", spawned);
    world.print_processor_time();
    let ratio = approved.as_secs_f64() / bare.as_secs_f64();
    report::goal(&format!("{kind} needs satisfied / bare loop"), ratio, 2.0);
    memory(
        &format!("memory of the master with {needs} {kind} children"),
        &world,
    );
    world
}

fn memory(what: &str, world: &World) {
    let [keeper, engine] = world.memory();
    report::megabytes(&format!("{what}: keeper and engine"), keeper + engine);
    report::megabytes("  of this the keeper", keeper);
}
