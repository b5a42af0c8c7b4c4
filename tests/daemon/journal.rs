//! The journal as a tool, asked on the command line: of files, and of a master that runs.

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use allexmaster_inspect::source;
use allexmaster_journal::{Journal, Options, Restore};
use allexmaster_state::Rules;
use allexmaster_testkit::lan::{Lan, need};
use allexmaster_testkit::master::Master;
use allexmaster_testkit::wait::wait_for;
use serde_json::{Value, json};

use crate::PROGRAM;

fn recorded(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join(format!("crates/inspect/tests/journals/{name}.ndjson"))
}

/// The program with these words, over this journal.
fn over(journal: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(words).arg("--journal").arg(journal);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it said, where it ended with this code.
fn said(output: &Output, code: i32) -> String {
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}{error}");
    if code == 0 { out } else { out + &error }
}

fn imported(folder: &Path, name: &str) -> PathBuf {
    let journal = folder.join(name);
    let mut command = Command::new(PROGRAM);
    command.args(["journal", "import"]);
    command.arg(recorded(name)).arg(&journal);
    let told = said(&command.output().unwrap(), 0);
    assert!(told.contains("38 events are in the journal"), "{told}");
    journal
}

#[test]
fn every_command_answers_over_a_folder_and_its_json_is_json() {
    let folder = tempfile::tempdir().unwrap();
    let journal = imported(folder.path(), "crash_loop");
    for (words, part) in [
        (
            &["journal", "info"][..],
            "every record is the one that was written",
        ),
        (&["journal", "log"], "exited with code 1"),
        (&["journal", "log", "--effects", "--last", "3"], "→"),
        (&["journal", "show", "29"], "it changed"),
        (
            &["journal", "why", "Reports", "--at", "29"],
            "the fourth time in a row",
        ),
        (&["journal", "verify"], "38 records"),
        (&["replay", "--at", "29"], "exec:crasher"),
        (&["replay", "--from", "13", "--to", "29"], "it changed"),
        (&["replay", "--verify"], "38 events were replayed"),
        (
            &["replay", "--compare", PROGRAM],
            "the same effects and states",
        ),
        (&["journal", "export"], "\"end\":38"),
    ] {
        let told = said(&over(&journal, words), 0);
        assert!(told.contains(part), "{words:?}: {told}");
    }
    for (words, field) in [
        (&["journal", "info", "--json"][..], "identity"),
        (&["journal", "show", "29", "--json"], "after"),
        (&["journal", "why", "Reports", "--json"], "chain"),
        (&["journal", "verify", "--json"], "healthy"),
        (&["replay", "--at", "29", "--json"], "state"),
        (
            &["replay", "--from", "13", "--to", "29", "--json"],
            "changes",
        ),
        (&["replay", "--verify", "--json"], "good"),
        (&["replay", "--compare", PROGRAM, "--json"], "states"),
    ] {
        let told = said(&over(&journal, words), 0);
        let told: Value = serde_json::from_str(&told).unwrap();
        assert!(!told[field].is_null(), "{words:?}: {told}");
    }
    let lines = said(&over(&journal, &["journal", "log", "--json"]), 0);
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(lines.count(), 38);
}

#[test]
fn every_command_that_writes_writes_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let journal = imported(folder.path(), "crash_loop");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (page, picture, export, repaired) = (
        path("page.html"),
        path("picture.svg"),
        path("export.ndjson"),
        path("repaired"),
    );
    said(
        &over(
            &journal,
            &["journal", "timeline", "--html", &page, "--svg", &picture],
        ),
        0,
    );
    assert!(fs::read_to_string(&page).unwrap().contains("Reports"));
    assert!(fs::read_to_string(&picture).unwrap().starts_with("<svg"));
    said(
        &over(&journal, &["journal", "export", "--output", &export]),
        0,
    );
    assert_eq!(
        fs::read(&export).unwrap(),
        fs::read(recorded("crash_loop")).unwrap()
    );
    let told = said(&over(&journal, &["journal", "repair", &repaired]), 0);
    assert!(told.contains("nothing is to be repaired"), "{told}");
    for inside in ["crates/inspect/tests/journals", "snapshots"] {
        fs::create_dir_all(folder.path().join(inside)).unwrap();
    }
    let repository = folder.path().to_str().unwrap();
    let words = [
        "journal",
        "test",
        "loop",
        "--since",
        "10",
        "--repository",
        repository,
    ];
    said(&over(&journal, &words), 0);
    let snapshot = folder.path().join("snapshots/cli__journal_test_loop.snap");
    assert!(
        fs::read_to_string(snapshot)
            .unwrap()
            .contains("exited with code 1")
    );
}

