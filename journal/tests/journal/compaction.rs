//! Old history goes, what it led to stays, and nothing that was not proved goes.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use allexmaster_journal::store::{FakeDisk, Fault};
use allexmaster_journal::{
    Base, Bounds, Compaction, CompactionRequest, Error, Journal, JournaledMachine, Machine,
    Options, Recovery, Stamp, Wall,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::support::{Effect, Event, Shelf, State, TestClock, put};

/// All that can go goes.
const ALL: CompactionRequest = CompactionRequest {
    keep: 0,
    most_bytes: None,
    dry_run: false,
    cut: false,
};

fn open<M: Machine>(disk: &FakeDisk) -> Result<JournaledMachine<M>, Error> {
    let (live, opened) = JournaledMachine::with_store(Box::new(disk.clone()), Options::default())?;
    assert!(opened.recoveries.is_empty(), "{:?}", opened.recoveries);
    Ok(live)
}

/// Events in blocks of ten, each sealed and with a checkpoint; then some that are not sealed.
fn fill(live: &mut JournaledMachine<Shelf>, clock: &mut TestClock, blocks: u64, unsealed: u64) {
    for number in 0..blocks * 10 {
        live.commit(clock, vec![put(number)]).unwrap();
        if number % 10 == 9 {
            live.make_checkpoint().unwrap();
            live.journal().seal().unwrap();
        }
    }
    for number in 0..unsealed {
        live.commit(clock, vec![put(number)]).unwrap();
    }
}

fn filled(disk: &FakeDisk, blocks: u64, unsealed: u64) -> JournaledMachine<Shelf> {
    let mut live = open(disk).unwrap();
    fill(&mut live, &mut TestClock::default(), blocks, unsealed);
    live
}

fn numbers(journal: &mut Journal<Shelf>) -> Vec<u64> {
    let (from, mut seen) = (journal.start().sequence + 1, Vec::new());
    let visited = journal.visit(from, |record| {
        seen.push(record.stamp.sequence);
        ControlFlow::Continue(())
    });
    visited.unwrap();
    seen
}

#[test]
fn after_a_compaction_the_journal_verifies_and_leads_to_the_same_state() {
    let disk = FakeDisk::new();
    let mut live = filled(&disk, 3, 5);
    let (state, position) = (live.state().clone(), live.position());
    assert_eq!(live.journal().format(), (1, 0));
    let told = live.journal().compact(ALL).unwrap();
    assert_eq!((told.first, told.through, told.last), (1, 30, 35));
    assert!(told.done && told.events() == 30 && told.freed_bytes > 0 && told.kept_bytes == 0);
    assert_eq!(live.journal().format(), (2, 0));
    drop(live);
    disk.spoil_checkpoint();
    let (mut live, opened) =
        JournaledMachine::<Shelf>::with_store(Box::new(disk), Options::default()).unwrap();
    assert_eq!((opened.checkpoint, opened.replayed), (None, 5));
    assert_eq!((live.state(), live.position()), (&state, position));
    live.journal().verify().unwrap();
    assert_eq!(numbers(live.journal()), (31..=35).collect::<Vec<_>>());
    let refused = live.journal().records(30).err().unwrap();
    assert!(matches!(
        refused,
        Error::Compacted {
            asked: 30,
            first: 31
        }
    ));
}

#[test]
fn a_compacted_journal_goes_on_and_is_compacted_again() {
    let disk = FakeDisk::new();
    let mut live = filled(&disk, 3, 0);
    let mut clock = TestClock::default();
    for round in 1..4 {
        let told = live.journal().compact(ALL).unwrap();
        assert_eq!(told.through, live.position().sequence);
        assert_eq!(numbers(live.journal()), [0; 0], "nothing is left to read");
        fill(&mut live, &mut clock, 1, round);
        live.make_checkpoint().unwrap();
        live.journal().seal().unwrap();
        let state = live.state().clone();
        drop(live);
        disk.spoil_checkpoint();
        let opened =
            JournaledMachine::<Shelf>::with_store(Box::new(disk.clone()), Options::default());
        live = opened.unwrap().0;
        assert_eq!(*live.state(), state);
        live.make_checkpoint().unwrap();
    }
}

#[test]
fn what_is_younger_than_wished_stays_and_a_dry_run_removes_nothing() {
    let disk = FakeDisk::new();
    // One millisecond for each event, and one for each entropy that was asked for between.
    let mut live = filled(&disk, 4, 2);
    let last = live.position().at;
    let end_of = |live: &mut JournaledMachine<Shelf>, sequence| {
        let next = live.journal().records(sequence).unwrap().next();
        next.unwrap().unwrap().stamp.at.0
    };
    let keep = last - end_of(&mut live, 20);
    let wish = |keep| CompactionRequest {
        keep,
        dry_run: true,
        cut: false,
        ..ALL
    };
    let through =
        |live: &mut JournaledMachine<Shelf>, wish| live.journal().compact(wish).unwrap().through;
    assert_eq!(through(&mut live, wish(keep)), 20);
    assert_eq!(through(&mut live, wish(keep + 1)), 10);
    assert_eq!(through(&mut live, wish(u64::MAX)), 0);
    let told = live.journal().compact(wish(0)).unwrap();
    assert_eq!((told.through, told.done), (40, false));
    assert_eq!(live.journal().format(), (1, 0));
    assert_eq!(numbers(live.journal()).len(), 42);
    // A bound on the size counts, however young the events are.
    let half = CompactionRequest {
        keep: u64::MAX,
        most_bytes: Some(told.freed_bytes * 6 / 10),
        dry_run: false,
        cut: false,
    };
    assert_eq!(through(&mut live, half), 20);
}

#[test]
fn without_a_checkpoint_that_fits_nothing_goes() {
    let disk = FakeDisk::new();
    let mut live = open::<Shelf>(&disk).unwrap();
    let mut clock = TestClock::default();
    live.commit(&mut clock, vec![put(1)]).unwrap();
    live.journal().seal().unwrap();
    let refused = live.journal().compact(ALL).unwrap_err();
    assert!(matches!(&refused, Error::NoCheckpoint { why } if why == "there is none"));
    live.make_checkpoint().unwrap();
    disk.spoil_checkpoint();
    let refused = live.journal().compact(ALL).unwrap_err();
    assert!(matches!(refused, Error::NoCheckpoint { .. }));
    assert_eq!(numbers(live.journal()), [1]);
}

#[test]
fn nothing_past_the_checkpoint_goes() {
    let disk = FakeDisk::new();
    let mut live = filled(&disk, 2, 10);
    live.journal().seal().unwrap();
    assert_eq!(live.journal().sealed_through(), 30);
    assert_eq!(live.journal().compact(ALL).unwrap().through, 20);
}

#[test]
fn a_failing_disk_leaves_the_journal_as_it_was() {
    let disk = FakeDisk::new();
    let mut live = filled(&disk, 2, 1);
    disk.fail_next(Fault::Base);
    assert!(live.journal().compact(ALL).is_err());
    assert_eq!(numbers(live.journal()).len(), 21);
    live.commit(&mut TestClock::default(), vec![put(1)])
        .unwrap();
    assert_eq!(live.journal().compact(ALL).unwrap().through, 20);
}

#[test]
fn what_is_damaged_goes_without_a_replay_of_it() {
    let disk = FakeDisk::new();
    let mut live = filled(&disk, 3, 1);
    disk.damage(|first, bytes| {
        if first == 11 {
            bytes[100] ^= 1;
        }
    });
    let told = live.journal().compact(ALL).unwrap();
    assert_eq!((told.through, told.last), (30, 31));
    live.journal().verify().unwrap();
    let state = live.state().clone();
    drop(live);
    assert_eq!(open::<Shelf>(&disk).unwrap().state(), &state);
}

/// The shelf of a later version: it counts what was taken, and counts events twice.
#[derive(Debug)]
struct LaterShelf;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct LaterState {
    #[serde(flatten)]
    shelf: State,
    #[serde(default)]
    taken: u64,
}

impl Machine for LaterShelf {
    type State = LaterState;
    type Event = Event;
    type Effect = Effect;
    type Time = Wall;

    const PROGRAM: &'static str = Shelf::PROGRAM;
    const STEP_VERSION: u32 = Shelf::STEP_VERSION + 1;

    fn kind(event: &Event) -> u16 {
        Shelf::kind(event)
    }

    fn step(mut state: LaterState, stamp: Stamp, event: Event) -> (LaterState, Vec<Effect>) {
        state.taken += u64::from(matches!(event, Event::Taken { .. }));
        let (shelf, effects) = Shelf::step(state.shelf, stamp, event);
        let taken = state.taken;
        (LaterState { shelf, taken }, effects)
    }

    fn next_deadline(state: &LaterState) -> Option<Wall> {
        Shelf::next_deadline(&state.shelf)
    }

    fn deadline_reached() -> Event {
        Shelf::deadline_reached()
    }
}

#[test]
fn later_rules_begin_with_the_state_that_older_ones_left() {
    let disk = FakeDisk::new();
    let mut live = filled(&disk, 2, 3);
    live.journal().compact(ALL).unwrap();
    let before = live.state().clone();
    drop(live);
    let opened =
        JournaledMachine::<LaterShelf>::with_store(Box::new(disk.clone()), Options::default());
    let (mut later, opened) = opened.unwrap();
    assert!(matches!(
        opened.recoveries[..],
        [Recovery::CheckpointDiscarded { .. }]
    ));
    assert_eq!(opened.replayed, 3);
    assert_eq!(later.state().shelf, before);
    // The next base is of the later rules, and the older ones refuse it.
    let taken = Event::Taken {
        name: "thing 1".to_owned(),
    };
    later
        .commit(&mut TestClock::default(), vec![taken])
        .unwrap();
    later.make_checkpoint().unwrap();
    later.journal().seal().unwrap();
    later.journal().compact(ALL).unwrap();
    assert_eq!(later.journal().base().unwrap().step_version(), 2);
    assert_eq!(later.journal().base_state().unwrap().taken, 1);
    drop(later);
    let refused = open::<Shelf>(&disk).err().unwrap();
    assert!(matches!(
        refused,
        Error::NewerBase {
            made_by: 2,
            known: 1
        }
    ));
}

/// Rules that changed, and were not given a new version.
#[derive(Debug)]
struct Unversioned;

impl Machine for Unversioned {
    type State = State;
    type Event = Event;
    type Effect = Effect;
    type Time = Wall;

    const PROGRAM: &'static str = Shelf::PROGRAM;
    const STEP_VERSION: u32 = Shelf::STEP_VERSION;

    fn kind(event: &Event) -> u16 {
        Shelf::kind(event)
    }

    fn step(state: State, stamp: Stamp, event: Event) -> (State, Vec<Effect>) {
        let (mut state, effects) = Shelf::step(state, stamp, event);
        state.rung += 1;
        (state, effects)
    }

    fn next_deadline(state: &State) -> Option<Wall> {
        Shelf::next_deadline(state)
    }

    fn deadline_reached() -> Event {
        Shelf::deadline_reached()
    }
}

#[test]
fn where_the_events_lead_elsewhere_than_the_checkpoint_nothing_goes() {
    let disk = FakeDisk::new();
    drop(filled(&disk, 2, 0));
    let mut live = open::<Unversioned>(&disk).unwrap();
    let refused = live.journal().compact(ALL).unwrap_err();
    assert!(matches!(refused, Error::CheckpointDiffers { sequence: 20 }));
    assert_eq!(live.journal().start().sequence, 0);
}

/// A compacted journal in a folder, with three events after its base.
fn compacted_folder(folder: &Path) -> State {
    let (mut live, _) = JournaledMachine::<Shelf>::open(folder, Options::default()).unwrap();
    fill(&mut live, &mut TestClock::default(), 2, 3);
    live.journal().compact(ALL).unwrap();
    live.state().clone()
}

fn remove_checkpoint(folder: &Path) {
    fs::remove_file(folder.join("checkpoint")).unwrap();
}

#[test]
fn one_good_copy_of_the_base_is_enough_and_makes_the_other_one_again() {
    for name in ["base", "base-copy"] {
        let folder = tempfile::tempdir().unwrap();
        let state = compacted_folder(folder.path());
        remove_checkpoint(folder.path());
        let whole = fs::read(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name), &whole[..whole.len() / 2]).unwrap();
        let (live, opened) =
            JournaledMachine::<Shelf>::open(folder.path(), Options::default()).unwrap();
        assert_eq!(opened.recoveries, [Recovery::BaseCopied]);
        assert_eq!(*live.state(), state);
        assert_eq!(fs::read(folder.path().join(name)).unwrap(), whole);
    }
}

