//! The eyes, on journals that were recorded from real runs.
#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

mod support;

mod commands;
mod compacted;
mod copies;
mod damage;
mod explorer;
mod journals;
mod timeline;
