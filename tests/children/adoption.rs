//! A master that died, and the next one that finds its children.

use std::process::Command;

use allexmaster::launch::INCARNATION_VARIABLE;
use allexmaster::process::{self, find_survivors};
use allexmaster_keeper::os;
use allexmaster_state::{Event, Identity, JournalId, Outcome, Signal, Survivor};
use serde_json::json;

use super::bench::{Bench, incarnation, journal, launchers, silent, until};

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
    // not even when the child itself has ended: it has not come to its end before the other.
    bench
        .children
        .signal(incarnation(1), identity.clone(), Signal::Kill);
    let event = bench.next().await;
    assert!(matches!(event, Event::DescendantsLeft { .. }), "{event:?}");
    let found = find_survivors(&journal, &recorded).unwrap().found;
    assert_eq!(found[0].identity, identity);
    descendant.kill().unwrap();
    descendant.wait().unwrap();
    assert_eq!(bench.outcome().await, Outcome::Signaled(9));
    assert_eq!(find_survivors(&journal, &recorded).unwrap().found, []);
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
