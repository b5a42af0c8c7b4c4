//! A journal that cannot be written for a while: nothing is done, nothing is lost, nothing is done
//! twice.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use allexmaster_journal::runner::{self, Inbox};
use allexmaster_journal::store::{FakeDisk, Fault};
use allexmaster_journal::{
    Clock, Ended, Error, EventLoop, JournaledMachine, Machine, Options, Outage, OutageBoard,
    Performer, Recovery, Wall,
};
use proptest::prelude::*;

use crate::support::{Effect, Event, Shelf, State, TestClock, put};

/// Waits for the disk, and writes down what it is told.
#[derive(Clone, Default)]
struct Patient {
    disk: FakeDisk,
    notes: Arc<Mutex<Notes>>,
}

#[derive(Default)]
struct Notes {
    told: Vec<u64>,
    rings: usize,
    /// How often something was performed while the disk did not work.
    performed_in_outage: usize,
    degraded: Vec<Outage>,
    recovered: Vec<Outage>,
    failures: Vec<String>,
}

impl Performer<Shelf> for Patient {
    type Exit = ();

    fn perform(&mut self, effect: Effect) -> ControlFlow<()> {
        let mut notes = self.notes.lock().unwrap();
        notes.performed_in_outage += usize::from(self.disk.is_broken());
        match effect {
            Effect::Stop => return ControlFlow::Break(()),
            Effect::Tell { sequence } => notes.told.push(sequence),
            Effect::Ring { .. } => notes.rings += 1,
        }
        ControlFlow::Continue(())
    }

    fn settled(&mut self, _state: &State) {}

    fn degraded(&mut self, outage: &Outage) -> ControlFlow<()> {
        self.notes.lock().unwrap().degraded.push(outage.clone());
        ControlFlow::Continue(())
    }

    fn recovered(&mut self, outage: &Outage, _repairs: &[Recovery]) {
        self.notes.lock().unwrap().recovered.push(outage.clone());
    }

    fn journal_failed(&mut self, error: &Error) {
        self.notes.lock().unwrap().failures.push(error.to_string());
    }
}

type Thread = std::thread::JoinHandle<Result<Ended<()>, Error>>;

/// A clock that a test sets.
#[derive(Clone)]
struct SetClock(Arc<AtomicU64>);

impl Clock for SetClock {
    fn now(&mut self) -> Wall {
        Wall(self.0.load(Ordering::SeqCst))
    }

    fn entropy(&mut self) -> u32 {
        7
    }
}

fn start(patient: &Patient, inbox_size: usize) -> (Inbox<Shelf>, Thread) {
    start_with(patient, inbox_size, TestClock::default())
}

fn start_with(
    patient: &Patient,
    inbox_size: usize,
    clock: impl Clock + Send + 'static,
) -> (Inbox<Shelf>, Thread) {
    let place = Box::new(patient.disk.clone());
    let (live, _) = JournaledMachine::at(place, Options::default()).unwrap();
    let (inbox, mailbox) = runner::inbox(inbox_size);
    let thread = runner::start(live, mailbox, clock, patient.clone()).unwrap();
    (inbox, thread)
}

fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        std::thread::yield_now();
    }
}

/// The records, each the one that it should be, and the state that they make.
fn on_disk(disk: &FakeDisk) -> (Vec<u64>, State) {
    let (mut live, _) =
        JournaledMachine::<Shelf>::with_store(Box::new(disk.clone()), Options::default()).unwrap();
    live.journal().verify().unwrap();
    let mut numbers = Vec::new();
    let records = live.journal().records(1).unwrap();
    let state = records.fold(State::default(), |state, record| {
        let record = record.unwrap();
        if let Event::Put { number, .. } = record.event {
            numbers.push(number);
        }
        Shelf::step(state, record.stamp, record.event).0
    });
    assert_eq!(*live.state(), state);
    (numbers, state)
}

#[test]
fn a_disk_that_fails_stops_every_deed_and_one_that_works_again_loses_none() {
    for fault in [Fault::Write, Fault::Sync] {
        let patient = Patient::default();
        let (inbox, thread) = start(&patient, 100);
        inbox.blocking_send(put(0)).unwrap();
        until(|| (inbox.blocking_look(|state| state.events) == Ok(1)).then_some(()));
        assert_eq!(inbox.outage(), None);
        patient.disk.break_at(fault);
        for number in 1..=20 {
            inbox.blocking_send(put(number)).unwrap();
        }
        let outage = until(|| inbox.outage().filter(|outage| outage.waiting == 20));
        assert_eq!(outage.reason, "the simulated disk failed");
        assert!(outage.since > 1_700_000_000_000);
        assert_eq!(inbox.blocking_look(|state| state.events), Ok(1));
        until(|| inbox.outage().filter(|outage| outage.failed_tries >= 2));
        assert_eq!(patient.notes.lock().unwrap().told, [1]);

        patient.disk.repair();
        inbox.blocking_send(Event::Stop).unwrap();
        thread.join().unwrap().unwrap();
        let (numbers, state) = on_disk(&patient.disk);
        assert_eq!(numbers, (0..=20).collect::<Vec<_>>());
        assert_eq!(state.events, 22);
        let notes = patient.notes.lock().unwrap();
        assert_eq!(
            notes.told,
            (1..=21).collect::<Vec<_>>(),
            "each once, in order"
        );
        assert_eq!(notes.performed_in_outage, 0);
        assert_eq!(notes.recovered.len(), 1);
        assert_eq!(notes.degraded[0].failed_tries, 0);
        assert_eq!(inbox.outage(), None);
    }
}

