//! Damage in the files of a real journal: what is not damaged can be read on both sides of it, the holes
//! are named exactly, and a start finds the state that life had.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use allexmaster_journal::{
    CompactionRequest, Hole, Journal, JournaledMachine, Options, Passage, Recovery, Survey,
};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::support::{Shelf, State, TestClock, put};

/// So many sealed files, of so many events each; and so many events that are not sealed.
const FILES: u64 = 6;
const EVENTS: u64 = 10;
const UNSEALED: u64 = 5;
const LAST: u64 = FILES * EVENTS + UNSEALED;

/// All that is damaged goes.
const CUT: CompactionRequest = CompactionRequest {
    keep: u64::MAX,
    most_bytes: None,
    dry_run: false,
    cut: true,
};

struct Original {
    folder: TempDir,
    /// The state after each number of events.
    states: Vec<State>,
}

impl Original {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut live, _) = open(folder.path());
        let (mut clock, mut states) = (TestClock::default(), vec![State::default()]);
        for number in 1..=LAST {
            live.commit(&mut clock, vec![put(number)]).unwrap();
            states.push(live.state().clone());
            if number.is_multiple_of(EVENTS) && number <= FILES * EVENTS {
                live.seal().unwrap();
            }
        }
        Self { folder, states }
    }

    /// A copy that may be damaged.
    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(self.folder.path(), copy.path());
        copy
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn open(folder: &Path) -> (JournaledMachine<Shelf>, Vec<Recovery>) {
    let (live, opened) = JournaledMachine::open(folder, Options::default()).unwrap();
    (live, opened.recoveries)
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip(usize),
    Cut(usize),
    Emptied,
    Deleted,
}

impl Damage {
    fn to(self, file: &Path) {
        let mut bytes = fs::read(file).unwrap();
        match self {
            Self::Flip(place) => {
                let place = place % bytes.len();
                bytes[place] ^= 1 << (place % 8);
            }
            Self::Cut(place) => bytes.truncate(place % bytes.len()),
            Self::Emptied => bytes.clear(),
            Self::Deleted => return fs::remove_file(file).unwrap(),
        }
        fs::write(file, bytes).unwrap();
    }
}

fn sealed(folder: &Path, number: u64) -> PathBuf {
    let (first, last) = ((number - 1) * EVENTS + 1, number * EVENTS);
    folder.join(format!("history/{first:020}-{last:020}.sealed"))
}

fn state(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("states/{:020}.state", number * EVENTS))
}

/// What a reader is shown.
fn shown(folder: &Path) -> (Vec<u64>, Vec<Hole>) {
    let mut journal = Journal::<Shelf>::read_only(folder).unwrap();
    let (mut records, mut holes) = (Vec::new(), Vec::new());
    let end = journal.pass(1, |passage| {
        match passage {
            Passage::Record(record) => records.push(record.stamp.sequence),
            Passage::Hole(hole) => holes.push(hole.clone()),
        }
        ControlFlow::Continue(())
    });
    end.unwrap();
    (records, holes)
}

fn in_files(files: &BTreeSet<u64>) -> Vec<u64> {
    let file = |sequence: &u64| (sequence - 1) / EVENTS + 1;
    (1..=LAST).filter(|at| files.contains(&file(at))).collect()
}

fn numbers(holes: &[Hole]) -> Vec<u64> {
    holes
        .iter()
        .flat_map(|hole| hole.first..=hole.last)
        .collect()
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        3 => any::<usize>().prop_map(Damage::Flip),
        1 => any::<usize>().prop_map(Damage::Cut),
        1 => Just(Damage::Emptied),
        1 => Just(Damage::Deleted),
    ]
}

