//! From bytes to JSON texts and back, one module per framing; [`wire`] puts them together.
//!
//! Every decoder is incremental: bytes go in as they arrive, complete texts come out, a partial frame
//! is buffered. Every decoder has a limit, and what exceeds it is refused as soon as its length is
//! announced, before it is buffered. After an error a decoder accepts nothing more.

pub mod length_prefixed;
pub mod newline_delimited;
pub mod signalr;
pub mod text_batch;
pub mod web_socket;
pub mod wire;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The largest text, batch or record that is accepted, in bytes. The largest seen is below 100 KiB;
/// the rest is room for the property hashes of services.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1_024 * 1_024;
/// The most bytes that wait for one peer. A LanManager sends its whole table of a thousand needs
/// (about 1 MiB) at once; this is room for several.
pub const MAX_QUEUED_BYTES: usize = 16 * 1_024 * 1_024;

/// Which end of a connection this side is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// This side dialled.
    #[default]
    Client,
    /// This side accepted.
    Server,
}

/// Why the bytes of a peer are refused; the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum FramingError {
    /// A message that is or announces to be larger than [`MAX_MESSAGE_BYTES`].
    #[error(
        "the peer sends a message of {announced} bytes, more than the {limit} allowed; check that it speaks AllexJS on this port"
    )]
    TooLarge {
        /// The size that was announced, or has been reached.
        announced: usize,
        /// The bound.
        limit: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("the peer sends bytes that are not UTF-8; check that it speaks AllexJS on this port")]
    NotUtf8,
    /// A binary WebSocket message.
    #[error(
        "the peer sends binary messages, but frames are text; check that it speaks AllexJS on this port"
    )]
    NotText,
    /// A message without content.
    #[error("the peer sends an empty message; check that it speaks AllexJS on this port")]
    Empty,
    /// A WebSocket frame that is not one.
    #[error(
        "the peer breaks the WebSocket protocol: {reason}; check that it serves WebSockets on this port"
    )]
    NotWebSocket {
        /// What it does.
        reason: Cow<'static, str>,
    },
    /// A SignalR record that is not one.
    #[error("the peer sends something else than the SignalR JSON protocol: {reason}")]
    NotSignalR {
        /// What was expected.
        reason: Cow<'static, str>,
    },
    /// The peer closes the SignalR connection.
    #[error("the peer closed the SignalR connection{}", reason.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
    ClosedByPeer {
        /// What it says.
        reason: Option<String>,
    },
}

/// A message with its length, refused when it is too large.
fn check_size(size: usize) -> Result<(), FramingError> {
    if size > MAX_MESSAGE_BYTES {
        return Err(FramingError::TooLarge {
            announced: size,
            limit: MAX_MESSAGE_BYTES,
        });
    }
    Ok(())
}
