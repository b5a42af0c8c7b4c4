//! What the tests and benches share, so that each of them is written once.
//!
//! | module | what it gives |
//! |---|---|
//! | [`chance`] | random choices that a seed repeats |
//! | [`wait`] | waiting for a condition, with a limit and a message |
//! | [`harness`] | a test program that can say that a test was not run |
//! | [`ports`], [`disk`], [`processes`] | what a test takes of the machine, and sees of it |
//! | [`installation`] | the JavaScript programs of AllexJS |
//! | [`report`] | figures, one a line |
//! | `assert_snapshot` | comparing with an accepted snapshot (feature `snapshots`) |
//! | `lan`, `master`, `tool` | the programs, and what can be said to them (feature `programs`) |
//! | `line` | what a master dials its LanManager through, to be broken (feature `programs`) |
//!
//! How tests are made, and what cannot run where: `docs/testing.md`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and a bench prints what it found"
)]

pub mod chance;
pub mod disk;
pub mod harness;
pub mod installation;
#[cfg(feature = "programs")]
pub mod lan;
#[cfg(feature = "programs")]
pub mod line;
#[cfg(feature = "programs")]
pub mod master;
pub mod ports;
pub mod processes;
pub mod report;
#[cfg(feature = "snapshots")]
mod snapshot;

#[cfg(feature = "programs")]
pub mod tool;
pub mod wait;

#[cfg(feature = "snapshots")]
pub use snapshot::assert_snapshot;

/// What a check found wrong, in words.
pub type Finding<T> = Result<T, String>;
