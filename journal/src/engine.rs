//! The loop: receive, record, make durable, step, perform. In this order, and in no other place.
//!
//! Where the journal cannot be written the loop waits: nothing is performed, what came in stays in
//! memory in its order, questions are answered, and the storage is opened again until it works.

use std::ops::ControlFlow;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::clock::{Clock, Jump, Moment};
use crate::compaction::CompactionEnd;
use crate::error::Error;
use crate::inbox::Woken;
pub use crate::inbox::{Inbox, Mailbox, Refused, Stopped, inbox};
use crate::journal::MAX_BATCH;
use crate::journaled::JournaledMachine;
use crate::outage::{Outage, RETRY_FIRST, RETRY_MOST};
use crate::recovery::Recovery;
use allexmaster_machine::{Machine, Stamp, Time as _};

/// The longest sleep before the clock is read again: so a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The least time between two wake-ups for one and the same deadline. Only a machine that leaves a
/// deadline standing when told that it passed ever sees it; without it, that would fill the disk.
const DEADLINE_REPEAT: Duration = Duration::from_secs(1);

/// How long a compaction waits for the next turn of a loop that has nothing else to do.
const COMPACTION_PAUSE: Duration = Duration::from_millis(20);

/// Who does what `step` decided. Called on the loop's thread: no call may block.
pub trait Performer<M: Machine> {
    /// What the loop ends with.
    type Exit;

    /// Does one thing, or wants the loop to end, which it does when the whole batch is performed: who
    /// asked something together with the end is answered, too. Everything that led to it is on disk.
    fn perform(&mut self, effect: M::Effect) -> ControlFlow<Self::Exit>;

    /// An event is on disk. What the batch that it is in caused follows, and then
    /// [`Performer::settled`].
    fn recorded(&mut self, stamp: Stamp<M::Time>, event: &M::Event) {
        let _ = (stamp, event);
    }

    /// All events that waited have been taken in and their effects performed.
    fn settled(&mut self, state: &M::State);

    /// A compaction has come to its end, and this is what it removed, or why it did not.
    fn compacted(&mut self, end: &CompactionEnd) {
        let _ = end;
    }

    /// The clock was set, or the machine slept. The machine is told by itself.
    fn clock_jumped(&mut self, jump: Jump) {
        let _ = jump;
    }

    /// The journal cannot be written: told once when it begins, and after every try that fails.
    /// No effect of what it could not take is performed until [`Performer::recovered`]. To break
    /// ends the loop with the error, which is what happens where this is not implemented.
    fn degraded(&mut self, outage: &Outage) -> ControlFlow<()> {
        let _ = outage;
        ControlFlow::Break(())
    }

    /// The journal is written again, and has every event that waited. Tells what had to be
    /// repaired in it.
    fn recovered(&mut self, outage: &Outage, repairs: &[Recovery]) {
        let _ = (outage, repairs);
    }

    /// The journal cannot be written, and the loop ends. No effect of what it refused was
    /// performed, none will be.
    fn journal_failed(&mut self, error: &Error);
}

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended<Exit> {
    /// The performer wanted it.
    Exit(Exit),
    /// Nobody is left to send anything.
    Abandoned,
}

/// Starts the loop on a thread of its own: a sync of the disk must not hold up a worker of tokio.
///
/// # Errors
/// The system gives no thread.
pub fn start<M, C, P>(
    live: JournaledMachine<M>,
    mailbox: Mailbox<M>,
    clock: C,
    performer: P,
) -> std::io::Result<JoinHandle<Result<Ended<P::Exit>, Error>>>
where
    M: Machine,
    C: Clock<M::Time> + Send + 'static,
    P: Performer<M> + Send + 'static,
    P::Exit: Send + 'static,
{
    std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || run(live, mailbox, clock, performer))
}

