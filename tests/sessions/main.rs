//! The machine of all conversations: that it is made again as it was, and that no byte is lost or
//! doubled at its borders when the engine is killed.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod again;
mod borders;
mod golden;
mod peers;
mod torn;
mod world;
