//! A machine with its journal: its state after the last record.

use std::path::Path;

use uuid::Uuid;

use crate::base::Base;
use crate::checkpoint;
use crate::clock::Clock;
use crate::compaction::CompactionEnd;
use crate::error::Error;
use crate::failpoint::{self, Point};
use crate::header::Header;
use crate::journal::{Journal, Options, Replayed};
use crate::reader::Position;
use crate::records::{read_event, stamp};
use crate::recovery::Recovery;
use crate::store::{FolderLocation, Location, Part, Store};
use allexmaster_machine::{Machine, Stamp};

/// How a journal was found when it was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The journal's identity, from which identifiers are derived.
    pub identity: Uuid,
    /// True where there was none and one was begun.
    pub created: bool,
    /// The number of the last event; 0 in an empty journal.
    pub last: u64,
    /// The number of the event whose checkpoint the state was built from.
    pub checkpoint: Option<u64>,
    /// How many events were replayed after it.
    pub replayed: u64,
    /// What had to be repaired. Each belongs in the log.
    pub recoveries: Vec<Recovery>,
}

impl Opened {
    /// True where the events after this one were all replayed, so that a [`Visit`] has seen them: the
    /// event is not before the newest checkpoint or base, and the journal has it.
    #[must_use]
    pub const fn replayed_after(&self, sequence: u64) -> bool {
        self.last.saturating_sub(self.replayed) <= sequence && sequence <= self.last
    }
}

/// What sees the events that an opening replays: each with its stamp and the effects it caused. By
/// default those are dropped, because the machine derives again what must be true now.
pub type Visit<'visit, M> = &'visit mut dyn FnMut(
    Stamp<<M as Machine>::Time>,
    <M as Machine>::Event,
    Vec<<M as Machine>::Effect>,
);

/// What sees the events of a commit, when they are durable and before the state is stepped.
pub type Watch<'watch, M> =
    &'watch mut dyn FnMut(Stamp<<M as Machine>::Time>, &<M as Machine>::Event);

/// A journal and the state that its records lead to.
pub struct JournaledMachine<M: Machine> {
    journal: Journal<M>,
    state: M::State,
    /// The event whose checkpoint is the newest one.
    checkpoint: u64,
    /// Whether the history may be beyond its bounds: at the start, and after each seal.
    bounds_due: bool,
    /// Where the storage can be opened again.
    location: Option<Box<dyn Location>>,
}

/// What the storage turned out to have when it was opened again after a failure.
pub(crate) struct Reopened<Effect> {
    /// How many of the events that were being written when it failed.
    pub(crate) events: usize,
    /// What they caused.
    pub(crate) effects: Vec<Effect>,
    /// What had to be repaired.
    pub(crate) repairs: Vec<Recovery>,
}

impl<M: Machine> JournaledMachine<M> {
    /// Opens or begins the journal in a folder and brings the state up to its last record, from the
    /// newest checkpoint if that fits and from the first record if not.
    ///
    /// Effects of replayed events are dropped: the program feeds an event that says that it started,
    /// and `step` derives what must be true now.
    ///
    /// # Errors
    /// As [`Journal::open`]; and [`Error::UnknownEvent`] where a newer version wrote an event.
    pub fn open(folder: &Path, options: Options) -> Result<(Self, Opened), Error> {
        Self::at(Box::new(FolderLocation::new(folder)), options)
    }

    /// The same, and shows the replayed events after number `after`; [`Opened::replayed_after`] says
    /// whether that was all of them.
    ///
    /// # Errors
    /// As [`JournaledMachine::open`].
    pub fn open_and_visit(
        folder: &Path,
        options: Options,
        after: u64,
        visit: Visit<'_, M>,
    ) -> Result<(Self, Opened), Error> {
        Self::open_at(
            Box::new(FolderLocation::new(folder)),
            options,
            Some((after, visit)),
        )
    }

