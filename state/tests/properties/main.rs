//! The rules in a simulated world: whatever happens, in whatever order, and
//! wherever the master is killed, the promises hold.
//!
//! ```text
//!   proptest ──► moves ──► World { LanManager, children, ports, clock }
//!                              │ events (late, duplicated, stale)   ▲
//!                              ▼                                    │ effects (lost in a crash)
//!                            step ──────────────────────────────────┘
//! ```

#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on says so and ends"
)]

use proptest::prelude::*;
use proptest::test_runner::Config;

use crate::chaos::{Move, Terms};

mod calm;
mod chaos;
mod children;
mod lan_manager;
mod promises;
mod world;

/// So many random lives by default: about 5 s in a debug build. For a long
/// run: `PROPTEST_CASES=20000 cargo test --release -p allexmaster-state --test properties`.
const CASES: u32 = 250;

#[expect(
    clippy::disallowed_methods,
    reason = "how long to search is a matter of the test run, not of the rules"
)]
fn config() -> Config {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(CASES);
    Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4_000,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_promise_holds_after_every_step(
        terms in any::<Terms>(),
        moves in prop::collection::vec(any::<Move>(), 1..250),
    ) {
        chaos::live(&terms, &moves);
    }

    #[test]
    fn once_the_faults_end_every_need_is_satisfied_exactly_once(
        terms in any::<Terms>(),
        moves in prop::collection::vec(any::<Move>(), 1..150),
    ) {
        let mut world = chaos::live(&terms, &moves);
        world.settle();
        promises::all_needs_are_satisfied_once(&world);
        promises::nothing_unneeded_runs(&world);
    }

    #[test]
    fn a_stop_request_always_leads_to_the_end(
        terms in any::<Terms>(),
        moves in prop::collection::vec(any::<Move>(), 1..150),
        after in prop::collection::vec(any::<Move>(), 0..40),
        urgent in any::<[bool; 2]>(),
        twice in any::<bool>(),
    ) {
        let mut world = chaos::live(&terms, &moves);
        world.ask_to_stop(urgent[0]);
        for next in &after {
            if !world.has_exited() && !next.restarts_the_master() {
                world.make(next);
            }
        }
        if twice {
            world.ask_to_stop(urgent[1]);
        }
        world.run_until_exit();
        promises::nothing_is_left(&world);
    }
}
