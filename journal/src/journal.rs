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
use crate::hole::{Hole, Span};
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

/// What is met on the way through a journal.
pub enum Passage<'a> {
    /// A record, which verified.
    Record(&'a Record<'a>),
    /// A stretch that cannot be used. What follows it is shown next.
    Hole(&'a Hole),
}

/// What an opening replays.
pub(crate) enum Replayed<'a> {
    /// The next record.
    Record(Record<'a>),
    /// The replay goes on from this state, because what lies before it is damaged.
    State(&'a Base),
}

/// The kept states together take no more room than this, or than the sealed files, whichever is more.
pub const MAX_KEPT_STATES: u64 = 16 * 1024 * 1024;

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
        let mut damage = None;
        let end = self.pass(from, |passage| match passage {
            Passage::Record(record) => visit(record),
            Passage::Hole(hole) => {
                damage = Some(hole.clone());
                ControlFlow::Break(())
            }
        })?;
        damage.map_or(Ok(end), |hole| {
            Err(Error::Damaged {
                sequence: hole.first,
                why: hole.why,
                torn: false,
            })
        })
    }

    /// The same over holes, which are shown in their place: also the one at the end, where more had been
    /// written than there is.
    ///
    /// # Errors
    /// As [`Journal::records`].
    pub fn pass(
        &mut self,
        from: u64,
        mut visit: impl FnMut(Passage<'_>) -> ControlFlow<()>,
    ) -> Result<Position, Error> {
        let mut missing = None;
        let mut reader = self.reader(from)?;
        loop {
            let flow = match reader.next() {
                Ok(Some(record)) => visit(Passage::Record(&record)),
                Ok(None) => break,
                Err(Error::Damaged { sequence, why, .. }) => {
                    match reader.pass(sequence, why.clone())? {
                        Some(hole) => visit(Passage::Hole(&hole)),
                        None => {
                            missing = Some(why);
                            break;
                        }
                    }
                }
                Err(error) => return Err(error),
            };
            if flow.is_break() {
                return Ok(reader.position());
            }
        }
        let end = reader.position();
        let (first, acknowledged) = (end.sequence.saturating_add(1), self.extent().acknowledged);
        if missing.is_none() && acknowledged > end.sequence {
            missing = Some(format!(
                "nothing follows, but event {acknowledged} had been written"
            ));
        }
        if let Some(why) = missing {
            let last = acknowledged.max(self.sealed_through()).max(first);
            // It is the last of all, so it does not matter what is said to it.
            let _ = visit(Passage::Hole(&Hole { first, last, why }));
        }
        Ok(end)
    }

    /// A reader from a number on, also where the record before it is damaged.
    fn reader(&mut self, from: u64) -> Result<Reader<'_>, Error> {
        let start = self.start;
        match Reader::from(self.store()?, start, from) {
            Ok(_) => Reader::from(self.store()?, start, from),
            Err(error @ Error::Damaged { .. }) => {
                let before = from.saturating_sub(1);
                if let Some(base) = self.state_from(before)?
                    && base.position().sequence == before
                {
                    return Ok(Reader::from_start(self.store()?, base.position()));
                }
                let acknowledged = self.extent().acknowledged;
                match self.store()?.block_from(before) {
                    Ok(None) if before > acknowledged => Err(error),
                    Ok(_) | Err(_) => Ok(Reader::unchained(self.store()?, from)),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// The oldest usable state that holds after this event or a later one, of those that are kept: the
    /// base, a state after a sealed file, or the checkpoint, whichever version of the rules made it.
    ///
    /// # Errors
    /// The storage cannot be read.
    pub fn state_from(&mut self, sequence: u64) -> Result<Option<Base>, Error> {
        if let Some(base) = &self.base
            && base.position().sequence >= sequence
        {
            return Ok(Some(base.clone()));
        }
        let sealed = self.sealed().blocks;
        let ends = sealed
            .iter()
            .flat_map(|part| [part.first.saturating_sub(1), part.last]);
        let mut ends: Vec<u64> = ends.collect();
        // Where the newest sealed block is missing, only what came after it shows where it ended.
        if let Ok(Some(next)) = self.store()?.block_from(sequence) {
            ends.push(next.first.saturating_sub(1));
        }
        ends.push(self.extent().acknowledged);
        ends.retain(|end| *end >= sequence && *end > 0);
        ends.sort_unstable();
        ends.dedup();
        for end in ends {
            if let Some(state) = self.kept_state(end)? {
                return Ok(Some(state));
            }
        }
        let checkpoint = self.checkpoint_as_base()?;
        Ok(checkpoint.filter(|base| base.position().sequence >= sequence))
    }

    /// The newest kept state of this version of the rules, where that is newer than the base.
    pub(crate) fn newest_state(&mut self) -> Result<Option<Base>, Error> {
        let ends: Vec<u64> = self.sealed().blocks.iter().map(|part| part.last).collect();
        for end in ends.into_iter().rev() {
            if let Some(state) = self.kept_state(end)?
                && state.step_version() == M::STEP_VERSION
            {
                return Ok(Some(state));
            }
        }
        Ok(None)
    }

    /// The state that is kept after this event, if it is whole and of this journal.
    fn kept_state(&mut self, sequence: u64) -> Result<Option<Base>, Error> {
        let identity = self.identity();
        for bytes in self.store()?.get(Part::State(sequence))? {
            if let Ok(base) = Base::read::<M>(identity, &bytes)
                && base.position().sequence == sequence
                && self.fits(base.position())?
            {
                return Ok(Some(base));
            }
        }
        Ok(None)
    }

    fn checkpoint_as_base(&mut self) -> Result<Option<Base>, Error> {
        let identity = self.identity();
        let Some(bytes) = self.checkpoint()? else {
            return Ok(None);
        };
        match Base::of_checkpoint::<M>(identity, &bytes) {
            Ok(base) if self.fits(base.position())? => Ok(Some(base)),
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Keeps a checkpoint as the state after a sealed file, unless such states take too much room.
    pub(crate) fn keep_state(&mut self, checkpoint: &[u8]) -> Result<(), Error> {
        let sealed = self.sealed().blocks;
        let bytes: u64 = sealed.iter().map(|part| part.bytes).sum();
        let states: u64 = sealed.iter().map(|part| part.state_bytes).sum();
        let base = Base::of_checkpoint::<M>(self.identity(), checkpoint)?;
        if states + base.bytes().len() as u64 > bytes.max(MAX_KEPT_STATES) {
            return Ok(());
        }
        let sequence = base.position().sequence;
        Ok(self.store()?.put(Part::State(sequence), base.bytes())?)
    }

    /// What a [`Survey`](crate::Survey) looks at.
    ///
    /// # Errors
    /// The storage is closed or cannot be read.
    pub fn span(&mut self) -> Result<Span, Error> {
        let unsealed = self.sealed_through() + 1;
        let unsealed = match self.store()?.block_from(unsealed) {
            Ok(block) => block.map(|block| block.first),
            // Whoever reads it is told.
            Err(_) => None,
        };
        Ok(Span {
            start: self.start.sequence,
            unsealed,
            sealed: self.sealed(),
        })
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
            Ok((position, state)) if self.fits(position)? => Ok((position, state)),
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
        visit: impl FnMut(Replayed<'_>) -> Result<(), Error>,
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
        mut visit: impl FnMut(Replayed<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut after = start.unwrap_or(self.start);
        let (sequence, why, torn, kept) = loop {
            let mut reader = Reader::after(open_store(&mut self.store)?, after)?;
            let (sequence, why, torn) = loop {
                match reader.next() {
                    Ok(Some(record)) => visit(Replayed::Record(record))?,
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
            self.position = reader.position();
            let kept = reader.good_part();
            let Some(state) = self.state_from(sequence)? else {
                break (sequence, why, torn, kept);
            };
            after = state.position();
            recoveries.push(Recovery::Hole(Hole {
                first: sequence,
                last: after.sequence,
                why,
            }));
            visit(Replayed::State(&state))?;
        };
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

    /// True where a state after this position may be gone on from: the record is there, or it cannot be
    /// read and what follows is chained to it.
    fn fits(&mut self, position: Position) -> Result<bool, Error> {
        if self.has(position)? {
            return Ok(true);
        }
        if position.sequence <= self.start.sequence {
            return Ok(false);
        }
        let store = open_store(&mut self.store)?;
        if Reader::find(store, position.sequence)?.is_some() {
            // Another record stands there.
            return Ok(false);
        }
        let mut reader = Reader::from_start(store, position);
        match reader.next() {
            // Where nothing follows, the state is all that is left of the newest events.
            Ok(Some(_) | None) => Ok(true),
            // Either what follows is damaged too, or it follows another record.
            Err(Error::Damaged { .. }) => Ok(reader.good_part().is_none()),
            Err(error) => Err(error),
        }
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
        let mut position = match self.sealed {
            Some(sealed) => sealed,
            None => self.reader(through + 1)?.position(),
        };
        let mut chained = self.sealed.is_some() || self.has(position)?;
        let store = open_store(&mut self.store)?;
        let mut sealing = Block {
            first: through + 1,
            bytes: Vec::new(),
        };
        while position.sequence < self.position.sequence {
            let next = position.sequence + 1;
            let block = store.block_from(next);
            let bytes = match &block {
                Ok(Some(block)) if block.first == next => block.bytes.as_slice(),
                Ok(_) | Err(_) => &[],
            };
            let previous = chained.then_some(position.checksum);
            match walk(bytes, position, previous, |_| Ok(())) {
                Ok(reached) => {
                    sealing.bytes.extend_from_slice(bytes);
                    (position, chained) = (reached, true);
                }
                Err(Error::Damaged { sequence, why, .. }) => {
                    block?;
                    // What verifies on both sides is sealed, and a hole stays in between.
                    if !sealing.bytes.is_empty() {
                        store.seal(&sealing, position.sequence)?;
                    }
                    let mut reader = Reader::from_start(store, position);
                    let Some(hole) = reader.pass(sequence, why)? else {
                        // The newest events are gone; the checkpoint has what they led to.
                        return Ok(());
                    };
                    sealing = Block {
                        first: hole.last + 1,
                        bytes: Vec::new(),
                    };
                    (position.sequence, chained) = (hole.last, false);
                }
                Err(error) => return Err(error),
            }
        }
        if !sealing.bytes.is_empty() {
            store.seal(&sealing, position.sequence)?;
            self.sealed = Some(position);
        }
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

    fn state(&self, _sequence: u64) -> Option<Vec<u8>> {
        None
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
