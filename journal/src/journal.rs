//! The journal: records that are durable before anything acts on them.

use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use uuid::Uuid;

use crate::base::{self, Base};
use crate::checkpoint;
use crate::clock::Clock;
use crate::compaction::{Bounds, Stage};
use crate::error::Error;
use crate::failpoint::{self, Failpoint, Point};
use crate::header::Header;
use crate::reader::{Position, Reader, walk};
use crate::record::{self, Record};
use crate::records::Records;
use crate::recovery::Recovery;
use crate::store::{
    Block, Extent, FolderStore, Part, ReadingStore, Sealed, SealedBlocks, SealedReader, Store,
    StoreError,
};
use allexmaster_machine::{Machine, Stamp, Time as _};

/// The most events made durable by one sync. More would only let the first ones wait: at this
/// number the sync itself is already a small part of the time.
pub const MAX_BATCH: usize = 256;

/// The most bytes made durable by one sync, unless a single event has more: a bound on memory.
pub const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// After so many events the unsealed ones are sealed and a checkpoint is made. They are what a start
/// has to replay: some 10 milliseconds and what their steps take.
pub const SEAL_EVENTS: u64 = 4096;

/// After so many blocks they are sealed, however few events they hold. Blocks are what sled's memory
/// goes by: so many took 14 MiB, twice as many 5 MiB more.
pub const SEAL_BLOCKS: u64 = 2048;

/// After so many bytes they are sealed, however few blocks they are: the tail is read into memory
/// to be sealed.
pub const SEAL_BYTES: u64 = 4 * 1024 * 1024;

/// A checkpoint that fits, or why it does not.
pub type StoredCheckpoint<State> = Result<(Position, State), String>;

/// An event of a machine, and the stamp that it was recorded with.
pub type Stamped<M> = (Stamp<<M as Machine>::Time>, <M as Machine>::Event);

/// How a journal is opened. `default()` is for production.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Where a test wants the process to die.
    pub failpoint: Option<Failpoint>,
    /// How much history a running machine keeps; without bounds it keeps all.
    pub bounds: Option<Bounds>,
}

/// The records of one machine `M`, of which this process is the only writer.
pub struct Journal<M> {
    /// None while the storage is closed because it failed.
    store: Option<Box<dyn Store>>,
    pub(crate) header: Header,
    created: bool,
    /// What the first record is chained to: the genesis, or the base.
    pub(crate) start: Position,
    /// The state that the journal begins with, where it was compacted.
    pub(crate) base: Option<Base>,
    /// Whether both copies of the base are there.
    base_whole: bool,
    /// A compaction on its way.
    pub(crate) compaction: Option<Stage>,
    /// The first record of the oldest sealed block, and the time of its last one, once they are known.
    pub(crate) oldest: Option<(u64, u64)>,
    position: Position,
    /// The last sealed record, once it is known.
    sealed: Option<Position>,
    /// Set for good by the first failure of a write.
    failed: bool,
    /// Set where the journal goes on without storage.
    detached: bool,
    options: Options,
    machine: PhantomData<fn() -> M>,
}

impl<M: Machine> Journal<M> {
    /// Opens or begins the journal in a folder, and verifies every record. Tells what was repaired.
    ///
    /// A program that wants its state uses [`JournaledMachine::open`](crate::JournaledMachine::open), which starts from the
    /// checkpoint.
    ///
    /// # Errors
    /// [`Error::Held`] at once if another process has it; [`Error::NewerFormat`] and
    /// [`Error::OtherProgram`] where it is not ours to touch; otherwise what the disk says. Damage is
    /// no error: it is set aside and told.
    pub fn open(folder: &Path, options: Options) -> Result<(Self, Vec<Recovery>), Error> {
        let (store, mut recoveries) = FolderStore::open(folder)?;
        let mut journal = Self::with_store(Box::new(store), options)?;
        journal.scan(None, &mut recoveries, |_| Ok(()))?;
        Ok((journal, recoveries))
    }

