//! A log whose end was not written, was written wrong, or is another program's.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use allexmaster::sessions::SessionLog;
use allexmaster_journal::store::FileStore;
use allexmaster_journal::{Clock, JournaledMachine, Machine, Options, Stamp};
use allexmaster_machine::Mono;
use allexmaster_sessions::{Input, SESSIONS_VERSION, Sessions};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::world::{TOOL, World, all_of};

/// The bytes of a log.
pub(crate) fn bytes_of(log: &SessionLog) -> Vec<u8> {
    let mut file = File::from(log.as_fd().try_clone_to_owned().unwrap());
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// A file of these bytes, as a keeper would give it back.
pub(crate) fn file_of(bytes: &[u8]) -> OwnedFd {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.into()
}

/// The log of a short life, with all that the sessions were: after so many bytes, that.
fn short_life() -> (Vec<u8>, Vec<(usize, String)>) {
    let mut world = World::new();
    let mut was = vec![(bytes_of(&world.log).len(), all_of(world.sessions()))];
    let mut note = |world: &World| {
        was.push((bytes_of(&world.log).len(), all_of(world.sessions())));
    };
    let line = world.accept(0);
    note(&world);
    let credentials = json!({"samemachineprocess": {"pid": TOOL, "role": "service"}});
    world.now = 1_001;
    world.receive_unmarked(&line, b"\x05");
    note(&world);
    let frame = json!(["a", [null, credentials]]).to_string();
    let rest = [&[0, 0, 0][..], frame.as_bytes()].concat();
    world.now = 1_002;
    world.receive_unmarked(&line, &rest);
    note(&world);
    world.journaled(Vec::new());
    note(&world);
    (bytes_of(&world.log), was)
}

#[test]
fn a_log_that_was_cut_anywhere_makes_the_sessions_of_its_last_whole_record() {
    let (bytes, was) = short_life();
    let snapshot_end = was[0].0;
    // No byte at all is a log that has not begun.
    for length in 1..=bytes.len() {
        let opened = SessionLog::open(file_of(&bytes[..length]));
        if length < snapshot_end {
            assert!(opened.is_err(), "{length} bytes are no snapshot");
            continue;
        }
        let expected = was.iter().rev().find(|(end, _)| *end <= length).unwrap();
        let opened = opened.unwrap();
        assert_eq!(all_of(opened.sessions()), expected.1, "{length} bytes");
    }
}

#[test]
fn what_is_noted_after_a_torn_record_takes_its_place() {
    let (bytes, was) = short_life();
    let (torn, whole) = (bytes.len() - 1, was[was.len() - 2].0);
    let mut log = SessionLog::open(file_of(&bytes[..torn])).unwrap();
    log.commit(Mono(2_000), &Input::Timeout).unwrap();
    let again = SessionLog::open(file_of(&bytes_of(&log))).unwrap();
    assert_eq!(all_of(again.sessions()), all_of(log.sessions()));
    assert!(bytes_of(&log).len() > whole, "it was noted");
}

#[test]
fn a_log_with_a_wrong_byte_ends_before_the_record_that_has_it() {
    let (bytes, was) = short_life();
    for place in 0..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[place] ^= 1 << (place % 8);
        let opened = SessionLog::open(file_of(&wrong));
        let expected = was.iter().rev().find(|(end, _)| *end <= place);
        match expected {
            Some((_, sessions)) => {
                assert_eq!(
                    &all_of(opened.unwrap().sessions()),
                    sessions,
                    "byte {place}"
                );
            }
            // What the header says of its writer concerns nobody: then all is there.
            None => {
                let opened = opened.map(|log| all_of(log.sessions()));
                let all = &was.last().unwrap().1;
                assert!(
                    opened.is_err() || opened.is_ok_and(|is| is == *all),
                    "byte {place}"
                );
            }
        }
    }
}

/// Records whatever it is given, under the name of the sessions.
struct Forger<const VERSION: u32>;

/// The number of a kind, and a payload.
#[derive(Serialize, Deserialize)]
struct Forged(u16, Vec<u8>);

impl<const VERSION: u32> Machine for Forger<VERSION> {
    type State = serde_json::Value;
    type Event = Forged;
    type Effect = ();
    type Time = Mono;

    const PROGRAM: &'static str = Sessions::PROGRAM;
    const STEP_VERSION: u32 = VERSION;

    fn kind(forged: &Forged) -> u16 {
        forged.0
    }

    fn step(state: Self::State, _: Stamp<Mono>, _: Forged) -> (Self::State, Vec<()>) {
        (state, Vec::new())
    }

    fn next_deadline(_: &Self::State) -> Option<Mono> {
        None
    }

    fn deadline_reached() -> Forged {
        Forged(1, Vec::new())
    }

    fn encode(forged: &Forged, output: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        output.extend_from_slice(&forged.1);
        Ok(())
    }

    fn decode(kind: u16, payload: &[u8]) -> Result<Forged, serde_json::Error> {
        Ok(Forged(kind, payload.to_vec()))
    }
}

struct NoClock;

impl Clock<Mono> for NoClock {
    fn now(&mut self) -> Mono {
        Mono(1)
    }

    fn entropy(&mut self) -> u32 {
        0
    }
}

/// A whole and valid log with this record in it.
fn forged<const VERSION: u32>(kind: u16, payload: &[u8]) -> OwnedFd {
    let file = tempfile::tempfile().unwrap();
    let store = FileStore::open(file.try_clone().unwrap()).unwrap();
    let state = serde_json::to_value(Sessions::default()).unwrap();
    let mut journal =
        JournaledMachine::<Forger<VERSION>>::begin(Box::new(store), &state, Options::default())
            .unwrap();
    let record = Forged(kind, payload.to_vec());
    journal.commit(&mut NoClock, vec![record]).unwrap();
    file.into()
}

#[test]
fn a_log_of_another_version_is_refused() {
    let timeout = serde_json::to_vec(&Input::Timeout).unwrap();
    let kind = Sessions::kind(&Input::Timeout);
    SessionLog::open(forged::<SESSIONS_VERSION>(kind, &timeout)).expect("one of this version");
    SessionLog::open(forged::<{ SESSIONS_VERSION - 1 }>(kind, &timeout)).unwrap_err();
    SessionLog::open(forged::<{ SESSIONS_VERSION + 1 }>(kind, &timeout)).unwrap_err();
}

#[test]
fn a_whole_record_that_makes_no_sense_is_refused_and_nothing_panics() {
    let received = Sessions::kind(&Input::Received {
        name: allexmaster_sessions::ConnectionName(String::new()),
        bytes: Vec::new(),
    });
    let senseless: [(u16, &[u8]); 6] = [
        (99, b""),
        (1, b"short"),
        (1, b"{\"no-such-input\":1}"),
        (received, b""),
        (received, &[200, b'x']),
        (received, &[1, 0xff]),
    ];
    for (kind, payload) in senseless {
        let opened = SessionLog::open(forged::<SESSIONS_VERSION>(kind, payload));
        assert!(opened.is_err(), "{kind} {payload:?}");
    }
}
