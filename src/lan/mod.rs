//! The LanManager: how it is dialed, and what is said with it.
//!
//! [`conversation`] knows what is said on one connection, without sockets; [`dial`] knows sockets, and
//! nothing of what is said. The front joins them.

pub mod conversation;
pub mod dial;