#[test]
fn no_flipped_byte_and_no_cut_makes_another_state_of_a_base() {
    let folder = tempfile::tempdir().unwrap();
    compacted_folder(folder.path());
    let journal = Journal::<Shelf>::read_only(folder.path()).unwrap();
    let (identity, bytes) = (journal.identity(), journal.base().unwrap().bytes().to_vec());
    let refused = |bytes: &[u8]| {
        let read = Base::read::<Shelf>(identity, bytes);
        assert!(matches!(read, Err(Error::BaseDamaged { .. })));
    };
    for index in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 1;
        refused(&damaged);
        refused(&bytes[..index]);
    }
    let of_another = Base::read::<Shelf>(Uuid::from_u128(7), &bytes);
    assert!(matches!(of_another, Err(Error::BaseDamaged { .. })));
}

#[test]
fn without_a_usable_base_the_journal_is_refused_and_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    compacted_folder(folder.path());
    for name in ["base", "base-copy"] {
        fs::write(folder.path().join(name), b"worn out").unwrap();
    }
    let refused = JournaledMachine::<Shelf>::open(folder.path(), Options::default());
    assert!(matches!(refused, Err(Error::BaseDamaged { .. })));
    let refused = Journal::<Shelf>::read_only(folder.path());
    assert!(matches!(refused, Err(Error::BaseDamaged { .. })));
    assert_eq!(fs::read(folder.path().join("base")).unwrap(), b"worn out");
    assert!(!folder.path().join("set-aside").exists());
}

