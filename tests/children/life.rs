//! The life of a child of our own: start, signals, end.

use std::fs;

use allexmaster::process;
use allexmaster_keeper::os;
use allexmaster_state::{Event, Identity, Outcome, Pid, Signal};
use rustix::process::{Pid as RawPid, Signal as RawSignal, kill_process};
use serde_json::json;

use super::bench::{Bench, incarnation, launcher, launchers, order, silent};

fn kill(pid: Pid, signal: RawSignal) {
    let pid = RawPid::from_raw(pid.0.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn has_ended(pid: Pid) -> bool {
    os::stat(pid.0).is_none_or(|stat| stat.zombie)
}

#[tokio::test]
async fn a_child_leads_its_own_group_and_ends_when_told() {
    let mut bench = Bench::new(launchers([]));
    let identity = bench.spawn(silent(1, json!({}))).await;
    bench.logged("Service", "serves nothing").await;
    let stat = os::stat(identity.pid.0).unwrap();
    assert_eq!(stat.group, identity.pid.0);
    assert_eq!(stat.parent, std::process::id());
    assert!(process::exists(&identity.boot, &identity));
    assert_eq!(os::user(identity.pid.0), os::user(std::process::id()));
    let input = fs::read_link(format!("/proc/{}/fd/0", identity.pid)).unwrap();
    assert_eq!(input.to_str(), Some("/dev/null"));

    bench
        .children
        .signal(incarnation(1), identity.clone(), Signal::Terminate);
    assert_eq!(bench.outcome().await, Outcome::Exited(0));
    assert!(!process::exists(&identity.boot, &identity));
    assert_eq!(bench.children.count(), 0);
}

#[tokio::test]
async fn an_exit_code_and_a_foreign_kill_are_told_as_they_were() {
    let mut bench = Bench::new(launchers([]));
    bench
        .spawn(silent(1, json!({"exitafter": 0, "exitcode": 7})))
        .await;
    assert_eq!(bench.outcome().await, Outcome::Exited(7));
    let identity = bench.spawn(silent(2, json!({}))).await;
    kill(identity.pid, RawSignal::KILL);
    assert_eq!(bench.outcome().await, Outcome::Signaled(9));
}

#[tokio::test]
async fn a_deaf_child_is_killed() {
    let mut bench = Bench::new(launchers([]));
    let identity = bench.spawn(silent(1, json!({"deaf": true}))).await;
    bench.logged("Service", "serves nothing").await;
    bench
        .children
        .signal(incarnation(1), identity.clone(), Signal::Terminate);
    bench.logged("Service", "ignores SIGTERM").await;
    bench
        .children
        .signal(incarnation(1), identity, Signal::Kill);
    assert_eq!(bench.outcome().await, Outcome::Signaled(9));
}

#[tokio::test]
async fn what_a_child_leaves_behind_is_told_and_its_end_is_part_of_the_childs() {
    let mut bench = Bench::new(launchers([]));
    let identity = bench.spawn(silent(1, json!({"fork": 10_000}))).await;
    let line = bench.logged("Service", "has forked process").await;
    let further = Pid(line.rsplit(' ').next().unwrap().parse().unwrap());
    kill(identity.pid, RawSignal::KILL);
    let Event::DescendantsLeft { outcome, left, .. } = bench.next().await else {
        panic!("expected DescendantsLeft");
    };
    assert_eq!(outcome, Outcome::Signaled(9));
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].identity.pid, left[0].in_group), (further, true));
    bench
        .children
        .signal(incarnation(1), identity, Signal::Terminate);
    assert_eq!(bench.outcome().await, Outcome::Signaled(9));
    assert!(has_ended(further));
}