    /// The same at any place.
    ///
    /// # Errors
    /// As [`JournaledMachine::open`].
    pub fn at(location: Box<dyn Location>, options: Options) -> Result<(Self, Opened), Error> {
        Self::open_at(location, options, None)
    }

    /// The same at any place, showing the replayed events after a number where that is given.
    ///
    /// # Errors
    /// As [`JournaledMachine::open`].
    pub fn open_at(
        mut location: Box<dyn Location>,
        options: Options,
        visit: Option<(u64, Visit<'_, M>)>,
    ) -> Result<(Self, Opened), Error> {
        let (store, recoveries) = location.open()?;
        let (mut machine, opened) = Self::open_store(store, options, recoveries, visit)?;
        machine.location = Some(location);
        Ok((machine, opened))
    }

    /// The same on any store, which cannot be opened again when it has failed.
    ///
    /// # Errors
    /// As [`JournaledMachine::open`].
    pub fn with_store(store: Box<dyn Store>, options: Options) -> Result<(Self, Opened), Error> {
        Self::open_store(store, options, Vec::new(), None)
    }

    /// The state after the last event.
    #[must_use]
    pub fn state(&self) -> &M::State {
        &self.state
    }

    /// The journal's identity.
    #[must_use]
    pub fn identity(&self) -> Uuid {
        self.journal.identity()
    }

    /// The last record: its number, checksum and time.
    #[must_use]
    pub fn position(&self) -> Position {
        self.journal.position()
    }

    /// The journal, to read its records.
    pub fn journal(&mut self) -> &mut Journal<M> {
        &mut self.journal
    }

    /// Takes the events in: makes them durable, then steps the state over each, and gives what has
    /// to be done.
    ///
    /// # Errors
    /// As [`Journal::append`]. Then the state is as it was before, and nothing has to be done.
    pub fn commit(
        &mut self,
        clock: &mut dyn Clock<M::Time>,
        events: Vec<M::Event>,
    ) -> Result<Vec<M::Effect>, Error> {
        self.take_in(clock, &events, &mut |_, _| ())
    }

    /// The same with events that the caller keeps, for the case that it fails; `watch` sees each when
    /// it is durable.
    ///
    /// # Errors
    /// As [`JournaledMachine::commit`].
    pub fn take_in(
        &mut self,
        clock: &mut dyn Clock<M::Time>,
        events: &[M::Event],
        watch: Watch<'_, M>,
    ) -> Result<Vec<M::Effect>, Error> {
        let failpoint = self.journal.options().failpoint;
        let first = self.position().sequence + 1;
        let last = self.position().sequence + events.len() as u64;
        failpoint::pass(failpoint, Point::Received, first, last);
        let recorded = self.journal.append(clock, events)?;
        let mut effects = Vec::new();
        for (stamp, event) in recorded {
            watch(stamp, &event);
            effects.extend(self.step(stamp, event));
        }
        failpoint::pass(failpoint, Point::Stepped, first, last);
        Ok(effects)
    }

    /// Makes a checkpoint and seals, if it is time for that. Call it when nothing waits for the disk.
    ///
    /// # Errors
    /// The storage failed. What was committed is safe; nothing more can be.
    ///
    /// Goes on with a compaction too, and begins one where the history is beyond its bounds; tells when
    /// one has come to its end.
    pub fn maintain(&mut self) -> Result<Option<CompactionEnd>, Error> {
        if self.journal.wants_seal() {
            self.seal()?;
        }
        if let Some(bounds) = self.journal.options().bounds
            && self.bounds_due
            && self.checkpoint > 0
            && !self.is_compacting()
        {
            self.bounds_due = false;
            if let Some(refused) = self.journal.keep_within(bounds) {
                return Ok(Some(refused));
            }
        }
        Ok(self.journal.tend_compaction())
    }

    /// Makes a checkpoint, seals, and keeps the state after what was sealed.
    ///
    /// # Errors
    /// The storage failed. What was committed is safe; nothing more can be.
    pub fn seal(&mut self) -> Result<(), Error> {
        let checkpoint = self.put_checkpoint()?;
        self.journal.seal()?;
        self.journal.keep_state(&checkpoint)?;
        self.bounds_due = true;
        Ok(())
    }

    /// True while a compaction waits for the next [`JournaledMachine::maintain`].
    #[must_use]
    pub fn is_compacting(&self) -> bool {
        self.journal.is_compacting()
    }

    /// Begins a journal in an empty store with a state that no event led to.
    ///
    /// # Errors
    /// The storage failed, or the state has no JSON form.
    pub fn begin(
        mut store: Box<dyn Store>,
        state: &M::State,
        options: Options,
    ) -> Result<Self, Error> {
        let header = Header::new(M::PROGRAM, Uuid::new_v4());
        let start = Position::before_first::<M>(header.identity());
        put_beginning::<M>(store.as_mut(), header, start, state)?;
        Ok(Self::with_store(store, options)?.0)
    }

    /// Continues in another, empty store, which begins with the state as it is now. The store before
    /// is dropped. For a [`FileStore`](crate::store::FileStore) whose log is long, or that failed.
    ///
    /// # Errors
    /// The new storage failed, or the state has no JSON form. Then the journal is where it was.
    pub fn move_to(&mut self, mut store: Box<dyn Store>) -> Result<(), Error> {
        let header = self.journal.header.clone();
        put_beginning::<M>(store.as_mut(), header, self.position(), &self.state)?;
        self.journal = Journal::with_store(store, self.journal.options())?;
        self.checkpoint = self.journal.start().sequence;
        Ok(())
    }

    /// Continues without a journal, where none can be written and the machine is worth more than what
    /// a crash would lose: later commits are not recorded.
    pub fn detach(&mut self) {
        self.journal.detach();
    }

    /// Makes a checkpoint now.
    ///
    /// # Errors
    /// The storage failed, or the state cannot be written as JSON.
    pub fn make_checkpoint(&mut self) -> Result<(), Error> {
        self.put_checkpoint().map(drop)
    }

    /// Makes a checkpoint, and gives its bytes.
    fn put_checkpoint(&mut self) -> Result<Vec<u8>, Error> {
        let position = self.journal.position();
        let identity = self.journal.identity().to_string();
        let bytes = checkpoint::encode::<M>(&identity, position, &self.state)?;
        self.journal.put_checkpoint(&bytes)?;
        self.checkpoint = position.sequence;
        Ok(bytes)
    }

    /// Ends cleanly: with a checkpoint, so that the next start replays nothing.
    ///
    /// # Errors
    /// As [`JournaledMachine::make_checkpoint`]. The journal is closed all the same, and complete.
    pub fn close(mut self) -> Result<(), Error> {
        if self.checkpoint < self.position().sequence {
            self.make_checkpoint()?;
        }
        Ok(())
    }

    /// Closes a storage that failed. The state can be read; nothing else works until
    /// [`JournaledMachine::come_back`].
    pub(crate) fn let_go(&mut self) {
        self.journal.let_go();
    }

    /// Opens the storage again. Events that it was to write when it failed may be there or not: those
    /// that are there count, and the state is stepped over them.
    ///
    /// # Errors
    /// It still does not work; nothing has changed. [`Error::Lost`] where it no longer has what it
    /// had confirmed, so that the state is not that of the journal any more.
    pub(crate) fn come_back(&mut self, watch: Watch<'_, M>) -> Result<Reopened<M::Effect>, Error> {
        let position = self.journal.position();
        let location = self.location.as_mut().ok_or(Error::Failed)?;
        let (store, mut repairs) = location.reopen()?;
        let mut journal = Journal::<M>::with_store(store, self.journal.options())?;
        if journal.identity() != self.journal.identity() || !journal.has(position)? {
            let sequence = position.sequence;
            return Err(Error::Lost { sequence });
        }
        let mut found = Vec::new();
        journal.scan(Some(position), &mut repairs, |replayed| match replayed {
            Replayed::Record(record) => {
                found.push((stamp::<M>(&record), read_event::<M>(&record)?));
                Ok(())
            }
            Replayed::State(state) => Err(Error::Lost {
                sequence: state.position().sequence,
            }),
        })?;
        journal.make_sure()?;
        self.journal = journal;
        let events = found.len();
        let mut effects = Vec::new();
        for (stamp, event) in found {
            watch(stamp, &event);
            effects.extend(self.step(stamp, event));
        }
        Ok(Reopened {
            events,
            effects,
            repairs,
        })
    }

    fn step(&mut self, stamp: Stamp<M::Time>, event: M::Event) -> Vec<M::Effect> {
        let state = std::mem::take(&mut self.state);
        let (state, effects) = M::step(state, stamp, event);
        self.state = state;
        effects
    }

    fn open_store(
        store: Box<dyn Store>,
        options: Options,
        mut recoveries: Vec<Recovery>,
        mut visit: Option<(u64, Visit<'_, M>)>,
    ) -> Result<(Self, Opened), Error> {
        let mut journal = Journal::<M>::with_store(store, options)?;
        let start = load_state(&mut journal, &mut recoveries)?;
        let (start, mut state) = match start {
            Some((position, state)) => (Some(position), state),
            None => (None, journal.base_state()?),
        };
        let mut replayed = 0;
        let identity = journal.identity();
        journal.scan(start, &mut recoveries, |met| {
            let record = match met {
                Replayed::Record(record) => record,
                Replayed::State(kept) => {
                    state = kept.state::<M>(identity)?;
                    replayed = 0;
                    return Ok(());
                }
            };
            let stamp = stamp::<M>(&record);
            let event = read_event::<M>(&record)?;
            let (next, effects) = M::step(std::mem::take(&mut state), stamp, event);
            state = next;
            replayed += 1;
            if let Some((after, visit)) = &mut visit
                && stamp.sequence > *after
            {
                visit(stamp, read_event::<M>(&record)?, effects);
            }
            Ok(())
        })?;
        let checkpoint = start.map(|position| position.sequence);
        let opened = Opened {
            identity: journal.identity(),
            created: journal.created(),
            last: journal.position().sequence,
            checkpoint,
            replayed,
            recoveries,
        };
        let mut machine = Self {
            journal,
            state,
            checkpoint: checkpoint.unwrap_or(0),
            bounds_due: true,
            location: None,
        };
        // The next start is to go on from here, and not from what was before the damage.
        let damaged =
            |repair: &Recovery| matches!(repair, Recovery::Hole(_) | Recovery::Damaged { .. });
        if opened.recoveries.iter().any(damaged) {
            machine.make_checkpoint()?;
        }
        Ok((machine, opened))
    }
}

/// Writes the beginning of a journal that starts with a state.
fn put_beginning<M: Machine>(
    store: &mut dyn Store,
    header: Header,
    position: Position,
    state: &M::State,
) -> Result<(), Error> {
    let base = Base::of::<M>(header.identity(), position, state)?;
    store.put(Part::Header, &header.raised().bytes()?)?;
    Ok(store.put(Part::Base, base.bytes())?)
}

/// The newest checkpoint, if everything about it fits; or else the newest kept state that does.
fn load_state<M: Machine>(
    journal: &mut Journal<M>,
    recoveries: &mut Vec<Recovery>,
) -> Result<Option<(Position, M::State)>, Error> {
    match journal.stored_checkpoint()? {
        None => {}
        Some(Ok(fitting)) => return Ok(Some(fitting)),
        Some(Err(why)) => recoveries.push(Recovery::CheckpointDiscarded { why }),
    }
    let identity = journal.identity();
    let Some(kept) = journal.newest_state()? else {
        return Ok(None);
    };
    Ok(Some((kept.position(), kept.state::<M>(identity)?)))
}
