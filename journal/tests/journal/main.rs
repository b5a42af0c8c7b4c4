//! The journal from the outside: everything that a program may rely on.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod support;

mod clock;
mod compaction;
mod contract;
mod damage;
mod event_loop;
#[cfg(unix)]
mod file;
mod folder;
mod format;
mod holes;
mod journaled;
mod messages;
mod outage;
mod reading;
mod simulation;
