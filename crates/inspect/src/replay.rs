//! Goes through the life of a machine: any state, any step, forwards from wherever it is nearest.

use std::ops::{ControlFlow, RangeInclusive};

use allexmaster_journal::record::Record;
use allexmaster_journal::{Error, Hole, Machine as _, Passage, Position};
use allexmaster_state::{Effect, Recorded, Rules, State, Timestamp, step};
use uuid::Uuid;

use crate::error::InspectError;
use crate::frames::{FRAME_EVENTS, SharedFrames};
use crate::source::{Beginning, Source};
use crate::time::rfc3339;

/// One event, what it caused, and the state after it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    pub recorded: &'a Recorded,
    pub effects: &'a [Effect],
    /// The state after it.
    pub state: &'a State,
    /// Where it stands in the journal.
    pub position: Position,
}

/// Looks on while events are replayed.
pub trait Watch {
    /// An event comes; this is the state that it meets.
    fn before(&mut self, state: &State, recorded: &Recorded) {
        let _ = (state, recorded);
    }

    /// A hole was passed, and the replay goes on from this state.
    fn passed(&mut self, hole: &Hole, state: &State) {
        let _ = (hole, state);
    }

    /// It has been decided.
    fn after(&mut self, step: Step<'_>) -> ControlFlow<()>;
}

impl<F: FnMut(Step<'_>) -> ControlFlow<()>> Watch for F {
    fn after(&mut self, step: Step<'_>) -> ControlFlow<()> {
        self(step)
    }
}

/// The life of a machine, as its journal has it.
pub struct Past {
    source: Box<dyn Source>,
    frames: SharedFrames,
    /// The state that was replayed last, and after which event it holds.
    present: Option<(u64, State)>,
    end: Option<Position>,
    checkpoint: Option<Checkpoint>,
    /// The holes that are known, oldest first.
    holes: Vec<Hole>,
    /// Events that are whole, but have no kept state before them: they cannot be told.
    untold: Vec<(u64, u64)>,
}

/// The journal's stored state, if it has one, and the position after which it holds.
type Checkpoint = Option<(Position, State)>;

impl Past {
    /// No event is read yet; it is looked for holes.
    #[must_use]
    pub fn new(mut source: Box<dyn Source>) -> Self {
        Self {
            holes: source.holes(),
            untold: Vec::new(),
            source,
            frames: SharedFrames::default(),
            present: None,
            end: None,
            checkpoint: None,
        }
    }

    /// The states that are kept on the way: those of another reader of the same journal as well.
    #[must_use]
    pub fn frames(&self) -> SharedFrames {
        self.frames.clone()
    }

    /// Uses, and adds to, the states that another reader of the same journal keeps.
    #[must_use]
    pub fn sharing(mut self, frames: SharedFrames) -> Self {
        self.frames = frames;
        self
    }

    /// Where the journal is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        self.source.place()
    }

    /// The journal's identity.
    #[must_use]
    pub fn identity(&self) -> Uuid {
        self.source.identity()
    }

    /// Where the records come from.
    pub fn source(&mut self) -> &mut dyn Source {
        self.source.as_mut()
    }

    /// Why the journal begins where it does.
    #[must_use]
    pub fn beginning(&self) -> Beginning {
        self.source.start().beginning
    }