    /// Opens a journal to read it, also while a master writes it: nothing in the folder is touched.
    /// No record is looked at yet, so [`Journal::position`] is the start.
    ///
    /// # Errors
    /// There is no journal, or [`Error::NewerFormat`], [`Error::OtherProgram`], [`Error::BaseDamaged`]
    /// or [`Error::NewerBase`]. Other damage shows where it is read.
    pub fn read_only(folder: &Path) -> Result<Self, Error> {
        Self::with_store(Box::new(ReadingStore::open(folder)?), Options::default())
    }

    /// Begins to open: the header is read or made, the records are not looked at yet.
    pub(crate) fn with_store(mut store: Box<dyn Store>, options: Options) -> Result<Self, Error> {
        let found = store.get(Part::Header)?.pop();
        let created = found.is_none() && store.block_from(0)?.is_none();
        let header = if created {
            let header = Header::new(M::PROGRAM, Uuid::new_v4());
            store.put(Part::Header, &header.bytes()?)?;
            header
        } else {
            // Records without a header cannot be verified; an empty one makes the error say so.
            Header::read(&found.unwrap_or_default(), M::PROGRAM)?
        };
        let identity = header.identity();
        let base = base::newest::<M>(identity, &store.get(Part::Base)?)?;
        let base_whole = base.as_ref().is_none_or(|(_, whole)| *whole);
        let base = base.map(|(base, _)| base);
        let start = base
            .as_ref()
            .map_or_else(|| Position::before_first::<M>(identity), Base::position);
        Ok(Self {
            position: start,
            store: Some(store),
            header,
            created,
            start,
            compaction: None,
            base,
            base_whole,
            oldest: None,
            sealed: None,
            failed: false,
            detached: false,
            options,
            machine: PhantomData,
        })
    }

    /// The identity that the journal was given when it was begun. Never changes.
    #[must_use]
    pub fn identity(&self) -> Uuid {
        self.header.identity()
    }

    /// The format of the journal, as (major, minor): see [`crate::header::JOURNAL_FORMAT`].
    #[must_use]
    pub fn format(&self) -> (u8, u8) {
        self.header.format()
    }

    /// What the first record is chained to: number 0, or the last event that was compacted.
    #[must_use]
    pub fn start(&self) -> Position {
        self.start
    }

    /// What the journal begins with in place of the events that were compacted, if any were.
    #[must_use]
    pub fn base(&self) -> Option<&Base> {
        self.base.as_ref()
    }

    /// The state before the first record.
    ///
    /// # Errors
    /// [`Error::BaseDamaged`].
    pub fn base_state(&self) -> Result<M::State, Error> {
        match &self.base {
            Some(base) => base.state::<M>(self.identity()),
            None => Ok(M::State::default()),
        }
    }

    /// True where the journal was begun by this opening.
    #[must_use]
    pub fn created(&self) -> bool {
        self.created
    }

    /// The last record: its number, checksum and time. Number 0 in an empty journal.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Records the events: durable on return, with one sync for up to [`MAX_BATCH`] of them.
    ///
    /// Gives them back as they stand in the journal: what a replay will see is what `step` shall see.
    ///
    /// # Errors
    /// [`Error::NotRecordable`] and [`Error::EventTooLarge`] before anything is written. After any
    /// other error it is not known what is on disk, and the journal takes nothing more.
    pub fn append(
        &mut self,
        clock: &mut dyn Clock<M::Time>,
        events: &[M::Event],
    ) -> Result<Vec<Stamped<M>>, Error> {
        if self.failed {
            return Err(Error::Failed);
        }
        let at = clock.now().millis().max(self.position.at);
        let mut batches = Vec::new();
        let mut recorded = Vec::with_capacity(events.len());
        let mut position = self.position;
        for event in events {
            let stamp = Stamp {
                sequence: position.sequence + 1,
                at,
                entropy: clock.entropy(),
            };
            let (kind, payload, event) = put_down::<M>(event)?;
            let batch = Batch::with_room(&mut batches, stamp.sequence);
            batch.last = stamp.sequence;
            position = Position {
                sequence: stamp.sequence,
                checksum: record::encode(
                    &mut batch.block.bytes,
                    position.checksum,
                    stamp,
                    kind,
                    &payload,
                ),
                at,
            };
            recorded.push((stamp.map(M::Time::from_millis), event));
        }
        if !self.detached {
            for batch in &batches {
                self.make_durable(batch)?;
            }
        }
        self.position = position;
        Ok(recorded)
    }

