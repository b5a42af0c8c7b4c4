//! The built program, run as a user runs it, against a real LanManager with real children.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_peers;
mod clock;
mod command_line;
mod configuration;
mod copies;
mod crashes;
mod damage;
mod engines;
mod holes;
mod journal;
mod lan_manager;
mod logs;
mod needs;
mod no_engine;
mod orders;
mod service_manager;
mod stopping;

/// The built program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_allexmaster");
