//! The records of a journal, read as events.

use std::marker::PhantomData;

use crate::error::Error;
use crate::reader::Reader;
use crate::record::{Checksum, Record};
use allexmaster_machine::{Machine, Stamp, Time as _, Wall};

/// An event as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded<Event, T = Wall> {
    /// Place, time and randomness.
    pub stamp: Stamp<T>,
    /// The number of the event's kind.
    pub kind: u16,
    /// What happened.
    pub event: Event,
    /// Vouches for this record and all before it.
    pub checksum: Checksum,
}

/// The records of a journal in their order; ends after the first error.
pub struct Records<'journal, M> {
    reader: Reader<'journal>,
    ended: bool,
    machine: PhantomData<fn() -> M>,
}

impl<'journal, M> Records<'journal, M> {
    pub(crate) fn new(reader: Reader<'journal>) -> Self {
        Self {
            reader,
            ended: false,
            machine: PhantomData,
        }
    }
}

impl<M: Machine> Iterator for Records<'_, M> {
    type Item = Result<Recorded<M::Event, M::Time>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.reader.next().and_then(|record| {
            record
                .map(|record| read_event::<M>(&record).map(|event| (record, event)))
                .transpose()
        });
        match next {
            Ok(Some((record, event))) => Some(Ok(Recorded {
                stamp: stamp::<M>(&record),
                kind: record.kind,
                event,
                checksum: record.checksum,
            })),
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

/// The stamp of a record, on the machine's clock.
pub(crate) fn stamp<M: Machine>(record: &Record<'_>) -> Stamp<M::Time> {
    record.stamp.map(M::Time::from_millis)
}

/// The event of a record that verified.
pub(crate) fn read_event<M: Machine>(record: &Record<'_>) -> Result<M::Event, Error> {
    M::decode(record.kind, record.payload).map_err(|source| Error::UnknownEvent {
        sequence: record.stamp.sequence,
        kind: record.kind,
        source,
    })
}