#[test]
fn what_waits_is_bounded_by_the_inbox_and_questions_are_answered_all_the_same() {
    let patient = Patient::default();
    let (inbox, thread) = start(&patient, 4);
    patient.disk.break_at(Fault::Write);
    let mut sent = 0;
    until(|| {
        sent += u64::from(inbox.try_send(put(sent)).is_ok());
        let outage = inbox.outage()?;
        let full = inbox.try_send(put(sent)).is_err();
        sent += u64::from(!full);
        full.then_some(outage)
    });
    let outage = inbox.outage().unwrap();
    assert_eq!(outage.waiting as u64, sent);
    assert!(outage.waiting <= 2 * 4, "{outage:?}");
    assert_eq!(inbox.blocking_look(|state| state.events), Ok(0));
    patient.disk.repair();
    inbox.blocking_send(Event::Stop).unwrap();
    thread.join().unwrap().unwrap();
    assert_eq!(on_disk(&patient.disk).0, (0..sent).collect::<Vec<_>>());
}

#[test]
fn a_deadline_that_passed_in_the_outage_comes_after_what_waited() {
    let patient = Patient::default();
    let time = Arc::new(AtomicU64::new(1000));
    let (inbox, thread) = start_with(&patient, 1000, SetClock(Arc::clone(&time)));
    inbox.blocking_send(Event::AlarmSet { at: 2000 }).unwrap();
    until(|| (inbox.blocking_look(|state| state.events) == Ok(1)).then_some(()));
    patient.disk.break_at(Fault::Sync);
    // More than one batch, and with the last of them the alarm is not wanted any more.
    for number in 0..600 {
        inbox.blocking_send(put(number)).unwrap();
    }
    let off = Event::AlarmSet { at: u64::MAX };
    inbox.blocking_send(off).unwrap();
    until(|| inbox.outage());
    time.store(3000, Ordering::SeqCst);
    patient.disk.repair();
    until(|| {
        inbox
            .blocking_look(|state| state.events)
            .ok()
            .filter(|events| *events >= 602)
    });
    inbox.blocking_send(Event::Stop).unwrap();
    thread.join().unwrap().unwrap();
    assert_eq!(patient.notes.lock().unwrap().rings, 0);
}

#[test]
fn a_journal_that_cannot_be_sealed_is_an_outage_too() {
    let patient = Patient::default();
    let (inbox, thread) = start(&patient, 10_000);
    patient.disk.break_at(Fault::Seal);
    for number in 0..5000 {
        inbox.blocking_send(put(number)).unwrap();
    }
    until(|| inbox.outage());
    patient.disk.repair();
    inbox.blocking_send(Event::Stop).unwrap();
    thread.join().unwrap().unwrap();
    let (numbers, _) = on_disk(&patient.disk);
    assert_eq!(numbers, (0..5000).collect::<Vec<_>>());
    let told: Vec<u64> = (1..=5000).collect();
    assert_eq!(patient.notes.lock().unwrap().told, told);
}

#[test]
fn a_disk_that_forgot_what_it_had_confirmed_ends_the_loop() {
    let patient = Patient::default();
    let (inbox, thread) = start(&patient, 10);
    inbox.blocking_send(put(1)).unwrap();
    until(|| (inbox.blocking_look(|state| state.events) == Ok(1)).then_some(()));
    patient.disk.damage(|_, bytes| bytes.clear());
    patient.disk.break_at(Fault::Write);
    inbox.blocking_send(put(2)).unwrap();
    until(|| inbox.outage());
    patient.disk.repair();
    let ended = thread.join().unwrap();
    assert!(
        matches!(ended, Err(Error::Lost { sequence: 1 })),
        "{ended:?}"
    );
    assert_eq!(patient.notes.lock().unwrap().failures.len(), 1);
}

#[test]
fn the_loop_ends_when_everybody_has_gone_while_it_waits() {
    let patient = Patient::default();
    let (inbox, thread) = start(&patient, 10);
    patient.disk.break_at(Fault::Write);
    inbox.blocking_send(put(2)).unwrap();
    until(|| inbox.outage());
    drop(inbox);
    assert!(matches!(thread.join().unwrap(), Err(Error::Storage(_))));
}

