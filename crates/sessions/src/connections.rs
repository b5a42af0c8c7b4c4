//! All connections: the framing of each, whose it is, and the bytes on their way.

use std::collections::BTreeMap;

use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::framing::MAX_QUEUED_BYTES;
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::server::ConnectionId;
use allexmaster_state::Incarnation;
use serde::{Deserialize, Serialize};

use crate::input::{ConnectionName, Mark, Output};

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Owner {
    Local(ConnectionId),
    Child(Incarnation),
    Lan,
    /// No longer anybody's: the rest is sent, then it ends.
    None,
}

/// All connections, by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Connections(BTreeMap<ConnectionName, Connection>);

#[derive(Debug, Serialize, Deserialize)]
struct Connection {
    /// The framing; none where the connection is encrypted and its own pump does it.
    wire: Option<Wire>,
    owner: Owner,
    /// It ends when everything is sent.
    finishing: bool,
    queue: SendQueue,
    /// How many bytes were logged that may still be in the socket.
    unconsumed: usize,
    /// Up to where bytes were about to be put into the pipe, while that is not settled.
    offered: Option<u64>,
}

/// How far a connection's bytes had come when the log ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many bytes were logged that may still be in the socket.
    pub unconsumed: usize,
    /// Up to where bytes were about to be put into the pipe, while that is not settled.
    pub offered: Option<u64>,
}

/// Bytes to be sent.
#[derive(Debug, Default, Serialize, Deserialize)]
struct SendQueue {
    /// The offset of the first byte, in all that the connection ever sends.
    start: u64,
    bytes: Vec<u8>,
}

impl Connections {
    /// Adds a connection; gives [`Output::Write`] where its framing has something to send first.
    pub(crate) fn open(
        &mut self,
        name: ConnectionName,
        wire: Option<Wire>,
        owner: Owner,
    ) -> Option<Output> {
        let mut opened = Connection {
            wire,
            owner,
            finishing: false,
            queue: SendQueue::default(),
            unconsumed: 0,
            offered: None,
        };
        let output = opened.collect().then(|| Output::Write(name.clone()));
        self.0.insert(name, opened);
        output
    }

    pub(crate) fn owner(&self, name: &ConnectionName) -> Option<Owner> {
        Some(self.0.get(name)?.owner)
    }

    /// Takes the connection from its owner.
    pub(crate) fn disown(&mut self, name: &ConnectionName) -> Owner {
        self.0.get_mut(name).map_or(Owner::None, |known| {
            std::mem::replace(&mut known.owner, Owner::None)
        })
    }

    pub(crate) fn remove(&mut self, name: &ConnectionName) {
        self.0.remove(name);
    }

    /// Takes bytes that have come. Gives what they say, and [`Output::Write`] where the framing
    /// answers by itself (a pong, or what has waited for a handshake).
    pub(crate) fn receive(
        &mut self,
        name: &ConnectionName,
        bytes: &[u8],
    ) -> (Vec<WireItem>, Option<Output>) {
        let mut items = Vec::new();
        let Some(known) = self.0.get_mut(name) else {
            return (items, None);
        };
        known.unconsumed = bytes.len();
        if let Some(wire) = &mut known.wire {
            wire.receive(bytes, &mut items);
        }
        (items, known.collect().then(|| Output::Write(name.clone())))
    }

    /// The peer has closed: gives what that says, where it was in the middle of a message.
    pub(crate) fn receive_end(&mut self, name: &ConnectionName) -> Vec<WireItem> {
        let mut items = Vec::new();
        if let Some(wire) = self.0.get_mut(name).and_then(|known| known.wire.as_mut()) {
            wire.receive_end(&mut items);
        }
        items
    }

    /// Queues a text. Nothing where the connection is unknown or about to end.
    ///
    /// # Errors
    /// The peer does not read what it is sent, or the text cannot be framed: cut it off.
    pub(crate) fn send(
        &mut self,
        name: &ConnectionName,
        text: String,
    ) -> Result<Option<Output>, CloseReason> {
        let Some(known) = self.0.get_mut(name).filter(|known| !known.finishing) else {
            return Ok(None);
        };
        let Some(wire) = &mut known.wire else {
            return Ok(Some(Output::Carry(name.clone(), text)));
        };
        wire.send(&text)?;
        known.collect();
        let queued = known.queue.bytes.len();
        if queued > MAX_QUEUED_BYTES {
            return Err(CloseReason::SlowPeer {
                queued,
                limit: MAX_QUEUED_BYTES,
            });
        }
        Ok(Some(Output::Write(name.clone())))
    }

    /// Ends the connection as soon as all that is queued is sent.
    pub(crate) fn finish(&mut self, name: &ConnectionName) -> Option<Output> {
        let known = self.0.get_mut(name).filter(|known| !known.finishing)?;
        known.finishing = true;
        if let Some(wire) = &mut known.wire {
            wire.close();
        }
        known.collect();
        Some(Output::Finish(name.clone()))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &ConnectionName> {
        self.0.keys()
    }

    pub(crate) fn is_finishing(&self, name: &ConnectionName) -> bool {
        self.0.get(name).is_some_and(|known| known.finishing)
    }

    pub(crate) fn progress(&self) -> impl Iterator<Item = (&ConnectionName, Progress)> {
        self.0.iter().map(|(name, known)| {
            let progress = Progress {
                unconsumed: known.unconsumed,
                offered: known.offered,
            };
            (name, progress)
        })
    }

    /// The next bytes to be sent, at most so many, with the offset behind the last of them.
    pub(crate) fn chunk(&self, name: &ConnectionName, most: usize) -> Option<(Vec<u8>, u64)> {
        let queue = &self.0.get(name)?.queue;
        let count = queue.bytes.len().min(most);
        let bytes = queue.bytes.get(..count)?;
        let end = queue.start + count as u64;
        (count > 0).then(|| (bytes.to_vec(), end))
    }

    /// Notes how far the bytes have come.
    pub(crate) fn mark(&mut self, name: &ConnectionName, mark: Mark) {
        let Some(known) = self.0.get_mut(name) else {
            return;
        };
        match mark {
            Mark::Consumed => known.unconsumed = 0,
            Mark::Offered(end) => known.offered = Some(end),
            Mark::Withdrawn => known.offered = None,
            Mark::Taken(end) => {
                known.offered = None;
                known.queue.drop_before(end);
            }
        }
    }
}

impl Connection {
    /// Queues what the framing has for the peer; true where there was something.
    fn collect(&mut self) -> bool {
        let Some(wire) = &mut self.wire else {
            return false;
        };
        let output = wire.take_output();
        self.queue.bytes.extend_from_slice(&output);
        !output.is_empty()
    }
}

impl SendQueue {
    fn drop_before(&mut self, end: u64) {
        let count = usize::try_from(end.saturating_sub(self.start));
        let count = count.unwrap_or(usize::MAX).min(self.bytes.len());
        self.bytes.drain(..count);
        self.start += count as u64;
        if self.bytes.is_empty() {
            // Frees the room: a thousand idle connections would keep it otherwise.
            self.bytes = Vec::new();
        }
    }
}
