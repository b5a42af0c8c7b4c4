//! A journal in one open file: what the log of the sessions is.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;

use allexmaster_journal::journal::SEAL_EVENTS;
use allexmaster_journal::store::FileStore;
use allexmaster_journal::{
    Error, JournaledMachine, Machine, Opened, Options, Recovery, Stamp, Wall,
};

use crate::support::{Effect, Event, Shelf, State, TestClock, put};

const EVENTS: u64 = 9;

fn opened<M: Machine>(file: &File) -> Result<(JournaledMachine<M>, Opened), Error> {
    let store = FileStore::open(file.try_clone().unwrap())?;
    JournaledMachine::with_store(Box::new(store), Options::default())
}

/// A log that begins with a state of its own and has some events; the state after each of them.
fn filled() -> (File, JournaledMachine<Shelf>, Vec<State>) {
    let file = tempfile::tempfile().unwrap();
    let begins = State {
        events: 100,
        ..State::default()
    };
    let store = FileStore::open(file.try_clone().unwrap()).unwrap();
    let mut machine =
        JournaledMachine::<Shelf>::begin(Box::new(store), &begins, Options::default()).unwrap();
    let mut clock = TestClock::default();
    let mut states = vec![machine.state().clone()];
    for number in 0..EVENTS {
        machine.commit(&mut clock, vec![put(number)]).unwrap();
        states.push(machine.state().clone());
    }
    (file, machine, states)
}

fn bytes_of(file: &File) -> Vec<u8> {
    let mut copy = file.try_clone().unwrap();
    std::io::Seek::rewind(&mut copy).unwrap();
    let mut bytes = Vec::new();
    copy.read_to_end(&mut bytes).unwrap();
    bytes
}

fn file_of(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

#[test]
fn a_log_begins_with_a_state_and_is_there_after_a_kill() {
    let (file, machine, states) = filled();
    let (identity, position) = (machine.identity(), machine.position());
    // A killed process closes nothing.
    std::mem::forget(machine);
    let (again, opened) = opened::<Shelf>(&file).unwrap();
    assert_eq!(again.state(), &states[EVENTS as usize]);
    assert_eq!((again.identity(), again.position()), (identity, position));
    assert_eq!(opened.replayed, EVENTS);
    assert!(opened.replayed_after(0) && opened.replayed_after(EVENTS));
    assert!(opened.recoveries.is_empty(), "{:?}", opened.recoveries);
}

#[test]
fn a_record_that_was_being_written_is_dropped_and_the_log_goes_on() {
    let (file, machine, states) = filled();
    drop(machine);
    let whole = bytes_of(&file);
    let mut seen = 0;
    for cut in 1..whole.len() {
        let file = file_of(&whole[..cut]);
        let Ok((mut machine, opened)) = opened::<Shelf>(&file) else {
            // Not even the state that it begins with is there.
            continue;
        };
        let last = usize::try_from(opened.last).unwrap();
        assert_eq!(machine.state(), &states[last], "cut at {cut}");
        let torn = opened.recoveries.iter().all(|recovery| {
            matches!(recovery, Recovery::TornTail { sequence, path: None } if *sequence == opened.last + 1)
        });
        assert!(torn, "cut at {cut}: {:?}", opened.recoveries);
        machine
            .commit(&mut TestClock::default(), vec![put(77)])
            .unwrap();
        let state = machine.state().clone();
        drop(machine);
        let (again, opened) = self::opened::<Shelf>(&file).unwrap();
        assert_eq!(again.state(), &state, "cut at {cut}");
        assert!(opened.recoveries.is_empty(), "cut at {cut}");
        seen += 1;
    }
    assert!(seen > 0, "some cuts leave a log");
}

#[test]
fn a_long_log_goes_on_in_another_file_with_the_same_numbers() {
    let (first, mut machine, states) = filled();
    let second = tempfile::tempfile().unwrap();
    let store = FileStore::open(second.try_clone().unwrap()).unwrap();
    let before = bytes_of(&first);
    machine.move_to(Box::new(store)).unwrap();
    assert_eq!(machine.journal().extent().unsealed_bytes, 0);
    let mut clock = TestClock::default();
    machine.commit(&mut clock, vec![put(5)]).unwrap();
    assert_eq!(machine.position().sequence, EVENTS + 1);
    assert_eq!(
        bytes_of(&first),
        before,
        "the file before is left as it was"
    );
    let state = machine.state().clone();
    drop(machine);
    let (again, opened) = opened::<Shelf>(&second).unwrap();
    assert_eq!(again.state(), &state);
    assert_ne!(again.state(), &states[EVENTS as usize]);
    assert_eq!((opened.last, opened.replayed), (EVENTS + 1, 1));
    assert!(opened.replayed_after(EVENTS) && !opened.replayed_after(EVENTS - 1));
}

#[test]
fn a_log_that_is_long_is_not_sealed() {
    let (_, mut machine, _) = filled();
    let mut clock = TestClock::default();
    let many = (0..SEAL_EVENTS).map(put).collect();
    machine.commit(&mut clock, many).unwrap();
    assert!(machine.maintain().unwrap().is_none());
    assert_eq!(machine.journal().sealed_through(), 0);
    machine.commit(&mut clock, vec![put(1)]).unwrap();
}

#[test]
fn a_machine_goes_on_without_a_log_and_takes_one_up_again() {
    let (file, mut machine, states) = filled();
    machine.detach();
    let mut clock = TestClock::default();
    let effects = machine.commit(&mut clock, vec![put(5)]).unwrap();
    let told = EVENTS + 1;
    assert_eq!(effects, [Effect::Tell { sequence: told }]);
    let (left, _) = opened::<Shelf>(&file).unwrap();
    assert_eq!(left.state(), &states[EVENTS as usize], "as it was left");
    let other = tempfile::tempfile().unwrap();
    let store = FileStore::open(other.try_clone().unwrap()).unwrap();
    machine.move_to(Box::new(store)).unwrap();
    machine.commit(&mut clock, vec![put(6)]).unwrap();
    let state = machine.state().clone();
    drop(machine);
    let (again, _) = opened::<Shelf>(&other).unwrap();
    assert_eq!(again.state(), &state);
}

/// The same machine of another version, which reads no state of an older one.
struct Strict;

impl Machine for Strict {
    type State = State;
    type Event = Event;
    type Effect = Effect;
    type Time = Wall;

    const PROGRAM: &'static str = Shelf::PROGRAM;
    const STEP_VERSION: u32 = Shelf::STEP_VERSION + 1;

    fn kind(event: &Event) -> u16 {
        Shelf::kind(event)
    }

    fn step(state: State, stamp: Stamp, event: Event) -> (State, Vec<Effect>) {
        Shelf::step(state, stamp, event)
    }

    fn next_deadline(state: &State) -> Option<Wall> {
        Shelf::next_deadline(state)
    }

    fn deadline_reached() -> Event {
        Shelf::deadline_reached()
    }

    fn decode_base(step_version: u32, json: &[u8]) -> Result<State, serde_json::Error> {
        if step_version != Self::STEP_VERSION {
            return Err(serde::de::Error::custom("another version wrote it"));
        }
        serde_json::from_slice(json)
    }
}

#[test]
fn a_log_of_another_version_is_refused() {
    let (file, machine, _) = filled();
    drop(machine);
    let refused = opened::<Strict>(&file).map(drop).unwrap_err();
    assert!(
        refused.to_string().contains("another version wrote it"),
        "{refused}"
    );
    let none = file_of(b"nothing of that sort");
    assert!(opened::<Shelf>(&none).is_err());
}
