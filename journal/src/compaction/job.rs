//! The replay that decides what may go. Runs beside the loop, and changes nothing.

use std::marker::PhantomData;
use std::ops::ControlFlow;

use uuid::Uuid;

use super::{Compaction, CompactionRequest};
use crate::base::Base;
use crate::checkpoint;
use crate::error::Error;
use crate::hole::Survey;
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
        let (position, checkpoint_json) = match self.stored_checkpoint()? {
            Some(Ok((position, _))) => {
                let bytes = self.checkpoint()?.unwrap_or_default();
                let written = checkpoint::read::<M>(&identity.to_string(), &bytes);
                (position, written.map_err(refused)?.json)
            }
            // To remove damage a kept state will do, which is as good.
            unfit => match self.newest_state()? {
                Some(kept) if request.cut && !Survey::default().look(&self.span()?).is_empty() => {
                    (kept.position(), kept.json::<M>(identity)?)
                }
                Some(_) | None => {
                    let why = unfit.map(|unfit| unfit.err().unwrap_or_default());
                    return Err(refused(why.unwrap_or_else(|| "there is none".to_owned())));
                }
            },
        };
        let unsealed = self.sealed_through() + 1;
        // A journal that was opened to be read has looked at nothing yet.
        let last = if self.position() == self.start {
            self.pass(unsealed, |_| ControlFlow::Continue(()))?
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
            checkpoint_json,
            request,
            machine: PhantomData,
        })
    }
}

impl<M: Machine> Job<M> {
    /// Replays from the beginning to the checkpoint, and compares.
    pub(crate) fn run(self) -> Result<Prepared, Error> {
        let through = self.through();
        let size = |parts: &[Sealed]| parts.iter().map(|part| part.bytes).sum::<u64>();
        let mut told = Compaction {
            first: self.start.sequence + 1,
            through: self.start.sequence,
            through_at: self.start.at,
            last: self.last.sequence,
            checkpoint: self.checkpoint.sequence,
            freed_bytes: 0,
            kept_bytes: size(&self.sealed),
            done: false,
        };
        let mut base = None;
        if through > self.start.sequence {
            let (position, json) = self.replay(through)?;
            told.through = position.sequence;
            told.through_at = position.at;
            let gone = |part: &&Sealed| part.last <= position.sequence;
            told.freed_bytes = self.sealed.iter().filter(gone).map(|part| part.bytes).sum();
            told.kept_bytes -= told.freed_bytes;
            let made = Base::new::<M>(self.identity, position, M::STEP_VERSION, &json)?;
            base = Some(made).filter(|_| !self.request.dry_run);
        }
        Ok(Prepared { told, base })
    }

    /// The last event that is to go: where a sealed block ends, or what is missing does.
    fn through(&self) -> u64 {
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
            // A damaged one is as old as the next that can be read.
            let mut readable = self.sealed[middle..able].iter();
            let end = readable.find_map(|part| end_of(self.reader.as_ref(), *part).ok());
            if end.is_some_and(|at| at <= oldest_kept) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let going = low
            .max(too_many)
            .checked_sub(1)
            .and_then(|at| self.sealed.get(at));
        let through = going.map_or(self.start.sequence, |part| part.last);
        if self.request.cut {
            through.max(self.damaged_through())
        } else {
            through
        }
    }

    /// The last event before the checkpoint that is damaged or missing.
    fn damaged_through(&self) -> u64 {
        let (mut through, mut reached) = (self.start.sequence, self.start.sequence);
        for part in &self.sealed {
            if part.first > reached + 1 {
                through = part.first - 1;
            }
            reached = part.last;
            if self.reader.read(*part).is_err() {
                through = part.last;
            }
        }
        match self.tail.first() {
            Some(block) if block.first > reached + 1 => block.first - 1,
            Some(_) | None => through.min(self.checkpoint.sequence),
        }
    }