#[test]
fn a_newer_base_with_all_that_it_replaces_still_there_is_used_and_the_waste_removed() {
    // As a kill leaves it between the two copies, and before the removal.
    let folder = tempfile::tempdir().unwrap();
    let (mut live, _) = JournaledMachine::<Shelf>::open(folder.path(), Options::default()).unwrap();
    fill(&mut live, &mut TestClock::default(), 3, 2);
    let state = live.state().clone();
    let history = folder.path().join("history");
    let listed = || fs::read_dir(&history).unwrap().count();
    let kept = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(&history).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, kept.path().join(path.file_name().unwrap())).unwrap();
    }
    live.journal().compact(ALL).unwrap();
    drop(live);
    assert_eq!(listed(), 0);
    for entry in fs::read_dir(kept.path()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, history.join(path.file_name().unwrap())).unwrap();
    }
    fs::remove_file(folder.path().join("base-copy")).unwrap();
    remove_checkpoint(folder.path());
    let mut journal = Journal::<Shelf>::read_only(folder.path()).unwrap();
    assert_eq!(numbers(&mut journal), [31, 32]);
    let (mut live, opened) =
        JournaledMachine::<Shelf>::open(folder.path(), Options::default()).unwrap();
    assert_eq!(opened.recoveries, [Recovery::BaseCopied]);
    assert_eq!((live.state(), listed()), (&state, 3));
    assert!(live.maintain().unwrap().is_none());
    assert_eq!(listed(), 0);
}

