//! Fixed seeds, in every test run. More of them: `cargo run --release -p allexmaster-simulation -- --seeds 1000`.

use allexmaster_inspect::source;
use allexmaster_journal::store::FakeDisk;
use allexmaster_journal::{JournaledMachine, Options, SystemClock};
use allexmaster_simulation::{Crashes, Failure, Length, Loss, Report, run};
use allexmaster_state::Rules;
use allexmaster_state::{Event, ModuleName};

/// So many whole lives: some seconds in a debug build.
const SEEDS: u64 = 8;
/// Of the crash points of the short life every so many-th is tried; `--sweep` tries all.
const EVERY: usize = 48;

fn lives(seed: u64, length: Length, crashes: Crashes) -> Report {
    match run(seed, length, crashes) {
        Ok(report) => report,
        Err(failure) => panic!("{failure}\nagain: {}", failure.arguments()),
    }
}

#[test]
fn every_promise_holds_in_the_fixed_seeds() {
    let mut total = Report::default();
    for seed in 1..=SEEDS {
        total.add(&lives(seed, Length::Full, Crashes::usual()));
    }
    assert!(
        total.losses >= SEEDS && total.forks >= SEEDS,
        "too little happens: {total:?}"
    );
}

#[test]
fn a_crash_at_any_point_breaks_no_promise() {
    let whole = lives(1, Length::Short, Crashes::Never);
    let mut total = Report::default();
    for number in (1..=whole.crash_points).step_by(EVERY) {
        for loss in Loss::ALL {
            total.add(&lives(1, Length::Short, Crashes::At { number, loss }));
        }
    }
    assert!(
        total.kinds_covered() >= 20,
        "too few kinds of points: {total:?}"
    );
}

#[test]
fn a_seed_decides_everything() {
    let once = lives(3, Length::Full, Crashes::usual());
    let again = lives(3, Length::Full, Crashes::usual());
    assert_eq!(once.digest, again.digest);
    let another = lives(4, Length::Full, Crashes::usual());
    assert_ne!(once.digest, another.digest);
}

#[test]
fn a_failed_run_leaves_a_journal_that_the_tools_open() {
    let disk = FakeDisk::new();
    let (mut live, _) =
        JournaledMachine::<Rules>::with_store(Box::new(disk.clone()), Options::default())
            .expect("an empty disk becomes a journal");
    let module = ModuleName::from("exec:web");
    live.commit(
        &mut SystemClock,
        vec![Event::ModuleEngaged {
            module,
            request: None,
        }],
    )
    .expect("the disk takes it");
    let failure = Failure {
        seed: 7,
        length: Length::Short,
        crashes: Crashes::At {
            number: 3,
            loss: Loss::Engine,
        },
        at: 0,
        what: "an example".to_owned(),
        disks: vec![disk],
    };
    assert_eq!(
        failure.arguments(),
        "--seed 7 --short --crash-at 3 --lose engine"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let paths = failure.keep(folder.path()).expect("the journal is kept");
    let mut kept = source::open(&paths[0]).expect("the tools open it");
    let end = kept.end().expect("it can be read to its end");
    assert_eq!(end, live.position());
}
