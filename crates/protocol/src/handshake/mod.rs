//! Opening connections over sockets: dialling and accepting, up to the first byte that belongs to a
//! [`Wire`](crate::framing::wire::Wire).
//!
//! HTTP and TLS are left to libraries. Behind the blank line of the answer that switches protocols, no
//! byte passes through them any more.

pub mod accept;
pub mod dial;
pub mod web;

use std::time::Duration;

/// How long dialling may take, until the connection can be used.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer that has dialled may take until the connection can be used.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an HTTP head. A browser sends about one thousand.
const MAX_HEAD_BYTES: usize = 16 * 1_024;
