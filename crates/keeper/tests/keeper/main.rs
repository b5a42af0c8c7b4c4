//! The keeper as a real process, with an engine that does what a test says. This program is all three: which
//! one it is stands in its environment.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and prints what it measured and what it saw"
)]

#[expect(dead_code, reason = "some of it is for the tests of children")]
mod bench;
mod bounds;
mod engine;
mod life;
mod service_manager;
mod stores;

use std::path::PathBuf;
use std::process::ExitCode;

use allexmaster_keeper::keeper::{self, Role};
use allexmaster_testkit::{harness, tests};

/// The program whose keeper is tested.
fn keeper_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

fn main() -> ExitCode {
    match Role::from_environment().unwrap() {
        Some(Role::Keeper) => keeper::run(),
        Some(Role::Engine) => {
            engine::run(|_| async |words: &[&str]| panic!("{words:?} is no command"))
        }
        Some(Role::Single) | None => harness::run(tests![
            life::an_engine_that_was_stopping_ends_the_keeper_with_its_exit_code,
            life::an_engine_that_cannot_begin_ends_the_keeper_with_its_exit_code,
            life::an_engine_that_ends_without_having_been_told_to_is_started_again,
            life::an_engine_that_was_killed_while_it_was_stopping_is_started_to_end_its_stop,
            life::engines_that_die_before_they_are_ready_are_started_again_after_growing_pauses,
            life::stop_signals_are_told_and_do_not_end_the_keeper,
            life::a_reload_that_is_asked_for_while_no_engine_is_ready_is_told_to_the_next_one,
            life::signals_without_a_meaning_do_not_end_the_keeper,
            life::a_stop_signal_that_no_engine_has_answered_is_told_to_the_next_one,
            life::a_stop_signal_a_second_after_the_first_ends_both_before_the_engine_is_ready,
            life::an_engine_that_is_silent_for_too_long_is_killed_and_started_again,
            life::an_engine_that_gives_signs_of_life_is_left_alone,
            life::an_engine_whose_keeper_was_killed_notices_and_goes_on,
            life::a_new_program_is_started_next_time_and_given_up_if_it_is_never_ready,
            life::log_lines_of_the_keeper_are_json_where_the_program_writes_json,
            service_manager::it_is_told_of_start_status_reload_and_end,
            service_manager::it_gets_signs_of_life_although_the_engine_is_dead,
            service_manager::a_stop_gets_more_time_while_the_engine_works,
            service_manager::without_a_usable_address_all_goes_on,
            stores::descriptors_are_there_again_after_fifty_engines_were_killed,
            stores::removed_descriptors_are_closed_and_the_order_is_kept,
            stores::what_is_told_to_a_keeper_that_does_not_read_waits_and_keeps_its_order,
            stores::a_connection_is_accepted_once_and_kept_while_engines_come_and_go,
            stores::a_child_of_the_engine_inherits_nothing_that_is_between_it_and_the_keeper,
            bounds::names_that_are_too_long_for_a_variable_are_all_handed_over,
            bounds::a_store_that_is_full_refuses_more_accepts_nothing_and_says_so_once,
            bounds::a_store_that_is_full_to_the_top_is_handed_over_whole,
            bounds::what_is_no_name_or_no_listener_is_refused,
            bounds::no_socket_of_the_keeper_has_an_address_that_others_could_write_to,
            bounds::an_engine_speaks_with_a_keeper_of_version_0_1_0_which_has_an_address,
            bounds::the_keeper_takes_little_memory_for_a_thousand_descriptors,
        ]),
    }
}
