//! The protocol from outside: recorded conversations, properties, real sockets.

mod decoders;
mod filters;
mod frames;
mod tables;
mod transcript;
mod transcripts;
