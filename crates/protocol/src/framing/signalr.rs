//! SignalR's JSON hub protocol, both directions, as the JavaScript programs use it.
//!
//! ```text
//! client                                     server
//!   POST /negotiate  ────────────────────────►
//!   ◄──────────────  {"connectionId":"1",…}
//!   GET /?id=1 (WebSocket)  ─────────────────►
//!   {"protocol":"json","version":1} RS  ─────►
//!   ◄────────────────────────────────  {} RS
//!   {"type":1,"target":"allexjs","arguments":[FRAME]} RS  ─►
//!   ◄─  {"type":1,"target":"_","arguments":["[FRAME]"]} RS
//! ```
//!
//! Every record ends with 0x1E. What the server sends is encoded twice: the argument is the text of
//! an array with one frame. Texts above [`CHUNK_CHARACTERS`] come as chunk frames, whose parts joined
//! are that text. The JavaScript server reads only the first record of a message, so a client sends
//! one record per message.

use std::borrow::Cow;
use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{End, FramingError, check_size};
use crate::frame::ServerFrame;

/// Ends every record.
pub const RECORD_SEPARATOR: char = '\u{1e}';
/// The longest text in one record from the server, in UTF-16 units, as JavaScript counts.
pub const CHUNK_CHARACTERS: usize = 65_536;

const INVOCATION: u64 = 1;
const HUB_PING: u64 = 6;
const HUB_CLOSE: u64 = 7;
const TARGET_AT_SERVER: &str = "allexjs";
const TARGET_AT_CLIENT: &str = "_";

/// What a record brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Received {
    /// The text of a frame.
    Text(String),
    /// The handshake request or its answer.
    Handshake,
    /// A hub ping: only a sign of life.
    Alive,
}

/// WebSocket text messages in, frames out.
#[derive(Debug, Serialize, Deserialize)]
pub struct Decoder {
    end: End,
    greeted: bool,
    chunks: String,
    received: VecDeque<Received>,
    refused: Option<FramingError>,
}

impl Decoder {
    /// A decoder that expects the handshake first. A client reads doubly encoded frames and chunks, a
    /// server plain frames.
    #[must_use]
    pub fn new(end: End) -> Self {
        Self {
            end,
            greeted: false,
            chunks: String::new(),
            received: VecDeque::new(),
            refused: None,
        }
    }

    /// Which end decodes.
    pub(super) fn end(&self) -> End {
        self.end
    }

    /// Takes one WebSocket text message, which holds whole records.
    ///
    /// # Errors
    /// [`FramingError`] for anything else than records of this protocol.
    pub fn feed(&mut self, message: &str) -> Result<(), FramingError> {
        if let Some(error) = &self.refused {
            return Err(error.clone());
        }
        let outcome = self.take(message);
        if let Err(error) = &outcome {
            self.refused = Some(error.clone());
            self.chunks = String::new();
        }
        outcome
    }

    /// What was received next.
    pub fn next_received(&mut self) -> Option<Received> {
        self.received.pop_front()
    }

    fn take(&mut self, message: &str) -> Result<(), FramingError> {
        check_size(message.len())?;
        let records = message
            .strip_suffix(RECORD_SEPARATOR)
            .ok_or(FramingError::NotSignalR {
                reason: Cow::Borrowed("a message that does not end with a record separator"),
            })?;
        for record in records.split(RECORD_SEPARATOR) {
            let value: Value =
                serde_json::from_str(record).map_err(|_| FramingError::NotSignalR {
                    reason: Cow::Borrowed("a record that is not JSON"),
                })?;
            let received = if self.greeted {
                self.take_record(value)?
            } else {
                Some(self.take_handshake(&value)?)
            };
            self.received.extend(received);
        }
        Ok(())
    }

    fn take_handshake(&mut self, value: &Value) -> Result<Received, FramingError> {
        let accepted = match self.end {
            End::Server => {
                value.get("protocol").and_then(Value::as_str) == Some("json")
                    && value.get("version").is_some()
            }
            End::Client => value.is_object() && value.get("error").is_none(),
        };
        if !accepted {
            return Err(FramingError::NotSignalR {
                reason: Cow::Borrowed("a handshake for another protocol than json"),
            });
        }
        self.greeted = true;
        Ok(Received::Handshake)
    }

