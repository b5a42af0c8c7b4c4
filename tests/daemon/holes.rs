//! Damage in the files of a master's journal, met with the built program: every command answers on both
//! sides of it, says which events are damaged, and a master starts and goes on.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use allexmaster_inspect::source;
use allexmaster_journal::{Clock, JournaledMachine, Machine as _, Options, Wall};
use allexmaster_state::Rules;
use allexmaster_testkit::lan::Lan;
use allexmaster_testkit::master::{Master, text};
use allexmaster_testkit::wait::wait_for;
use serde_json::json;

use crate::PROGRAM;

/// A sealed file has so many events.
const EVENTS: u64 = 10;

/// Time and noise of a record that is written again.
struct Again(u64, u32);

impl Clock for Again {
    fn now(&mut self) -> Wall {
        Wall(self.0)
    }

    fn entropy(&mut self) -> u32 {
        self.1
    }
}

/// A journal with three sealed files, and eight events that are not sealed.
fn journal(folder: &Path) -> PathBuf {
    let journal = folder.join(".allexmaster/journal");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut source =
        source::open(&root.join("crates/inspect/tests/journals/crash_loop.ndjson")).unwrap();
    let (mut live, _) = JournaledMachine::<Rules>::open(&journal, Options::default()).unwrap();
    let visited = source.visit(1, &mut |record| {
        let event = Rules::decode(record.kind, record.payload).unwrap();
        let mut clock = Again(record.stamp.at, record.stamp.entropy);
        live.commit(&mut clock, vec![event]).unwrap();
        if record.stamp.sequence.is_multiple_of(EVENTS) {
            live.seal().unwrap();
        }
        ControlFlow::Continue(())
    });
    visited.unwrap();
    journal
}

/// What the program says, and its exit code.
fn run(folder: &Path, words: &[&str]) -> (String, i32) {
    let mut command = Command::new(PROGRAM);
    command.args(words).arg("--directory").arg(folder);
    command.arg("--socket-dir").arg(folder);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (text, output.status.code().unwrap())
}

fn sealed(journal: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(journal.join("history")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

/// Each way to damage a file.
const DAMAGES: [fn(&Path); 4] = [
    |file| {
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(file, bytes).unwrap();
    },
    |file| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 3]).unwrap();
    },
    |file| fs::write(file, b"").unwrap(),
    |file| fs::remove_file(file).unwrap(),
];

#[test]
fn every_journal_command_answers_on_both_sides_of_a_damaged_file() {
    for number in 0..3 {
        for damage in DAMAGES {
            let folder = tempfile::tempdir().unwrap();
            let (folder, journal) = (folder.path(), journal(folder.path()));
            damage(&sealed(&journal)[number as usize]);
            let hole = format!(
                "events {} to {} are damaged (",
                number * EVENTS + 1,
                (number + 1) * EVENTS
            );
            let page = folder.join("page.html");
            for (words, code) in [
                (&["journal", "log"][..], 0),
                (&["journal", "log", "--last", "1"], 0),
                (&["journal", "show", "35"], 0),
                (&["journal", "why", "Reports"], 0),
                (&["journal", "info"], 6),
                (&["journal", "verify"], 6),
                (&["journal", "export"], 0),
                (
                    &["journal", "timeline", "--html", page.to_str().unwrap()],
                    0,
                ),
                (&["replay", "--at", "38"], 0),
                (&["replay", "--verify"], 6),
                (&["replay", "--compare", PROGRAM], 0),
            ] {
                let (told, ended) = run(folder, words);
                assert_eq!(ended, code, "{words:?} with file {number}: {told}");
                let export = words.contains(&"export");
                let named = if export { "{\"hole\":" } else { &hole };
                assert_eq!(told.matches(named).count(), 1, "{words:?}: {told}");
            }
            // Each event that verifies is told, and one that does not is refused with the reason.
            let (log, _) = run(folder, &["journal", "log", "--json"]);
            for sequence in 1..=38 {
                let damaged = (number * EVENTS + 1..=(number + 1) * EVENTS).contains(&sequence);
                let line = format!("\"sequence\":{sequence},");
                assert_eq!(log.contains(&line), !damaged, "event {sequence}: {log}");
            }
            let inside = (number * EVENTS + 5).to_string();
            let (told, ended) = run(folder, &["journal", "show", &inside]);
            assert!(ended == 6 && told.contains(&hole), "{ended}: {told}");
            // An export goes into a journal again, and a repair makes one without the hole.
            let export = folder.join("export.ndjson");
            let export = export.to_str().unwrap();
            assert_eq!(run(folder, &["journal", "export", "-o", export]).1, 0);
            let again = folder.join("again");
            let words = ["journal", "import", export, again.to_str().unwrap()];
            assert_eq!(run(folder, &words).1, 0);
            let repaired = folder.join("repaired");
            let words = ["journal", "repair", "--yes", repaired.to_str().unwrap()];
            let (told, ended) = run(folder, &words);
            assert!(ended == 0 && told.contains(&hole), "{ended}: {told}");
            let words = ["journal", "verify", "--journal", repaired.to_str().unwrap()];
            assert_eq!(run(folder, &words).1, 0);
            // So does a compaction, here.
            let (told, ended) = run(folder, &["journal", "compact", "--yes"]);
            assert_eq!(ended, 0, "{told}");
            let (told, ended) = run(folder, &["journal", "verify"]);
            assert_eq!(ended, 0, "{told}");
        }
    }
}

#[test]
fn a_master_starts_on_a_damaged_journal_and_its_status_names_the_hole() {
    let lan = Lan::start(&[]);
    for number in 0..3 {
        let mut master = Master::new(lan.port, json!({}));
        let journal = journal(master.folder.path());
        let file = sealed(&journal)[number].clone();
        DAMAGES[0](&file);
        fs::remove_file(journal.join("checkpoint")).unwrap();
        master.start();
        wait_for("an answer", || master.status());
        let said = |words: &[&str], code: i32| {
            let output = master.run(words);
            let told = text(&output);
            assert_eq!(output.status.code(), Some(code), "{words:?}: {told}");
            told
        };
        for (words, code) in [
            (&["status"][..], 0),
            (&["journal", "info"], 6),
            (&["journal", "log", "--last", "1"], 0),
            (&["journal", "why", "Reports"], 0),
            (&["replay", "--compare", PROGRAM], 0),
        ] {
            let told = said(words, code);
            assert_eq!(
                told.matches("are damaged (").count(),
                1,
                "{words:?}: {told}"
            );
            assert!(told.contains(file.to_str().unwrap()), "{words:?}: {told}");
        }
        assert!(!journal.join("set-aside").exists());
        said(&["journal", "compact", "--yes"], 0);
        assert!(!said(&["status"], 0).contains("damaged"));
        said(&["journal", "verify"], 0);
        assert!(master.stop().success());
    }
}
