//! Reads records in order; stops at the first that does not verify, and can go on behind it.

use crate::error::Error;
use crate::hole::{self, Hole, MISSING};
use crate::record::{self, Checksum, Record, RecordError};
use crate::store::{Block, Store, StoreError};
use allexmaster_machine::{Machine, Stamp};
use uuid::Uuid;

/// A place between two records: what the next one has to fit to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The record before; 0 at the start.
    pub sequence: u64,
    /// Its checksum; the genesis at the start.
    pub checksum: Checksum,
    /// Its time in milliseconds since the Unix epoch; 0 at the start.
    pub at: u64,
}

impl Position {
    /// What the first record of a whole journal follows.
    pub(crate) fn before_first<M: Machine>(identity: Uuid) -> Self {
        Self {
            sequence: 0,
            checksum: record::genesis(M::PROGRAM, &identity.to_string()),
            at: 0,
        }
    }
}

/// Walks over the records after a position.
pub(crate) struct Reader<'store> {
    store: &'store mut dyn Store,
    position: Position,
    /// Whether the position's checksum is known. Behind a hole it is not: the first record's checksum is
    /// then taken on trust, as its file or the database vouches for it.
    chained: bool,
    block: Option<Block>,
    offset: usize,
}

impl<'store> Reader<'store> {
    /// Reads from the first record on, which follows `start`.
    pub(crate) fn from_start(store: &'store mut dyn Store, start: Position) -> Self {
        Self {
            store,
            position: start,
            chained: true,
            block: None,
            offset: 0,
        }
    }

    /// Reads on after a position that is known to be good, whether or not the record there can be read.
    pub(crate) fn after(store: &'store mut dyn Store, position: Position) -> Result<Self, Error> {
        let found = Self::find(store, position.sequence)?;
        let mut reader = Self::from_start(store, position);
        if let Some((found, block, offset)) = found
            && found == position
        {
            reader.block = Some(block);
            reader.offset = offset;
        }
        Ok(reader)
    }

    /// Reads from this number on where the record before cannot be read.
    pub(crate) fn unchained(store: &'store mut dyn Store, sequence: u64) -> Self {
        let mut reader = Self::from_start(
            store,
            Position {
                sequence: sequence.saturating_sub(1),
                checksum: Checksum([0; record::CHECKSUM_LENGTH]),
                at: 0,
            },
        );
        reader.chained = false;
        reader
    }

    /// Reads the record with this number and those after it. The checksum of the record before is
    /// taken from the journal itself.
    pub(crate) fn from(
        store: &'store mut dyn Store,
        start: Position,
        sequence: u64,
    ) -> Result<Self, Error> {
        let first = start.sequence.saturating_add(1);
        // Number 0 stands for the first one of a whole journal.
        if sequence == first || sequence < first && start.sequence == 0 {
            return Ok(Self::from_start(store, start));
        }
        if sequence < first {
            return Err(Error::Compacted {
                asked: sequence,
                first,
            });
        }
        match Self::find(store, sequence - 1)? {
            Some((position, block, offset)) => Ok(Self {
                store,
                position,
                chained: true,
                block: Some(block),
                offset,
            }),
            None => Err(Error::Damaged {
                sequence: sequence - 1,
                why: "it is not there".to_owned(),
                torn: false,
            }),
        }
    }

    /// True where the journal has a record at this position, with this checksum.
    pub(crate) fn has(store: &mut dyn Store, position: Position) -> Result<bool, Error> {
        let found = Self::find(store, position.sequence)?;
        Ok(found.is_some_and(|(found, _, _)| found == position))
    }

    /// The record that was read last.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The start of the block that the next record would come from, and the good bytes of it.
    pub(crate) fn good_part(&self) -> Option<Block> {
        self.block.as_ref().map(|block| Block {
            first: block.first,
            bytes: block.bytes[..self.offset.min(block.bytes.len())].to_vec(),
        })
    }