/// Runs the loop on this thread until it ends; then makes a checkpoint and closes the journal.
///
/// # Errors
/// The journal cannot be written, and the performer does not wait until it can be. It was told.
pub fn run<M, C, P>(
    live: JournaledMachine<M>,
    mailbox: Mailbox<M>,
    mut clock: C,
    performer: P,
) -> Result<Ended<P::Exit>, Error>
where
    M: Machine,
    C: Clock<M::Time>,
    P: Performer<M>,
{
    clock.not_before(M::Time::from_millis(live.position().at));
    let mut engine = Engine {
        live,
        mailbox,
        clock,
        performer,
        told: None,
        deadlines_after: 0,
    };
    let ended = engine.turn_until_end();
    let Engine {
        live,
        mut performer,
        ..
    } = engine;
    let closed = ended.and_then(|ended| live.close().map(|()| ended));
    if let Err(error) = &closed {
        performer.journal_failed(error);
    }
    closed
}

struct Engine<M: Machine, C, P> {
    live: JournaledMachine<M>,
    mailbox: Mailbox<M>,
    clock: C,
    performer: P,
    /// The deadline that the machine was told of and left standing.
    told: Option<M::Time>,
    /// So many events have to be taken in before a deadline counts: they waited while the journal
    /// could not be written, and may be what the deadline waits for.
    deadlines_after: u64,
}

impl<M, C, P> Engine<M, C, P>
where
    M: Machine,
    C: Clock<M::Time>,
    P: Performer<M>,
{
    fn turn_until_end(&mut self) -> Result<Ended<P::Exit>, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|source| Error::Runtime { source })?;
        loop {
            let mut sleep = time_to_sleep::<M>(self.live.state(), self.clock.now(), self.told);
            if self.live.is_compacting() {
                sleep = Some(sleep.map_or(COMPACTION_PAUSE, |sleep| sleep.min(COMPACTION_PAUSE)));
            }
            // One place stays free for a deadline.
            let woken = runtime.block_on(self.mailbox.receive(MAX_BATCH - 1, sleep));
            let (mut events, slept) = match woken {
                Woken::Received(events) => (events, false),
                Woken::Slept => (Vec::new(), true),
                Woken::Abandoned => return Ok(Ended::Abandoned),
            };
            let now = self.clock.now();
            if let Some(jumped) = self.notice_jump() {
                // First of all; the deadlines that it moved are looked at in the next turn.
                events.insert(0, jumped);
            } else if self.deadline_is_due(now, slept) {
                events.push(M::deadline_reached());
            }
            if !events.is_empty() {
                let effects = match self.take_in(now, &events) {
                    Ok(effects) => effects,
                    Err(error) => self.outlast(&runtime, error, events)?,
                };
                if let ControlFlow::Break(exit) = self.perform(effects) {
                    return Ok(Ended::Exit(exit));
                }
            }
            while let Some(question) = self.mailbox.next_question() {
                question.answer(&mut self.live);
            }
            if let Err(error) = self.maintain() {
                let effects = self.outlast(&runtime, error, Vec::new())?;
                if let ControlFlow::Break(exit) = self.perform(effects) {
                    return Ok(Ended::Exit(exit));
                }
            }
        }
    }

    fn take_in(&mut self, now: M::Time, events: &[M::Event]) -> Result<Vec<M::Effect>, Error> {
        let (clock, performer) = (&mut self.clock, &mut self.performer);
        let mut watch = |stamp, event: &M::Event| performer.recorded(stamp, event);
        self.live
            .take_in(&mut Moment { now, clock }, events, &mut watch)
    }

    /// Tells of a clock that jumped; what the machine is to be told of it.
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
        self.performer.settled(self.live.state());
        exit.map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    /// Whether the machine is to be told that its deadline has passed.
    fn deadline_is_due(&mut self, now: M::Time, slept: bool) -> bool {
        if self.mailbox.received() < self.deadlines_after {
            return false;
        }
        let due = M::next_deadline(self.live.state()).filter(|deadline| *deadline <= now);
        let tell = due.is_some() && (slept || self.told != due);
        self.told = due;
        tell
    }

    /// Waits until the journal can be written, with the events that it could not take. Gives what
    /// is to be done when it has them.
    fn outlast(
        &mut self,
        runtime: &Runtime,
        error: Error,
        mut held: Vec<M::Event>,
    ) -> Result<Vec<M::Effect>, Error> {
        let mut outage = Outage::new(self.clock.now().millis(), &error, held.len());
        let mut effects = Vec::new();
        let mut repairs = Vec::new();
        let (mut error, mut pause) = (error, RETRY_FIRST);
        loop {
            if !error.may_pass() || self.performer.degraded(&outage).is_break() {
                return Err(error);
            }
            self.live.let_go();
            self.mailbox.publish(Some(outage.clone()));
            if self.answer_for(runtime, pause).is_break() {
                return Err(error);
            }
            pause = (pause * 2).min(RETRY_MOST);
            match self.come_back(&mut held, &mut effects, &mut repairs) {
                Ok(()) => break,
                Err(again) => error = again,
            }
            outage.failed_again(&error, held.len());
        }
        self.deadlines_after = self.mailbox.received() + self.mailbox.waiting();
        self.mailbox.publish(None);
        self.performer.recovered(&outage, &repairs);
        Ok(effects)
    }

    /// Opens the journal again, and records what waits. What of it got to the disk when the
    /// storage failed is taken from there.
    fn come_back(
        &mut self,
        held: &mut Vec<M::Event>,
        effects: &mut Vec<M::Effect>,
        repairs: &mut Vec<Recovery>,
    ) -> Result<(), Error> {
        let performer = &mut self.performer;
        let found = self
            .live
            .come_back(&mut |stamp, event| performer.recorded(stamp, event))?;
        repairs.extend(found.repairs);
        effects.extend(found.effects);
        held.drain(..found.events.min(held.len()));
        let now = self.clock.now();
        if let Some(jumped) = self.notice_jump() {
            held.insert(0, jumped);
        }
        effects.extend(self.take_in(now, held)?);
        held.clear();
        self.maintain()
    }

    fn maintain(&mut self) -> Result<(), Error> {
        if let Some(end) = self.live.maintain()? {
            self.performer.compacted(&end);
        }
        Ok(())
    }

    /// Answers questions, and takes in nothing else. Breaks where nobody is left.
    fn answer_for(&mut self, runtime: &Runtime, pause: Duration) -> ControlFlow<()> {
        runtime.block_on(async {
            let over = tokio::time::sleep(pause);
            tokio::pin!(over);
            loop {
                tokio::select! {
                    () = &mut over => return ControlFlow::Continue(()),
                    question = self.mailbox.question() => match question {
                        Some(question) => question.answer(&mut self.live),
                        None => return ControlFlow::Break(()),
                    }
                }
            }
        })
    }
}

