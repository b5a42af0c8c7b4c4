//! The loop keeps its order, its deadlines, and its word when the disk fails.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use allexmaster_journal::runner::{self, Inbox, Mailbox};
use allexmaster_journal::store::{FakeDisk, Fault};
use allexmaster_journal::{Ended, Error, JournaledMachine, Options, Performer, Refused, Stopped};

use crate::support::{Effect, Event, Shelf, State, TestClock, put};

/// Writes down what it is told, and looks whether anything was not durable at that moment.
#[derive(Clone, Default)]
struct Scribe {
    disk: FakeDisk,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Default)]
struct Notes {
    effects: Vec<Effect>,
    not_durable: usize,
    settled: Vec<u64>,
    failures: Vec<String>,
}

impl Performer<Shelf> for Scribe {
    type Exit = &'static str;

    fn perform(&mut self, effect: Effect) -> ControlFlow<&'static str> {
        let mut notes = self.notes.lock().unwrap();
        notes.not_durable += self.disk.pending_bytes();
        notes.effects.push(effect.clone());
        match effect {
            Effect::Stop => ControlFlow::Break("stopped"),
            Effect::Tell { .. } | Effect::Ring { .. } => ControlFlow::Continue(()),
        }
    }

    fn settled(&mut self, state: &State) {
        self.notes.lock().unwrap().settled.push(state.events);
    }

    fn journal_failed(&mut self, error: &Error) {
        self.notes.lock().unwrap().failures.push(error.to_string());
    }
}

type Result = std::result::Result<Ended<&'static str>, Error>;

fn live(disk: &FakeDisk) -> JournaledMachine<Shelf> {
    JournaledMachine::with_store(Box::new(disk.clone()), Options::default())
        .unwrap()
        .0
}

/// Fills an inbox, runs the loop over it on this thread, and gives what it ended with.
fn run(scribe: &Scribe, fill: impl FnOnce(&Inbox<Shelf>)) -> Result {
    let (inbox, mailbox) = runner::inbox(1000);
    fill(&inbox);
    drop(inbox);
    let live = live(&scribe.disk);
    runner::run(live, mailbox, TestClock::default(), scribe.clone())
}

#[test]
fn no_effect_is_performed_before_its_event_is_durable() {
    let scribe = Scribe::default();
    let ended = run(&scribe, |inbox| {
        for number in 0..600 {
            inbox.try_send(put(number)).unwrap();
        }
    });
    assert_eq!(ended.unwrap(), Ended::Abandoned);
    let notes = scribe.notes.lock().unwrap();
    assert_eq!(notes.not_durable, 0);
    let told: Vec<Effect> = (1..=600)
        .map(|sequence| Effect::Tell { sequence })
        .collect();
    assert_eq!(notes.effects, told);
    assert_eq!(notes.settled, [255, 510, 600]);
    assert_eq!(live(&scribe.disk).state().events, 600);
}

#[test]
fn the_performer_ends_the_loop_and_what_came_with_it_is_performed_and_remembered() {
    let scribe = Scribe::default();
    let ended = run(&scribe, |inbox| {
        for event in [put(1), Event::Stop, put(2)] {
            inbox.try_send(event).unwrap();
        }
    });
    assert_eq!(ended.unwrap(), Ended::Exit("stopped"));
    let notes = scribe.notes.lock().unwrap();
    let tell = |sequence| Effect::Tell { sequence };
    assert_eq!(notes.effects, [tell(1), Effect::Stop, tell(3)]);
    assert_eq!(live(&scribe.disk).state().events, 3);
}

#[test]
fn when_the_journal_cannot_be_written_nothing_is_performed_and_the_loop_ends() {
    for fault in [Fault::Write, Fault::Sync] {
        let scribe = Scribe::default();
        let ended = run(&scribe, |inbox| {
            scribe.disk.fail_next(fault);
            inbox.try_send(put(1)).unwrap();
        });
        assert!(matches!(ended, Err(Error::Storage(_))), "{ended:?}");
        let notes = scribe.notes.lock().unwrap();
        assert!(notes.effects.is_empty());
        assert!(notes.settled.is_empty());
        assert_eq!(notes.failures.len(), 1);
    }
}

#[test]
fn a_deadline_rings_once_and_not_too_early() {
    let scribe = Scribe::default();
    let start = TestClock::default().now;
    let (inbox, mailbox): (_, Mailbox<Shelf>) = runner::inbox(10);
    inbox.try_send(Event::AlarmSet { at: start + 20 }).unwrap();
    let live = live(&scribe.disk);
    let running = runner::start(live, mailbox, TestClock::default(), scribe.clone()).unwrap();
    loop {
        let rung = inbox.blocking_look(|state| state.rung);
        if rung == Ok(1) {
            break;
        }
        std::thread::yield_now();
    }
    inbox.blocking_send(Event::Stop).unwrap();
    running.join().unwrap().unwrap();
    let notes = scribe.notes.lock().unwrap();
    let rings: Vec<&Effect> = notes
        .effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Ring { .. }))
        .collect();
    assert!(
        matches!(rings[..], [Effect::Ring { at }] if *at >= start + 20),
        "{rings:?}"
    );
}

#[tokio::test]
async fn a_look_sees_everything_that_was_sent_before_it() {
    let scribe = Scribe::default();
    let (inbox, mailbox) = runner::inbox(4);
    let live = live(&scribe.disk);
    let running = runner::start(live, mailbox, TestClock::default(), scribe.clone()).unwrap();
    for number in 1..=50 {
        inbox.send(put(number)).await.unwrap();
        assert_eq!(inbox.look(|state| state.events).await, Ok(number));
    }
    inbox.send(Event::Stop).await.unwrap();
    running.join().unwrap().unwrap();
    assert_eq!(inbox.look(|state| state.events).await, Err(Stopped));
    assert_eq!(inbox.send(put(1)).await, Err(Stopped));
    assert_eq!(inbox.try_send(put(1)), Err(Refused::Stopped(put(1))));
}

#[test]
fn a_full_inbox_gives_the_event_back() {
    let (inbox, _mailbox) = runner::inbox::<Shelf>(1);
    inbox.try_send(put(1)).unwrap();
    assert_eq!(inbox.try_send(put(2)), Err(Refused::Full(put(2))));
}
