//! The LanManager behind real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod bidding;
mod client;
mod recorded;
mod robustness;
mod setting;
mod shapes;
