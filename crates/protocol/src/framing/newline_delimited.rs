//! Newline-delimited JSON, the IPC channel of a Node child: one text per line.

use std::collections::VecDeque;

use super::{FramingError, MAX_MESSAGE_BYTES, check_size};
use serde::{Deserialize, Serialize};

const END_OF_LINE: u8 = b'\n';

/// Bytes in, texts out. Empty lines are skipped.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Decoder {
    #[serde(with = "serde_bytes")]
    line: Vec<u8>,
    texts: VecDeque<String>,
    refused: Option<FramingError>,
}

impl Decoder {
    /// Takes what arrived. After an error every further call gives the same error.
    ///
    /// # Errors
    /// [`FramingError`] for a line that is too long or not UTF-8.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), FramingError> {
        if let Some(error) = &self.refused {
            return Err(error.clone());
        }
        let outcome = self.take(bytes);
        if let Err(error) = &outcome {
            self.refused = Some(error.clone());
            self.line = Vec::new();
        }
        outcome
    }

    /// The next complete text.
    pub fn next_text(&mut self) -> Option<String> {
        self.texts.pop_front()
    }

    /// Whether the bytes so far end in the middle of a line.
    #[must_use]
    pub fn is_inside_message(&self) -> bool {
        !self.line.is_empty()
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), FramingError> {
        let mut pieces = bytes.split(|byte| *byte == END_OF_LINE).peekable();
        while let Some(piece) = pieces.next() {
            // However the bytes were cut, the line is refused as one that has just passed the limit.
            let length = self.line.len().saturating_add(piece.len());
            check_size(length.min(MAX_MESSAGE_BYTES + 1))?;
            self.line.extend_from_slice(piece);
            if pieces.peek().is_some() {
                let line = String::from_utf8(std::mem::take(&mut self.line))
                    .map_err(|_| FramingError::NotUtf8)?;
                if !line.trim().is_empty() {
                    self.texts.push_back(line);
                }
            }
        }
        Ok(())
    }
}

/// Appends one text as a line. JSON texts made by this crate never contain a line break.
pub fn encode(text: &str, to: &mut Vec<u8>) {
    to.extend_from_slice(text.as_bytes());
    to.push(END_OF_LINE);
}
