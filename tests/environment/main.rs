//! Tests of the built program that need more of the machine than Rust: where it is missing, they
//! are counted as ignored, and say why.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod examples;
mod full_disk;
mod python;
mod systemd;

use std::process::ExitCode;

use allexmaster_testkit::harness::Requirement::{Mount, Program, Systemd};
use allexmaster_testkit::harness::{run, test};

fn main() -> ExitCode {
    run(vec![
        test(
            "on_a_full_disk_children_stay_nothing_starts_and_with_room_it_goes_on_without_a_loss",
            Mount,
            full_disk::on_a_full_disk_children_stay_nothing_starts_and_with_room_it_goes_on_without_a_loss,
        ),
        test(
            "a_master_that_is_told_twice_to_end_on_a_full_disk_leaves_its_children_to_the_next_one",
            Mount,
            full_disk::a_master_that_is_told_twice_to_end_on_a_full_disk_leaves_its_children_to_the_next_one,
        ),
        test(
            "a_lan_manager_on_a_full_disk_waits_and_goes_on_when_there_is_room",
            Mount,
            full_disk::a_lan_manager_on_a_full_disk_waits_and_goes_on_when_there_is_room,
        ),
        test(
            "a_real_program_is_approved_serves_a_file_and_comes_back_under_its_name",
            Program("python3"),
            python::a_real_program_is_approved_serves_a_file_and_comes_back_under_its_name,
        ),
        test("examples::python", Program("python3"), examples::python),
        test("examples::node", Program("node"), examples::node),
        test("examples::nginx", Program("nginx"), examples::nginx),
        test("examples::three_machines", Program("python3"), examples::three_machines),
        test(
            "the_printed_unit_starts_reports_survives_a_killed_engine_and_stops",
            Systemd,
            systemd::the_printed_unit_starts_reports_survives_a_killed_engine_and_stops,
        ),
    ])
}
