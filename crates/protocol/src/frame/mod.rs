//! The message language: every frame that crosses a connection, as a type.
//!
//! A frame is a small JSON array (twice an object). Decoding is tolerant where the JavaScript
//! programs are, and loses nothing that a recorded conversation contains: decoding a frame and
//! encoding it again gives the same JSON value. What is not a frame comes back as
//! [`FrameError::Unrecognised`] with the value, because a server has to echo it.

mod client_frame;
mod error;
mod identifier;
mod server_frame;

pub use client_frame::{ClientFrame, Target};
pub use error::{FrameError, RemoteError};
pub use identifier::{CallId, QueryId, SessionId};
pub use server_frame::{OutOfBand, ServerFrame};

use serde_json::Value;

/// Parses one JSON text.
///
/// # Errors
/// [`FrameError::NotJson`] with the position, also for nesting deeper than 128 levels (the bound
/// of `serde_json`, which keeps a hostile text from exhausting the stack).
fn parse(text: &str) -> Result<Value, FrameError> {
    serde_json::from_str(text).map_err(|error| FrameError::NotJson {
        reason: error.to_string(),
    })
}
