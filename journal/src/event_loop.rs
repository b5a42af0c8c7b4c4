//! The loop around a machine: record, make durable, step, perform. In this order, and in no other place.
//!
//! ```text
//!          ┌──────── turn ────────┐    storage fails    ┌──── outage ────┐
//!  events ─►│ append, sync, step,  │────────────────────►│ events held,   │
//!          │ perform              │◄────────────────────│ nothing done   │
//!          └──────────────────────┘    retry succeeds   └────────────────┘
//! ```
//!
//! [`EventLoop`] has no thread and does not wait: its driver (`runner`, or a simulation) asks how long
//! to wait, and calls [`EventLoop::turn`] or, in an outage, [`EventLoop::retry`].

use std::ops::ControlFlow;
use std::time::Duration;

use allexmaster_machine::{Machine, Stamp, Time as _};

use crate::clock::{Clock, Jump, Moment};
use crate::compaction::CompactionEnd;
use crate::error::Error;
use crate::journaled::JournaledMachine;
use crate::outage::{MAX_RETRY_PAUSE, Outage, OutageBoard, RETRY_FIRST};
use crate::recovery::Recovery;

/// The longest wait before the clock is read again, so that a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// Minimum interval between two wake-ups for the same deadline. Guards against a machine that does not
/// clear a reached deadline, which would fill the disk with events.
const DEADLINE_REPEAT: Duration = Duration::from_secs(1);

/// The longest wait while a compaction is under way, which goes on with each turn.
const COMPACTION_PAUSE: Duration = Duration::from_millis(20);

/// Performs what `step` decided. Called on the loop's thread: no call may block.
pub trait Performer<M: Machine> {
    /// What the loop ends with.
    type Exit;

    /// Performs one effect, or asks the loop to end, which it does when the whole batch is performed: a
    /// request in the same batch is still answered. Everything that led to the effect is on disk.
    fn perform(&mut self, effect: M::Effect) -> ControlFlow<Self::Exit>;

    /// An event is on disk. What the batch that it is in caused follows, and then
    /// [`Performer::settled`].
    fn recorded(&mut self, stamp: Stamp<M::Time>, event: &M::Event) {
        let _ = (stamp, event);
    }

    /// All events that waited have been taken in and their effects performed.
    fn settled(&mut self, state: &M::State);

    /// A compaction has ended: what it removed, or why it did not.
    fn compacted(&mut self, end: &CompactionEnd) {
        let _ = end;
    }

    /// The clock was set, or the host was suspended. The machine gets an event of its own for that.
    fn clock_jumped(&mut self, jump: Jump) {
        let _ = jump;
    }

    /// The journal cannot be written: called when the outage begins, and after every retry that fails.
    /// No effect of the events that it could not take is performed until [`Performer::recovered`].
    /// Break ends the loop with the error; that is the default.
    fn degraded(&mut self, outage: &Outage) -> ControlFlow<()> {
        let _ = outage;
        ControlFlow::Break(())
    }

    /// The journal can be written again, and has every event that waited. `repairs` is what had to be
    /// repaired in it.
    fn recovered(&mut self, outage: &Outage, repairs: &[Recovery]) {
        let _ = (outage, repairs);
    }

    /// The journal cannot be written, and the loop ends. No effect of the events that it refused was
    /// performed, and none will be.
    fn journal_failed(&mut self, error: &Error);
}

/// A machine with its journal, its clock and its performer.
pub struct EventLoop<M: Machine, C, P> {
    machine: JournaledMachine<M>,
    clock: C,
    performer: P,
    /// The deadline that the machine had an event for and did not clear.
    reminded: Option<M::Time>,
    /// So many events have to be recorded before a deadline counts: they waited during an outage, and
    /// may be what the deadline waits for.
    overdue: u64,
    outage: Option<Suspension<M>>,
    board: OutageBoard,
}

/// What waits until the journal can be written.
struct Suspension<M: Machine> {
    outage: Outage,
    /// Why the last attempt failed.
    error: Error,
    /// The wait before the next one.
    pause: Duration,
    /// The events that the journal does not have.
    held: Vec<M::Event>,
    /// The effects of those that it has: they are performed when it has all.
    effects: Vec<M::Effect>,
    repairs: Vec<Recovery>,
}