    /// The next record, or nothing at the end of the journal.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, Error> {
        if !self.load()? {
            return Ok(None);
        }
        let expected = self.position.sequence.saturating_add(1);
        let rest = match &self.block {
            Some(block) => block.bytes.get(self.offset..).unwrap_or_default(),
            None => return Ok(None),
        };
        let damaged = |why: String, torn| Error::Damaged {
            sequence: expected,
            why,
            torn,
        };
        let previous = self.chained.then_some(self.position.checksum);
        match record::decode(rest, previous) {
            Ok((record, _)) if record.stamp.sequence != expected => Err(damaged(
                format!("event {} stands in its place", record.stamp.sequence),
                false,
            )),
            Ok((record, length)) => {
                self.position = Position {
                    sequence: expected,
                    checksum: record.checksum,
                    at: record.stamp.at,
                };
                self.chained = true;
                self.offset += length;
                Ok(Some(record))
            }
            Err(RecordError::Newer { major, minor }) => Err(newer(major, minor)),
            Err(error @ RecordError::Truncated) => {
                let first = self.block.as_ref().map_or(0, |block| block.first);
                let more = first
                    .checked_add(1)
                    .map_or(Ok(None), |next| self.store.block_from(next));
                let torn = matches!(more, Ok(None));
                Err(damaged(error.to_string(), torn))
            }
            Err(error @ (RecordError::Checksum | RecordError::Impossible { .. })) => {
                Err(damaged(error.to_string(), false))
            }
        }
    }

    /// Goes on behind the record `first`, which cannot be used: with the first block after it that can be
    /// read. Gives what lies between, or nothing where no such block follows.
    pub(crate) fn pass(&mut self, first: u64, why: String) -> Result<Option<Hole>, Error> {
        let mut from = self.block.as_ref().map_or(first, |block| block.first + 1);
        from = from.max(first);
        let mut holes = Vec::new();
        hole::add(&mut holes, first, first, why);
        loop {
            let next = match self.store.block_from(from) {
                Ok(None) => return Ok(None),
                Ok(Some(block)) => block,
                Err(error @ StoreError::Sealed { last, .. }) => {
                    hole::add(&mut holes, from, last, error.to_string());
                    from = last.saturating_add(1).max(from + 1);
                    continue;
                }
                Err(StoreError::Packed { first, .. }) => {
                    from = first.saturating_add(1);
                    continue;
                }
                // Nothing of the database can be read.
                Err(error) if error.is_damage() => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let begins = next.first;
            let good = match record::decode(&next.bytes, None) {
                Ok((record, _)) => begins > first && record.stamp.sequence == begins,
                Err(RecordError::Newer { major, minor }) => return Err(newer(major, minor)),
                Err(_) => false,
            };
            if good {
                self.position.sequence = begins - 1;
                self.chained = false;
                self.block = Some(next);
                self.offset = 0;
                let why = holes.pop().map_or_else(String::new, |hole| hole.why);
                return Ok(Some(Hole {
                    first,
                    last: begins - 1,
                    why,
                }));
            }
            from = begins.saturating_add(1).max(from + 1);
        }
    }

    /// Sees to it that a record is next in the block; false at the end of the journal.
    fn load(&mut self) -> Result<bool, Error> {
        let left = self
            .block
            .as_ref()
            .is_some_and(|block| self.offset < block.bytes.len());
        if left {
            return Ok(true);
        }
        let expected = self.position.sequence.saturating_add(1);
        let damaged = |why: String| Error::Damaged {
            sequence: expected,
            why,
            torn: false,
        };
        let next = match self.store.block_from(expected) {
            Ok(next) => next,
            Err(error) if error.is_damage() => {
                // Not even its start is known, so there is no good part.
                self.block = None;
                return Err(damaged(error.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        self.offset = 0;
        self.block = next;
        match &self.block {
            None => Ok(false),
            Some(block) if block.first == expected => Ok(true),
            Some(_) => {
                self.block = None;
                Err(damaged(MISSING.to_owned()))
            }
        }
    }

    /// The position of the record with this number, by the word of the block that it is in.
    pub(crate) fn find(
        store: &mut dyn Store,
        sequence: u64,
    ) -> Result<Option<(Position, Block, usize)>, Error> {
        let block = match store.block_holding(sequence) {
            Ok(Some(block)) => block,
            Ok(None) => return Ok(None),
            Err(error) if error.is_damage() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut previous = None;
        let mut expected = block.first;
        let mut offset = 0;
        while let Ok((record, length)) = record::decode(&block.bytes[offset..], previous) {
            let Stamp {
                sequence: found,
                at,
                entropy: _,
            } = record.stamp;
            if found != expected {
                return Ok(None);
            }
            offset += length;
            if found == sequence {
                let position = Position {
                    sequence,
                    checksum: record.checksum,
                    at,
                };
                return Ok(Some((position, block, offset)));
            }
            previous = Some(record.checksum);
            expected = expected.wrapping_add(1);
        }
        Ok(None)
    }
}

fn newer(major: u8, minor: u8) -> Error {
    Error::NewerFormat {
        major,
        minor,
        reads: record::FORMAT.0,
    }
}

/// Shows the records in `bytes`, of which there has to be at least one, and gives the position after
/// them. `previous` is the checksum before the first one; without it that is taken on trust.
pub(crate) fn walk(
    bytes: &[u8],
    start: Position,
    mut previous: Option<Checksum>,
    mut visit: impl FnMut(&Record<'_>) -> Result<(), Error>,
) -> Result<Position, Error> {
    let mut position = start;
    let mut offset = 0;
    while offset < bytes.len() || position == start {
        let sequence = position.sequence + 1;
        let damaged = |why: String| Error::Damaged {
            sequence,
            why,
            torn: false,
        };
        let (record, length) = record::decode(&bytes[offset..], previous)
            .map_err(|error| damaged(error.to_string()))?;
        if record.stamp.sequence != sequence {
            return Err(damaged("another event stands in its place".to_owned()));
        }
        visit(&record)?;
        position = Position {
            sequence,
            checksum: record.checksum,
            at: record.stamp.at,
        };
        previous = Some(record.checksum);
        offset += length;
    }
    Ok(position)
}
