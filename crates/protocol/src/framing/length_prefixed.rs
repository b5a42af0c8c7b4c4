//! Unix and TCP sockets: a length of 4 bytes, little-endian, then a batch of that many bytes.

use std::collections::VecDeque;

use super::{FramingError, check_size, text_batch};
use serde::{Deserialize, Serialize};

const LENGTH_BYTES: usize = 4;

/// Bytes in, texts out.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Decoder {
    #[serde(with = "serde_bytes")]
    buffer: Vec<u8>,
    texts: VecDeque<String>,
    refused: Option<FramingError>,
}

impl Decoder {
    /// Takes what arrived. After an error every further call gives the same error.
    ///
    /// # Errors
    /// [`FramingError`]; a length above the limit is refused before any of its bytes is kept.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), FramingError> {
        if let Some(error) = &self.refused {
            return Err(error.clone());
        }
        self.buffer.extend_from_slice(bytes);
        let outcome = self.take_complete();
        if let Err(error) = &outcome {
            self.refused = Some(error.clone());
            self.buffer = Vec::new();
        }
        outcome
    }

    /// The next complete text.
    pub fn next_text(&mut self) -> Option<String> {
        self.texts.pop_front()
    }

    /// Whether the bytes so far end in the middle of a message.
    #[must_use]
    pub fn is_inside_message(&self) -> bool {
        !self.buffer.is_empty()
    }

    fn take_complete(&mut self) -> Result<(), FramingError> {
        let mut consumed = 0;
        while let Some((length, rest)) = self
            .buffer
            .get(consumed..)
            .and_then(<[u8]>::split_first_chunk::<LENGTH_BYTES>)
        {
            // A u32 that does not fit is too large on any machine.
            let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
            check_size(length)?;
            if length == 0 {
                return Err(FramingError::Empty);
            }
            let Some(payload) = rest.get(..length) else {
                break;
            };
            let batch = std::str::from_utf8(payload).map_err(|_| FramingError::NotUtf8)?;
            self.texts.extend(text_batch::split(batch)?);
            consumed += LENGTH_BYTES + length;
        }
        self.buffer.drain(..consumed);
        Ok(())
    }
}

/// Appends one message with this text (or batch) to what is to be sent.
pub fn encode(text: &str, to: &mut Vec<u8>) {
    // A text longer than 4 GiB cannot exist: what waits for one peer is bounded far below.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(text.as_bytes());
}
