//! The loop: receive, record, make durable, step, perform. In this order, and in no other place.

use std::ops::ControlFlow;
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error as ThisError;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::compaction::CompactionEnd;
use crate::error::Error;
use crate::journal::{Journal, MAX_BATCH};
use crate::live::Live;
use crate::machine::Machine;

/// The longest sleep before the clock is read again: a clock that was set forward makes a deadline
/// late by no more than this.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The least time between two wake-ups for one and the same deadline. Only a machine that leaves a
/// deadline standing when told that it passed ever sees it; without it, that would fill the disk.
const DEADLINE_REPEAT: Duration = Duration::from_secs(1);

/// How long a compaction waits for the next turn of a loop that has nothing else to do.
const COMPACTION_PAUSE: Duration = Duration::from_millis(20);

/// What the loop takes in.
enum Message<M: Machine> {
    Event(M::Event),
    Look(Look<M::State>),
    Read(Read<M>),
}

/// Reads the state, and sends what it read wherever it likes.
type Look<State> = Box<dyn FnOnce(&State) + Send>;

/// Reads the journal, and sends what it read wherever it likes.
type Read<M> = Box<dyn FnOnce(&mut Journal<M>) + Send>;

/// The loop has ended and takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("the machine has stopped and takes no more events")]
pub struct Stopped;

/// An event that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Refused<Event> {
    /// The inbox is full; try again later, or drop what can be dropped.
    #[error("the inbox is full")]
    Full(Event),
    /// The loop has ended.
    #[error("the machine has stopped and takes no more events")]
    Stopped(Event),
}

/// The way in. Clones lead to the same loop; when all are gone the loop ends.
pub struct Inbox<M: Machine> {
    sender: mpsc::Sender<Message<M>>,
}

/// The loop's end of the inbox.
pub struct Mailbox<M: Machine> {
    receiver: mpsc::Receiver<Message<M>>,
}

/// An inbox that holds up to `capacity` messages (at least one), and its other end.
#[must_use]
pub fn inbox<M: Machine>(capacity: usize) -> (Inbox<M>, Mailbox<M>) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    (Inbox { sender }, Mailbox { receiver })
}

impl<M: Machine> Clone for Inbox<M> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
        }
    }
}

impl<M: Machine> Inbox<M> {
    /// Hands an event in; waits while the inbox is full.
    ///
    /// # Errors
    /// The loop has ended.
    pub async fn send(&self, event: M::Event) -> Result<(), Stopped> {
        let sent = self.sender.send(Message::Event(event)).await;
        sent.map_err(|_| Stopped)
    }

    /// Hands an event in if there is room.
    ///
    /// # Errors
    /// There is none, or the loop has ended; the event comes back.
    pub fn try_send(&self, event: M::Event) -> Result<(), Refused<M::Event>> {
        let permit = match self.sender.try_reserve() {
            Ok(permit) => permit,
            Err(mpsc::error::TrySendError::Full(())) => return Err(Refused::Full(event)),
            Err(mpsc::error::TrySendError::Closed(())) => return Err(Refused::Stopped(event)),
        };
        permit.send(Message::Event(event));
        Ok(())
    }

    /// Hands an event in from a thread that may block.
    ///
    /// # Errors
    /// The loop has ended.
    pub fn blocking_send(&self, event: M::Event) -> Result<(), Stopped> {
        let sent = self.sender.blocking_send(Message::Event(event));
        sent.map_err(|_| Stopped)
    }

    /// Reads the state on the loop's thread, after everything that was sent before. Keep it short:
    /// the loop waits for it.
    ///
    /// # Errors
    /// The loop has ended.
    pub async fn look<T, F>(&self, read: F) -> Result<T, Stopped>
    where
        T: Send + 'static,
        F: FnOnce(&M::State) -> T + Send + 'static,
    {
        let (look, answered) = question(read);
        let sent = self.sender.send(Message::Look(look)).await;
        sent.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }

