//! The keeper: the built program as a real process, with an engine that does what a test tells it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench;
mod bounds;
mod life;
mod script;
mod stores;