#[test]
fn what_cannot_be_answered_has_its_own_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let journal = imported(folder.path(), "crash_loop");
    let damaged = folder.path().join("damaged.ndjson");
    let original = fs::read_to_string(recorded("crash_loop")).unwrap();
    fs::write(
        &damaged,
        original.replacen("child-exited", "child-exitet", 1),
    )
    .unwrap();
    let export = recorded("crash_loop");
    for (journal, words, code, part) in [
        (&journal, &["journal", "show", "7000"][..], 1, "has 1 to 38"),
        (
            &journal,
            &["journal", "show", "yesterday"],
            2,
            "no point in the journal",
        ),
        (
            &journal,
            &["journal", "why", "Nobody"],
            1,
            "It knows: Clock, Reports",
        ),
        (
            &journal,
            &["journal", "log", "--follow"],
            1,
            "no running master to follow",
        ),
        (
            &journal,
            &["replay", "--compare", "/bin/true"],
            1,
            "cannot be compared with",
        ),
        (
            &journal,
            &["replay", "--compare", "/no/such"],
            1,
            "cannot start /no/such",
        ),
        (
            &journal,
            &["journal", "compact", "--keep", "soon"],
            2,
            "`soon`",
        ),
        (
            &journal,
            &["journal", "compact", "--yes"],
            6,
            "start the master once and stop it",
        ),
        (&export, &["journal", "compact", "--yes"], 1, "is an export"),
        (&damaged, &["journal", "verify"], 6, "from line"),
        (&damaged, &["replay"], 6, "from line"),
        (&damaged, &["replay", "--verify"], 6, "from line"),
    ] {
        let told = said(&over(journal, words), code);
        assert!(told.contains(part), "{words:?}: {told}");
    }
    let mut import = Command::new(PROGRAM);
    import
        .args(["journal", "import"])
        .arg(recorded("crash_loop"));
    let again = import.arg(&journal).output().unwrap();
    assert!(said(&again, 6).contains("is not empty"));
    let nothing = folder.path().join("nothing");
    fs::create_dir(&nothing).unwrap();
    assert!(said(&over(&nothing, &["journal", "info"]), 6).contains("there is no journal"));
}

#[test]
fn a_build_that_decides_otherwise_is_told_with_the_event_and_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    // This program, but that Reports is started again at another time after event 29.
    let other = folder.path().join("other");
    let script = format!(
        "#!/bin/sh\n\
         if [ \"$1\" = replay ]; then\n\
           '{PROGRAM}' \"$@\" | sed '/\"sequence\":29,/s/\"state\":\"[0-9a-f]*\"/\"state\":\"0\"/'\n\
         else\n\
           '{PROGRAM}' \"$@\" | sed 's/\"until\": [0-9]*/\"until\": 1/'\n\
         fi\n"
    );
    fs::write(&other, script).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    let other = other.to_str().unwrap();
    let told = over(&recorded("crash_loop"), &["replay", "--compare", other]);
    let told = said(&told, 6);
    for part in [
        "the effects are the same after all 38 events",
        "the states differ at 1 of 38 events: #29",
        "services.Reports.activity",
        "→",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    let words = ["replay", "--compare", other, "--json"];
    let told = said(&over(&recorded("crash_loop"), &words), 6);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told, json!({ "events": 38, "effects": [], "states": [29] }));
}

/// The program with these words, in the folder of a master.
fn of(master: &Master, words: &[&str]) -> Output {
    master.command().args(words).output().unwrap()
}

/// A journal of its own with the records of a recorded one: two masters with one journal's identity on
/// one machine would end each other's children.
fn past_of_its_own(folder: &Path) {
    let fresh = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::<Rules>::open(fresh.path(), Options::default()).unwrap();
    let mut restore = Restore::<Rules>::begin(folder, journal.identity(), None).unwrap();
    let mut source = source::open(&recorded("crash_loop")).unwrap();
    let visited = source.visit(1, &mut |record| {
        let (at, entropy) = (record.stamp.at, record.stamp.entropy);
        restore
            .push(at, entropy, record.kind, record.payload)
            .unwrap();
        ControlFlow::Continue(())
    });
    visited.unwrap();
    assert_eq!(restore.finish().unwrap().sequence, 38);
}

/// A master with the journal of a former life, whose history is sealed, and with a checkpoint.
fn with_a_past(lan: &Lan, more: Value) -> Master {
    let mut master = Master::new(lan.port, more);
    let own = master.folder.path().join(".allexmaster");
    fs::create_dir_all(&own).unwrap();
    past_of_its_own(&own.join("journal"));
    master.start();
    master.wait_for("Time", "running");
    assert!(master.stop().success());
    master
}