/// How long to sleep if nothing comes in.
fn time_to_sleep<M: Machine>(
    state: &M::State,
    now: M::Time,
    told: Option<M::Time>,
) -> Option<Duration> {
    let deadline = M::next_deadline(state)?;
    if told == Some(deadline) {
        return Some(DEADLINE_REPEAT);
    }
    let left = Duration::from_millis(deadline.millis().saturating_sub(now.millis()));
    Some(left.min(LONGEST_SLEEP))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{DEADLINE_REPEAT, LONGEST_SLEEP, time_to_sleep};
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
        assert_eq!(time_to_sleep::<Alarm>(&None, Wall(5), None), None);
    }

    #[test]
    fn the_sleep_ends_at_the_deadline_or_when_the_clock_has_to_be_read_again() {
        let sleep = |now| time_to_sleep::<Alarm>(&Some(Wall(1_000_000)), Wall(now), None);
        assert_eq!(sleep(999_990), Some(Duration::from_millis(10)));
        assert_eq!(sleep(1_000_000), Some(Duration::ZERO));
        assert_eq!(sleep(2_000_000), Some(Duration::ZERO));
        assert_eq!(sleep(0), Some(LONGEST_SLEEP));
    }

    #[test]
    fn a_deadline_that_is_left_standing_does_not_make_the_loop_spin() {
        let sleep = time_to_sleep::<Alarm>(&Some(Wall(7)), Wall(100), Some(Wall(7)));
        assert_eq!(sleep, Some(DEADLINE_REPEAT));
    }
}
