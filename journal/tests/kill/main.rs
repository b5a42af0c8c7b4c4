//! Killed at any moment, by `kill -9` and at each named point: no acknowledged event is lost.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails the test")]

#[path = "../journal/support.rs"]
mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use allexmaster_journal::{CompactionRequest, JournaledMachine, Options};
use allexmaster_testkit::chance::Chance;
use allexmaster_testkit::harness::run;
use allexmaster_testkit::tests;

use crate::support::{Shelf, TestClock, put};

/// The first argument of the program where it is the process that the tests kill; the folder follows,
/// and a failpoint.
const WRITER: &str = "writer";
const KILLS: u32 = 30;
const ALL_THAT_CAN_GO: CompactionRequest = CompactionRequest {
    keep: 0,
    most_bytes: None,
    dry_run: false,
    cut: false,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [WRITER, folder] => write(Path::new(folder), None),
        [WRITER, folder, failpoint] => write(Path::new(folder), Some(failpoint)),
        _ => {
            return run(tests![
                thirty_kills_lose_no_acknowledged_event_and_every_start_succeeds,
                death_at_each_named_point_is_survived,
                death_at_each_point_of_a_compaction_is_survived,
            ]);
        }
    }
    ExitCode::SUCCESS
}

/// Appends for ever, and says what was acknowledged, until nobody listens.
fn write(folder: &Path, failpoint: Option<&str>) {
    let options = Options {
        failpoint: failpoint.map(|setting| setting.parse().unwrap()),
        ..Options::default()
    };
    let (mut live, opened) = JournaledMachine::<Shelf>::open(folder, options).unwrap();
    let mut clock = TestClock::default();
    let mut output = std::io::stdout();
    let tell = |output: &mut std::io::Stdout, last: u64| {
        writeln!(output, "acknowledged {last}").and_then(|()| output.flush())
    };
    let mut told = tell(&mut output, opened.last);
    for (round, size) in [1, 64, 3, 200, 1, 1, 30].into_iter().cycle().enumerate() {
        live.commit(&mut clock, (0..size).map(put).collect())
            .unwrap();
        told = told.and_then(|()| tell(&mut output, live.position().sequence));
        if told.is_err() {
            return;
        }
        // Far more often than in production, so that kills meet it.
        if round % 8 == 7 {
            live.make_checkpoint().unwrap();
            live.journal().seal().unwrap();
            // Whoever asks for the answer has gone.
            drop(live.journal().compact_in_background(ALL_THAT_CAN_GO));
            // Every second one comes to its end before there is more; the others end whenever they do.
            while round % 16 == 15 && live.is_compacting() {
                live.maintain().unwrap();
                std::thread::yield_now();
            }
        }
        live.maintain().unwrap();
    }
}

fn start_writer(folder: &Path, failpoint: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(WRITER).arg(folder).args(failpoint);
    let quiet = command.stdout(Stdio::piped()).stderr(Stdio::null());
    quiet.spawn().unwrap()
}

/// The last number that the writer said before its end, or before it has said `most` numbers.
fn last_acknowledged(writer: &mut Child, most: usize) -> u64 {
    let output = BufReader::new(writer.stdout.as_mut().unwrap());
    let numbers = output.lines().map_while(|line| {
        let line = line.ok()?;
        Some(
            line.strip_prefix("acknowledged ")
                .map(|number| number.parse::<u64>().unwrap()),
        )
    });
    numbers.flatten().take(most).last().unwrap_or(0)
}

/// Opens what the killed writer left, and makes sure that nothing acknowledged is missing.
fn inspect(folder: &Path, acknowledged: u64) -> u64 {
    let (live, opened) = JournaledMachine::<Shelf>::open(folder, Options::default()).unwrap();
    let lost: Vec<String> = opened
        .recoveries
        .iter()
        .filter(|recovery| recovery.is_loss())
        .map(ToString::to_string)
        .collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(
        opened.last >= acknowledged,
        "{} < {acknowledged}",
        opened.last
    );
    assert_eq!(live.state().events, opened.last);
    opened.last
}

fn thirty_kills_lose_no_acknowledged_event_and_every_start_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let mut chance = Chance::new(12_345);
    let mut last = 0;
    for _ in 0..KILLS {
        let most = chance.below(30);
        let mut writer = start_writer(folder.path(), None);
        let acknowledged = last_acknowledged(&mut writer, most);
        writer.kill().unwrap();
        writer.wait().unwrap();
        last = inspect(folder.path(), acknowledged.max(last));
    }
    assert!(last > 2_000, "kills met seals, too");
    let (mut live, _) = JournaledMachine::<Shelf>::open(folder.path(), Options::default()).unwrap();
    live.journal().verify().unwrap();
    let removed = live.journal().start().sequence;
    assert!(removed > 1_000, "kills met compactions, too: {removed}");
}

fn death_at_each_named_point_is_survived() {
    // Event 20 is in the second batch; the first ends with event 1.
    for (failpoint, left) in [
        ("received:20", 1..=1),
        ("appended:20", 1..=65),
        ("durable:20", 65..=65),
        ("stepped:20", 65..=65),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = start_writer(folder.path(), Some(failpoint));
        assert_eq!(last_acknowledged(&mut writer, usize::MAX), 1, "{failpoint}");
        assert!(!writer.wait().unwrap().success());
        let last = inspect(folder.path(), 1);
        assert!(left.contains(&last), "{failpoint}: {last}");
    }
}

fn death_at_each_point_of_a_compaction_is_survived() {
    for (failpoint, begins_after) in [
        ("compaction-verified:1", false),
        ("format-raised:1", false),
        ("base-written:1", true),
        ("history-released:1", true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = start_writer(folder.path(), Some(failpoint));
        let acknowledged = last_acknowledged(&mut writer, usize::MAX);
        assert!(!writer.wait().unwrap().success());
        // The checkpoint would hide what the base says.
        std::fs::remove_file(folder.path().join("checkpoint")).unwrap();
        inspect(folder.path(), acknowledged);
        let (mut live, _) =
            JournaledMachine::<Shelf>::open(folder.path(), Options::default()).unwrap();
        live.journal().verify().unwrap();
        let removed = live.journal().start().sequence;
        assert_eq!(removed > 0, begins_after, "{failpoint}: {removed}");
        // What was left undone is done by the next one.
        live.make_checkpoint().unwrap();
        let told = live.journal().compact(ALL_THAT_CAN_GO).unwrap();
        assert_eq!(told.through, live.journal().sealed_through());
        let history = std::fs::read_dir(folder.path().join("history")).unwrap();
        assert_eq!(history.count(), 0, "{failpoint}");
    }
}
