//! A master that died, and the next one that finds its children.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use allexmaster::child::{AbortAfterFork, Children};
use allexmaster::launch::INCARNATION_VARIABLE;
use allexmaster::process::{self, find_survivors};
use allexmaster_keeper::os;
use allexmaster_state::{Event, Identity, JournalId, Outcome, Signal, Survivor};
use rustix::process::{Pid as RawPid, Signal as RawSignal, kill_process_group};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::bench::{Bench, incarnation, journal, launchers, options, silent, until};

/// The folder in which the process below is to play a master.
const FOLDER_VARIABLE: &str = "ALLEXMASTER_TEST_FOLDER_OF_DYING_MASTER";

/// Not a test by itself: the test below starts this program anew with only this function, to have a
/// master that dies right after the fork, before it could record anything.
#[tokio::test]
async fn a_master_dies_right_after_the_fork() {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from) else {
        return;
    };
    let (sink, mut events) = mpsc::channel(8);
    let journal = journal(&folder);
    let options = options(&folder, &journal, launchers([]), Some(AbortAfterFork(1)));
    Children::new(Handle::current(), sink, options).spawn(silent(5, json!({})));
    panic!("this process goes on: {:?}", events.recv().await);
}

/// A child whose master died right after the fork.
fn orphan(bench: &Bench) -> Survivor {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "adoption::a_master_dies_right_after_the_fork"])
        .env(FOLDER_VARIABLE, bench.folder.path())
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

#[tokio::test]
async fn a_child_that_nobody_recorded_is_found_adopted_and_its_end_told() {
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
}

#[tokio::test]
async fn an_adopted_child_that_is_killed_is_told_so() {
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
}

#[tokio::test]
async fn a_process_that_is_another_one_by_now_is_not_adopted() {
    let mut bench = Bench::new(launchers([]));
    let identity = bench.spawn(silent(1, json!({}))).await;
    let earlier = Identity {
        started: identity.started - 1,
        ..identity.clone()
    };
    bench
        .children
        .adopt(incarnation(9), "Earlier".into(), earlier);
    let Event::ChildExited {
        incarnation: of,
        outcome,
    } = bench.next().await
    else {
        panic!("expected ChildExited");
    };
    assert_eq!(of, incarnation(9));
    assert!(matches!(outcome, Outcome::Lost(_)), "{outcome:?}");
    assert!(process::exists(&identity.boot, &identity));
    bench
        .children
        .signal(incarnation(1), identity, Signal::Kill);
    assert_eq!(bench.outcome().await, Outcome::Signaled(9));
}

#[tokio::test]
async fn recorded_children_are_found_by_their_identity_and_no_descendant_instead() {
    let mut bench = Bench::new(launchers([]));
    let journal = journal(bench.folder.path());
    let identity = bench.spawn(silent(1, json!({}))).await;
    let recorded = [(incarnation(1), identity.clone())];
    let survivor = Survivor {
        incarnation: incarnation(1),
        identity: identity.clone(),
    };
    assert_eq!(
        find_survivors(&journal, &recorded).unwrap().found,
        std::slice::from_ref(&survivor)
    );
    assert_eq!(find_survivors(&journal, &[]).unwrap().found, [survivor]);
    assert_eq!(
        find_survivors(&JournalId::from("another"), &[])
            .unwrap()
            .found,
        []
    );

    // A process of the same incarnation that founded its own group is no child of the master,
    let mut descendant = descendant_of(&journal);
    let found = find_survivors(&journal, &recorded).unwrap().found;
    assert_eq!(found[0].identity, identity);
    // not even when the child itself is gone.
    bench
        .children
        .signal(incarnation(1), identity, Signal::Kill);
    assert_eq!(bench.outcome().await, Outcome::Signaled(9));
    assert_eq!(find_survivors(&journal, &recorded).unwrap().found, []);
    descendant.kill().unwrap();
    descendant.wait().unwrap();
}

#[tokio::test]
async fn of_two_group_leaders_of_one_incarnation_the_older_is_the_child() {
    let mut bench = Bench::new(launchers([]));
    let journal = journal(bench.folder.path());
    let identity = bench.spawn(silent(1, json!({}))).await;
    // The clock that starts are measured with ticks a hundred times a second.
    let ticks = |pid| os::stat(pid).map_or(0, |stat| stat.started);
    let mut descendants = Vec::new();
    until(|| {
        let descendant = descendant_of(&journal);
        let younger = ticks(descendant.id()) > identity.started;
        descendants.push(descendant);
        younger
    })
    .await;
    let found = find_survivors(&journal, &[]).unwrap().found;
    assert_eq!(found.len(), 1);
    assert!(found[0].identity.started <= identity.started);
    for mut descendant in descendants {
        descendant.kill().unwrap();
        descendant.wait().unwrap();
    }
    bench
        .children
        .signal(incarnation(1), identity, Signal::Kill);
    bench.outcome().await;
}

fn descendant_of(journal: &JournalId) -> std::process::Child {
    let mut command = Command::new("sleep");
    command
        .arg("10000")
        .env(INCARNATION_VARIABLE, format!("{journal}/1"));
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().unwrap()
}

#[tokio::test]
async fn a_zombie_that_was_recorded_is_found_so_that_its_end_can_be_told() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = allexmaster_state::Pid(child.id());
    until(|| os::stat(pid.0).is_some_and(|stat| stat.zombie)).await;
    let boot = process::boot_id().unwrap();
    let identity = process::identity(&boot, pid).unwrap();
    let recorded = [(incarnation(3), identity.clone())];
    let found = find_survivors(&JournalId::from("zombie"), &recorded)
        .unwrap()
        .found;
    assert_eq!(
        found,
        [Survivor {
            incarnation: incarnation(3),
            identity
        }]
    );
    child.wait().unwrap();
    assert_eq!(
        find_survivors(&JournalId::from("zombie"), &recorded)
            .unwrap()
            .found,
        []
    );
}
