//! Every known defect of the storage on disk: survived where that is possible, and always told.

use std::fs;
use std::path::{Path, PathBuf};

use allexmaster_journal::{Error, JournaledMachine, Machine, Options, Recovery, Stamp, Wall};
use proptest::prelude::*;

use crate::support::{Effect, Event, Shelf, State, TestClock, put};

fn open(folder: &Path) -> (JournaledMachine<Shelf>, Vec<Recovery>) {
    let (live, opened) = JournaledMachine::open(folder, Options::default()).unwrap();
    (live, opened.recoveries)
}

/// A journal of 40 events, 20 of them sealed.
fn fill(folder: &Path) {
    let (mut live, _) = open(folder);
    let mut clock = TestClock::default();
    for round in 0..40 {
        live.commit(&mut clock, vec![put(round)]).unwrap();
        if round == 19 {
            live.journal().seal().unwrap();
        }
    }
}

fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(prefix)
        })
        .collect()
}

#[test]
fn an_unfinished_snapshot_does_not_stop_the_start() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let leftover = folder.path().join("tail/snap.0000FFFFFFFFFFFF.generating");
    fs::write(&leftover, b"half of a snap").unwrap();
    let (live, recoveries) = open(folder.path());
    assert_eq!(live.state().events, 40);
    let [Recovery::UnfinishedSnapshot { path }] = &recoveries[..] else {
        panic!("{recoveries:?}");
    };
    assert_eq!(fs::read(path).unwrap(), b"half of a snap");
    assert!(!recoveries[0].is_loss());
}

#[test]
fn a_damaged_snapshot_is_set_aside_and_the_log_has_everything() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    // sled writes one when it opens a log.
    drop(open(folder.path()));
    let snapshots = files(&folder.path().join("tail"), "snap.");
    assert!(!snapshots.is_empty());
    for snapshot in snapshots {
        let length = fs::metadata(&snapshot).unwrap().len();
        fs::write(&snapshot, vec![0xa5; usize::try_from(length).unwrap()]).unwrap();
    }
    let (live, recoveries) = open(folder.path());
    assert_eq!(live.state().events, 40);
    let [Recovery::SnapshotsSetAside { path, .. }] = &recoveries[..] else {
        panic!("{recoveries:?}");
    };
    assert!(path.join("db").is_file());
}

#[test]
fn damaged_settings_of_the_database_cost_no_event() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let settings = folder.path().join("tail/conf");
    fs::write(&settings, b"\xff\xff no settings \xff\xff").unwrap();
    let (live, recoveries) = open(folder.path());
    assert_eq!(live.state().events, 40);
    let [Recovery::SnapshotsSetAside { path, .. }] = &recoveries[..] else {
        panic!("{recoveries:?}");
    };
    assert!(path.join("db").is_file());
    drop(live);
    assert!(open(folder.path()).1.is_empty(), "it is told once");
}

#[test]
fn a_database_that_lost_its_newest_events_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let copy = folder.path().join("older");
    fs::create_dir(&copy).unwrap();
    for file in files(&folder.path().join("tail"), "") {
        if file.is_file() {
            fs::copy(&file, copy.join(file.file_name().unwrap())).unwrap();
        }
    }
    let (mut live, _) = open(folder.path());
    live.commit(&mut TestClock::default(), vec![put(1), put(2)])
        .unwrap();
    drop(live);
    fs::remove_dir_all(folder.path().join("tail")).unwrap();
    fs::rename(&copy, folder.path().join("tail")).unwrap();
    let (live, recoveries) = open(folder.path());
    assert_eq!(live.state().events, 40);
    let lost = Recovery::EventsLost {
        last: 40,
        acknowledged: 42,
    };
    assert_eq!(recoveries, [lost]);
}

#[test]
fn a_damaged_sealed_file_is_found_by_verify_and_set_aside_by_a_rebuild() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    open(folder.path()).0.close().unwrap();
    let sealed = &files(&folder.path().join("history"), "")[0];
    let mut bytes = fs::read(sealed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(sealed, bytes).unwrap();

    let (mut live, recoveries) = open(folder.path());
    assert!(
        recoveries.is_empty(),
        "a start from the checkpoint does not read it"
    );
    assert_eq!(live.state().events, 40);
    let damage = live.journal().verify().unwrap_err();
    assert!(
        matches!(damage, Error::Damaged { sequence: 1, .. }),
        "{damage}"
    );
    drop(live);

    fs::remove_file(folder.path().join("checkpoint")).unwrap();
    let (live, recoveries) = open(folder.path());
    assert_eq!(*live.state(), State::default());
    let [
        Recovery::Damaged {
            sequence: 1,
            path: Some(path),
            ..
        },
        Recovery::EventsLost { .. },
    ] = &recoveries[..]
    else {
        panic!("{recoveries:?}");
    };
    assert_eq!(
        files(path, "").len(),
        21,
        "the sealed file and the 20 blocks after it"
    );
}

