//! Puts a journal down again from records that came from elsewhere, as from an export.

use std::path::Path;

use uuid::Uuid;

use crate::base::Base;
use crate::checkpoint;
use crate::error::Error;
use crate::header::Header;
use crate::journal::{SEAL_BYTES, SEAL_EVENTS};
use crate::reader::Position;
use crate::record::{self, Checksum, MAX_PAYLOAD};
use crate::store::{Block, FolderStore, Part, Store};
use allexmaster_machine::{Machine, Stamp, Time as _};

/// A journal that is being put down. What was put down is used only once [`Restore::finish`] returned.
pub struct Restore<M: Machine> {
    store: FolderStore,
    position: Position,
    identity: Uuid,
    block: Block,
    events: u64,
    /// What the records lead to, to be kept after each sealed file.
    state: M::State,
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
        let (position, state) = match base {
            None => {
                store.put(Part::Header, &header.bytes()?)?;
                (Position::before_first::<M>(identity), M::State::default())
            }
            Some(base) => {
                store.put(Part::Header, &header.raised().bytes()?)?;
                store.put(Part::Base, base.bytes())?;
                (base.position(), base.state::<M>(identity)?)
            }
        };
        Ok(Self {
            store,
            position,
            block: empty(position.sequence + 1),
            events: 0,
            identity,
            state,
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
        let event = M::decode(kind, payload).map_err(|source| Error::UnknownEvent {
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
        let stamp = stamp.map(M::Time::from_millis);
        (self.state, _) = M::step(std::mem::take(&mut self.state), stamp, event);
        self.events += 1;
        if self.events >= SEAL_EVENTS || self.block.bytes.len() as u64 >= SEAL_BYTES {
            self.seal()?;
        }
        Ok(checksum)
    }

    /// Goes on behind a hole: with the state after its last event.
    ///
    /// # Errors
    /// The state cannot be used; or the storage failed.
    pub fn resume(&mut self, state: &Base) -> Result<(), Error> {
        if self.events > 0 {
            self.seal()?;
        }
        self.state = state.state::<M>(self.identity)?;
        self.position = state.position();
        self.block = empty(self.position.sequence + 1);
        let part = Part::State(self.position.sequence);
        Ok(self.store.put(part, state.bytes())?)
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
        self.store.seal(&block, last)?;
        let json = checkpoint::json::<M>(&self.state)?;
        let kept = Base::new::<M>(self.identity, self.position, M::STEP_VERSION, &json)?;
        Ok(self.store.put(Part::State(last), kept.bytes())?)
    }
}

const fn empty(first: u64) -> Block {
    Block {
        first,
        bytes: Vec::new(),
    }
}
