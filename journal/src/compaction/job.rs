//! The replay that decides what may go. Runs beside the loop, and changes nothing.

use std::marker::PhantomData;
use std::ops::ControlFlow;

use uuid::Uuid;

use super::{Compaction, CompactionRequest};
use crate::base::Base;
use crate::checkpoint;
use crate::error::Error;
use crate::journal::Journal;
use crate::reader::{Position, walk};
use crate::record::{self, Record};
use crate::records::{read_event, stamp};
use crate::store::{Block, Sealed, SealedReader, StoreError};
use allexmaster_machine::Machine;

/// All that the replay needs. What is sealed no longer changes; of the tail it has a copy.
pub(crate) struct Job<M> {
    identity: Uuid,
    start: Position,
    base: Option<Base>,
    last: Position,
    sealed: Vec<Sealed>,
    reader: Box<dyn SealedReader>,
    /// The blocks after the sealed ones, up to the checkpoint.
    tail: Vec<Block>,
    checkpoint: Position,
    /// The checkpoint's state as JSON.
    checkpoint_json: Vec<u8>,
    request: CompactionRequest,
    machine: PhantomData<fn() -> M>,
}

/// What is to be done.
pub(crate) struct Prepared {
    pub(crate) told: Compaction,
    /// None where nothing is to be removed, or nothing may be.
    pub(crate) base: Option<Base>,
}

impl<M: Machine> Journal<M> {
    /// What a compaction needs to know, taken at this moment.
    pub(super) fn job(&mut self, request: CompactionRequest) -> Result<Job<M>, Error> {
        let identity = self.identity();
        let refused = |why: String| Error::NoCheckpoint { why };
        let position = match self.stored_checkpoint()? {
            None => return Err(refused("there is none".to_owned())),
            Some(Err(why)) => return Err(refused(why)),
            Some(Ok((position, _))) => position,
        };
        let bytes = self.checkpoint()?.unwrap_or_default();
        let written = checkpoint::read::<M>(&identity.to_string(), &bytes).map_err(refused)?;
        let unsealed = self.sealed_through() + 1;
        // A journal that was opened to be read has looked at nothing yet.
        let last = if self.position() == self.start {
            self.visit(unsealed, |_| ControlFlow::Continue(()))?
        } else {
            self.position()
        };
        let mut tail = Vec::new();
        let mut next = unsealed;
        while next <= position.sequence
            && let Some(block) = self.store()?.block_from(next)?
        {
            next = block.first + 1;
            tail.push(block);
        }
        let sealed = self.sealed();
        Ok(Job {
            identity,
            start: self.start,
            base: self.base.clone(),
            last,
            sealed: sealed.blocks,
            reader: sealed.reader,
            tail,
            checkpoint: position,
            checkpoint_json: written.json,
            request,
            machine: PhantomData,
        })
    }
}

impl<M: Machine> Job<M> {
    /// Replays from the beginning to the checkpoint, and compares.
    pub(crate) fn run(self) -> Result<Prepared, Error> {
        let going = self.how_many_go()?;
        let size = |parts: &[Sealed]| parts.iter().map(|part| part.bytes).sum::<u64>();
        let mut told = Compaction {
            first: self.start.sequence + 1,
            through: self.start.sequence,
            through_at: self.start.at,
            last: self.last.sequence,
            checkpoint: self.checkpoint.sequence,
            freed_bytes: size(&self.sealed[..going]),
            kept_bytes: size(&self.sealed[going..]),
            done: false,
        };
        let mut base = None;
        if going > 0 {
            let (position, json) = self.replay(going)?;
            told.through = position.sequence;
            told.through_at = position.at;
            let made = Base::new::<M>(self.identity, position, M::STEP_VERSION, &json)?;
            base = Some(made).filter(|_| !self.request.dry_run);
        }
        Ok(Prepared { told, base })
    }

    /// How many of the sealed blocks may go, the oldest first.
    fn how_many_go(&self) -> Result<usize, Error> {
        let below = |part: &Sealed| part.last <= self.checkpoint.sequence;
        let able = self.sealed.partition_point(below);
        let mut left: u64 = self.sealed.iter().map(|part| part.bytes).sum();
        let mut too_many = 0;
        while let Some(most) = self.request.most_bytes
            && left > most
            && too_many < able
        {
            left -= self.sealed[too_many].bytes;
            too_many += 1;
        }
        let oldest_kept = self.last.at.saturating_sub(self.request.keep);
        // Recorded time never goes back.
        let (mut low, mut high) = (0, able);
        while low < high {
            let middle = low.midpoint(high);
            if end_of(self.reader.as_ref(), self.sealed[middle])? <= oldest_kept {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.max(too_many))
    }

    /// The state after the blocks that go; given only if the events lead to the checkpoint.
    fn replay(&self, going: usize) -> Result<(Position, Vec<u8>), Error> {
        let mut state = match &self.base {
            Some(base) => base.state::<M>(self.identity)?,
            None => M::State::default(),
        };
        let mut position = self.start;
        let mut kept = None;
        let sealed = self.sealed.iter().map(|part| self.reader.read(*part));
        let tail = self.tail.iter().cloned().map(Ok);
        for (number, block) in sealed.chain(tail).enumerate() {
            let block: Block = block.map_err(|error| unreadable(position, error))?;
            if position.sequence >= self.checkpoint.sequence {
                break;
            }
            position = walk(&block.bytes, position, |record| {
                if record.stamp.sequence <= self.checkpoint.sequence {
                    let event = read_event::<M>(record)?;
                    (state, _) = M::step(std::mem::take(&mut state), stamp::<M>(record), event);
                }
                Ok(())
            })?;
            if number + 1 == going {
                kept = Some((position, checkpoint::json::<M>(&state)?));
            }
        }
        let same = position.sequence >= self.checkpoint.sequence
            && checkpoint::json::<M>(&state)? == self.checkpoint_json;
        match kept {
            Some(kept) if same => Ok(kept),
            Some(_) | None => Err(Error::CheckpointDiffers {
                sequence: self.checkpoint.sequence,
            }),
        }
    }
}

/// The time of the last record of a block; its checksums are looked at by the replay.
pub(super) fn end_of(reader: &dyn SealedReader, sealed: Sealed) -> Result<u64, Error> {
    let block = reader.read(sealed)?;
    let mut at = 0;
    let mut rest = block.bytes.as_slice();
    while let Ok((Record { stamp, .. }, length)) = record::decode(rest, None) {
        at = stamp.at;
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(at)
}

/// A block that is damaged, as the damage of its first record.
fn unreadable(position: Position, error: StoreError) -> Error {
    if error.is_damage() {
        return Error::Damaged {
            sequence: position.sequence + 1,
            why: error.to_string(),
            torn: false,
        };
    }
    error.into()
}
