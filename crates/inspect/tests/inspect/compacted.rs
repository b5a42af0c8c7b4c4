//! A compacted journal: every command tells that there was something before, and none tells more than
//! it can know.

use std::path::{Path, PathBuf};

use allexmaster_inspect::command::Answer;
use allexmaster_inspect::replay::Past;
use allexmaster_inspect::source::{self, Ask, Beginning, OnlineSource, Page};
use allexmaster_journal::{
    CompactionRequest, Journal, JournaledMachine, Options, Position, Restore, Wall,
};
use allexmaster_state::Event;
use allexmaster_state::Rules;

use crate::support::{assert_snapshot, recorded, said};

/// The last event that goes: in the middle of the crash loop.
const THROUGH: u64 = 20;

/// A journal in a folder, of which the first events were compacted. Made by a master's own means: its
/// records up to there are sealed, the others are not.
pub(crate) fn compacted(folder: &Path, name: &str) -> PathBuf {
    let place = folder.join(name);
    let mut whole = Past::new(source::open(&recorded(name)).unwrap());
    let mut restore = Restore::<Rules>::begin(&place, whole.identity(), None).unwrap();
    let mut later = Vec::new();
    let visited = whole.source().visit(1, &mut |record| {
        if record.stamp.sequence <= THROUGH {
            let (at, entropy) = (record.stamp.at, record.stamp.entropy);
            restore
                .push(at, entropy, record.kind, record.payload)
                .unwrap();
        } else {
            let event: Event = serde_json::from_slice(record.payload).unwrap();
            later.push((record.stamp.map(Wall), event));
        }
        std::ops::ControlFlow::Continue(())
    });
    visited.unwrap();
    restore.finish().unwrap();
    let (mut live, _) = JournaledMachine::<Rules>::open(&place, Options::default()).unwrap();
    for (stamp, event) in later {
        live.commit(&mut Stamped(stamp), vec![event]).unwrap();
    }
    live.close().unwrap();
    let (mut journal, _) = Journal::<Rules>::open(&place, Options::default()).unwrap();
    let told = journal.compact(CompactionRequest {
        keep: 0,
        most_bytes: None,
        dry_run: false,
        cut: false,
    });
    assert_eq!(told.unwrap().through, THROUGH);
    place
}

/// The clock of a record that is recorded once more.
struct Stamped(allexmaster_journal::Stamp);

impl allexmaster_journal::Clock for Stamped {
    fn now(&mut self) -> Wall {
        self.0.at
    }

    fn entropy(&mut self) -> u32 {
        self.0.entropy
    }
}

/// What the recording says of itself; its number and checksum of the last record.
fn end(past: &mut Past) -> Position {
    past.end().unwrap()
}

#[test]
fn it_is_the_same_journal_from_there_on() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["crash_loop", "adoption", "lost_lanmanager", "port_conflict"] {
        let mut part = Past::new(source::open(&compacted(folder.path(), name)).unwrap());
        let mut whole = Past::new(source::open(&recorded(name)).unwrap());
        assert_eq!(end(&mut part), end(&mut whole), "{name}");
        assert_eq!(part.beginning(), Beginning::Compacted);
        for sequence in THROUGH..=end(&mut whole).sequence {
            let expected = whole.state_after(sequence).unwrap().clone();
            assert_eq!(part.state_after(sequence).unwrap(), &expected, "{name}");
        }
        assert!(part.state_after(THROUGH - 1).is_err());
    }
}

#[test]
fn every_command_tells_that_there_was_something_before() {
    let folder = tempfile::tempdir().unwrap();
    let place = compacted(folder.path(), "crash_loop");
    let commands: &[&[&str]] = &[
        &["journal", "log", "--last", "3"],
        &["journal", "log", "--until", "23"],
        &["journal", "log", "--since", "10", "--until", "22"],
        &["journal", "show", "20"],
        &["journal", "show", "21"],
        &["journal", "why", "Reports", "--at", "29"],
        &["journal", "why", "Clock"],
        &["journal", "why", "Nobody"],
        &["replay", "--at", "20"],
        &["replay", "--at", "19"],
        &["replay", "--at", "2001-01-01 00:00"],
        &["replay", "--from", "2", "--to", "21"],
        &["replay", "--verify"],
        &["journal", "verify"],
        &["journal", "verify", "--json"],
        &["journal", "compact", "--keep", "0s", "--dry-run"],
    ];
    let mut text = String::new();
    for words in commands {
        let (output, answer) = said(&place, Some(100), words);
        let ended = match answer {
            Ok(Answer::Done) => String::new(),
            Ok(Answer::Found) => "(found something)\n".to_owned(),
            Err(error) => format!("error: {error}\n"),
        };
        text.push_str(&format!("$ {}\n{output}{ended}\n", words.join(" ")));
    }
    let shown = folder.path().display().to_string();
    assert_snapshot("compacted", text.replace(&shown, "FOLDER"));
    let (info, answer) = said(&place, None, &["journal", "info", "--json"]);
    assert_eq!(answer.unwrap(), Answer::Done);
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    assert_eq!(
        (&info["begins"], &info["first"], &info["format"]),
        (&"compacted".into(), &21.into(), &"2.0".into())
    );
}

