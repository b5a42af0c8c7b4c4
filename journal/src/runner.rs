//! Runs an event loop on a thread of its own, and waits for what comes in.

use std::ops::ControlFlow;
use std::thread::JoinHandle;
use std::time::Duration;

use allexmaster_machine::Machine;
use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::error::Error;
use crate::event_loop::{EventLoop, Performer};
use crate::inbox::Woken;
pub use crate::inbox::{Inbox, Mailbox, Refused, Stopped, inbox};
use crate::journal::MAX_BATCH;
use crate::journaled::JournaledMachine;

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended<Exit> {
    /// The performer asked for it.
    Exit(Exit),
    /// Every [`Inbox`] is gone, so nothing can come in any more.
    Abandoned,
}

/// Starts the loop on a thread of its own: a sync of the disk must not hold up a worker of tokio.
///
/// # Errors
/// The system gives no thread.
pub fn start<M, C, P>(
    machine: JournaledMachine<M>,
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
        .spawn(move || run(machine, mailbox, clock, performer))
}

/// Runs the loop on this thread until it ends; then makes a checkpoint and closes the journal.
///
/// # Errors
/// The journal cannot be written, and the performer does not wait until it can be.
pub fn run<M, C, P>(
    machine: JournaledMachine<M>,
    mut mailbox: Mailbox<M>,
    clock: C,
    performer: P,
) -> Result<Ended<P::Exit>, Error>
where
    M: Machine,
    C: Clock<M::Time>,
    P: Performer<M>,
{
    let mut events = EventLoop::new(machine, clock, performer, mailbox.board());
    let ended = turn_until_end(&mut events, &mut mailbox);
    events.end(ended)
}

fn turn_until_end<M, C, P>(
    events: &mut EventLoop<M, C, P>,
    mailbox: &mut Mailbox<M>,
) -> Result<Ended<P::Exit>, Error>
where
    M: Machine,
    C: Clock<M::Time>,
    P: Performer<M>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|source| Error::Runtime { source })?;
    loop {
        let wait = events.wait();
        let flow = if events.is_suspended() {
            let pause = wait.unwrap_or_default();
            if answer_for(&runtime, events.machine(), mailbox, pause).is_break() {
                return Ok(Ended::Abandoned);
            }
            events.retry(mailbox.waiting())?
        } else {
            // One place stays free for a deadline.
            let (received, waited) = match runtime.block_on(mailbox.receive(MAX_BATCH - 1, wait)) {
                Woken::Received(received) => (received, false),
                Woken::Slept => (Vec::new(), true),
                Woken::Abandoned => return Ok(Ended::Abandoned),
            };
            events.turn(received, waited)?
        };
        if let ControlFlow::Break(exit) = flow {
            return Ok(Ended::Exit(exit));
        }
        if !events.is_suspended() {
            while let Some(question) = mailbox.next_question() {
                question.answer(events.machine());
            }
        }
        events.maintain()?;
    }
}

/// Answers questions, and takes in nothing else. Breaks where every inbox is gone.
fn answer_for<M: Machine>(
    runtime: &Runtime,
    machine: &mut JournaledMachine<M>,
    mailbox: &mut Mailbox<M>,
    pause: Duration,
) -> ControlFlow<()> {
    runtime.block_on(async {
        let over = tokio::time::sleep(pause);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return ControlFlow::Continue(()),
                question = mailbox.question() => match question {
                    Some(question) => question.answer(machine),
                    None => return ControlFlow::Break(()),
                }
            }
        }
    })
}