    /// The first event that there is.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.source.start().position.sequence + 1
    }

    /// The last event; looked up once.
    ///
    /// # Errors
    /// The journal cannot be read up to there.
    pub fn end(&mut self) -> Result<Position, InspectError> {
        match self.end {
            Some(end) => Ok(end),
            None => self.look_up_end(),
        }
    }

    /// The last event, looked up anew: a master may have written more.
    ///
    /// # Errors
    /// The journal cannot be read up to there.
    pub fn look_up_end(&mut self) -> Result<Position, InspectError> {
        let end = self.source.end()?;
        self.end = Some(end);
        Ok(end)
    }

    /// Refuses an event that the journal does not have.
    ///
    /// # Errors
    /// [`InspectError::NoSuchEvent`] or [`InspectError::InHole`].
    pub fn must_have(&mut self, sequence: u64) -> Result<(), InspectError> {
        let (first, last) = (self.first(), self.end()?.sequence);
        if let Some(hole) = self.hole_at(sequence) {
            return Err(hole);
        }
        if (first..=last).contains(&sequence) {
            return Ok(());
        }
        Err(self.no_such_event(sequence, last))
    }

    /// What is said of an event that is in a hole.
    fn hole_at(&self, sequence: u64) -> Option<InspectError> {
        let asked = format!("event {sequence}");
        if let Some(hole) = self.holes.iter().find(|hole| hole.has(sequence)) {
            let hole = hole.clone();
            return Some(InspectError::InHole { asked, hole });
        }
        let within = |(first, last): &&(u64, u64)| (*first..=*last).contains(&sequence);
        let (first, last) = self.untold.iter().find(within)?;
        Some(InspectError::Untold {
            asked,
            first: *first,
            last: *last,
        })
    }

    /// The holes that are known, oldest first: all in the sealed history, and those that were met.
    #[must_use]
    pub fn holes(&self) -> &[Hole] {
        &self.holes
    }

    /// Whether a hole has an event of this range.
    #[must_use]
    pub fn has_hole_in(&self, first: u64, last: u64) -> bool {
        let meets = |hole: &Hole| hole.first <= last && first <= hole.last;
        self.holes.iter().any(meets)
    }

    /// The first event behind the last hole; the first of all where there is none.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn first_behind_holes(&mut self) -> Result<u64, InspectError> {
        let Some(hole) = self.holes.last().cloned() else {
            return Ok(self.first());
        };
        let kept = self.source.state_from(hole.last)?;
        Ok(kept.map_or(self.first(), |kept| kept.position.sequence + 1))
    }

    /// What people have to know of the holes.
    #[must_use]
    pub fn hole_notes(&self) -> Vec<String> {
        let holes = self.holes.iter().map(ToString::to_string);
        let untold = self.untold.iter().map(|(first, last)| {
            format!(
                "events {first} to {last} are whole but cannot be told: no state from before them was kept"
            )
        });
        holes.chain(untold).collect()
    }

    fn no_such_event(&self, asked: u64, last: u64) -> InspectError {
        let (place, first) = (self.place(), self.first());
        match self.source.start().beginning {
            Beginning::Compacted if asked < first => InspectError::Compacted {
                asked: format!("event {asked}"),
                place,
                first,
            },
            Beginning::Compacted | Beginning::Stretch | Beginning::Whole => {
                InspectError::NoSuchEvent {
                    asked,
                    place,
                    first,
                    last,
                }
            }
        }
    }

    /// Refuses a time of which the journal knows nothing, because it begins later.
    ///
    /// # Errors
    /// [`InspectError::Compacted`], or [`InspectError::NoSuchEvent`] in a stretch.
    pub fn must_know(&mut self, time: u64) -> Result<(), InspectError> {
        let Position { sequence, at, .. } = self.source.start().position;
        if sequence == 0 || time >= at {
            return Ok(());
        }
        let last = self.end()?.sequence;
        Err(match self.source.start().beginning {
            Beginning::Compacted => InspectError::Compacted {
                asked: rfc3339(time),
                place: self.place(),
                first: self.first(),
            },
            Beginning::Stretch | Beginning::Whole => self.no_such_event(sequence, last),
        })
    }

    /// What people have to know of a journal that does not begin with event 1.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let first = self.first();
        match self.source.start().beginning {
            Beginning::Whole => None,
            Beginning::Stretch => Some(format!("this is a stretch of a journal, from #{first} on")),
            Beginning::Compacted => Some(format!("the history before #{first} was compacted")),
        }
    }

    /// The last event at or before a time; the one before the first where there is none.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn sequence_at(&mut self, time: u64) -> Result<u64, InspectError> {
        let (mut low, mut high) = (self.first() - 1, self.end()?.sequence);
        // Recorded time never goes back. A single record costs the reading of its block, so the last
        // part is walked.
        while high - low > FRAME_EVENTS {
            let middle = low + (high - low) / 2;
            let (mut met, mut at) = (middle, u64::MAX);
            self.visit_records(middle, &mut |record| {
                (met, at) = (record.stamp.sequence, record.stamp.at);
                ControlFlow::Break(())
            })?;
            if at <= time {
                low = met.min(high);
            } else {
                high = middle;
            }
        }
        let mut found = low;
        self.visit_records(low + 1, &mut |record| {
            if record.stamp.at > time || record.stamp.sequence > high {
                return ControlFlow::Break(());
            }
            found = record.stamp.sequence;
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Shows the records from a number on, without the holes between them.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn visit_records(
        &mut self,
        from: u64,
        visit: &mut dyn FnMut(&Record<'_>) -> ControlFlow<()>,
    ) -> Result<(), InspectError> {
        self.source.pass(from, &mut |passage| match passage {
            Passage::Record(record) => visit(record),
            Passage::Hole(_) => ControlFlow::Continue(()),
        })
    }

    /// The state after an event; before the first one, what stands before it.
    ///
    /// # Errors
    /// The journal cannot be read up to there, or a newer version wrote an event of it.
    pub fn state_after(&mut self, sequence: u64) -> Result<&State, InspectError> {
        self.bring_to(sequence)?;
        match &self.present {
            Some((_, state)) => Ok(state),
            None => Ok(&self.source.start().state),
        }
    }

    /// Whether the state that an event meets is at hand, or no further away than kept states are from
    /// one another: then [`Past::state_after`] takes no time that is felt.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn is_near(&mut self, sequence: u64) -> Result<bool, InspectError> {
        let met = sequence.saturating_sub(1);
        let reach = self.frames.spacing();
        let start = Some(self.source.start().position.sequence);
        let present = self.present.as_ref().map(|(at, _)| *at);
        let frame = self.frames.place_before(met);
        let near = |at: u64| at <= met && met - at <= reach;
        if [start, present, frame].into_iter().flatten().any(near) {
            return Ok(true);
        }
        let checkpoint = self.checkpoint()?;
        Ok(checkpoint.is_some_and(|(position, _)| near(position.sequence)))
    }

    /// An event alone, and the state after it where the journal's own checkpoint is just that. Nothing
    /// is replayed.
    ///
    /// # Errors
    /// [`InspectError::NoSuchEvent`], or the journal cannot be read there, or a newer version wrote it.
    pub fn glance(&mut self, sequence: u64) -> Result<(Recorded, Option<State>), InspectError> {
        self.must_have(sequence)?;
        let mut found = None;
        self.visit_records(sequence, &mut |record| {
            if record.stamp.sequence == sequence {
                found = Some((read(record), position_of(record)));
            }
            ControlFlow::Break(())
        })?;
        let Some((recorded, position)) = found else {
            let last = self.end()?.sequence;
            return Err(self.no_such_event(sequence, last));
        };
        let checkpoint = self.checkpoint()?;
        let after = checkpoint.filter(|(holds, _)| *holds == position);
        Ok((recorded?, after.map(|(_, state)| state.clone())))
    }

    /// Replays the events of a range and passes each to `watch`, until that breaks.
    ///
    /// # Errors
    /// As [`Past::state_after`]; what came before the error was shown.
    pub fn replay(
        &mut self,
        range: RangeInclusive<u64>,
        watch: &mut dyn Watch,
    ) -> Result<(), InspectError> {
        let first = (*range.start()).max(self.first());
        let last = *range.end();
        if first > last {
            return Ok(());
        }
        self.approach(first - 1)?;
        self.run(last, watch)
    }

    /// Makes `present` the state after an event.
    fn bring_to(&mut self, sequence: u64) -> Result<(), InspectError> {
        let reached = self.approach(sequence)?;
        if reached == sequence {
            return Ok(());
        }
        if let Some(hole) = self.hole_at(sequence) {
            return Err(hole);
        }
        let start = self.source.start().position.sequence;
        Err(InspectError::NoSuchEvent {
            asked: sequence,
            place: self.place(),
            first: start + 1,
            last: reached,
        })
    }

    /// Makes `present` the state after an event, or after the first one behind it that is known, where a
    /// hole has it. Gives the event.
    fn approach(&mut self, sequence: u64) -> Result<u64, InspectError> {
        let start = self.source.start().position.sequence;
        if sequence < start {
            return Err(self.no_such_event(sequence, start));
        }
        let present = self.present.as_ref().map(|(at, _)| *at);
        let near = present.filter(|at| *at <= sequence);
        if near == Some(sequence) {
            return Ok(sequence);
        }
        let frame = self.frames.before(sequence);
        let frame_at = frame.as_ref().map_or(start, |(at, _)| *at);
        if near.is_none_or(|near| near < frame_at) {
            self.present = match frame {
                Some(frame) => Some(frame),
                None => Some((start, self.source.start().state.clone())),
            };
        }
        self.use_checkpoint(sequence)?;
        self.run(sequence, &mut |_: Step<'_>| ControlFlow::Continue(()))?;
        Ok(self.present.as_ref().map_or(start, |(at, _)| *at))
    }

    /// The journal's own checkpoint, where it spares more than a frame's worth of replay.
    fn use_checkpoint(&mut self, sequence: u64) -> Result<(), InspectError> {
        let reached = self.present.as_ref().map_or(0, |(at, _)| *at);
        if sequence.saturating_sub(reached) <= FRAME_EVENTS {
            return Ok(());
        }
        if let Some((position, state)) = self.checkpoint()?
            && (reached..=sequence).contains(&position.sequence)
        {
            self.present = Some((position.sequence, state.clone()));
        }
        Ok(())
    }

    /// The journal's own checkpoint; looked up once.
    fn checkpoint(&mut self) -> Result<Option<&(Position, State)>, InspectError> {
        let found = match self.checkpoint.take() {
            Some(found) => found,
            None => self.source.checkpoint()?,
        };
        Ok(self.checkpoint.insert(found).as_ref())
    }

    /// Replays from `present` up to an event, keeping states on the way, and over the holes.
    fn run(&mut self, last: u64, watch: &mut dyn Watch) -> Result<(), InspectError> {
        while let Some(hole) = self.run_to_hole(last, watch)? {
            if !self.holes.iter().any(|known| known.has(hole.first)) {
                let place = self.holes.partition_point(|known| known.first < hole.first);
                self.holes.insert(place, hole.clone());
            }
            let Some(kept) = self.source.state_from(hole.last)? else {
                // What is at the end is not missed by whoever does not ask for it.
                if last == u64::MAX && self.end()?.sequence < hole.first {
                    return Ok(());
                }
                let asked = "what follows".to_owned();
                return Err(InspectError::InHole { asked, hole });
            };
            let at = kept.position.sequence;
            if at > hole.last && !self.untold.contains(&(hole.last + 1, at)) {
                self.untold.push((hole.last + 1, at));
            }
            watch.passed(&hole, &kept.state);
            self.present = Some((at, kept.state));
        }
        Ok(())
    }

    /// Replays from `present` up to an event or a hole, which it gives.
    fn run_to_hole(
        &mut self,
        last: u64,
        watch: &mut dyn Watch,
    ) -> Result<Option<Hole>, InspectError> {
        let Self {
            source,
            frames,
            present,
            ..
        } = self;
        let start = source.start();
        let (mut at, mut state) = present
            .take()
            .unwrap_or_else(|| (start.position.sequence, start.state.clone()));
        if at >= last {
            *present = Some((at, state));
            return Ok(None);
        }
        let (mut unknown, mut hole) = (None, None);
        let visited = source.pass(at + 1, &mut |passage| {
            let record = match passage {
                Passage::Record(record) => record,
                Passage::Hole(met) => {
                    hole = Some(met.clone());
                    return ControlFlow::Break(());
                }
            };
            let recorded = match read(record) {
                Ok(recorded) => recorded,
                Err(error) => {
                    unknown = Some(error);
                    return ControlFlow::Break(());
                }
            };
            watch.before(&state, &recorded);
            let (next, effects) = step(std::mem::take(&mut state), recorded.clone());
            state = next;
            at = record.stamp.sequence;
            frames.offer(at, &state);
            let flow = watch.after(Step {
                recorded: &recorded,
                effects: &effects,
                state: &state,
                position: position_of(record),
            });
            if at >= last {
                ControlFlow::Break(())
            } else {
                flow
            }
        });
        *present = Some((at, state));
        visited?;
        unknown.map_or(Ok(hole), Err)
    }
}

/// The event of a record.
///
/// # Errors
/// A newer version wrote it.
pub fn read(record: &Record<'_>) -> Result<Recorded, InspectError> {
    let event = Rules::decode(record.kind, record.payload).map_err(|source| {
        InspectError::Journal(Error::UnknownEvent {
            sequence: record.stamp.sequence,
            kind: record.kind,
            source,
        })
    })?;
    Ok(Recorded::new(record.stamp.map(Timestamp), event))
}

/// The place of a record.
#[must_use]
pub const fn position_of(record: &Record<'_>) -> Position {
    Position {
        sequence: record.stamp.sequence,
        checksum: record.checksum,
        at: record.stamp.at,
    }
}
