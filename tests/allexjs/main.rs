//! Services of AllexJS: how they are started, what is said with them, and what tools get of them.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod channels;
mod launch;
