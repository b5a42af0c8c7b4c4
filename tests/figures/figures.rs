//! Figures of the whole program, each against its baseline in the same run.
//!
//! `cargo bench --bench figures [-- NEEDS [EVENTS]]`: 1,000 needs and 1,000,000 events where
//! nothing is said.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on panics, and prints what it found"
)]

mod needs;
mod report;
mod world;

use world::World;

fn main() {
    let numbers: Vec<u32> = std::env::args()
        .filter_map(|text| text.parse().ok())
        .collect();
    let needs = numbers.first().copied().unwrap_or(1_000);
    let events = numbers.get(1).copied().unwrap_or(1_000_000);

    let one_by_one = needs::bare_loop(needs);
    let all_at_once = needs::bare_spawn_then_connect(needs);
    let baseline = one_by_one.min(all_at_once);
    report::seconds(
        &format!("bare loop: spawn and connect, {needs} times"),
        one_by_one,
    );
    report::seconds(
        &format!("bare loop: spawn all {needs}, then connect to each"),
        all_at_once,
    );

    let mut world = World::start(needs);
    let satisfied = world.satisfied_after();
    report::seconds(
        &format!("{needs} needs satisfied, from the start of the master"),
        satisfied,
    );
    report::ratio(
        "needs satisfied / the faster bare loop (goal: at most 2)",
        satisfied,
        baseline,
    );
    report::megabytes(
        &format!("memory of the master with {needs} children"),
        world.memory(),
    );

    let back = world.back_after_a_kill(50);
    report::milliseconds(
        "a child killed with -9: back, approved (median of 50)",
        back.0,
    );
    report::milliseconds(
        "a child killed with -9: back, approved (longest of 50)",
        back.1,
    );

    world.kill_master();
    world.add_events(events);
    let serves = world.serves_after_restart();
    report::milliseconds(
        &format!("restart with {needs} live children and {events} more events, until it serves"),
        serves.0,
    );
    report::milliseconds(
        "  the same, until the LanManager has approved all again",
        serves.1,
    );
    report::megabytes("memory of the restarted master", world.memory());
    report::count(
        "children that were started twice, or lost",
        world.wrong_children(),
    );

    let stopped = world.stop();
    report::seconds(
        &format!("stop of the master with {needs} children"),
        stopped,
    );
}
