//! Random lives on a disk that crashes: what comes back is always what was recorded.

use allexmaster_journal::store::{FakeDisk, Fault};
use allexmaster_journal::{JournaledMachine, Machine, Options, Recovery};
use proptest::prelude::*;

use crate::support::{Event, Shelf, State, TestClock, put};

#[derive(Clone, Debug)]
enum Deed {
    Commit(u8),
    /// The disk fails under a commit; then the power goes, with so many bytes surviving.
    FailAndCrash {
        events: u8,
        fault: bool,
        kept: usize,
    },
    Checkpoint,
    Seal,
    Kill,
    Close,
    /// The checkpoint goes bad.
    SpoilCheckpoint,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        6 => (0_u8..20).prop_map(Deed::Commit),
        3 => (1_u8..20, any::<bool>(), 0_usize..3000)
            .prop_map(|(events, fault, kept)| Deed::FailAndCrash { events, fault, kept }),
        1 => Just(Deed::Checkpoint),
        1 => Just(Deed::Seal),
        2 => Just(Deed::Kill),
        1 => Just(Deed::Close),
        1 => Just(Deed::SpoilCheckpoint),
    ];
    proptest::collection::vec(deed, 1..40)
}

fn settings(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn events(count: u8) -> Vec<Event> {
    let event = |number| match number % 5 {
        0 => Event::Taken {
            name: format!("thing {}", number % 10),
        },
        1 => Event::AlarmSet { at: number },
        _ => put(number),
    };
    (0..u64::from(count)).map(event).collect()
}

fn reopen(disk: &FakeDisk) -> (JournaledMachine<Shelf>, Vec<Recovery>) {
    let opened = JournaledMachine::with_store(Box::new(disk.clone()), Options::default());
    let (live, opened) = opened.unwrap();
    (live, opened.recoveries)
}

/// The state by the word of the records alone.
fn replayed(live: &mut JournaledMachine<Shelf>) -> State {
    let records = live.journal().records(1).unwrap();
    records.fold(State::default(), |state, record| {
        let record = record.unwrap();
        Shelf::step(state, record.stamp, record.event).0
    })
}

fn live_through(deeds: Vec<Deed>) {
    let disk = FakeDisk::new();
    let mut clock = TestClock::default();
    let (mut live, _) = reopen(&disk);
    let mut acknowledged = 0;
    for deed in deeds {
        match deed {
            Deed::Commit(count) => {
                live.commit(&mut clock, events(count)).unwrap();
                acknowledged += u64::from(count);
            }
            Deed::FailAndCrash {
                events: count,
                fault,
                kept,
            } => {
                let before = live.state().clone();
                disk.fail_next(if fault { Fault::Write } else { Fault::Sync });
                live.commit(&mut clock, events(count)).unwrap_err();
                assert_eq!(*live.state(), before, "stepped though not durable");
                live.commit(&mut clock, events(1)).unwrap_err();
                disk.crash(kept);
                let (again, recoveries) = reopen(&disk);
                live = again;
                assert!(!recoveries.iter().any(Recovery::is_loss), "{recoveries:?}");
            }
            Deed::Checkpoint => live.make_checkpoint().unwrap(),
            Deed::Seal => live.journal().seal().unwrap(),
            Deed::Kill => {
                disk.crash(0);
                let (again, recoveries) = reopen(&disk);
                live = again;
                assert!(!recoveries.iter().any(Recovery::is_loss), "{recoveries:?}");
            }
            Deed::Close => {
                live.close().unwrap();
                live = reopen(&disk).0;
            }
            Deed::SpoilCheckpoint => disk.spoil_checkpoint(),
        }
        let last = live.position().sequence;
        assert!(
            last >= acknowledged,
            "{acknowledged} acknowledged, {last} there"
        );
        acknowledged = last;
        let state = replayed(&mut live);
        assert_eq!(*live.state(), state);
        assert_eq!(live.state().events, last);
    }
    live.journal().verify().unwrap();
}

proptest! {
    #![proptest_config(settings(60))]

    #[test]
    fn replay_equals_life_through_commits_crashes_and_openings(deeds in deeds()) {
        live_through(deeds);
    }

    #[test]
    fn damage_anywhere_leaves_a_state_that_is_the_sum_of_the_records_before_it(
        at in 0_usize..6000, bit in 0_u8..8, sealed in any::<bool>(), checkpoint in any::<bool>(),
    ) {
        let disk = FakeDisk::new();
        let mut clock = TestClock::default();
        let (mut live, _) = reopen(&disk);
        for round in 0..5 {
            live.commit(&mut clock, events(10)).unwrap();
            if round == 2 && sealed {
                live.journal().seal().unwrap();
            }
            if round == 3 && checkpoint {
                live.make_checkpoint().unwrap();
            }
        }
        let length = std::cell::Cell::new(0);
        disk.damage(|_, bytes| {
            let start = length.replace(length.get() + bytes.len());
            if let Some(byte) = at.checked_sub(start).and_then(|offset| bytes.get_mut(offset)) {
                *byte ^= 1 << bit;
            }
        });
        let damaged = at < length.get();
        let (mut live, recoveries) = reopen(&disk);
        let lost = recoveries.iter().any(Recovery::is_loss);
        if lost {
            prop_assert!(damaged);
            prop_assert!(!disk.aside().is_empty(), "the bytes are kept");
        }
        // Damage before the checkpoint is not looked for at every start, but found when asked for.
        prop_assert_eq!(damaged, lost || live.journal().verify().is_err());
        if lost {
            let state = replayed(&mut live);
            prop_assert_eq!(live.state(), &state);
        }
        live.commit(&mut clock, events(3)).unwrap();
    }
}
