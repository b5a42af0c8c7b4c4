//! The built programs under attack: by another user of the machine, by peers in the network, by a web
//! page. `docs/security.md` has the table of attacks, limits and tests.
//!
//! Some attacks need a second user, whom only root can be; where the tests do not run as root, those
//! are counted as ignored, and say why.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod doors;
mod files;
mod lan;
mod other_user;
mod sockets;

use std::process::ExitCode;

use allexmaster_testkit::harness::Requirement::OtherUser;
use allexmaster_testkit::harness::{run, test};
use allexmaster_testkit::tests;

fn main() -> ExitCode {
    if other_user::plays() {
        return ExitCode::SUCCESS;
    }
    // They hold more connections than a usual shell allows.
    allexmaster_keeper::os::raise_descriptor_limit().unwrap();
    let mut all = tests![
        doors::a_fresh_lan_manager_lets_only_this_machine_in_and_says_how_to_let_others_in,
        doors::the_default_file_of_javascript_lets_in_the_network_that_it_names_and_no_more,
        doors::a_stranger_holds_no_connection_however_often_he_comes,
        doors::one_address_cannot_shut_the_doors_for_others,
        doors::web_pages_and_names_of_strangers_get_403_at_every_door,
        doors::a_listed_web_page_gets_in,
        files::no_other_user_can_read_the_properties_of_needs,
    ];
    all.push(test(
        "a_full_queue_at_a_name_of_ours_holds_up_neither_start_nor_end",
        OtherUser,
        sockets::a_full_queue_at_a_name_of_ours_holds_up_neither_start_nor_end,
    ));
    all.push(test(
        "neither_commands_nor_a_start_believe_a_socket_of_another_user",
        OtherUser,
        sockets::neither_commands_nor_a_start_believe_a_socket_of_another_user,
    ));
    all.push(test(
        "a_process_of_another_user_is_no_survivor_whatever_its_environment_says",
        OtherUser,
        sockets::a_process_of_another_user_is_no_survivor_whatever_its_environment_says,
    ));
    all.push(test(
        "a_program_that_another_user_can_replace_is_not_upgraded_to",
        OtherUser,
        sockets::a_program_that_another_user_can_replace_is_not_upgraded_to,
    ));
    run(all)
}
