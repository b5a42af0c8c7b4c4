//! WebSocket frames (RFC 6455), both ends, after the handshake and without compression.
//!
//! Decoder and encoder can be serialized in the middle of a frame, and the same inputs give the same
//! bytes again: the masks of a client, which must not be predictable, come from a secret and a counter.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{End, FramingError, check_size};

/// How many bytes the secret behind the masks has.
pub const SEED_BYTES: usize = 32;

/// The longest payload of a ping, pong or close (RFC 6455, 5.5).
const MAX_CONTROL_BYTES: u64 = 125;
const MASK_BYTES: usize = 4;
const CODE_BYTES: usize = 2;
/// The close code for a peer that breaks the protocol, and what is said with it.
const PROTOCOL_ERROR: u16 = 1_002;
const PROTOCOL_ERROR_REASON: &str = "Protocol violation";

const FINAL: u8 = 0x80;
const RESERVED_BITS: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
/// Instead of a length: it stands in the two bytes behind.
const LENGTH_IN_2_BYTES: u8 = 126;
/// Instead of a length: it stands in the eight bytes behind.
const LENGTH_IN_8_BYTES: u8 = 127;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// What arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Received {
    /// A text message, from however many frames.
    Text(String),
    /// A ping: answer with a pong of the same payload.
    Ping(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A pong.
    Pong,
    /// The peer closes, and this is how to answer. Nothing follows.
    Close(#[serde(with = "serde_bytes")] Vec<u8>),
}

/// Bytes in, messages out.
#[derive(Debug, Serialize, Deserialize)]
pub struct Decoder {
    /// Images of earlier versions are those of clients and lack it.
    #[serde(default)]
    end: End,
    /// A frame that is not complete.
    #[serde(with = "serde_bytes")]
    buffer: Vec<u8>,
    /// A message whose last frame has not come.
    fragments: Option<Fragments>,
    received: VecDeque<Received>,
    closed: bool,
    refused: Option<FramingError>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Fragments {
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    /// So many of them are UTF-8; behind them at most a part of one character.
    valid: usize,
}

/// Messages in, bytes out.
#[derive(Serialize, Deserialize)]
pub struct Encoder {
    /// The secret behind the masks of a client; a server sends without masks.
    seed: Option<[u8; SEED_BYTES]>,
    masks_used: u64,
}

/// The first bytes of a frame, checked.
struct Header {
    is_final: bool,
    opcode: Opcode,
    is_masked: bool,
    /// Where the payload begins, behind the mask.
    length_of_header: usize,
    length_of_payload: usize,
}

impl Decoder {
    /// A decoder for the bytes that arrive at this end: those of a client must be masked, those of a
    /// server must not.
    #[must_use]
    pub fn new(end: End) -> Self {
        Self {
            end,
            buffer: Vec::new(),
            fragments: None,
            received: VecDeque::new(),
            closed: false,
            refused: None,
        }
    }

    /// Takes what arrived. After an error every further call gives the same error; what follows a
    /// close is ignored.
    ///
    /// # Errors
    /// [`FramingError`]; a frame is refused as soon as its header is there.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), FramingError> {
        if let Some(error) = &self.refused {
            return Err(error.clone());
        }
        if self.closed {
            return Ok(());
        }
        self.buffer.extend_from_slice(bytes);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        let outcome = loop {
            match self.take_frame(rest) {
                Ok(Some(behind)) => rest = behind,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = &outcome {
            self.refused = Some(error.clone());
            self.fragments = None;
        } else if !self.closed {
            let consumed = buffer.len() - rest.len();
            buffer.drain(..consumed);
            self.buffer = buffer;
        }
        outcome
    }

    /// What was received next.
    pub fn next_received(&mut self) -> Option<Received> {
        self.received.pop_front()
    }

    /// Takes the first frame, if it is complete and nothing has been closed, and gives what follows.
    fn take_frame<'bytes>(
        &mut self,
        bytes: &'bytes [u8],
    ) -> Result<Option<&'bytes [u8]>, FramingError> {
        if self.closed {
            return Ok(None);
        }
        let Some(header) = Header::of(bytes, self.end)? else {
            return Ok(None);
        };
        self.check(&header)?;
        let frame = bytes
            .split_at_checked(header.length_of_header)
            .and_then(|(head, behind)| {
                let (payload, behind) = behind.split_at_checked(header.length_of_payload)?;
                Some((head, payload, behind))
            });
        let Some((head, payload, behind)) = frame else {
            return Ok(None);
        };
        match head.last_chunk().filter(|_| header.is_masked) {
            Some(mask) => self.take_payload(&header, masked(payload, *mask))?,
            None => self.take_payload(&header, payload.to_vec())?,
        }
        Ok(Some(behind))
    }

    /// Whether the frame may come now.
    fn check(&self, header: &Header) -> Result<(), FramingError> {
        match (header.opcode, &self.fragments) {
            (Opcode::Binary, None) => Err(FramingError::NotText),
            (Opcode::Text | Opcode::Binary, Some(_)) => Err(violation(
                "a message begins before the last frame of another",
            )),
            (Opcode::Continuation, None) => {
                Err(violation("a message is continued that has not begun"))
            }
            (Opcode::Text, None) => check_size(header.length_of_payload),
            (Opcode::Continuation, Some(fragments)) => check_size(
                fragments
                    .bytes
                    .len()
                    .saturating_add(header.length_of_payload),
            ),
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => Ok(()),
        }
    }

    fn take_payload(&mut self, header: &Header, payload: Vec<u8>) -> Result<(), FramingError> {
        match header.opcode {
            Opcode::Text | Opcode::Continuation | Opcode::Binary => {
                let mut fragments = self.fragments.take().unwrap_or_default();
                fragments.add(payload)?;
                if header.is_final {
                    let text = fragments.into_text()?;
                    self.received.push_back(Received::Text(text));
                } else {
                    self.fragments = Some(fragments);
                }
            }
            Opcode::Ping => self.received.push_back(Received::Ping(payload)),
            Opcode::Pong => self.received.push_back(Received::Pong),
            Opcode::Close => {
                let answer = answer_to_close(&payload)?;
                self.received.push_back(Received::Close(answer));
                self.closed = true;
                self.fragments = None;
            }
        }
        Ok(())
    }
}

impl Fragments {
    fn add(&mut self, payload: Vec<u8>) -> Result<(), FramingError> {
        if self.bytes.is_empty() {
            self.bytes = payload;
        } else {
            self.bytes.extend_from_slice(&payload);
        }
        let unchecked = self.bytes.get(self.valid..).unwrap_or_default();
        match std::str::from_utf8(unchecked) {
            Ok(_) => self.valid = self.bytes.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(FramingError::NotUtf8),
        }
        Ok(())
    }

    fn into_text(self) -> Result<String, FramingError> {
        String::from_utf8(self.bytes).map_err(|_| FramingError::NotUtf8)
    }
}

impl Encoder {
    /// The encoder of a client. The masks come from this secret: 32 random bytes, never used for
    /// another connection.
    #[must_use]
    pub fn client(seed: [u8; SEED_BYTES]) -> Self {
        Self {
            seed: Some(seed),
            masks_used: 0,
        }
    }

    /// The encoder of a server, which does not mask.
    #[must_use]
    pub fn server() -> Self {
        Self {
            seed: None,
            masks_used: 0,
        }
    }

    /// Appends a text message.
    pub fn text(&mut self, text: &str, to: &mut Vec<u8>) {
        self.frame(Opcode::Text, text.as_bytes(), to);
    }

    /// Appends the answer to a ping.
    pub fn pong(&mut self, payload: &[u8], to: &mut Vec<u8>) {
        self.frame(Opcode::Pong, payload, to);
    }

    /// Appends a close; its payload is empty, or what [`Received::Close`] gives.
    pub fn close(&mut self, payload: &[u8], to: &mut Vec<u8>) {
        self.frame(Opcode::Close, payload, to);
    }

    fn frame(&mut self, opcode: Opcode, payload: &[u8], to: &mut Vec<u8>) {
        let mask = self.next_mask();
        let mask_bit = if mask.is_some() { MASKED } else { 0 };
        to.push(FINAL | opcode as u8);
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length), _) if length < LENGTH_IN_2_BYTES => to.push(mask_bit | length),
            (_, Ok(length)) => {
                to.push(mask_bit | LENGTH_IN_2_BYTES);
                to.extend_from_slice(&length.to_be_bytes());
            }
            (_, Err(_)) => {
                to.push(mask_bit | LENGTH_IN_8_BYTES);
                to.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        match mask {
            Some(mask) => {
                to.extend_from_slice(&mask);
                to.extend(masked(payload, mask));
            }
            None => to.extend_from_slice(payload),
        }
    }

    /// RFC 6455, 5.3: a mask must not be predictable from those before. None for a server.
    fn next_mask(&mut self) -> Option<[u8; MASK_BYTES]> {
        let hash = blake3::keyed_hash(self.seed.as_ref()?, &self.masks_used.to_le_bytes());
        self.masks_used = self.masks_used.wrapping_add(1);
        hash.as_bytes().first_chunk().copied()
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The seed is a secret.
        formatter
            .debug_struct("Encoder")
            .field("masks_used", &self.masks_used)
            .finish_non_exhaustive()
    }
}