    /// The same from a thread that may block.
    ///
    /// # Errors
    /// The loop has ended.
    pub fn blocking_look<T, F>(&self, read: F) -> Result<T, Stopped>
    where
        T: Send + 'static,
        F: FnOnce(&M::State) -> T + Send + 'static,
    {
        let (look, answered) = question(read);
        let sent = self.sender.blocking_send(Message::Look(look));
        sent.map_err(|_| Stopped)?;
        answered.blocking_recv().map_err(|_| Stopped)
    }
}

impl<M: Machine> Inbox<M> {
    /// Reads the journal on the loop's thread, which is its only user. The loop waits for it: read a
    /// bounded part, and come again.
    ///
    /// # Errors
    /// The loop has ended.
    pub async fn read<T, F>(&self, read: F) -> Result<T, Stopped>
    where
        T: Send + 'static,
        F: FnOnce(&mut Journal<M>) -> T + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let read = move |journal: &mut Journal<M>| {
            // Whoever asked may have gone.
            let _ = answer.send(read(journal));
        };
        let sent = self.sender.send(Message::Read(Box::new(read))).await;
        sent.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }
}

/// A look, and where its answer arrives.
fn question<State, T, F>(read: F) -> (Look<State>, oneshot::Receiver<T>)
where
    T: Send + 'static,
    F: FnOnce(&State) -> T + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let look = move |state: &State| {
        // Whoever asked may have gone.
        let _ = answer.send(read(state));
    };
    (Box::new(look), answered)
}

/// Who does what `step` decided. Called on the loop's thread: no call may block.
pub trait Performer<M: Machine> {
    /// What the loop ends with.
    type Exit;

    /// Does one thing, or ends the loop. Everything that led to it is on disk.
    fn perform(&mut self, effect: M::Effect) -> ControlFlow<Self::Exit>;

    /// All events that waited have been taken in and their effects performed.
    fn settled(&mut self, state: &M::State);

    /// A compaction has come to its end, and this is what it removed, or why it did not.
    fn compacted(&mut self, end: &CompactionEnd) {
        let _ = end;
    }

    /// The journal cannot be written. No effect of what it refused was performed, none will be; the
    /// loop ends.
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
    live: Live<M>,
    mailbox: Mailbox<M>,
    clock: C,
    performer: P,
) -> std::io::Result<JoinHandle<Result<Ended<P::Exit>, Error>>>
where
    M: Machine,
    C: Clock + Send + 'static,
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
/// The journal cannot be written. The performer was told.
pub fn run<M, C, P>(
    mut live: Live<M>,
    mut mailbox: Mailbox<M>,
    mut clock: C,
    mut performer: P,
) -> Result<Ended<P::Exit>, Error>
where
    M: Machine,
    C: Clock,
    P: Performer<M>,
{
    let ended = turn_until_end(&mut live, &mut mailbox, &mut clock, &mut performer);
    let closed = ended.and_then(|ended| live.close().map(|()| ended));
    if let Err(error) = &closed {
        performer.journal_failed(error);
    }
    closed
}

fn turn_until_end<M, C, P>(
    live: &mut Live<M>,
    mailbox: &mut Mailbox<M>,
    clock: &mut C,
    performer: &mut P,
) -> Result<Ended<P::Exit>, Error>
where
    M: Machine,
    C: Clock,
    P: Performer<M>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|source| Error::Runtime { source })?;
    // The deadline that the machine was told of and left standing.
    let mut told = None;
    loop {
        let mut sleep = time_to_sleep::<M>(live.state(), clock.now(), told);
        if live.is_compacting() {
            sleep = Some(sleep.map_or(COMPACTION_PAUSE, |sleep| sleep.min(COMPACTION_PAUSE)));
        }
        let (mut taken, slept) = match receive(&runtime, mailbox, sleep) {
            Received::Messages(taken) => (taken, false),
            Received::Nothing => (Taken::default(), true),
            Received::Abandoned => return Ok(Ended::Abandoned),
        };
        let now = clock.now();
        let due = M::next_deadline(live.state()).filter(|deadline| *deadline <= now);
        if due.is_some() && (slept || told != due) {
            taken.events.push(M::deadline_reached());
        }
        told = due;
        if !taken.events.is_empty() {
            for effect in live.commit(clock, taken.events)? {
                if let ControlFlow::Break(exit) = performer.perform(effect) {
                    return Ok(Ended::Exit(exit));
                }
            }
            performer.settled(live.state());
        }
        for look in taken.looks {
            look(live.state());
        }
        for read in taken.reads {
            read(live.journal());
        }
        if let Some(end) = live.maintain()? {
            performer.compacted(&end);
        }
    }
}

