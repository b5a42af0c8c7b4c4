//! The state that a compacted journal begins with, in place of the events that led to it.
//!
//! It has the form of a checkpoint and, since nothing else could replace it, 32 more bytes: BLAKE3 of
//! all that comes before. A checkpoint of another version of the rules is thrown away; a base is read
//! by every later version ([`Machine::decode_base`]).

use uuid::Uuid;

use crate::checkpoint::{self, Written};
use crate::error::Error;
use crate::reader::Position;
use allexmaster_machine::Machine;

const HASH_LENGTH: usize = 32;

/// A base that was verified. Its state is not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    position: Position,
    step_version: u32,
    bytes: Vec<u8>,
}

impl Base {
    /// Makes a base of the state after an event, which a version of the rules wrote as JSON.
    ///
    /// # Errors
    /// The JSON is no state that this version of the rules can read.
    pub fn new<M: Machine>(
        identity: Uuid,
        position: Position,
        step_version: u32,
        json: &[u8],
    ) -> Result<Self, Error> {
        let base = Self::write::<M>(identity, position, step_version, json.to_vec())?;
        base.state::<M>(identity)?;
        Ok(base)
    }

    /// Makes a base of a state of this version.
    pub(crate) fn of<M: Machine>(
        identity: Uuid,
        position: Position,
        state: &M::State,
    ) -> Result<Self, Error> {
        let json = checkpoint::json::<M>(state)?;
        Self::write::<M>(identity, position, M::STEP_VERSION, json)
    }

    fn write<M: Machine>(
        identity: Uuid,
        position: Position,
        step_version: u32,
        json: Vec<u8>,
    ) -> Result<Self, Error> {
        let written = Written {
            position,
            step_version,
            json,
        };
        let mut bytes = checkpoint::write::<M>(&identity.to_string(), &written)?;
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        Ok(Self {
            position,
            step_version,
            bytes,
        })
    }

    /// Makes a base of the bytes of a checkpoint.
    pub(crate) fn of_checkpoint<M: Machine>(identity: Uuid, bytes: &[u8]) -> Result<Self, Error> {
        let mut bytes = bytes.to_vec();
        let hash = blake3::hash(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        Self::read::<M>(identity, &bytes)
    }

    /// Verifies the bytes of a base.
    ///
    /// # Errors
    /// [`Error::BaseDamaged`], or [`Error::NewerBase`] where only a newer version can read it.
    pub fn read<M: Machine>(identity: Uuid, bytes: &[u8]) -> Result<Self, Error> {
        let written = open::<M>(identity, bytes).map_err(|why| Error::BaseDamaged { why })?;
        if written.step_version > M::STEP_VERSION {
            return Err(Error::NewerBase {
                made_by: written.step_version,
                known: M::STEP_VERSION,
            });
        }
        Ok(Self {
            position: written.position,
            step_version: written.step_version,
            bytes: bytes.to_vec(),
        })
    }

    /// The last event that the state has seen: the journal goes on after it.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The version of the rules that made the state.
    #[must_use]
    pub const fn step_version(&self) -> u32 {
        self.step_version
    }

    /// The bytes that [`Base::read`] reads.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The state as it was written.
    ///
    /// # Errors
    /// [`Error::BaseDamaged`].
    pub fn json<M: Machine>(&self, identity: Uuid) -> Result<Vec<u8>, Error> {
        let written = open::<M>(identity, &self.bytes);
        Ok(written.map_err(|why| Error::BaseDamaged { why })?.json)
    }

    /// The state, as this version of the rules knows it.
    ///
    /// # Errors
    /// [`Error::BaseDamaged`].
    pub fn state<M: Machine>(&self, identity: Uuid) -> Result<M::State, Error> {
        let json = self.json::<M>(identity)?;
        M::decode_base(self.step_version, &json).map_err(|error| Error::BaseDamaged {
            why: error.to_string(),
        })
    }
}

/// The base that a journal begins with: the newest copy that can be used. With it, whether a copy is
/// missing or damaged.
pub(crate) fn newest<M: Machine>(
    identity: Uuid,
    copies: &[Vec<u8>],
) -> Result<Option<(Base, bool)>, Error> {
    let mut found: Option<Base> = None;
    let mut worst = None;
    for bytes in copies {
        match Base::read::<M>(identity, bytes) {
            Ok(base) => {
                let newer = |known: &Base| known.position.sequence < base.position.sequence;
                if found.as_ref().is_none_or(newer) {
                    found = Some(base);
                }
            }
            Err(error @ Error::NewerBase { .. }) => return Err(error),
            Err(error) => worst = Some(error),
        }
    }
    match (found, worst) {
        (None, None) => Ok(None),
        (None, Some(error)) => Err(error),
        (Some(base), _) => {
            let whole = copies.iter().all(|bytes| *bytes == base.bytes);
            Ok(Some((base, whole)))
        }
    }
}

fn open<M: Machine>(identity: Uuid, bytes: &[u8]) -> Result<Written, String> {
    let (content, hash) = bytes
        .split_last_chunk::<HASH_LENGTH>()
        .ok_or("it is too short")?;
    if blake3::hash(content).as_bytes() != hash {
        return Err("its hash does not fit".to_owned());
    }
    checkpoint::read::<M>(&identity.to_string(), content)
}