#[test]
fn lanes_begin_with_what_the_services_were() {
    let folder = tempfile::tempdir().unwrap();
    let place = compacted(folder.path(), "crash_loop");
    let mut past = Past::new(source::open(&place).unwrap());
    let lanes = allexmaster_inspect::timeline::build(&mut past, 0..=u64::MAX).unwrap();
    let clock = lanes
        .lanes
        .iter()
        .find(|lane| lane.name == "Clock")
        .unwrap();
    assert_eq!(clock.bars[0].cause, "before");
}

#[test]
fn copies_of_it_begin_where_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let place = compacted(folder.path(), "crash_loop");
    let (copy, again) = (
        folder.path().join("copy.ndjson"),
        folder.path().join("again"),
    );
    let (copy, again) = (copy.to_str().unwrap(), again.to_str().unwrap());
    for words in [
        &["journal", "export", "--output", copy][..],
        &["journal", "import", copy, again],
    ] {
        let (output, answer) = said(&place, None, words);
        assert_eq!(answer.unwrap(), Answer::Done);
        assert!(
            output.contains("the history before #21 was compacted"),
            "{output}"
        );
    }
    let state = |path: &Path| said(path, None, &["replay", "--json"]).0;
    for path in [Path::new(copy), Path::new(again)] {
        assert_eq!(state(path), state(&place));
        let verified = said(path, None, &["replay", "--verify"]);
        assert_eq!(verified.1.unwrap(), Answer::Done);
        assert!(verified.0.contains("was compacted"), "{}", verified.0);
    }
    let export = |path: &Path| said(path, None, &["journal", "export"]).0;
    assert_eq!(
        export(Path::new(again)),
        std::fs::read_to_string(copy).unwrap()
    );
    let redacted = folder.path().join("redacted.ndjson");
    let words = [
        "journal",
        "export",
        "--redact",
        "--output",
        redacted.to_str().unwrap(),
    ];
    assert_eq!(said(&place, None, &words).1.unwrap(), Answer::Done);
    let verified = said(&redacted, None, &["replay", "--verify"]);
    assert_eq!(verified.1.unwrap(), Answer::Done);
}

#[test]
fn a_master_sends_the_state_that_its_journal_begins_with() {
    let folder = tempfile::tempdir().unwrap();
    let place = compacted(folder.path(), "crash_loop");
    let (mut journal, _) = Journal::<Rules>::open(&place, Options::default()).unwrap();
    let ask: Box<Ask> = Box::new(move |wish| Ok(Page::read(&mut journal, wish)));
    let online = OnlineSource::open(ask, "a master".to_owned()).unwrap();
    let mut online = Past::new(Box::new(online));
    let mut whole = Past::new(source::open(&recorded("crash_loop")).unwrap());
    assert_eq!(online.beginning(), Beginning::Compacted);
    assert_eq!(end(&mut online), end(&mut whole));
    for sequence in [THROUGH, THROUGH + 1, end(&mut whole).sequence] {
        let expected = whole.state_after(sequence).unwrap().clone();
        assert_eq!(online.state_after(sequence).unwrap(), &expected);
    }
    assert!(online.state_after(3).is_err());
}

#[test]
fn a_state_that_newer_rules_wrote_is_refused_and_one_of_older_rules_passed_on_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let place = compacted(folder.path(), "crash_loop");
    let (text, _) = said(&place, None, &["journal", "export"]);
    let version = |number: u32| {
        let now = format!("\"step\":{}", allexmaster_state::STEP_VERSION);
        let (heading, records) = text.split_once('\n').unwrap();
        // Without the hash, as the first exports were.
        let (heading, _) = heading.split_once(",\"hash\"").unwrap();
        let heading = heading.replacen(&now, &format!("\"step\":{number}"), 1);
        format!("{heading}}}}}\n{records}")
    };
    let path = folder.path().join("other.ndjson");
    std::fs::write(&path, version(u32::MAX)).unwrap();
    let refused = source::open(&path).map(drop).unwrap_err().to_string();
    assert!(
        refused.contains("use that version or a newer one"),
        "{refused}"
    );
    std::fs::write(&path, version(1)).unwrap();
    let passed_on = said(&path, None, &["journal", "export"]).0;
    let (heading, _) = passed_on.split_once(",\"hash\"").unwrap();
    assert!(version(1).starts_with(heading), "{heading}");
}

#[test]
fn no_flipped_byte_of_the_first_state_goes_unnoticed() {
    let folder = tempfile::tempdir().unwrap();
    let place = compacted(folder.path(), "crash_loop");
    let (text, _) = said(&place, None, &["journal", "export"]);
    let start = text.find("\"start\"").unwrap();
    let path = folder.path().join("damaged.ndjson");
    for index in start..text.find('\n').unwrap() {
        let mut bytes = text.clone().into_bytes();
        bytes[index] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(source::open(&path).is_err(), "byte {index}");
    }
}

#[test]
fn the_committed_state_that_a_journal_began_with_is_read_for_ever() {
    // Never changed: a master that compacted its journal has nothing else. Where the state gets something
    // new, that gets a default, or `Rules::decode_base` converts.
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bases/version_4.ndjson");
    let mut past = Past::new(source::open(&path).unwrap());
    assert_eq!(past.beginning(), Beginning::Compacted);
    let last = end(&mut past).sequence;
    let state = serde_json::to_string_pretty(past.state_after(last).unwrap()).unwrap();
    assert_snapshot("state_after_the_base_of_version_4", state);
}
