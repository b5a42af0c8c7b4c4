//! Damaged journals: never a panic, never a wrong state given out as right, always a place.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::support::{recorded, said};
use allexmaster_inspect::command::Answer;
use allexmaster_inspect::error::InspectError;
use allexmaster_inspect::source;
use allexmaster_journal::{JournaledMachine, Options, Restore, SystemClock};
use allexmaster_state::Event;
use allexmaster_state::Rules;

/// What `journal verify` makes of these bytes: all is well only where they are the original.
fn verified(folder: &Path, bytes: &[u8]) -> Result<Answer, InspectError> {
    let path = folder.join("damaged.ndjson");
    fs::write(&path, bytes).unwrap();
    said(&path, None, &["journal", "verify"]).1
}

fn assert_found(answer: Result<Answer, InspectError>, what: &str) {
    match answer {
        Ok(Answer::Done) => panic!("{what} went unnoticed"),
        Ok(Answer::Found) => {}
        Err(error) => assert!(error.to_string().contains("line 1"), "{what}: {error}"),
    }
}

/// The first events of a recorded journal.
fn small_export() -> Vec<u8> {
    let words = ["journal", "export", "--until", "5"];
    let (lines, answer) = said(&recorded("lost_lanmanager"), None, &words);
    answer.unwrap();
    lines.into_bytes()
}

#[test]
fn each_flipped_byte_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let original = small_export();
    // The first line names the journal, which every checksum goes by; whether it is redacted is only
    // told to people.
    let text = String::from_utf8(original.clone()).unwrap();
    let redacted = text.find("\"redacted\"").unwrap()..text.find(",\"start\"").unwrap();
    for place in 0..original.len() {
        if redacted.contains(&place) {
            continue;
        }
        let mut bytes = original.clone();
        bytes[place] ^= 1;
        assert_found(
            verified(folder.path(), &bytes),
            &format!("the flipped byte {place}"),
        );
    }
}

#[test]
fn each_truncation_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let original = small_export();
    for length in 0..original.len() {
        let answer = verified(folder.path(), &original[..length]);
        assert_found(answer, &format!("the truncation to {length} bytes"));
    }
}

#[test]
fn removed_swapped_and_doubled_records_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(recorded("crash_loop")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let join = |lines: &[&str]| format!("{}\n", lines.join("\n")).into_bytes();
    assert_eq!(
        verified(folder.path(), &join(&lines)).unwrap(),
        Answer::Done
    );
    for place in 0..lines.len() {
        let mut removed = lines.clone();
        removed.remove(place);
        assert_found(
            verified(folder.path(), &join(&removed)),
            &format!("removed {place}"),
        );
        let mut doubled = lines.clone();
        doubled.insert(place, lines[place]);
        assert_found(
            verified(folder.path(), &join(&doubled)),
            &format!("doubled {place}"),
        );
        if place + 1 < lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(place, place + 1);
            assert_found(
                verified(folder.path(), &join(&swapped)),
                &format!("swapped {place}"),
            );
        }
    }
}

#[test]
fn what_comes_before_the_damage_is_still_told_and_the_place_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(recorded("crash_loop")).unwrap();
    let damaged = text.replacen("\"child-exited\"", "\"child-exitet\"", 1);
    let path = folder.path().join("damaged.ndjson");
    fs::write(&path, damaged).unwrap();
    let (output, answer) = said(&path, None, &["journal", "log"]);
    assert!(output.contains("the master started"));
    assert!(!output.contains("exited with code"));
    let error = answer.unwrap_err();
    assert!(
        error.is_damage() && error.to_string().contains("from line"),
        "{error}"
    );
    // The last state is not known, so none is given out.
    assert!(said(&path, None, &["replay"]).1.is_err());
    assert_eq!(
        said(&path, None, &["replay", "--verify"]).1.unwrap(),
        Answer::Found
    );
}

#[test]
fn an_export_from_the_future_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(recorded("crash_loop")).unwrap();
    let path = folder.path().join("future.ndjson");
    fs::write(&path, text.replacen("\"format\":1", "\"format\":2", 1)).unwrap();
    let error = source::open(&path).map(drop).unwrap_err().to_string();
    assert!(error.contains("use the version that wrote it"), "{error}");
}

#[test]
fn a_repair_keeps_what_is_good_and_touches_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(recorded("crash_loop")).unwrap();
    let damaged = text.replacen("\"child-exited\"", "\"child-exitet\"", 1);
    let (path, into) = (
        folder.path().join("damaged.ndjson"),
        folder.path().join("journal"),
    );
    fs::write(&path, &damaged).unwrap();
    let words = ["journal", "repair", into.to_str().unwrap()];
    let (output, answer) = said(&path, None, &words);
    assert_eq!(answer.unwrap(), Answer::Found, "nobody said yes");
    assert!(
        output.contains("good: #1 to #13") && !into.exists(),
        "{output}"
    );
    let words = ["journal", "repair", "--yes", into.to_str().unwrap()];
    assert_eq!(said(&path, None, &words).1.unwrap(), Answer::Done);
    assert_eq!(
        said(&into, None, &["replay", "--verify"]).1.unwrap(),
        Answer::Done
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    let (there, _) = said(&into, None, &["replay", "--json"]);
    let (here, _) = said(
        &recorded("crash_loop"),
        None,
        &["replay", "--at", "13", "--json"],
    );
    assert_eq!(there, here);
}

