//! Every transition of the rules as a readable transcript: each event, the
//! effects that it causes, and what changes in the state.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot go on says so and ends"
)]

mod story;
mod transcript;

mod children;
mod claims;
mod clock;
mod copies;
mod install;
mod lan;
mod needs;
mod ports;
mod queues;
mod requests;
mod restart;
mod resume;
mod settings;
mod shutdown;
mod stale;