    fn take_record(&mut self, mut record: Value) -> Result<Option<Received>, FramingError> {
        match record.get("type").and_then(Value::as_u64) {
            Some(HUB_PING) => Ok(Some(Received::Alive)),
            Some(HUB_CLOSE) => Err(FramingError::ClosedByPeer {
                reason: record
                    .get("error")
                    .and_then(Value::as_str)
                    .map(str::to_owned),
            }),
            Some(INVOCATION) => {
                let argument = match record
                    .get_mut("arguments")
                    .and_then(Value::as_array_mut)
                    .map(Vec::as_mut_slice)
                {
                    Some([argument]) => argument.take(),
                    Some(_) | None => {
                        return Err(FramingError::NotSignalR {
                            reason: Cow::Borrowed("an invocation without one argument"),
                        });
                    }
                };
                match self.end {
                    End::Server => Ok(Some(Received::Text(argument.to_string()))),
                    End::Client => self.take_argument(argument),
                }
            }
            // Completions and stream items belong to features of SignalR that AllexJS does not use.
            Some(_) | None => Err(FramingError::NotSignalR {
                reason: Cow::Borrowed("a record that is neither an invocation nor a ping"),
            }),
        }
    }

    fn take_argument(&mut self, argument: Value) -> Result<Option<Received>, FramingError> {
        let Value::String(text) = argument else {
            return Err(FramingError::NotSignalR {
                reason: Cow::Borrowed("an argument that is not a text"),
            });
        };
        let frame = unwrap_frame(&text)?;
        match ServerFrame::from_value(frame) {
            Ok(ServerFrame::Chunk { remaining, chunk }) => {
                check_size(self.chunks.len() + chunk.len())?;
                self.chunks.push_str(&chunk);
                if remaining > 0 {
                    return Ok(None);
                }
                let whole = std::mem::take(&mut self.chunks);
                Ok(Some(Received::Text(unwrap_frame(&whole)?.to_string())))
            }
            Ok(frame) => Ok(Some(Received::Text(frame.into_text()))),
            Err(_) => Err(FramingError::NotSignalR {
                reason: Cow::Borrowed("an argument that is not a frame"),
            }),
        }
    }
}

/// The request with which a client opens the hub protocol.
#[must_use]
pub fn handshake_request() -> String {
    record(&json!({ "protocol": "json", "version": 1 }))
}

/// The answer to [`handshake_request`].
#[must_use]
pub fn handshake_answer() -> String {
    record(&json!({}))
}

/// A hub ping.
#[must_use]
pub fn hub_ping() -> String {
    record(&json!({ "type": HUB_PING }))
}

/// One frame from client to server: one message with one record.
#[must_use]
pub fn encode_at_client(frame_text: &str) -> String {
    format!(
        r#"{{"type":{INVOCATION},"target":"{TARGET_AT_SERVER}","arguments":[{frame_text}]}}{RECORD_SEPARATOR}"#
    )
}

/// One frame from server to client: one message with one record, or with a record for each chunk.
#[must_use]
pub fn encode_at_server(frame_text: &str) -> String {
    let wrapped = format!("[{frame_text}]");
    if wrapped.encode_utf16().count() <= CHUNK_CHARACTERS {
        return invocation_at_client(wrapped);
    }
    let mut message = String::new();
    push_chunks(&wrapped, &mut message);
    message
}

/// The body that answers `POST /negotiate`.
#[must_use]
pub fn negotiation(connection: u64) -> String {
    // Written out because the order of the members is that of the JavaScript server. LongPolling is
    // not offered: no AllexJS program uses it.
    format!(
        r#"{{"connectionId":"{connection}","availableTransports":[{{"transport":"WebSockets","transferFormats":["Text"]}}]}}"#
    )
}

fn push_chunks(text: &str, message: &mut String) {
    let mut rest = text;
    let mut remaining = text.encode_utf16().count();
    while !rest.is_empty() {
        let (bytes, units) = chunk_length(rest);
        let (chunk, behind) = rest.split_at(bytes);
        rest = behind;
        remaining -= units;
        let frame = json!([["~", remaining, chunk]]);
        message.push_str(&invocation_at_client(frame.to_string()));
    }
}

/// How many bytes and UTF-16 units the next chunk has, cut between characters.
fn chunk_length(text: &str) -> (usize, usize) {
    let mut units = 0;
    for (position, character) in text.char_indices() {
        if units + character.len_utf16() > CHUNK_CHARACTERS {
            return (position, units);
        }
        units += character.len_utf16();
    }
    (text.len(), units)
}

fn invocation_at_client(argument: String) -> String {
    record(&json!({ "type": INVOCATION, "target": TARGET_AT_CLIENT, "arguments": [argument] }))
}

fn record(value: &Value) -> String {
    format!("{value}{RECORD_SEPARATOR}")
}

fn unwrap_frame(text: &str) -> Result<Value, FramingError> {
    let wrapped: Value = serde_json::from_str(text).map_err(|_| FramingError::NotSignalR {
        reason: Cow::Borrowed("an argument that is not JSON"),
    })?;
    match wrapped {
        Value::Array(mut members) if members.len() == 1 => {
            members.pop().ok_or(FramingError::NotSignalR {
                reason: Cow::Borrowed("an argument without a frame"),
            })
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => Err(FramingError::NotSignalR {
            reason: Cow::Borrowed("an argument that does not hold one frame"),
        }),
    }
}