#[test]
fn a_missing_sealed_file_is_a_gap_and_what_comes_before_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (mut live, _) = open(folder.path());
    let mut clock = TestClock::default();
    for round in 0..3 {
        live.commit(&mut clock, vec![put(round), put(round)])
            .unwrap();
        live.journal().seal().unwrap();
    }
    drop(live);
    let mut sealed = files(&folder.path().join("history"), "");
    sealed.sort();
    fs::remove_file(&sealed[1]).unwrap();
    let (mut live, recoveries) = open(folder.path());
    assert_eq!(live.state().events, 2);
    assert!(
        matches!(recoveries[0], Recovery::Damaged { sequence: 3, .. }),
        "{recoveries:?}"
    );
    live.commit(&mut clock, vec![put(9)]).unwrap();
    live.journal().verify().unwrap();
}

#[test]
fn a_journal_without_its_description_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    fs::remove_file(folder.path().join("journal.json")).unwrap();
    let refused = JournaledMachine::<Shelf>::open(folder.path(), Options::default()).err();
    assert!(matches!(refused, Some(Error::Header { .. })), "{refused:?}");
    assert!(!folder.path().join("set-aside").exists());
}

/// The shelf of another version: it knows fewer events and steps otherwise.
struct Other;

impl Machine for Other {
    type State = u64;
    type Event = OtherEvent;
    type Effect = Effect;
    type Time = Wall;

    const PROGRAM: &'static str = "shelf";
    const STEP_VERSION: u32 = 2;

    fn kind(_event: &OtherEvent) -> u16 {
        1
    }

    fn step(state: u64, _stamp: Stamp, _event: OtherEvent) -> (u64, Vec<Effect>) {
        (state + 1, Vec::new())
    }

    fn next_deadline(_state: &u64) -> Option<Wall> {
        None
    }

    fn deadline_reached() -> OtherEvent {
        OtherEvent::DeadlineReached
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
enum OtherEvent {
    Put {},
    DeadlineReached,
}

/// Nobody's shelf.
struct Stranger;

impl Machine for Stranger {
    type State = State;
    type Event = Event;
    type Effect = Effect;
    type Time = Wall;

    const PROGRAM: &'static str = "stranger";
    const STEP_VERSION: u32 = 1;

    fn kind(event: &Event) -> u16 {
        Shelf::kind(event)
    }

    fn step(state: State, stamp: Stamp, event: Event) -> (State, Vec<Effect>) {
        Shelf::step(state, stamp, event)
    }

    fn next_deadline(state: &State) -> Option<Wall> {
        Shelf::next_deadline(state)
    }

    fn deadline_reached() -> Event {
        Shelf::deadline_reached()
    }
}

#[test]
fn the_journal_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let refused = JournaledMachine::<Stranger>::open(folder.path(), Options::default()).err();
    assert!(
        matches!(refused, Some(Error::OtherProgram { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_checkpoint_of_another_version_of_the_rules_is_not_used() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    open(folder.path()).0.close().unwrap();
    let (live, opened) =
        JournaledMachine::<Other>::open(folder.path(), Options::default()).unwrap();
    assert_eq!((*live.state(), opened.replayed), (40, 40));
    assert!(matches!(
        opened.recoveries[..],
        [Recovery::CheckpointDiscarded { .. }]
    ));
}

#[test]
fn an_event_that_this_version_does_not_know_is_no_damage_and_stays_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let (mut live, _) = open(folder.path());
    live.commit(&mut TestClock::default(), vec![Event::Stop])
        .unwrap();
    drop(live);
    let refused = JournaledMachine::<Other>::open(folder.path(), Options::default()).err();
    assert!(
        matches!(
            refused,
            Some(Error::UnknownEvent {
                sequence: 41,
                kind: 5,
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(open(folder.path()).0.state().events, 41);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_byte_of_the_database_never_stops_the_start_nor_stays_untold_if_it_cost_an_event(
        place in 0.0_f64..1.0, bit in 0_u8..8, reach in 512_usize..12_000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path());
        let database = folder.path().join("tail/db");
        let mut bytes = fs::read(&database).unwrap();
        let at = (place * reach as f64) as usize % bytes.len();
        bytes[at] ^= 1 << bit;
        fs::write(&database, bytes).unwrap();
        let (mut live, recoveries) = open(folder.path());
        let last = live.position().sequence;
        prop_assert!(last >= 20, "sealed events are not at stake");
        prop_assert_eq!(live.state().events, last);
        let told = recoveries.iter().any(Recovery::is_loss);
        prop_assert_eq!(told, last < 40, "{:?}", recoveries);
        live.journal().verify().unwrap();
        live.commit(&mut TestClock::default(), vec![put(1)]).unwrap();
    }
}