    /// The state after the event `through`, or after the first one behind it after which it is known. Given only if the events lead to the checkpoint, as far as they can be used.
    fn replay(&self, through: u64) -> Result<(Position, Vec<u8>), Error> {
        let mut way = Way {
            position: self.start,
            state: Some(match &self.base {
                Some(base) => base.state::<M>(self.identity)?,
                None => M::State::default(),
            }),
        };
        let mut kept = None;
        for part in &self.sealed {
            if way.position.sequence >= self.checkpoint.sequence {
                break;
            }
            self.begin(&mut way, part.first)?;
            self.keep(&way, through, &mut kept)?;
            self.walk(&mut way, self.reader.read(*part))?;
            if way.state.is_none() {
                way.position.sequence = part.last;
                self.go_on_from_kept(&mut way, part.last)?;
            }
            self.keep(&way, through, &mut kept)?;
        }
        for block in &self.tail {
            if way.position.sequence < self.checkpoint.sequence {
                self.begin(&mut way, block.first)?;
                self.walk(&mut way, Ok(block.clone()))?;
            }
        }
        let Some(state) = way.state else {
            // Of what led to the checkpoint too little is left to compare.
            return Ok(kept.unwrap_or_else(|| (self.checkpoint, self.checkpoint_json.clone())));
        };
        let same = way.position.sequence >= self.checkpoint.sequence
            && checkpoint::json::<M>(&state)? == self.checkpoint_json;
        match kept {
            Some(kept) if same => Ok(kept),
            None if same => Ok((self.checkpoint, self.checkpoint_json.clone())),
            Some(_) | None => Err(Error::CheckpointDiffers {
                sequence: self.checkpoint.sequence,
            }),
        }
    }

    /// Remembers the first state that the journal may begin with.
    fn keep(
        &self,
        way: &Way<M::State>,
        through: u64,
        kept: &mut Option<(Position, Vec<u8>)>,
    ) -> Result<(), Error> {
        let fits = (through..=self.checkpoint.sequence).contains(&way.position.sequence);
        if fits
            && kept.is_none()
            && let Some(state) = &way.state
        {
            *kept = Some((way.position, checkpoint::json::<M>(state)?));
        }
        Ok(())
    }

    /// Goes on with the block that begins with `first`: from a kept state, where no other is known.
    fn begin(&self, way: &mut Way<M::State>, first: u64) -> Result<(), Error> {
        if way.position.sequence + 1 < first {
            way.state = None;
            way.position.sequence = first - 1;
        }
        if way.state.is_none() {
            self.go_on_from_kept(way, first - 1)?;
        }
        Ok(())
    }

    /// Steps over the records of a block. Where they cannot be used, no state is known any more.
    fn walk(&self, way: &mut Way<M::State>, block: Result<Block, StoreError>) -> Result<(), Error> {
        let Some(state) = &mut way.state else {
            return Ok(());
        };
        let walked = block.map_err(|error| unreadable(way.position, error));
        let walked = walked.and_then(|block| {
            let previous = Some(way.position.checksum);
            walk(&block.bytes, way.position, previous, |record| {
                if record.stamp.sequence <= self.checkpoint.sequence {
                    let event = read_event::<M>(record)?;
                    (*state, _) = M::step(std::mem::take(state), stamp::<M>(record), event);
                }
                Ok(())
            })
        });
        match walked {
            Ok(position) => way.position = position,
            Err(Error::Damaged { .. }) => way.state = None,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Uses the state that is kept after an event, if there is one.
    fn go_on_from_kept(&self, way: &mut Way<M::State>, sequence: u64) -> Result<(), Error> {
        let kept = self.reader.state(sequence);
        let kept = kept.and_then(|bytes| Base::read::<M>(self.identity, &bytes).ok());
        if let Some(base) = kept.filter(|base| base.position().sequence == sequence) {
            way.position = base.position();
            way.state = Some(base.state::<M>(self.identity)?);
        }
        Ok(())
    }
}

/// How far a replay came.
struct Way<State> {
    position: Position,
    /// Nothing behind a damaged stretch after which no state was kept.
    state: Option<State>,
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
