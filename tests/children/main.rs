//! Children, ports and log files, with real processes and real sockets.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod adoption;
mod bench;
mod launch;
mod life;
mod logs;
mod ports;
mod sample;
