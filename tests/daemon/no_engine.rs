//! An engine that cannot start: every command says so and why, and a stop is obeyed all the same.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use allexmaster_testkit::lan::{Lan, needs};
use allexmaster_testkit::master::{Master, text};
use allexmaster_testkit::processes::{Signal, lives, signal};
use allexmaster_testkit::wait::wait_for;
use serde_json::{Value, json};

/// Far less than the 40 s that a command waits for an answer.
const SOON: Duration = Duration::from_secs(10);

fn journal(master: &Master) -> PathBuf {
    master.folder.path().join(".allexmaster/journal")
}

/// A master with a service whose engine was killed, and cannot start again.
fn without_engine(lan: &Lan) -> (Master, u32) {
    let mut master = Master::new(lan.port, json!({}));
    master.start_kept(&[]);
    let child = master.wait_for("Clock0", "running").pid.unwrap();
    let engine = master.engine();
    let journal = journal(&master);
    fs::rename(&journal, journal.with_extension("away")).unwrap();
    fs::write(&journal, "no folder").unwrap();
    signal(engine, Signal::KILL);
    wait_for("a failed start", || {
        master.log().contains("exited with code 6").then_some(())
    });
    (master, child)
}

#[test]
fn every_command_says_why_no_engine_starts() {
    let lan = Lan::start(&needs(1, "Clock", "sample:clock"));
    let (master, child) = without_engine(&lan);
    for arguments in [
        &["status"][..],
        &["needs", "list"],
        &["restart", "Clock0"],
        &["reload"],
        &["config", "show"],
        &["upgrade"],
    ] {
        let asked = Instant::now();
        let answer = master.run(arguments);
        assert!(asked.elapsed() < SOON, "{arguments:?}");
        let said = text(&answer);
        assert_eq!(answer.status.code(), Some(6), "{arguments:?}: {said}");
        assert!(
            said.contains(&format!("process {}", master.pid())),
            "{said}"
        );
        assert!(said.contains("its engine cannot start"), "{said}");
        assert!(said.contains("the journal cannot be used"), "{said}");
    }
    let answer: Value = serde_json::from_slice(&master.run(&["status", "--json"]).stdout).unwrap();
    assert_eq!(answer["error"]["code"], "ENGINE_FAILS");
    assert!(lives(child), "the services go on");

    // It mends itself, and then nothing is left of it.
    fs::remove_file(journal(&master)).unwrap();
    fs::rename(journal(&master).with_extension("away"), journal(&master)).unwrap();
    assert_eq!(master.wait_for("Clock0", "running").pid, Some(child));
}

#[test]
fn a_stop_is_obeyed_without_an_engine() {
    let lan = Lan::start(&needs(1, "Clock", "sample:clock"));
    for by_command in [true, false] {
        let (mut master, child) = without_engine(&lan);
        if by_command {
            let stopped = master.run(&["shutdown"]);
            assert_eq!(stopped.status.code(), Some(0), "{}", text(&stopped));
        } else {
            signal(master.pid(), Signal::TERM);
        }
        assert!(master.wait().success());
        assert!(!lives(child), "it was ended");
        assert_eq!(master.children(), Vec::<u32>::new());
        // The next start has the journal again, and begins anew.
        fs::remove_file(journal(&master)).unwrap();
        fs::rename(journal(&master).with_extension("away"), journal(&master)).unwrap();
        master.start_kept(&[]);
        master.wait_for_other("Clock0", child);
        assert!(master.stop().success());
    }
}
