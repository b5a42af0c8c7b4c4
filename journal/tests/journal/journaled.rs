//! A machine over a journal in a folder: it comes back as it was.

use crate::support::{Shelf, State, TestClock, put};
use allexmaster_journal::{Error, JournaledMachine, Options};

fn open(folder: &std::path::Path) -> (JournaledMachine<Shelf>, allexmaster_journal::Opened) {
    JournaledMachine::open(folder, Options::default()).unwrap()
}

#[test]
fn the_state_is_the_same_after_opening_again_without_a_clean_end() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("deep/in/journal");
    let mut clock = TestClock::default();
    let (mut live, opened) = open(&journal);
    assert!(opened.created);
    for number in 0..100 {
        live.commit(&mut clock, vec![put(number), put(number + 1)])
            .unwrap();
    }
    let state = live.state().clone();
    drop(live);
    let (live, again) = open(&journal);
    assert_eq!(*live.state(), state);
    assert_eq!(again.identity, opened.identity);
    assert_eq!(
        (again.created, again.last, again.replayed),
        (false, 200, 200)
    );
    assert!(again.recoveries.is_empty(), "{:?}", again.recoveries);
}

#[test]
fn a_clean_end_leaves_nothing_to_replay() {
    let folder = tempfile::tempdir().unwrap();
    let mut clock = TestClock::default();
    let (mut live, _) = open(folder.path());
    live.commit(&mut clock, vec![put(1), put(2)]).unwrap();
    let state = live.state().clone();
    live.close().unwrap();
    let (live, opened) = open(folder.path());
    assert_eq!(*live.state(), state);
    assert_eq!((opened.checkpoint, opened.replayed), (Some(2), 0));
}

#[test]
fn sealing_changes_neither_the_state_nor_the_records() {
    let folder = tempfile::tempdir().unwrap();
    let mut clock = TestClock::default();
    let (mut live, _) = open(folder.path());
    for round in 0..60 {
        live.commit(
            &mut clock,
            (0..250).map(|n| put(round * 1000 + n)).collect(),
        )
        .unwrap();
        live.maintain().unwrap();
    }
    let state = live.state().clone();
    live.journal().verify().unwrap();
    drop(live);
    let (mut live, opened) = open(folder.path());
    assert_eq!(*live.state(), state);
    assert!(opened.checkpoint.is_some());
    assert!(opened.replayed < 4500);
    live.journal().verify().unwrap();
    let records = live.journal().records(1).unwrap();
    let sequences: Vec<u64> = records
        .map(|record| record.unwrap().stamp.sequence)
        .collect();
    assert_eq!(sequences, (1..=15_000).collect::<Vec<_>>());
}

#[test]
fn a_held_journal_is_refused_at_once_with_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let (_live, _) = open(folder.path());
    let refused = JournaledMachine::<Shelf>::open(folder.path(), Options::default());
    match refused.err() {
        Some(Error::Held { holder, .. }) => assert_eq!(holder, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_journal_has_the_state_of_before_all_events() {
    let folder = tempfile::tempdir().unwrap();
    let (live, opened) = open(folder.path());
    assert_eq!(*live.state(), State::default());
    assert_eq!(opened.last, 0);
}

#[test]
fn a_database_that_somebody_else_has_open_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let data = std::fs::File::open(folder.path().join("tail/db")).unwrap();
    while fs4::FileExt::try_lock(&data).is_err() {
        std::thread::yield_now();
    }
    let refused = JournaledMachine::<Shelf>::open(folder.path(), Options::default()).err();
    assert!(matches!(refused, Some(Error::Held { .. })), "{refused:?}");
    drop(data);
    assert!(open(folder.path()).1.recoveries.is_empty());
}