    /// The records from a number on, each verified.
    ///
    /// # Errors
    /// The record before the first one is missing or damaged, or the storage cannot be read.
    pub fn records(&mut self, from: u64) -> Result<Records<'_, M>, Error> {
        let start = self.start;
        Ok(Records::new(Reader::from(self.store()?, start, from)?))
    }

    /// Shows the records from a number on, each verified and as it stands in the journal, until
    /// `visit` breaks or they end. Gives the position after the last one shown.
    ///
    /// # Errors
    /// As [`Journal::records`]; and [`Error::Damaged`] at the first record that does not verify, or at
    /// the end where more had been written.
    pub fn visit(
        &mut self,
        from: u64,
        mut visit: impl FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<Position, Error> {
        let start = self.start;
        let mut reader = Reader::from(self.store()?, start, from)?;
        while let Some(record) = reader.next()? {
            if visit(&record).is_break() {
                return Ok(reader.position());
            }
        }
        let end = reader.position();
        let acknowledged = self.extent().acknowledged;
        if acknowledged > end.sequence {
            return Err(Error::Damaged {
                sequence: end.sequence.saturating_add(1),
                why: format!("nothing follows, but event {acknowledged} had been written"),
                torn: false,
            });
        }
        Ok(end)
    }

    /// The last sealed record; 0 where nothing is sealed.
    #[must_use]
    pub fn sealed_through(&self) -> u64 {
        self.extent().sealed_through
    }

    /// How much there is; nothing while the storage is closed. What was compacted counts as sealed.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let store = self.store.as_ref();
        let extent = store.map_or_else(Extent::default, |store| store.extent());
        Extent {
            sealed_through: extent.sealed_through.max(self.start.sequence),
            ..extent
        }
    }

    /// The newest checkpoint, if the journal has one that fits this journal and this version of the
    /// rules, and that stands on a record that is there; why not, where one does not.
    ///
    /// # Errors
    /// The storage cannot be read.
    pub fn stored_checkpoint(&mut self) -> Result<Option<StoredCheckpoint<M::State>>, Error> {
        let Some(bytes) = self.checkpoint()? else {
            return Ok(None);
        };
        let decoded = match checkpoint::decode::<M>(&self.identity().to_string(), &bytes) {
            Ok((position, state)) if self.has(position)? => Ok((position, state)),
            Ok((position, _)) => Err(format!(
                "the journal has no such event {}",
                position.sequence
            )),
            Err(why) => Err(why),
        };
        Ok(Some(decoded))
    }

    /// Reads every record and makes sure that they are those that were written.
    ///
    /// # Errors
    /// [`Error::Damaged`] with the first one that is not; or the storage cannot be read.
    pub fn verify(&mut self) -> Result<(), Error> {
        let start = self.start;
        let mut reader = Reader::from_start(self.store()?, start);
        while reader.next()?.is_some() {}
        let found = reader.position();
        if found == self.position {
            return Ok(());
        }
        Err(Error::Damaged {
            sequence: found.sequence.saturating_add(1),
            why: format!("the journal ends before event {}", self.position.sequence),
            torn: false,
        })
    }

    /// True when enough is unsealed for [`Journal::seal`] to be worth its while.
    #[must_use]
    pub fn wants_seal(&self) -> bool {
        if !self
            .store
            .as_ref()
            .is_some_and(|store| store.keeps_history())
        {
            return false;
        }
        let extent = self.extent();
        let unsealed = self.position.sequence.saturating_sub(extent.sealed_through);
        unsealed >= SEAL_EVENTS
            || extent.unsealed_blocks >= SEAL_BLOCKS
            || extent.unsealed_bytes >= SEAL_BYTES
    }

    /// Moves all records that are not sealed into a sealed file, verifying them on the way.
    ///
    /// # Errors
    /// The records on disk are not those that were written, or the storage failed. Either way the
    /// journal takes nothing more.
    pub fn seal(&mut self) -> Result<(), Error> {
        if self.failed {
            return Err(Error::Failed);
        }
        let sealed = self.try_seal();
        self.failed = sealed.is_err();
        sealed
    }

    /// Reads the records after `start` (all of them, where it is none), sets aside what does not
    /// verify, and tells if anything is missing. The caller knows that the journal has such a start.
    pub(crate) fn scan(
        &mut self,
        start: Option<Position>,
        recoveries: &mut Vec<Recovery>,
        visit: impl FnMut(Record<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.base_whole
            && let Some(base) = &self.base
            && let Some(store) = &mut self.store
        {
            store.put(Part::Base, base.bytes())?;
            self.base_whole = true;
            recoveries.push(Recovery::BaseCopied);
        }
        if self.release(0)? > 0 {
            // A process was killed while it removed them.
            let (told, answer) = (None, None);
            self.compaction = Some(Stage::Releasing { told, answer });
        }
        self.scan_records(start, recoveries, visit)?;
        let last = self.position.sequence;
        let acknowledged = self.extent().acknowledged;
        if acknowledged > last {
            recoveries.push(Recovery::EventsLost { last, acknowledged });
            // Told once: from now on the journal is what it is.
            self.store()?.sync(last)?;
        }
        Ok(())
    }

    fn scan_records(
        &mut self,
        start: Option<Position>,
        recoveries: &mut Vec<Recovery>,
        mut visit: impl FnMut(Record<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let first = start.unwrap_or(self.start).sequence.saturating_add(1);
        let start = self.start;
        let mut reader = Reader::from(open_store(&mut self.store)?, start, first)?;
        let (sequence, why, torn) = loop {
            match reader.next() {
                Ok(Some(record)) => visit(record)?,
                Ok(None) => {
                    self.position = reader.position();
                    return Ok(());
                }
                Err(Error::Damaged {
                    sequence,
                    why,
                    torn,
                }) => break (sequence, why, torn),
                Err(error) => return Err(error),
            }
        };
        let kept = reader.good_part();
        self.position = reader.position();
        let from = kept.as_ref().map_or(sequence, |block| block.first);
        let kept = kept.filter(|block| !block.bytes.is_empty());
        let path = self.store()?.set_aside(from, kept.as_ref())?;
        recoveries.push(if torn {
            Recovery::TornTail { sequence, path }
        } else {
            Recovery::Damaged {
                sequence,
                why,
                path,
            }
        });
        Ok(())
    }

    /// True where the journal has a record at this position.
    pub(crate) fn has(&mut self, position: Position) -> Result<bool, Error> {
        if position.sequence <= self.start.sequence {
            return Ok(position == self.start);
        }
        Reader::has(self.store()?, position)
    }

    /// Makes everything durable that can be read.
    pub(crate) fn make_sure(&mut self) -> Result<(), Error> {
        let last = self.position.sequence;
        Ok(self.store()?.sync(last)?)
    }

    /// Closes the storage, which failed. Everything is refused from now on.
    pub(crate) fn let_go(&mut self) {
        self.failed = true;
        self.give_up_compaction();
        let store = self.store.take();
        // sled panics where its last sync fails.
        drop(catch_unwind(AssertUnwindSafe(|| drop(store))));
    }

    /// The storage, unless it is closed.
    pub(crate) fn store(&mut self) -> Result<&mut dyn Store, Error> {
        open_store(&mut self.store)
    }

    /// The sealed blocks that the journal still needs.
    pub(crate) fn sealed(&self) -> SealedBlocks {
        let found = self.store.as_ref().and_then(|store| store.sealed());
        let mut sealed = found.unwrap_or_else(|| SealedBlocks {
            blocks: Vec::new(),
            reader: Box::new(NoBlocks),
        });
        let start = self.start.sequence;
        sealed.blocks.retain(|block| block.last > start);
        sealed
    }

    /// Removes up to `most` sealed blocks from before the start; returns how many are left.
    pub(crate) fn release(&mut self, most: usize) -> Result<usize, Error> {
        let start = self.start.sequence;
        Ok(self.store()?.release(start, most)?)
    }

    /// Goes on without storage: appends count up, and nothing is written.
    pub(crate) fn detach(&mut self) {
        self.let_go();
        self.failed = false;
        self.detached = true;
    }

    /// Keeps its history within other bounds, from the next seal on.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.options.bounds = Some(bounds);
    }

    pub(crate) fn options(&self) -> Options {
        self.options
    }

    pub(crate) fn checkpoint(&mut self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.store()?.get(Part::Checkpoint)?.pop())
    }

    pub(crate) fn put_checkpoint(&mut self, bytes: &[u8]) -> Result<(), Error> {
        Ok(self.store()?.put(Part::Checkpoint, bytes)?)
    }

    fn make_durable(&mut self, batch: &Batch) -> Result<(), Error> {
        let failpoint = self.options.failpoint;
        let (first, last) = (batch.block.first, batch.last);
        let store = self.store()?;
        let written = store.append(&batch.block).and_then(|()| {
            failpoint::pass(failpoint, Point::Appended, first, last);
            store.sync(last)
        });
        self.failed = written.is_err();
        written?;
        failpoint::pass(failpoint, Point::Durable, first, last);
        Ok(())
    }

    fn try_seal(&mut self) -> Result<(), Error> {
        let through = self.sealed_through();
        let start = self.start;
        let store = open_store(&mut self.store)?;
        let before = match self.sealed {
            Some(sealed) => sealed,
            None => Reader::from(store, start, through + 1)?.position(),
        };
        let mut sealing = Block {
            first: through + 1,
            bytes: Vec::new(),
        };
        let mut position = before;
        while position.sequence < self.position.sequence {
            let next = position.sequence + 1;
            let block = store.block_from(next)?;
            let bytes = block.map_or_else(Vec::new, |block| block.bytes);
            position = walk(&bytes, position, |_| Ok(()))?;
            sealing.bytes.extend_from_slice(&bytes);
        }
        if position == before {
            return Ok(());
        }
        store.seal(&sealing, position.sequence)?;
        self.sealed = Some(position);
        Ok(())
    }
}

