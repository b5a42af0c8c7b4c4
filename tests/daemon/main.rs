//! The built program, run as a user runs it, against a real LanManager with real children.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says aloud what it cannot try"
)]

mod bad_peers;
mod clock;
mod command_line;
mod crashes;
mod damage;
mod engines;
mod full_disk;
mod journal;
mod lan_manager;
mod needs;
mod support;