#[test]
fn a_running_master_answers_and_compacts_when_it_is_asked() {
    let lan = Lan::start(&[need("Time", "sample:clock", json!({}))]);
    let mut master = with_a_past(&lan, json!({}));
    master.start();
    let pid = master.wait_for("Time", "running").pid.unwrap();
    let info = |master: &Master| -> Value {
        serde_json::from_str(&said(&of(master, &["journal", "info", "--json"]), 0)).unwrap()
    };
    assert!(
        info(&master)["place"]
            .as_str()
            .unwrap()
            .starts_with("the master of")
    );
    assert_eq!(info(&master)["first"], 1);
    let why = said(&of(&master, &["journal", "why", "Time"]), 0);
    assert!(why.contains("Time is running"), "{why}");
    let verified = said(&of(&master, &["replay", "--verify"]), 0);
    assert!(verified.contains("events were replayed"), "{verified}");
    let dry = ["journal", "compact", "--keep", "0s", "--dry-run"];
    let told = said(&of(&master, &dry), 0);
    assert!(told.contains("to remove  #1 to #38, 38 events"), "{told}");
    let declined = said(&of(&master, &["journal", "compact", "--keep", "0s"]), 6);
    assert!(declined.contains("nothing was done"), "{declined}");
    assert_eq!(info(&master)["first"], 1);
    let held = ["journal", "compact", "--offline", "--keep", "0s", "--yes"];
    assert!(said(&of(&master, &held), 6).contains("is held by process"));
    let yes = ["journal", "compact", "--keep", "0s", "--yes", "--json"];
    let told: Value = serde_json::from_str(&said(&of(&master, &yes), 0)).unwrap();
    assert_eq!(
        (&told["done"], &told["through"]),
        (&json!(true), &json!(38))
    );
    // It goes on, and tells what is not there any more.
    let after = master.wait_for("Time", "running").pid;
    assert_eq!(
        after,
        Some(pid),
        "{}",
        said(&of(&master, &["journal", "log"]), 0)
    );
    assert_eq!(
        (&info(&master)["first"], &info(&master)["begins"]),
        (&json!(39), &json!("compacted"))
    );
    let gone = said(&of(&master, &["journal", "show", "5"]), 1);
    assert!(gone.contains("before #39 was compacted"), "{gone}");
    let verified = said(&of(&master, &["replay", "--verify"]), 0);
    assert!(verified.contains("before #39 was compacted"), "{verified}");
    assert!(
        master.log().contains("the journal was compacted"),
        "{}",
        master.log()
    );
    // A kill later it comes back from what is left, and the files say the same.
    master.kill();
    master.start();
    master.wait_for("Time", "running");
    assert!(master.stop().success());
    for words in [&["journal", "verify"][..], &["replay", "--verify"]] {
        let told = said(&of(&master, words), 0);
        assert!(told.contains("before #39 was compacted"), "{told}");
    }
}

#[test]
fn a_running_master_compacts_by_itself_beyond_its_bounds() {
    let lan = Lan::start(&[need("Time", "sample:clock", json!({}))]);
    // The journal is larger than a byte, so all that is sealed goes.
    let mut master = with_a_past(&lan, json!({ "limits": { "journalsize": 1 } }));
    master.start();
    wait_for("the end of the compaction", || {
        master
            .log()
            .contains("the journal was compacted")
            .then_some(())
    });
    master.wait_for("Time", "running");
    let info = said(&of(&master, &["journal", "info"]), 0);
    assert!(
        info.contains("the history before #39 was compacted"),
        "{info}"
    );
    assert!(master.stop().success());
}

#[test]
fn compacting_offline_asks_for_the_folder_and_leaves_a_journal_that_a_master_lives_from() {
    let lan = Lan::start(&[need("Time", "sample:clock", json!({}))]);
    let mut master = with_a_past(&lan, json!({}));
    let told = said(&of(&master, &["journal", "compact"]), 0);
    assert!(told.contains("nothing is removed"), "{told}");
    let words = ["journal", "compact", "--keep", "0s", "--yes"];
    let told = said(&of(&master, &words), 0);
    assert!(told.contains("removed    #1 to #38"), "{told}");
    master.start();
    master.wait_for("Time", "running");
    assert!(master.stop().success());
    let verified = said(&of(&master, &["replay", "--verify"]), 0);
    assert!(
        verified.contains("the checkpoint is the state after"),
        "{verified}"
    );
}