/// How long to sleep if nothing comes in.
fn time_to_sleep<M: Machine>(state: &M::State, now: u64, told: Option<u64>) -> Option<Duration> {
    let deadline = M::next_deadline(state)?;
    if told == Some(deadline) {
        return Some(DEADLINE_REPEAT);
    }
    let left = Duration::from_millis(deadline.saturating_sub(now));
    Some(left.min(LONGEST_SLEEP))
}

enum Received<M: Machine> {
    Messages(Taken<M>),
    /// The sleep is over.
    Nothing,
    /// Everybody has gone.
    Abandoned,
}

/// Messages by what has to be done with them.
struct Taken<M: Machine> {
    events: Vec<M::Event>,
    looks: Vec<Look<M::State>>,
    reads: Vec<Read<M>>,
}

impl<M: Machine> Default for Taken<M> {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            looks: Vec::new(),
            reads: Vec::new(),
        }
    }
}

/// What waits in the inbox, up to one batch.
fn receive<M: Machine>(
    runtime: &Runtime,
    mailbox: &mut Mailbox<M>,
    sleep: Option<Duration>,
) -> Received<M> {
    let mut messages = Vec::new();
    // One place stays free for a deadline.
    let receiving = mailbox.receiver.recv_many(&mut messages, MAX_BATCH - 1);
    let count = runtime.block_on(async {
        match sleep {
            Some(sleep) => timeout(sleep, receiving).await.ok(),
            None => Some(receiving.await),
        }
    });
    match count {
        None => return Received::Nothing,
        Some(0) => return Received::Abandoned,
        Some(_) => {}
    }
    let mut taken = Taken::default();
    for message in messages {
        match message {
            Message::Event(event) => taken.events.push(event),
            Message::Look(look) => taken.looks.push(look),
            Message::Read(read) => taken.reads.push(read),
        }
    }
    Received::Messages(taken)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{DEADLINE_REPEAT, LONGEST_SLEEP, time_to_sleep};
    use crate::machine::{Machine, Stamp};

    /// A machine that is nothing but its deadline.
    struct Alarm;

    impl Machine for Alarm {
        type State = Option<u64>;
        type Event = ();
        type Effect = ();

        const PROGRAM: &'static str = "alarm";
        const STEP_VERSION: u32 = 1;

        fn kind(_event: &()) -> u16 {
            1
        }

        fn step(state: Option<u64>, _stamp: Stamp, _event: ()) -> (Option<u64>, Vec<()>) {
            (state, Vec::new())
        }

        fn next_deadline(state: &Option<u64>) -> Option<u64> {
            *state
        }

        fn deadline_reached() {}
    }

    #[test]
    fn without_a_deadline_the_loop_sleeps_until_something_comes() {
        assert_eq!(time_to_sleep::<Alarm>(&None, 5, None), None);
    }

    #[test]
    fn the_sleep_ends_at_the_deadline_or_when_the_clock_has_to_be_read_again() {
        let sleep = |now| time_to_sleep::<Alarm>(&Some(1_000_000), now, None);
        assert_eq!(sleep(999_990), Some(Duration::from_millis(10)));
        assert_eq!(sleep(1_000_000), Some(Duration::ZERO));
        assert_eq!(sleep(2_000_000), Some(Duration::ZERO));
        assert_eq!(sleep(0), Some(LONGEST_SLEEP));
    }

    #[test]
    fn a_deadline_that_is_left_standing_does_not_make_the_loop_spin() {
        let sleep = time_to_sleep::<Alarm>(&Some(7), 100, Some(7));
        assert_eq!(sleep, Some(DEADLINE_REPEAT));
    }
}
