//! Each file of the journal is damaged in turn, and the built program started on what is left.

use std::fs;
use std::path::{Path, PathBuf};

use allexmaster_journal::{JournaledMachine, Options, SystemClock};
use allexmaster_state::Rules;
use allexmaster_state::{Event, ModuleName};
use allexmaster_testkit::lan::{Lan, need};
use allexmaster_testkit::master::Master;
use allexmaster_testkit::processes::{Signal, lives, signal};
use allexmaster_testkit::wait::wait_for;
use serde_json::json;

/// A sealed file, and a tail.
const EVENTS: usize = 4_500;

fn journal(master: &Master) -> PathBuf {
    master.folder.path().join(".allexmaster/journal")
}

/// All files below a folder, relative to it.
fn files(folder: &Path) -> Vec<PathBuf> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_owned());
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for file in files(from) {
        fs::create_dir_all(to.join(&file).parent().unwrap()).unwrap();
        fs::copy(from.join(&file), to.join(&file)).unwrap();
    }
    fs::create_dir_all(to.join("tail/blobs")).unwrap();
}

/// A journal of a master that was killed, with history, a checkpoint and a tail.
fn lengthen(journal: &Path) {
    let (mut live, _) = JournaledMachine::<Rules>::open(journal, Options::default()).unwrap();
    let event = |number| Event::ModuleEngaged {
        module: ModuleName::from(format!("allex_module{}service", number % 50)),
        request: None,
    };
    for first in (0..EVENTS).step_by(250) {
        let events = (first..first + 250).map(event).collect();
        live.commit(&mut SystemClock, events).unwrap();
        live.maintain().unwrap();
    }
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    /// A bit in the middle is another one.
    Flipped,
    Gone,
}

impl Harm {
    fn do_to(self, path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        match self {
            Self::Flipped => bytes[middle] ^= 1,
            Self::Gone => return fs::remove_file(path).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }
}

/// What is expected of the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing is lost, and nothing has to be told.
    Whole,
    /// What could be used is, and the log tells of the rest.
    Told,
    /// The master does not start, and says why.
    Refused,
}

fn expected(file: &Path, harm: Harm) -> Outcome {
    let name = file.to_str().unwrap();
    match (name.split('/').next().unwrap(), harm) {
        ("lock" | "acknowledged", _) | ("checkpoint", Harm::Gone) => Outcome::Whole,
        ("journal.json", _) => Outcome::Refused,
        ("tail", Harm::Gone) if name != "tail/db" => Outcome::Whole,
        // The states after it are kept: its events are missed, and nothing else.
        ("history" | "states", _) => Outcome::Whole,
        ("checkpoint" | "tail", _) => Outcome::Told,
        _ => panic!("a file that this test does not know: {name}"),
    }
}

/// Waits until the master serves, or has ended (true).
fn serves_or_ends(master: &mut Master) -> bool {
    wait_for("the master to serve or to end", || {
        if master.has_ended() {
            return Some(true);
        }
        let service = master.service("Clock")?;
        (service.state.as_str() == "running" && service.reason.is_none()).then_some(false)
    })
}

#[test]
fn whatever_file_is_damaged_the_master_tells_and_serves_each_need_once_or_touches_nothing() {
    let lan = Lan::start(&[need("Clock", "sample:clock", json!({}))]);
    let mut master = Master::new(lan.port, json!({}));
    master.start();
    master.wait_for("Clock", "running");
    master.kill();
    let journal = journal(&master);
    lengthen(&journal);
    let whole = tempfile::tempdir().unwrap();
    copy(&journal, whole.path());
    let full = |file: &PathBuf| fs::metadata(whole.path().join(file)).unwrap().len() > 0;
    for file in files(whole.path()).into_iter().filter(full) {
        for harm in [Harm::Flipped, Harm::Gone] {
            copy(whole.path(), &journal);
            harm.do_to(&journal.join(&file));
            fs::write(master.folder.path().join("test.log"), "").unwrap();
            let before = master.children();
            let ended = serves_or_ends(master.start());
            let (expected, log) = (expected(&file, harm), master.log());
            let what = format!("{} {harm:?}: {log}", file.display());
            assert_eq!(ended, expected == Outcome::Refused, "{what}");
            if ended {
                assert_eq!(master.wait().code(), Some(6), "{what}");
                assert!(log.contains("journal.json"), "{what}");
                assert_eq!(master.children(), before, "{what}");
                continue;
            }
            assert_eq!(master.children().len(), 1, "{what}");
            assert_eq!(
                log.contains("was repaired"),
                expected == Outcome::Told,
                "{what}"
            );
            let lost = log.contains("EVENTS ARE LOST");
            assert_eq!(lost, file == Path::new("tail/db"), "{what}");
            if file.starts_with("history") {
                wait_for("a word of the damage", || {
                    master.log().contains("are damaged (").then_some(())
                });
                let compact = ["journal", "compact", "--yes"];
                assert!(master.run(&compact).status.success(), "{what}");
            }
            let verified = master
                .command()
                .args(["journal", "verify"])
                .output()
                .unwrap();
            assert!(verified.status.success(), "{what}");
            master.kill();
            for child in master.children() {
                signal(child, Signal::KILL);
                wait_for("its end", || (!lives(child)).then_some(()));
            }
        }
    }
}