impl Header {
    /// The header of a frame that arrives at this end. None when there are too few bytes.
    fn of(bytes: &[u8], end: End) -> Result<Option<Self>, FramingError> {
        let [first, second, behind @ ..] = bytes else {
            return Ok(None);
        };
        let is_final = first & FINAL != 0;
        let opcode = Opcode::of(first & OPCODE)?;
        if first & RESERVED_BITS != 0 {
            return Err(violation("a frame uses an extension that was not agreed"));
        }
        let is_masked = second & MASKED != 0;
        match (end, is_masked) {
            (End::Client, true) => return Err(violation("a server masks a frame")),
            (End::Server, false) => return Err(violation("a client does not mask a frame")),
            (End::Client, false) | (End::Server, true) => {}
        }
        let (length, length_without_mask) = match second & LENGTH {
            LENGTH_IN_2_BYTES => match behind.first_chunk() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 2 + size_of::<u16>()),
                None => return Ok(None),
            },
            LENGTH_IN_8_BYTES => match behind.first_chunk() {
                Some(length) => (u64::from_be_bytes(*length), 2 + size_of::<u64>()),
                None => return Ok(None),
            },
            length => (u64::from(length), 2),
        };
        if opcode.is_control() && !is_final {
            return Err(violation("a ping, pong or close comes in parts"));
        }
        if opcode.is_control() && length > MAX_CONTROL_BYTES {
            return Err(violation("a ping, pong or close is too long"));
        }
        Ok(Some(Self {
            is_final,
            opcode,
            is_masked,
            length_of_header: length_without_mask + if is_masked { MASK_BYTES } else { 0 },
            // What does not fit is too large on any machine.
            length_of_payload: usize::try_from(length).unwrap_or(usize::MAX),
        }))
    }
}

