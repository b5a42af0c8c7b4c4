//! The protocol from outside: recorded conversations, properties, real sockets.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first surprise, in its helpers too"
)]

mod client_end;
mod conversations;
mod decoders;
mod filters;
mod frames;
mod images;
mod pair;
mod server_end;
mod sockets;
mod tables;
mod transcript;
mod transcripts;
mod wires;
