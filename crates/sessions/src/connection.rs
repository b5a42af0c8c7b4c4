//! One connection of the front: its framing, whose it is, and the bytes on their way.

use allexmaster_protocol::framing::wire::Wire;
use allexmaster_protocol::server::ConnectionId;
use allexmaster_state::Incarnation;
use serde::{Deserialize, Serialize};

use crate::input::Mark;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Owner {
    /// A local peer's.
    Local(ConnectionId),
    /// A child's.
    Child(Incarnation),
    /// The LanManager's.
    Lan,
    /// Nobody's any more: what is left is sent, then it ends.
    Nobody,
}

/// One connection.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    /// Takes its bytes apart; none where somebody else does.
    pub(super) wire: Option<Wire>,
    pub(super) owner: Owner,
    /// It ends when everything is sent.
    pub(super) finishing: bool,
    outbox: Outbox,
    /// How many bytes were logged that may still be in the socket.
    unconsumed: usize,
    /// Up to where bytes were about to be put into the pipe, where that is not settled.
    offered: Option<u64>,
}

/// How far a line's bytes had come when the log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many bytes were logged that may still be in the socket.
    pub unconsumed: usize,
    /// Up to where bytes were about to be put into the pipe, where that is not settled.
    pub offered: Option<u64>,
}

/// Bytes to be sent, each with its offset in all that the line ever sends.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Outbox {
    /// The offset of the first byte that waits.
    start: u64,
    bytes: Vec<u8>,
}

impl Line {
    pub(super) fn new(wire: Option<Wire>, owner: Owner) -> Self {
        Self {
            wire,
            owner,
            finishing: false,
            outbox: Outbox::default(),
            unconsumed: 0,
            offered: None,
        }
    }

    /// Bytes were logged.
    pub(super) const fn logged(&mut self, bytes: usize) {
        self.unconsumed = bytes;
    }

    /// Takes what the framing has for the peer; true where there is something.
    pub(super) fn collect(&mut self) -> bool {
        let Some(wire) = &mut self.wire else {
            return false;
        };
        let output = wire.take_output();
        self.outbox.bytes.extend_from_slice(&output);
        !output.is_empty()
    }

    /// How many bytes wait to be sent.
    pub(super) const fn waiting(&self) -> usize {
        self.outbox.bytes.len()
    }

    /// The next bytes to be sent, at most so many, with the offset behind the last of them.
    pub(super) fn chunk(&self, most: usize) -> Option<(Vec<u8>, u64)> {
        let count = self.outbox.bytes.len().min(most);
        let bytes = self.outbox.bytes.get(..count)?;
        let end = self.outbox.start + count as u64;
        (count > 0).then(|| (bytes.to_vec(), end))
    }

    pub(super) const fn progress(&self) -> Progress {
        Progress {
            unconsumed: self.unconsumed,
            offered: self.offered,
        }
    }

    pub(super) fn mark(&mut self, mark: Mark) {
        match mark {
            Mark::Consumed => self.unconsumed = 0,
            Mark::Offered(end) => self.offered = Some(end),
            Mark::Withdrawn => self.offered = None,
            Mark::Taken(end) => {
                self.offered = None;
                let count = usize::try_from(end.saturating_sub(self.outbox.start));
                let count = count.unwrap_or(usize::MAX).min(self.outbox.bytes.len());
                self.outbox.bytes.drain(..count);
                self.outbox.start += count as u64;
                if self.outbox.bytes.is_empty() {
                    // A thousand lines that once had much to say would keep that room for ever.
                    self.outbox.bytes = Vec::new();
                }
            }
        }
    }
}
