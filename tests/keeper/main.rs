//! Children whose parent is the keeper: the built program, and this one as its engine.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and prints what it saw"
)]

#[path = "../../crates/keeper/tests/keeper/bench.rs"]
#[expect(
    dead_code,
    reason = "some of it is for the tests of the keeper without children"
)]
mod bench;
mod children;
#[path = "../../crates/keeper/tests/keeper/engine.rs"]
mod engine;
#[path = "../children/bench.rs"]
#[expect(
    dead_code,
    reason = "most of it is for the tests of children without a keeper"
)]
mod hands;
mod script;

use std::path::PathBuf;
use std::process::ExitCode;

use allexmaster_keeper::keeper::Role;
use allexmaster_testkit::{harness, tests};

/// The program whose keeper is tested.
fn keeper_program() -> PathBuf {
    env!("CARGO_BIN_EXE_allexmaster").into()
}

fn main() -> ExitCode {
    if Role::from_environment().unwrap() == Some(Role::Engine) {
        return engine::run(|link| {
            let mut engine = script::Engine::new(link);
            async move |words: &[&str]| engine.obey(words).await
        });
    }
    harness::run(tests![
        children::a_child_is_born_as_the_keepers_and_is_reaped_when_its_end_is_on_disk,
        children::a_child_has_its_own_group_no_blocked_or_ignored_signal_and_nothing_open_but_its_three,
        children::the_exit_codes_of_children_outlive_the_engine_until_they_are_recorded,
        children::a_program_that_is_not_there_leaves_nothing_behind,
        children::an_engine_that_is_killed_while_it_starts_children_loses_none,
        children::a_child_that_does_not_run_its_program_yet_is_waited_for,
        children::an_orphan_becomes_the_keepers_child_and_is_reaped_without_being_taken_for_a_service,
        children::children_of_an_engine_without_its_keeper_are_its_own,
    ])
}
