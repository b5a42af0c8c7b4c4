//! Sockets: the only module that knows tokio.
//!
//! Each connection is one task that pumps both ways. What arrives goes into an [`Inbox`], a bounded
//! channel that many connections may share: when the application is behind, the peers wait. What is to
//! be sent goes into an [`Outgoing`] queue, which never blocks: a peer that does not read what it is
//! sent is cut when [`MAX_QUEUED_BYTES`] wait for it. However a connection ends, the last delivery is
//! [`Incoming::Closed`] with the reason.
//!
//! ```text
//!   socket ──read──► decoder ──► Inbox (bounded, shared) ──► application
//!   socket ◄─write── encoder ◄── Outgoing (bounded bytes, never blocks) ◄──┘
//! ```

mod handshake_stream;
mod queue;

pub mod length_prefixed;

pub mod web_socket;

#[cfg(feature = "tls")]
pub mod secure_web_socket;

pub mod signalr;

pub mod lines;

pub use crate::framing::MAX_QUEUED_BYTES;
pub use crate::framing::wire::WireItem as Incoming;
pub use queue::{Delivery, Inbox, Outgoing, SendError};

use std::io;
use std::time::Duration;

use crate::close::CloseReason;

/// How long dialling may take, until the connection can be used.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// How long a peer that has dialled may take until the connection can be used.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// How long the last texts may take to leave when this side closes.
pub const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// How much is read from a socket at once.
const READ_BYTES: usize = 16 * 1_024;

fn io_reason(error: &io::Error) -> CloseReason {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    // A peer that was killed resets the connection: for everybody but itself it has closed it.
    if matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset
    ) {
        CloseReason::ByPeer
    } else {
        CloseReason::Io {
            reason: error.to_string(),
        }
    }
}