fn open_store(store: &mut Option<Box<dyn Store>>) -> Result<&mut dyn Store, Error> {
    match store {
        Some(store) => Ok(store.as_mut()),
        None => Err(StoreError::Closed.into()),
    }
}

/// The sealed blocks of a storage that is closed or seals nothing.
struct NoBlocks;

impl SealedReader for NoBlocks {
    fn read(&self, _sealed: Sealed) -> Result<Block, StoreError> {
        Err(StoreError::Closed)
    }
}

/// What one sync makes durable.
struct Batch {
    /// The records.
    block: Block,
    /// The number of the last one.
    last: u64,
}

impl Batch {
    /// The batch that takes the next event: the last one, or a new one where that is full.
    fn with_room(batches: &mut Vec<Self>, sequence: u64) -> &mut Self {
        let full = batches.last().is_none_or(|batch| {
            let events = batch.last - batch.block.first + 1;
            events >= MAX_BATCH as u64 || batch.block.bytes.len() >= MAX_BATCH_BYTES
        });
        if full {
            batches.push(Self {
                block: Block {
                    first: sequence,
                    bytes: Vec::new(),
                },
                last: sequence,
            });
        }
        let index = batches.len() - 1;
        &mut batches[index]
    }
}

/// The kind and the recorded form of an event, and the event as it reads back from that form.
fn put_down<M: Machine>(event: &M::Event) -> Result<(u16, Vec<u8>, M::Event), Error> {
    let kind = M::kind(event);
    let not_recordable = |source| Error::NotRecordable { kind, source };
    let mut payload = Vec::new();
    M::encode(event, &mut payload).map_err(not_recordable)?;
    if payload.len() > M::MAX_EVENT_BYTES {
        return Err(Error::EventTooLarge {
            kind,
            length: payload.len(),
            limit: M::MAX_EVENT_BYTES,
        });
    }
    let event = M::decode(kind, &payload).map_err(not_recordable)?;
    Ok((kind, payload, event))
}
