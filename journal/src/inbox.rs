//! The way in to the loop: events, which it records, and questions, which it answers.
//!
//! Two channels, so that questions are answered while events have to wait. Each keeps its order. A
//! question is answered when every event sent before it is recorded; while the journal cannot be
//! written it is answered at once.

use std::collections::VecDeque;
use std::time::Duration;

use thiserror::Error as ThisError;
use tokio::sync::{mpsc, oneshot};

use crate::journal::Journal;
use crate::journaled::JournaledMachine;
use crate::outage::{Outage, OutageBoard};
use allexmaster_machine::Machine;

/// How many questions may wait; further callers wait until there is room.
const MAX_QUESTIONS: usize = 256;

/// What is asked of the loop.
pub(crate) enum Question<M: Machine> {
    Look(Look<M::State>),
    Read(Read<M>),
}

impl<M: Machine> Question<M> {
    pub(crate) fn answer(self, live: &mut JournaledMachine<M>) {
        match self {
            Self::Look(look) => look(live.state()),
            Self::Read(read) => read(live.journal()),
        }
    }
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
    events: mpsc::Sender<M::Event>,
    questions: mpsc::Sender<Question<M>>,
    board: OutageBoard,
}

/// The loop's end of the inbox.
pub struct Mailbox<M: Machine> {
    events: mpsc::Receiver<M::Event>,
    questions: mpsc::Receiver<Question<M>>,
    board: OutageBoard,
    /// How many events were taken out so far.
    received: u64,
    /// The questions that wait for events to be taken in: so many have to be out first.
    asked: VecDeque<(u64, Question<M>)>,
}

/// An inbox that holds up to `capacity` events (at least one), and its other end.
#[must_use]
pub fn inbox<M: Machine>(capacity: usize) -> (Inbox<M>, Mailbox<M>) {
    let (event_sender, events) = mpsc::channel(capacity.max(1));
    let (question_sender, questions) = mpsc::channel(MAX_QUESTIONS);
    let board = OutageBoard::default();
    let inbox = Inbox {
        events: event_sender,
        questions: question_sender,
        board: board.clone(),
    };
    let mailbox = Mailbox {
        events,
        questions,
        board,
        received: 0,
        asked: VecDeque::new(),
    };
    (inbox, mailbox)
}

impl<M: Machine> Clone for Inbox<M> {
    fn clone(&self) -> Self {
        Self {
            events: self.events.clone(),
            questions: self.questions.clone(),
            board: self.board.clone(),
        }
    }
}

impl<M: Machine> Inbox<M> {
    /// Hands an event in; waits while the inbox is full.
    ///
    /// # Errors
    /// The loop has ended.
    pub async fn send(&self, event: M::Event) -> Result<(), Stopped> {
        let sent = self.events.send(event).await;
        sent.map_err(|_| Stopped)
    }

    /// Hands an event in if there is room.
    ///
    /// # Errors
    /// There is none, or the loop has ended; the event comes back.
    pub fn try_send(&self, event: M::Event) -> Result<(), Refused<M::Event>> {
        let permit = match self.events.try_reserve() {
            Ok(permit) => permit,
            Err(mpsc::error::TrySendError::Full(())) => return Err(Refused::Full(event)),
            Err(mpsc::error::TrySendError::Closed(())) => return Err(Refused::Stopped(event)),
        };
        permit.send(event);
        Ok(())
    }

    /// Hands an event in from a thread that may block.
    ///
    /// # Errors
    /// The loop has ended.
    pub fn blocking_send(&self, event: M::Event) -> Result<(), Stopped> {
        let sent = self.events.blocking_send(event);
        sent.map_err(|_| Stopped)
    }

    /// Reads the state on the loop's thread, after everything that was sent before; while the
    /// journal cannot be written, as it is. Keep it short: the loop waits for it.
    ///
    /// # Errors
    /// The loop has ended.
    pub async fn look<T, F>(&self, read: F) -> Result<T, Stopped>
    where
        T: Send + 'static,
        F: FnOnce(&M::State) -> T + Send + 'static,
    {
        let (look, answered) = question(read);
        let sent = self.questions.send(Question::Look(look)).await;
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
        let sent = self.questions.blocking_send(Question::Look(look));
        sent.map_err(|_| Stopped)?;
        answered.blocking_recv().map_err(|_| Stopped)
    }
}

impl<M: Machine> Inbox<M> {
    /// Why and since when the journal cannot be written; nothing while it can.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        let mut outage = self.board.outage()?;
        outage.waiting += self.events.max_capacity() - self.events.capacity();
        Some(outage)
    }

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
            // The caller may have gone.
            let _ = answer.send(read(journal));
        };
        let sent = self.questions.send(Question::Read(Box::new(read))).await;
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
        // The caller may have gone.
        let _ = answer.send(read(state));
    };
    (Box::new(look), answered)
}

/// Why the loop woke up.
pub(crate) enum Woken<M: Machine> {
    /// So many events came, or none but a question.
    Received(Vec<M::Event>),
    /// The sleep is over.
    Slept,
    /// Every inbox is gone.
    Abandoned,
}

impl<M: Machine> Mailbox<M> {
    /// Waits for something to come, and takes up to `most` events.
    pub(crate) async fn receive(&mut self, most: usize, sleep: Option<Duration>) -> Woken<M> {
        let mut events = Vec::new();
        let over = async {
            match sleep {
                Some(sleep) => tokio::time::sleep(sleep).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            count = self.events.recv_many(&mut events, most) => {
                if count == 0 {
                    return Woken::Abandoned;
                }
            }
            Some(question) = self.questions.recv() => self.note(question),
            () = over => return Woken::Slept,
        }
        self.received += events.len() as u64;
        while self.asked.len() < MAX_QUESTIONS
            && let Ok(question) = self.questions.try_recv()
        {
            self.note(question);
        }
        while events.len() < most
            && let Ok(event) = self.events.try_recv()
        {
            events.push(event);
            self.received += 1;
        }
        Woken::Received(events)
    }

    /// A question that has waited long enough, if what was received is taken in.
    pub(crate) fn next_question(&mut self) -> Option<Question<M>> {
        let (after, _) = self.asked.front()?;
        if *after > self.received {
            return None;
        }
        self.asked.pop_front().map(|(_, question)| question)
    }

    /// The next question, whatever it should wait for. `None` when every inbox is gone.
    pub(crate) async fn question(&mut self) -> Option<Question<M>> {
        match self.asked.pop_front() {
            Some((_, question)) => Some(question),
            None => self.questions.recv().await,
        }
    }

    /// How many events wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.events.len() as u64
    }

    /// Where every [`Inbox`] sees an outage.
    pub(crate) fn board(&self) -> OutageBoard {
        self.board.clone()
    }

    fn note(&mut self, question: Question<M>) {
        let after = self.received + self.waiting();
        self.asked.push_back((after, question));
    }
}