impl Opcode {
    fn of(code: u8) -> Result<Self, FramingError> {
        [
            Self::Continuation,
            Self::Text,
            Self::Binary,
            Self::Close,
            Self::Ping,
            Self::Pong,
        ]
        .into_iter()
        .find(|known| *known as u8 == code)
        .ok_or_else(|| violation("a frame is of a kind that is not defined"))
    }

    fn is_control(self) -> bool {
        match self {
            Self::Close | Self::Ping | Self::Pong => true,
            Self::Continuation | Self::Text | Self::Binary => false,
        }
    }
}

/// RFC 6455, 5.5.1: a close is answered with its own code, if that is one that may be sent.
fn answer_to_close(payload: &[u8]) -> Result<Vec<u8>, FramingError> {
    let Some((code, reason)) = payload.split_first_chunk::<CODE_BYTES>() else {
        return match payload {
            [] => Ok(Vec::new()),
            [_, ..] => Err(violation("a close has half a code")),
        };
    };
    if std::str::from_utf8(reason).is_err() {
        return Err(FramingError::NotUtf8);
    }
    Ok(match u16::from_be_bytes(*code) {
        1_000..=1_003 | 1_007..=1_013 | 3_000..=4_999 => payload.to_vec(),
        _ => {
            let mut answer = PROTOCOL_ERROR.to_be_bytes().to_vec();
            answer.extend_from_slice(PROTOCOL_ERROR_REASON.as_bytes());
            answer
        }
    })
}

/// A payload with the mask put on or taken off, which is the same.
fn masked(payload: &[u8], mask: [u8; MASK_BYTES]) -> Vec<u8> {
    let mut masked = payload.to_vec();
    for part in masked.chunks_mut(MASK_BYTES) {
        for (byte, mask) in part.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    masked
}

fn violation(reason: &'static str) -> FramingError {
    FramingError::NotWebSocket {
        reason: Cow::Borrowed(reason),
    }
}
