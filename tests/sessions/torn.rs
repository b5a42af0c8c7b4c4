//! A log whose end was not written, was written wrong, or is another program's.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use allexmaster::sessions::{SessionLog, SessionLogError};
use allexmaster_machine::Mono;
use allexmaster_sessions::SESSIONS_VERSION;
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

/// The log of a short life, with all that the sessions was: after so many bytes, that.
fn short_life() -> (Vec<u8>, Vec<(usize, String)>) {
    let mut world = World::new();
    let mut was = vec![(bytes_of(&world.log).len(), all_of(&world.sessions))];
    let mut note = |world: &World| {
        was.push((bytes_of(&world.log).len(), all_of(&world.sessions)));
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
    let image_end = was[0].0;
    for length in 0..=bytes.len() {
        let opened = SessionLog::open(file_of(&bytes[..length]));
        if length < image_end {
            assert!(
                matches!(opened, Err(SessionLogError::Version { found: None })),
                "{length} bytes are no image"
            );
            continue;
        }
        let expected = was.iter().rev().find(|(end, _)| *end <= length).unwrap();
        assert_eq!(all_of(&opened.unwrap().1), expected.1, "{length} bytes");
    }
}

#[test]
fn what_is_noted_after_a_torn_record_takes_its_place() {
    let (bytes, was) = short_life();
    let (torn, whole) = (bytes.len() - 1, was[was.len() - 2].0);
    let (mut log, mut sessions) = SessionLog::open(file_of(&bytes[..torn])).unwrap();
    let input = allexmaster_sessions::Input::Timeout;
    log.append(Mono(2_000), &input).unwrap();
    let _ = sessions.handle(Mono(2_000), input);
    let again = SessionLog::open(file_of(&bytes_of(&log))).unwrap().1;
    assert_eq!(all_of(&again), all_of(&sessions));
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
                assert_eq!(&all_of(&opened.unwrap().1), sessions, "byte {place}")
            }
            None => assert!(
                matches!(opened, Err(SessionLogError::Version { found: None })),
                "byte {place}"
            ),
        }
    }
}

/// A record, as the log's format has it.
fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    let checked = [&[kind], payload].concat();
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    let hash = blake3::hash(&checked);
    [&length[..], &hash.as_bytes()[..4], &checked].concat()
}

#[test]
fn a_log_of_another_version_is_refused_by_its_number() {
    let other = SESSIONS_VERSION + 1;
    let image = json!({"version": other, "sessions": {"unlike": "ours"}}).to_string();
    let error = SessionLog::open(file_of(&record(0, image.as_bytes()))).unwrap_err();
    assert!(
        matches!(error, SessionLogError::Version { found: Some(found) } if found == other),
        "{error}"
    );
}

#[test]
fn a_whole_record_that_makes_no_sense_is_refused_and_nothing_panics() {
    let (bytes, was) = short_life();
    let image = &bytes[..was[0].0];
    let senseless = [
        record(9, b""),
        record(1, b"short"),
        record(1, &[&[0; 8][..], b"{\"no-such-input\":1}"].concat()),
        record(2, &[0; 8]),
        record(2, &[&[0; 8][..], &[200, b'x']].concat()),
        record(3, b""),
        record(3, &[&[9][..], &[0; 8], &[1, b'x']].concat()),
        record(0, image),
    ];
    for record in senseless {
        let error = SessionLog::open(file_of(&[image, &record].concat())).unwrap_err();
        assert!(
            matches!(error, SessionLogError::Meaningless { .. }),
            "{error}"
        );
    }
    let no_image = SessionLog::open(file_of(&record(1, b"{}"))).unwrap_err();
    assert!(matches!(no_image, SessionLogError::Version { found: None }));
}