#[test]
fn a_damaged_folder_tells_where_and_gives_out_no_state() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("journal");
    let original = recorded("crash_loop");
    let words = [
        "journal",
        "import",
        original.to_str().unwrap(),
        journal.to_str().unwrap(),
    ];
    said(&original, None, &words).1.unwrap();
    let history = fs::read_dir(journal.join("history"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let bytes = fs::read(&history).unwrap();
    for place in (0..bytes.len()).step_by(311) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        fs::write(&history, &damaged).unwrap();
        match said(&journal, None, &["journal", "verify"]) {
            (_, Ok(Answer::Done)) => panic!("the flipped byte {place} went unnoticed"),
            (output, Ok(Answer::Found)) => {
                assert!(output.contains("events 1 to 38 are damaged"), "{output}");
            }
            (_, Err(error)) => assert!(error.is_damage(), "{error}"),
        }
        assert!(said(&journal, None, &["replay", "--at", "5"]).1.is_err());
    }
    fs::write(&history, &bytes).unwrap();
    assert_eq!(
        said(&journal, None, &["replay", "--verify"]).1.unwrap(),
        Answer::Done
    );
}

/// A journal with its first events sealed and the last two in the database. Without a checkpoint.
fn small_folder(folder: &Path) -> (PathBuf, String) {
    let journal = folder.join("journal");
    let mut whole = source::open(&recorded("lost_lanmanager")).unwrap();
    let mut restore = Restore::<Rules>::begin(&journal, whole.identity(), None).unwrap();
    let visited = whole.visit(1, &mut |record| {
        let (at, entropy) = (record.stamp.at, record.stamp.entropy);
        restore
            .push(at, entropy, record.kind, record.payload)
            .unwrap();
        if record.stamp.sequence < SEALED {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    visited.unwrap();
    restore.finish().unwrap();
    let (mut live, _) = JournaledMachine::<Rules>::open(&journal, Options::default()).unwrap();
    for _ in 0..2 {
        let events = vec![Event::DeadlineReached];
        live.commit(&mut SystemClock, events).unwrap();
    }
    drop(live);
    let (lines, answer) = said(&journal, None, &["journal", "export"]);
    answer.unwrap();
    (journal, lines)
}

/// So many events of the small journal are sealed.
const SEALED: u64 = 8;

/// Whatever the files are now: the events are the original ones, or the damage is told and what was told
/// before it is of the original.
fn assert_honest(journal: &Path, original: &str, what: &str) {
    let (lines, answer) = said(journal, None, &["journal", "export"]);
    match answer {
        Ok(_) if lines == original => {}
        Ok(_) => {
            assert!(lines.contains("\n{\"hole\":"), "{what} went unnoticed");
            for line in lines
                .lines()
                .filter(|line| line.starts_with("{\"sequence\""))
            {
                assert!(original.contains(line), "{what} changed {line}");
            }
        }
        Err(_) => {
            // The heading names the journal; that it does so rightly is only known with the first event.
            let told = lines.split_inclusive('\n').skip(1);
            let told = told.filter(|line| line.ends_with('\n'));
            let same = told.zip(original.split_inclusive('\n').skip(1));
            for (line, expected) in same {
                assert_eq!(line, expected, "{what} changed what was told");
            }
        }
    }
}

/// Flips bytes of a file, one after the other: each of these places.
fn flip_each(journal: &Path, file: &Path, places: impl Fn(&[u8]) -> Vec<usize>, original: &str) {
    let bytes = fs::read(file).unwrap();
    let places = places(&bytes);
    assert!(places.len() > 10, "{}", file.display());
    for place in places {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1;
        fs::write(file, &damaged).unwrap();
        let what = format!("the flipped byte {place} of {}", file.display());
        assert_honest(journal, original, &what);
    }
    fs::write(file, &bytes).unwrap();
}

#[test]
fn no_flipped_byte_of_the_database_makes_other_events_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, original) = small_folder(folder.path());
    // Each of them was tried and takes minutes, because each makes sled open a copy. The file is mostly
    // zeros that mean nothing.
    let some = |bytes: &[u8]| {
        let places = (0..bytes.len()).filter(|place| bytes[*place] != 0);
        places.step_by(DATABASE_BYTES_APART).collect()
    };
    flip_each(&journal, &journal.join("tail/db"), some, &original);
    fs::remove_dir_all(journal.join("tail")).unwrap();
    assert_honest(&journal, &original, "the database that is gone");
    let (_, answer) = said(&journal, None, &["journal", "verify"]);
    assert_eq!(answer.unwrap(), Answer::Found);
}

/// Only so many of the database's bytes are tried each time.
const DATABASE_BYTES_APART: usize = 23;

#[test]
fn no_flipped_byte_and_no_cut_of_any_other_file_makes_other_events_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = small_folder(folder.path());
    // Without the database, which would make each look slow.
    fs::remove_dir_all(journal.join("tail")).unwrap();
    let acknowledged = journal.join("acknowledged");
    fs::write(&acknowledged, [SEALED.to_be_bytes(); 2].concat()).unwrap();
    let (original, answer) = said(&journal, None, &["journal", "export"]);
    answer.unwrap();
    let sealed = fs::read_dir(journal.join("history")).unwrap().next();
    let sealed = sealed.unwrap().unwrap().path();
    for file in [&journal.join("journal.json"), &acknowledged, &sealed] {
        flip_each(
            &journal,
            file,
            |bytes| (0..bytes.len()).collect(),
            &original,
        );
    }
    let bytes = fs::read(&sealed).unwrap();
    for length in 0..bytes.len() {
        fs::write(&sealed, &bytes[..length]).unwrap();
        assert_honest(&journal, &original, &format!("the cut at byte {length}"));
    }
    fs::remove_file(&sealed).unwrap();
    assert_honest(&journal, &original, "the file that is gone");
}