#[derive(Clone, Debug)]
enum Deed {
    Send(u8),
    /// The disk breaks at its next write, or at its next sync.
    Break {
        at_sync: bool,
    },
    /// It works again; of what was not confirmed so many bytes are there.
    Repair {
        kept: usize,
    },
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        4 => (1_u8..30).prop_map(Deed::Send),
        1 => any::<bool>().prop_map(|at_sync| Deed::Break { at_sync }),
        1 => (0_usize..4000).prop_map(|kept| Deed::Repair { kept }),
    ];
    proptest::collection::vec(deed, 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_the_disk_keeps_every_event_is_recorded_and_done_once(deeds in deeds()) {
        let patient = Patient::default();
        let (inbox, thread) = start(&patient, 1000);
        let mut sent = 0;
        for deed in deeds {
            match deed {
                Deed::Send(count) => for _ in 0..count {
                    inbox.blocking_send(put(sent)).unwrap();
                    sent += 1;
                },
                Deed::Break { at_sync } => {
                    patient.disk.break_at(if at_sync { Fault::Sync } else { Fault::Write });
                }
                Deed::Repair { kept } => {
                    // Only a closed store may find a torn block: its own writer never sees one.
                    if patient.disk.is_broken() {
                        until(|| inbox.outage());
                        patient.disk.crash(kept);
                    }
                    patient.disk.repair();
                }
            }
        }
        patient.disk.repair();
        inbox.blocking_send(Event::Stop).unwrap();
        thread.join().unwrap().unwrap();
        let (numbers, _) = on_disk(&patient.disk);
        prop_assert_eq!(numbers, (0..sent).collect::<Vec<_>>());
        let notes = patient.notes.lock().unwrap();
        prop_assert_eq!(&notes.told, &(1..=sent).collect::<Vec<_>>());
        prop_assert_eq!(notes.performed_in_outage, 0);
    }
}

/// What a seed of the simulated loop does next.
#[derive(Clone, Copy, Debug)]
enum Move {
    Turn(u64),
    Break(Fault),
    Repair,
    Retry,
    /// The power goes; so many bytes that no sync confirmed survive.
    Crash(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let fault = prop_oneof![Just(Fault::Write), Just(Fault::Sync)];
    let one = prop_oneof![
        4 => (0..4_u64).prop_map(Move::Turn),
        1 => fault.prop_map(Move::Break),
        1 => Just(Move::Repair),
        2 => Just(Move::Retry),
        1 => (0..300_usize).prop_map(Move::Crash),
    ];
    prop::collection::vec(one, 0..60)
}

proptest! {
    /// The loop without a thread, as a simulation drives it.
    #[test]
    fn a_loop_that_is_driven_step_by_step_keeps_its_promises_too(moves in moves()) {
        let patient = Patient::default();
        let begin = || {
            let location = Box::new(patient.disk.clone());
            let (machine, _) = JournaledMachine::at(location, Options::default()).unwrap();
            let board = OutageBoard::default();
            EventLoop::new(machine, TestClock::default(), patient.clone(), board)
        };
        let mut events = begin();
        let mut made = 0;
        for next in moves {
            match next {
                Move::Turn(count) if !events.is_suspended() => {
                    let new = (made..made + count).map(put).collect();
                    made += count;
                    let flow = events.turn(new, false).unwrap();
                    prop_assert!(flow.is_continue());
                    events.maintain().unwrap();
                }
                Move::Turn(_) => {}
                Move::Break(fault) => patient.disk.break_at(fault),
                Move::Repair => patient.disk.repair(),
                Move::Retry => {
                    let was_suspended = events.is_suspended();
                    prop_assert!(events.retry(0).unwrap().is_continue());
                    prop_assert!(was_suspended || !events.is_suspended());
                }
                Move::Crash(kept) => {
                    drop(events);
                    patient.disk.crash(kept);
                    patient.disk.repair();
                    events = begin();
                    // What had no effect yet may be there or not; a new life derives it again.
                    let (numbers, _) = on_disk(&patient.disk);
                    let told = patient.notes.lock().unwrap().told.last().copied();
                    prop_assert!(told.unwrap_or(0) <= numbers.len() as u64);
                    let after = numbers.len() as u64;
                    patient.notes.lock().unwrap().told = (1..=after).collect();
                }
            }
            prop_assert_eq!(events.wait().is_some(), events.is_suspended());
        }
        patient.disk.repair();
        prop_assert!(events.retry(0).unwrap().is_continue());
        prop_assert!(!events.is_suspended());
        let state = events.machine().state().clone();
        events.end(Ok(())).unwrap();
        let (numbers, replayed) = on_disk(&patient.disk);
        let notes = patient.notes.lock().unwrap();
        let all: Vec<u64> = (1..=numbers.len() as u64).collect();
        prop_assert_eq!(&notes.told, &all, "each event had its effect, once and in order");
        prop_assert!(numbers.is_sorted_by(|before, after| before < after), "none twice");
        prop_assert_eq!(replayed, state);
        prop_assert_eq!(notes.performed_in_outage, 0);
    }
}
