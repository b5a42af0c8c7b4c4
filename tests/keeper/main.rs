//! The keeper: the built program as a real process, with an engine that does what a test tells it.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and tells what it measured and what it saw"
)]

mod bench;
mod bounds;
mod children;
#[path = "../children/bench.rs"]
#[expect(
    dead_code,
    reason = "most of it is for the tests of children without a keeper"
)]
mod hands;
mod life;
mod script;
mod stores;
