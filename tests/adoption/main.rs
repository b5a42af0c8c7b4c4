//! A master that dies right after a fork, before it could record anything: the next one finds the
//! child. This program plays that master where its first argument says so.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "../children/bench.rs"]
#[expect(dead_code, reason = "most of it is for the tests of children")]
mod bench;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use allexmaster::child::{AbortAfterFork, Children};
use allexmaster::process::find_survivors;
use allexmaster_state::{Outcome, Signal, Survivor};
use allexmaster_testkit::{harness, tests};
use rustix::process::{Pid as RawPid, Signal as RawSignal, kill_process_group};
use serde_json::json;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;

use bench::{Bench, incarnation, journal, launchers, options, silent};

/// The first argument of the master that dies; its folder follows.
const MASTER: &str = "master";

fn main() -> ExitCode {
    let runtime = Runtime::new().unwrap();
    let mut arguments = std::env::args().skip(1);
    if let (Some(MASTER), Some(folder)) = (arguments.next().as_deref(), arguments.next()) {
        runtime.block_on(die_right_after_the_fork(Path::new(&folder)));
    }
    harness::run(tests![
        a_child_that_nobody_recorded_is_found_adopted_and_its_end_told,
        an_adopted_child_that_is_killed_is_told_so,
    ])
}

async fn die_right_after_the_fork(folder: &Path) {
    let (sink, mut events) = mpsc::channel(8);
    let journal = journal(folder);
    let options = options(folder, &journal, launchers([]), Some(AbortAfterFork(1)));
    Children::new(Handle::current(), sink, options).spawn(silent(5, json!({})));
    panic!("this process goes on: {:?}", events.recv().await);
}

/// A child whose master died right after the fork.
fn orphan(bench: &Bench) -> Survivor {
    let status = Command::new(std::env::current_exe().unwrap())
        .arg(MASTER)
        .arg(bench.folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(6),
        "{status}"
    );
    let mut found = find_survivors(&journal(bench.folder.path()), &[])
        .unwrap()
        .found;
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// The end of somebody else's child is told as long as it is a zombie; after that, Linux 6.15 and
/// later still tell it.
fn assert_told(outcome: &Outcome, expected: &Outcome) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (6, 15) || !matches!(outcome, Outcome::Lost(_)) {
        assert_eq!(outcome, expected);
    }
}

fn a_child_that_nobody_recorded_is_found_adopted_and_its_end_told() {
    Runtime::new().unwrap().block_on(async {
        let mut bench = Bench::new(launchers([]));
        let Survivor {
            incarnation: found,
            identity,
        } = orphan(&bench);
        assert_eq!(found, incarnation(5));
        bench.logged("Service", "serves nothing").await;
        bench
            .children
            .adopt(found, "Service".into(), identity.clone());
        // A second order to adopt it does nothing.
        bench
            .children
            .adopt(found, "Service".into(), identity.clone());
        assert_eq!(bench.children.count(), 1);
        bench
            .children
            .signal(found, identity.clone(), Signal::Terminate);
        assert_told(&bench.outcome().await, &Outcome::Exited(0));
        assert_eq!(bench.children.count(), 0);
    });
}

fn an_adopted_child_that_is_killed_is_told_so() {
    Runtime::new().unwrap().block_on(async {
        let mut bench = Bench::new(launchers([]));
        let Survivor {
            incarnation,
            identity,
        } = orphan(&bench);
        bench
            .children
            .adopt(incarnation, "Service".into(), identity.clone());
        let group = RawPid::from_raw(identity.pid.0.try_into().unwrap()).unwrap();
        kill_process_group(group, RawSignal::KILL).unwrap();
        assert_told(&bench.outcome().await, &Outcome::Signaled(9));
    });
}
