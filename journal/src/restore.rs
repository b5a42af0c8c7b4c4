//! Puts a journal down again from records that came from elsewhere, as from an export.

use std::marker::PhantomData;
use std::path::Path;

use uuid::Uuid;

use crate::base::Base;
use crate::error::Error;
use crate::header::Header;
use crate::journal::{SEAL_BYTES, SEAL_EVENTS};
use crate::reader::Position;
use crate::record::{self, Checksum, MAX_PAYLOAD};
use crate::store::{Block, FolderStore, Part, Store};
use allexmaster_machine::{Machine, Stamp};

/// A journal that is being put down. What was put down is used only once [`Restore::finish`] returned.
pub struct Restore<M> {
    store: FolderStore,
    position: Position,
    block: Block,
    events: u64,
    machine: PhantomData<fn() -> M>,
}

impl<M: Machine> Restore<M> {
    /// Begins a journal with this identity in a folder that has none; where there is a base, the
    /// journal begins with it.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] where there is one already; otherwise what the disk says.
    pub fn begin(folder: &Path, identity: Uuid, base: Option<&Base>) -> Result<Self, Error> {
        let occupied = folder
            .read_dir()
            .is_ok_and(|mut entries| entries.next().is_some());
        if occupied {
            return Err(Error::NotEmpty {
                path: folder.to_owned(),
            });
        }
        let (mut store, _) = FolderStore::open(folder)?;
        let header = Header::new(M::PROGRAM, identity);
        let position = match base {
            None => {
                store.put(Part::Header, &header.bytes()?)?;
                Position::before_first::<M>(identity)
            }
            Some(base) => {
                store.put(Part::Header, &header.raised().bytes()?)?;
                store.put(Part::Base, base.bytes())?;
                base.position()
            }
        };
        Ok(Self {
            store,
            position,
            block: empty(position.sequence + 1),
            events: 0,
            machine: PhantomData,
        })
    }

    /// Takes the next record; gives its checksum. Entropy and time are kept as they were.
    ///
    /// # Errors
    /// The event is too large or none that this version knows; or the storage failed.
    pub fn push(
        &mut self,
        at: u64,
        entropy: u32,
        kind: u16,
        payload: &[u8],
    ) -> Result<Checksum, Error> {
        let sequence = self.position.sequence + 1;
        if payload.len() > MAX_PAYLOAD {
            let length = payload.len();
            return Err(Error::EventTooLarge {
                kind,
                length,
                limit: MAX_PAYLOAD,
            });
        }
        M::decode(kind, payload).map_err(|source| Error::UnknownEvent {
            sequence,
            kind,
            source,
        })?;
        let at = at.max(self.position.at);
        let stamp = Stamp {
            sequence,
            at,
            entropy,
        };
        let bytes = &mut self.block.bytes;
        let checksum = record::encode(bytes, self.position.checksum, stamp, kind, payload);
        self.position = Position {
            sequence,
            checksum,
            at,
        };
        self.events += 1;
        if self.events >= SEAL_EVENTS || self.block.bytes.len() as u64 >= SEAL_BYTES {
            self.seal()?;
        }
        Ok(checksum)
    }

    /// Makes all of it durable, and gives the last record's position.
    ///
    /// # Errors
    /// The storage failed.
    pub fn finish(mut self) -> Result<Position, Error> {
        if self.events > 0 {
            self.seal()?;
        }
        self.store.sync(self.position.sequence)?;
        Ok(self.position)
    }

    fn seal(&mut self) -> Result<(), Error> {
        let last = self.position.sequence;
        let block = std::mem::replace(&mut self.block, empty(last + 1));
        self.events = 0;
        Ok(self.store.seal(&block, last)?)
    }
}

const fn empty(first: u64) -> Block {
    Block {
        first,
        bytes: Vec::new(),
    }
}