fn some_files() -> impl Strategy<Value = BTreeSet<u64>> {
    proptest::collection::btree_set(1..=FILES, 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_files_are_damaged_the_others_are_read_and_life_goes_on(
        files in some_files(),
        states in some_files(),
        checkpoint in any::<bool>(),
        how in damage(),
    ) {
        let original = Original::new();
        let copy = original.copy();
        let folder = copy.path();
        for file in &files {
            how.to(&sealed(folder, *file));
        }
        for file in &states {
            how.to(&state(folder, *file));
        }
        if checkpoint {
            how.to(&folder.join("checkpoint"));
        }
        // Every event that verifies is shown, and the others are told in holes.
        let gone = in_files(&files);
        let (records, holes) = shown(folder);
        let good: Vec<u64> = (1..=LAST).filter(|at| !gone.contains(at)).collect();
        prop_assert_eq!(&records, &good);
        prop_assert_eq!(&numbers(&holes), &gone);
        let mut reader = Journal::<Shelf>::read_only(folder).unwrap();
        let found = Survey::default().look(&reader.span().unwrap());
        prop_assert_eq!(numbers(&found), gone);
        // Behind each hole a replay goes on from a true state.
        for hole in &holes {
            if let Some(kept) = reader.state_from(hole.last).unwrap() {
                let at = kept.position().sequence;
                let state = kept.state::<Shelf>(reader.identity()).unwrap();
                prop_assert_eq!(&state, &original.states[usize::try_from(at).unwrap()]);
            }
        }
        drop(reader);
        // A start finds the state of life wherever a state behind the last damaged file is left.
        let last = files.last().copied().unwrap_or(0);
        let left = (last.max(1)..=FILES).any(|file| !states.contains(&file));
        let (live, recoveries) = open(folder);
        let aside = recoveries.iter().any(|repair| matches!(repair, Recovery::Damaged { .. }));
        if left || !checkpoint || files.is_empty() {
            prop_assert!(!aside, "{:?}", recoveries);
            prop_assert_eq!(live.state(), original.states.last().unwrap());
            prop_assert_eq!(live.position().sequence, LAST);
        } else {
            let reached = usize::try_from(live.position().sequence).unwrap();
            prop_assert_eq!(live.state(), &original.states[reached]);
        }
        // A compaction cuts out what is damaged, and life goes on.
        let mut live = live;
        live.make_checkpoint().unwrap();
        let before = live.state().clone();
        live.journal().compact(CUT).unwrap();
        live.journal().verify().unwrap();
        live.commit(&mut TestClock::default(), vec![put(1)]).unwrap();
        let after = live.state().clone();
        drop(live);
        prop_assert!(shown_from_start(folder).is_empty());
        let (live, recoveries) = open(folder);
        prop_assert!(recoveries.is_empty(), "{:?}", recoveries);
        prop_assert_eq!(live.state(), &after);
        prop_assert_ne!(before.events, after.events);
    }
}

/// The holes of a journal from where it begins.
fn shown_from_start(folder: &Path) -> Vec<Hole> {
    let mut journal = Journal::<Shelf>::read_only(folder).unwrap();
    let mut holes = Vec::new();
    let from = journal.start().sequence + 1;
    let end = journal.pass(from, |passage| {
        if let Passage::Hole(hole) = passage {
            holes.push(hole.clone());
        }
        ControlFlow::Continue(())
    });
    end.unwrap();
    holes
}

#[test]
fn a_hole_is_told_with_its_file_and_only_once() {
    let original = Original::new();
    let copy = original.copy();
    let folder = copy.path();
    Damage::Flip(77).to(&sealed(folder, 1));
    fs::remove_file(folder.join("checkpoint")).unwrap();
    let (_, holes) = shown(folder);
    let told = holes[0].to_string();
    assert!(told.starts_with("events 1 to 10 are damaged ("), "{told}");
    assert!(told.contains(sealed(folder, 1).to_str().unwrap()), "{told}");
    assert_eq!(holes.len(), 1);
    assert!(!folder.join("set-aside").exists());
}

#[test]
fn a_journal_is_sealed_and_compacted_over_a_hole() {
    let original = Original::new();
    let copy = original.copy();
    let folder = copy.path();
    Damage::Deleted.to(&sealed(folder, FILES));
    let (mut live, _) = open(folder);
    for number in 0..20 {
        live.commit(&mut TestClock::default(), vec![put(number)])
            .unwrap();
    }
    live.seal().unwrap();
    let (records, holes) = shown(folder);
    assert_eq!(numbers(&holes), in_files(&BTreeSet::from([FILES])));
    assert_eq!(records.last(), Some(&(LAST + 20)));
    // One that is not to cut removes what is old, and leaves the hole in what stays.
    let most_bytes = Some(1000);
    let request = CompactionRequest {
        most_bytes,
        cut: false,
        ..CUT
    };
    let told = live.journal().compact(request).unwrap();
    assert!(told.through > 0 && told.done, "{told:?}");
    let state = live.state().clone();
    drop(live);
    assert_eq!(open(folder).0.state(), &state);
}
