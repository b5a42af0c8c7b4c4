//! Goes through the life of a machine: any state, any step, forwards from wherever it is nearest.

use std::ops::{ControlFlow, RangeInclusive};

use allexmaster_journal::record::Record;
use allexmaster_journal::{Error, Machine as _, Position};
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
}

/// The journal's stored state, if it has one, and the position after which it holds.
type Checkpoint = Option<(Position, State)>;

impl Past {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(source: Box<dyn Source>) -> Self {
        Self {
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
    /// [`InspectError::NoSuchEvent`].
    pub fn must_have(&mut self, sequence: u64) -> Result<(), InspectError> {
        let (first, last) = (self.first(), self.end()?.sequence);
        if (first..=last).contains(&sequence) {
            return Ok(());
        }
        Err(self.no_such_event(sequence, last))
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
            let mut at = u64::MAX;
            self.source.visit(middle, &mut |record| {
                at = record.stamp.at;
                ControlFlow::Break(())
            })?;
            if at <= time {
                low = middle;
            } else {
                high = middle;
            }
        }
        let mut found = low;
        self.source.visit(low + 1, &mut |record| {
            if record.stamp.at > time || record.stamp.sequence > high {
                return ControlFlow::Break(());
            }
            found = record.stamp.sequence;
            ControlFlow::Continue(())
        })?;
        Ok(found)
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
        self.source.visit(sequence, &mut |record| {
            found = Some((read(record), position_of(record)));
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
        self.bring_to(first - 1)?;
        self.run(last, watch)
    }

    /// Makes `present` the state after an event.
    fn bring_to(&mut self, sequence: u64) -> Result<(), InspectError> {
        let start = self.source.start().position.sequence;
        if sequence < start {
            return Err(self.no_such_event(sequence, start));
        }
        let present = self.present.as_ref().map(|(at, _)| *at);
        let near = present.filter(|at| *at <= sequence);
        if near == Some(sequence) {
            return Ok(());
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
        let reached = self.present.as_ref().map_or(start, |(at, _)| *at);
        if reached == sequence {
            return Ok(());
        }
        Err(InspectError::NoSuchEvent {
            asked: sequence,
            place: self.place(),
            first: start + 1,
            last: reached,
        })
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

    /// Replays from `present` up to an event, keeping states on the way.
    fn run(&mut self, last: u64, watch: &mut dyn Watch) -> Result<(), InspectError> {
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
            return Ok(());
        }
        let mut unknown = None;
        let visited = source.visit(at + 1, &mut |record| {
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
        unknown.map_or(Ok(()), Err)
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