/// Turns until a compaction has come to its end.
fn turn(live: &mut JournaledMachine<Shelf>) -> Compaction {
    loop {
        if let Some(end) = live.maintain().unwrap() {
            return end.unwrap();
        }
        assert!(live.is_compacting());
        std::thread::yield_now();
    }
}

#[test]
fn a_running_machine_keeps_its_history_within_its_bounds() {
    let disk = FakeDisk::new();
    let size = filled(&disk, 20, 0).journal().compact(CompactionRequest {
        dry_run: true,
        cut: false,
        ..ALL
    });
    let size = size.unwrap().freed_bytes;
    let with = |bounds| {
        let options = Options {
            bounds: Some(bounds),
            ..Options::default()
        };
        JournaledMachine::<Shelf>::with_store(Box::new(disk.clone()), options)
            .unwrap()
            .0
    };
    let unbounded = Bounds {
        keep: 0,
        most_bytes: 0,
    };
    let mut live = with(unbounded);
    assert!(live.maintain().unwrap().is_none() && !live.is_compacting());
    let just_fits = Bounds {
        most_bytes: size,
        ..unbounded
    };
    live = with(just_fits);
    assert!(live.maintain().unwrap().is_none() && !live.is_compacting());
    live = with(Bounds {
        most_bytes: size - 1,
        ..unbounded
    });
    let told = turn(&mut live);
    assert!(told.done && told.kept_bytes <= size * 3 / 4 && told.kept_bytes > size / 2);
    let age = live.position().at - told.through_at;
    drop(live);
    live = with(Bounds {
        keep: age,
        most_bytes: 0,
    });
    assert!(live.maintain().unwrap().is_none() && !live.is_compacting());
    drop(live);
    live = with(Bounds {
        keep: age / 2,
        most_bytes: 0,
    });
    let told = turn(&mut live);
    assert!(live.position().at - told.through_at >= age / 2);
    assert_eq!(live.journal().start().sequence, told.through);
    live.journal().verify().unwrap();
}

#[test]
fn events_come_in_while_a_running_machine_compacts_and_whoever_asked_is_told() {
    let disk = FakeDisk::new();
    let mut live = filled(&disk, 10, 0);
    let mut clock = TestClock::default();
    let mut answered = live.journal().compact_in_background(ALL);
    let mut second = live.journal().compact_in_background(ALL);
    assert!(matches!(second.try_recv(), Ok(Err(Error::Compacting))));
    let told = loop {
        live.commit(&mut clock, vec![put(1)]).unwrap();
        live.maintain().unwrap();
        if let Ok(end) = answered.try_recv() {
            break end.unwrap();
        }
    };
    assert_eq!((told.first, told.through, told.done), (1, 100, true));
    let state = live.state().clone();
    drop(live);
    assert_eq!(*open::<Shelf>(&disk).unwrap().state(), state);
    // What is refused in the background is told, too, and the journal goes on.
    disk.spoil_checkpoint();
    let opened = JournaledMachine::<Shelf>::with_store(Box::new(disk), Options::default());
    let mut live = opened.unwrap().0;
    let mut answered = live.journal().compact_in_background(ALL);
    let refused = answered.try_recv().unwrap();
    assert!(matches!(refused, Err(Error::NoCheckpoint { .. })));
    live.commit(&mut clock, vec![put(2)]).unwrap();
}
