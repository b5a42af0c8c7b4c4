//! The protocol from outside: recorded conversations, properties, real sockets.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first surprise, in its helpers too"
)]

mod carriers;
mod conversations;
mod decoders;
mod filters;
mod frames;
mod server_limits;
mod tables;
mod transcript;
mod transcripts;