#[tokio::test]
async fn no_signal_goes_to_a_process_that_is_not_the_one_meant() {
    let mut bench = Bench::new(launchers([]));
    let identity = bench.spawn(silent(1, json!({}))).await;
    bench.logged("Service", "serves nothing").await;
    for wrong in [
        Identity {
            started: identity.started + 1,
            ..identity.clone()
        },
        Identity {
            boot: "another run".into(),
            ..identity.clone()
        },
        Identity {
            pid: Pid(u32::MAX),
            ..identity.clone()
        },
        Identity {
            pid: Pid(0),
            ..identity.clone()
        },
    ] {
        bench
            .children
            .signal(incarnation(1), wrong.clone(), Signal::Kill);
        bench.children.signal(incarnation(2), wrong, Signal::Kill);
    }
    bench
        .children
        .signal(incarnation(1), identity, Signal::Terminate);
    // Signals keep their order: had one of the others arrived, it would have been SIGKILL.
    assert_eq!(bench.outcome().await, Outcome::Exited(0));
}

#[tokio::test]
async fn a_child_that_nobody_watches_can_still_be_killed_by_its_identity() {
    let mut bench = Bench::new(launchers([]));
    let identity = bench.spawn(silent(1, json!({}))).await;
    bench
        .children
        .signal(incarnation(77), identity, Signal::Kill);
    assert_eq!(bench.outcome().await, Outcome::Signaled(9));
}

#[tokio::test]
async fn what_cannot_be_started_is_told_with_its_reason() {
    let mut nowhere = launcher("true", &[]);
    nowhere.folder = Some("nowhere".into());
    let mut bench = Bench::new(launchers([
        ("missing", launcher("no-such-program-anywhere", &[])),
        ("nowhere", nowhere),
        ("property", launcher("true", &["{propertyhash.colour}"])),
    ]));
    for (module, expected) in [
        ("exec:missing", "cannot start no-such-program-anywhere"),
        ("exec:nowhere", "nowhere does not exist"),
        ("exec:property", "the need has no `propertyhash.colour`"),
        ("exec:unknown", "no launcher for `exec:unknown`"),
        ("other:thing", "no launcher for `other:thing`"),
        ("../allex_timeservice", "is not the name of a package"),
    ] {
        bench.children.spawn(order(1, module, json!({})));
        let Event::ChildNotSpawned { reason, .. } = bench.next().await else {
            panic!("expected ChildNotSpawned for {module}");
        };
        assert!(reason.contains(expected), "{reason}");
    }
}

#[tokio::test]
async fn others_hear_when_a_child_is_gone() {
    let mut bench = Bench::new(launchers([]));
    let identity = bench.spawn(silent(1, json!({}))).await;
    let gone = tokio::spawn(bench.children.gone(incarnation(1)));
    bench
        .children
        .signal(incarnation(1), identity, Signal::Kill);
    gone.await.unwrap();
    bench.children.gone(incarnation(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_children_start_and_end_at_once() {
    const CHILDREN: u64 = 100;
    let mut bench = Bench::new(launchers([("end", launcher("true", &[]))]));
    for sequence in 0..CHILDREN {
        bench.children.spawn(order(sequence, "exec:end", json!({})));
    }
    let (mut spawned, mut ended) = (0, 0);
    while ended < CHILDREN {
        let event = bench.next().await;
        if let Event::ChildExited { outcome, .. } = event {
            assert_eq!(outcome, Outcome::Exited(0));
            ended += 1;
        } else {
            assert!(matches!(event, Event::ChildSpawned { .. }), "{event:?}");
            spawned += 1;
        }
    }
    assert_eq!(spawned, CHILDREN);
}

#[tokio::test]
async fn the_output_of_all_lives_of_a_service_is_in_one_log() {
    let mut bench = Bench::new(launchers([(
        "say",
        launcher("echo", &["life", "{propertyhash.n}"]),
    )]));
    for life in 1..=2 {
        bench
            .spawn(order(life, "exec:say", json!({"n": life})))
            .await;
        assert_eq!(bench.outcome().await, Outcome::Exited(0));
    }
    bench.logged("Service", "life 1").await;
    bench.logged("Service", "life 2").await;
}