impl<M, C, P> EventLoop<M, C, P>
where
    M: Machine,
    C: Clock<M::Time>,
    P: Performer<M>,
{
    /// Outages are shown on the board.
    pub fn new(
        machine: JournaledMachine<M>,
        mut clock: C,
        performer: P,
        board: OutageBoard,
    ) -> Self {
        clock.not_before(M::Time::from_millis(machine.position().at));
        Self {
            machine,
            clock,
            performer,
            reminded: None,
            overdue: 0,
            outage: None,
            board,
        }
    }

    /// The machine, to answer questions about its state and journal.
    pub const fn machine(&mut self) -> &mut JournaledMachine<M> {
        &mut self.machine
    }

    /// The machine's state.
    pub fn state(&self) -> &M::State {
        self.machine.state()
    }

    /// The performer.
    pub const fn performer(&mut self) -> &mut P {
        &mut self.performer
    }

    /// The clock.
    pub const fn clock(&mut self) -> &mut C {
        &mut self.clock
    }

    /// True while the journal cannot be written: call [`EventLoop::retry`] instead of a turn.
    pub const fn is_suspended(&self) -> bool {
        self.outage.is_some()
    }

    /// How long to wait for events before the next turn or retry; `None`: until one comes.
    pub fn wait(&mut self) -> Option<Duration> {
        if let Some(suspension) = &self.outage {
            return Some(suspension.pause);
        }
        let now = self.clock.now();
        let wait = wait_for_deadline::<M>(self.machine.state(), now, self.reminded);
        if self.machine.is_compacting() {
            return Some(wait.map_or(COMPACTION_PAUSE, |wait| wait.min(COMPACTION_PAUSE)));
        }
        wait
    }

    /// Records the events and performs what they cause. `waited`: the wait is over and nothing came.
    /// Break: the performer asked for the end. In an outage the events are held.
    ///
    /// # Errors
    /// The journal cannot be written, and the performer does not wait until it can be.
    pub fn turn(
        &mut self,
        mut events: Vec<M::Event>,
        waited: bool,
    ) -> Result<ControlFlow<P::Exit>, Error> {
        if let Some(suspension) = &mut self.outage {
            suspension.held.append(&mut events);
            return Ok(ControlFlow::Continue(()));
        }
        self.overdue = self.overdue.saturating_sub(events.len() as u64);
        let now = self.clock.now();
        if let Some(jumped) = self.notice_jump() {
            // Before the other events; the deadlines that it moved are looked at in the next turn.
            events.insert(0, jumped);
        } else if self.deadline_is_due(now, waited) {
            events.push(M::deadline_reached());
        }
        if events.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        match self.commit(now, &events) {
            Ok(effects) => Ok(self.perform(effects)),
            Err(error) => {
                self.suspend(error, events)?;
                Ok(ControlFlow::Continue(()))
            }
        }
    }

    /// Makes a checkpoint, seals or compacts, if it is time for that. To be called after each turn, when
    /// what is urgent is done.
    ///
    /// # Errors
    /// As [`EventLoop::turn`].
    pub fn maintain(&mut self) -> Result<(), Error> {
        if self.is_suspended() {
            return Ok(());
        }
        match self.try_maintain() {
            Ok(()) => Ok(()),
            Err(error) => self.suspend(error, Vec::new()),
        }
    }

    /// Opens the storage again, records what is held, and performs what that causes. `waiting` is how
    /// many events wait outside: the deadlines come after them.
    ///
    /// # Errors
    /// As [`EventLoop::turn`].
    pub fn retry(&mut self, waiting: u64) -> Result<ControlFlow<P::Exit>, Error> {
        let Some(mut suspension) = self.outage.take() else {
            return Ok(ControlFlow::Continue(()));
        };
        suspension.pause = (suspension.pause * 2).min(MAX_RETRY_PAUSE);
        match self.come_back(&mut suspension) {
            Ok(()) => {
                let Suspension {
                    outage,
                    effects,
                    repairs,
                    ..
                } = suspension;
                self.overdue = waiting;
                self.board.show(None);
                self.performer.recovered(&outage, &repairs);
                Ok(self.perform(effects))
            }
            Err(error) => {
                suspension
                    .outage
                    .failed_again(&error, suspension.held.len());
                suspension.error = error;
                self.wait_for_storage(suspension)?;
                Ok(ControlFlow::Continue(()))
            }
        }
    }

    /// Ends the loop for a reason: with a checkpoint, so that the next start replays nothing.
    ///
    /// # Errors
    /// The reason is one, or the journal cannot be written. The performer was told.
    pub fn end<T>(self, ended: Result<T, Error>) -> Result<T, Error> {
        let Self {
            machine,
            mut performer,
            outage,
            ..
        } = self;
        let closed = ended.and_then(|ended| match outage {
            Some(Suspension { error, .. }) => Err(error),
            None => machine.close().map(|()| ended),
        });
        if let Err(error) = &closed {
            performer.journal_failed(error);
        }
        closed
    }

    fn commit(&mut self, now: M::Time, events: &[M::Event]) -> Result<Vec<M::Effect>, Error> {
        let (clock, performer) = (&mut self.clock, &mut self.performer);
        let mut watch = |stamp, event: &M::Event| performer.recorded(stamp, event);
        self.machine
            .take_in(&mut Moment { now, clock }, events, &mut watch)
    }

    /// Reports a clock that jumped, and gives the machine's event for it.
    fn notice_jump(&mut self) -> Option<M::Event> {
        let jump = self.clock.jump()?;
        self.performer.clock_jumped(jump);
        match jump {
            Jump::Forward(by) => M::clock_jumped(by),
            Jump::Back(_) => None,
        }
    }

    fn perform(&mut self, effects: Vec<M::Effect>) -> ControlFlow<P::Exit> {
        let mut exit = None;
        for effect in effects {
            if let ControlFlow::Break(wanted) = self.performer.perform(effect) {
                exit.get_or_insert(wanted);
            }
        }
        self.performer.settled(self.machine.state());
        exit.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    /// Whether the machine is to have an event for its deadline.
    fn deadline_is_due(&mut self, now: M::Time, waited: bool) -> bool {
        if self.overdue > 0 {
            return false;
        }
        let due = M::next_deadline(self.machine.state()).filter(|deadline| *deadline <= now);
        let is_due = due.is_some() && (waited || self.reminded != due);
        self.reminded = due;
        is_due
    }

    fn suspend(&mut self, error: Error, held: Vec<M::Event>) -> Result<(), Error> {
        let since = self.clock.now().millis();
        self.wait_for_storage(Suspension {
            outage: Outage::new(since, &error, held.len()),
            error,
            pause: RETRY_FIRST,
            held,
            effects: Vec::new(),
            repairs: Vec::new(),
        })
    }

    fn wait_for_storage(&mut self, suspension: Suspension<M>) -> Result<(), Error> {
        let Suspension { outage, error, .. } = &suspension;
        if !error.may_pass() || self.performer.degraded(outage).is_break() {
            return Err(suspension.error);
        }
        self.machine.let_go();
        self.board.show(Some(outage.clone()));
        self.outage = Some(suspension);
        Ok(())
    }

    /// Opens the journal again, and records what is held. What of it got to the disk when the storage
    /// failed is taken from there.
    fn come_back(&mut self, suspension: &mut Suspension<M>) -> Result<(), Error> {
        let performer = &mut self.performer;
        let found = self
            .machine
            .come_back(&mut |stamp, event| performer.recorded(stamp, event))?;
        let held = &mut suspension.held;
        suspension.repairs.extend(found.repairs);
        suspension.effects.extend(found.effects);
        held.drain(..found.events.min(held.len()));
        let now = self.clock.now();
        if let Some(jumped) = self.notice_jump() {
            held.insert(0, jumped);
        }
        suspension.effects.extend(self.commit(now, held)?);
        held.clear();
        self.try_maintain()
    }

    fn try_maintain(&mut self) -> Result<(), Error> {
        if let Some(end) = self.machine.maintain()? {
            self.performer.compacted(&end);
        }
        Ok(())
    }
}

/// How long until the machine's next deadline, if nothing comes in.
fn wait_for_deadline<M: Machine>(
    state: &M::State,
    now: M::Time,
    reminded: Option<M::Time>,
) -> Option<Duration> {
    let deadline = M::next_deadline(state)?;
    if reminded == Some(deadline) {
        return Some(DEADLINE_REPEAT);
    }
    let left = Duration::from_millis(deadline.millis().saturating_sub(now.millis()));
    Some(left.min(LONGEST_SLEEP))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{DEADLINE_REPEAT, LONGEST_SLEEP, wait_for_deadline};
    use allexmaster_machine::{Machine, Stamp, Wall};

    /// A machine that is nothing but its deadline.
    struct Alarm;

    impl Machine for Alarm {
        type State = Option<Wall>;
        type Event = ();
        type Effect = ();
        type Time = Wall;

        const PROGRAM: &'static str = "alarm";
        const STEP_VERSION: u32 = 1;

        fn kind(_event: &()) -> u16 {
            1
        }

        fn step(state: Option<Wall>, _stamp: Stamp, _event: ()) -> (Option<Wall>, Vec<()>) {
            (state, Vec::new())
        }

        fn next_deadline(state: &Option<Wall>) -> Option<Wall> {
            *state
        }

        fn deadline_reached() {}
    }

    #[test]
    fn without_a_deadline_the_loop_sleeps_until_something_comes() {
        assert_eq!(wait_for_deadline::<Alarm>(&None, Wall(5), None), None);
    }

    #[test]
    fn the_sleep_ends_at_the_deadline_or_when_the_clock_has_to_be_read_again() {
        let sleep = |now| wait_for_deadline::<Alarm>(&Some(Wall(1_000_000)), Wall(now), None);
        assert_eq!(sleep(999_990), Some(Duration::from_millis(10)));
        assert_eq!(sleep(1_000_000), Some(Duration::ZERO));
        assert_eq!(sleep(2_000_000), Some(Duration::ZERO));
        assert_eq!(sleep(0), Some(LONGEST_SLEEP));
    }

    #[test]
    fn a_deadline_that_is_left_standing_does_not_make_the_loop_spin() {
        let sleep = wait_for_deadline::<Alarm>(&Some(Wall(7)), Wall(100), Some(Wall(7)));
        assert_eq!(sleep, Some(DEADLINE_REPEAT));
    }
}
