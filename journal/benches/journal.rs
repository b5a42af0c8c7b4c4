//! What the journal costs, each figure beside what a bare file costs in the same run.
//!
//! `cargo bench -p allexmaster-journal` takes one or two minutes. Figures depend on the disk; the ratios
//! should not.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints its results, and fails where it cannot go on"
)]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use allexmaster_journal::store::FileStore;
use allexmaster_journal::{JournaledMachine, Machine, Options, Stamp, SystemClock, Wall};
use allexmaster_testkit::report::size;
use serde::{Deserialize, Serialize};

fn rounds() -> usize {
    size(11, 1)
}

/// Per round, as `grouped_events`: so many that seals and checkpoints have their share.
fn single_events() -> u64 {
    size(2_500, 50)
}
const GROUP: usize = 64;

fn grouped_events() -> u64 {
    size(64_000, 640)
}

/// A tenth of them must be enough for a checkpoint, which comes after 4,096.
fn many_events() -> u64 {
    size(1_000_000, 50_000)
}

/// Counts, and does nothing else: what is measured is the journal.
struct Counter;

#[derive(Clone, Default, Serialize, Deserialize)]
struct Count {
    events: u64,
    sum: u64,
}

/// About 200 bytes of JSON.
#[derive(Serialize, Deserialize)]
enum Event {
    Reported {
        instance: String,
        module: String,
        address: String,
        ports: [u16; 3],
        number: u64,
        note: String,
    },
    DeadlineReached,
}

impl Machine for Counter {
    type State = Count;
    type Event = Event;
    type Effect = ();
    type Time = Wall;

    const PROGRAM: &'static str = "counter";
    const STEP_VERSION: u32 = 1;

    fn kind(event: &Event) -> u16 {
        match event {
            Event::Reported { .. } => 1,
            Event::DeadlineReached => 2,
        }
    }

    fn step(mut state: Count, _stamp: Stamp, event: Event) -> (Count, Vec<()>) {
        state.events += 1;
        match event {
            Event::Reported { number, .. } => state.sum = state.sum.wrapping_add(number),
            Event::DeadlineReached => {}
        }
        (state, Vec::new())
    }

    fn next_deadline(_state: &Count) -> Option<Wall> {
        None
    }

    fn deadline_reached() -> Event {
        Event::DeadlineReached
    }
}

fn event(number: u64) -> Event {
    Event::Reported {
        instance: format!("Service{}", number % 1000),
        module: "allex_serviceservice".to_owned(),
        address: format!("192.168.{}.{}", number % 250, number % 199),
        ports: [15_000, 16_000, 17_000],
        number,
        note: format!(
            "{:016x} answered in time",
            number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "fill", folder, group, events] => fill_and_die(
            Path::new(folder),
            group.parse().unwrap(),
            events.parse().unwrap(),
        ),
        [_, "open", folder] => open_and_tell(Path::new(folder)),
        [_, "hold"] => println!("{}", resident_kilobytes()),
        _ => measure_all(),
    }
}

fn measure_all() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let length = serde_json::to_vec(&event(123_456)).unwrap().len();
    println!("events of {length} bytes of JSON\n");
    #[cfg(unix)]
    measure_log(length);
    measure_single(folder.path(), length);
    measure_groups(folder.path(), length);
    for group in [GROUP, 1] {
        // One by one a million takes minutes and shows what a tenth shows.
        let events = many_events() / if group == 1 { 10 } else { 1 };
        measure_million(folder.path(), group, events);
    }
}

fn measure_single(folder: &Path, length: usize) {
    let (mut live, _) =
        JournaledMachine::<Counter>::open(&folder.join("single"), Options::default()).unwrap();
    let (raw, ours) = in_turn(
        || {
            rate(single_events(), || {
                raw_append(folder, length, 1, single_events())
            })
        },
        || {
            rate(single_events(), || {
                commit_in_groups(&mut live, 1, single_events())
            })
        },
    );
    println!(
        "one event per sync: raw append + fdatasync {raw:.0}/s, journal {ours:.0}/s, ratio {:.2} \
         (goal 0.5)",
        ours / raw
    );
}

fn measure_groups(folder: &Path, length: usize) {
    let (mut live, _) =
        JournaledMachine::<Counter>::open(&folder.join("groups"), Options::default()).unwrap();
    let (raw, ours) = in_turn(
        || {
            rate(single_events(), || {
                raw_append(folder, length, 1, single_events())
            })
        },
        || {
            rate(grouped_events(), || {
                commit_in_groups(&mut live, GROUP, grouped_events())
            })
        },
    );
    println!(
        "64 events per sync: raw append + fdatasync of one {raw:.0}/s, journal {ours:.0}/s; where \
         raw does 4000/s, {:.0}/s (goal 60000)\n",
        ours * 4000.0 / raw
    );
}

/// The log in one open file, as the sessions have it: no sync, one write for each event.
#[cfg(unix)]
fn measure_log(length: usize) {
    use std::os::unix::fs::FileExt as _;

    let shared = Path::new("/dev/shm");
    let folder = if shared.is_dir() {
        tempfile::tempdir_in(shared).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    };
    let open = |name: &str| {
        let mut options = File::options();
        options.read(true).write(true).create_new(true);
        options.open(folder.path().join(name)).unwrap()
    };
    let store = FileStore::open(open("log")).unwrap();
    let mut machine =
        JournaledMachine::<Counter>::begin(Box::new(store), &Count::default(), Options::default())
            .unwrap();
    let raw_file = open("raw");
    let bytes = vec![7; length + 44];
    let (raw, ours) = in_turn(
        || {
            rate(grouped_events(), || {
                for number in 0..grouped_events() {
                    let place = number * bytes.len() as u64;
                    raw_file.write_all_at(&bytes, place).unwrap();
                }
            })
        },
        || {
            rate(grouped_events(), || {
                commit_in_groups(&mut machine, 1, grouped_events());
            })
        },
    );
    println!(
        "one event to a log in memory: raw write {:.2} µs, journal {:.2} µs\n",
        1e6 / raw,
        1e6 / ours
    );
}

/// The medians of both, measured turn by turn, so that a busy moment of the machine hits both.
fn in_turn(mut raw: impl FnMut() -> f64, mut ours: impl FnMut() -> f64) -> (f64, f64) {
    let (mut raws, mut ourses): (Vec<f64>, Vec<f64>) =
        (0..rounds()).map(|_| (raw(), ours())).unzip();
    raws.sort_by(f64::total_cmp);
    ourses.sort_by(f64::total_cmp);
    (raws[rounds() / 2], ourses[rounds() / 2])
}

fn measure_million(folder: &Path, group: usize, events: u64) {
    let journal = folder.join(format!("million-{group}"));
    let program = std::env::current_exe().unwrap();
    let began = Instant::now();
    let fill = Command::new(&program)
        .arg("fill")
        .arg(&journal)
        .arg(group.to_string())
        .arg(events.to_string())
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&fill.stdout));
    println!(
        "  filled and killed after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    println!("  on disk: {} kB", disk_kilobytes(&journal));
    let empty = Command::new(&program).arg("hold").output().unwrap();
    println!(
        "  an empty process: {} kB",
        String::from_utf8_lossy(&empty.stdout).trim()
    );
    for _ in 0..2 {
        let open = Command::new(&program)
            .arg("open")
            .arg(&journal)
            .output()
            .unwrap();
        print!("{}", String::from_utf8_lossy(&open.stdout));
    }
    measure_replay(&journal);
    println!();
}

fn measure_replay(journal: &Path) {
    fs::remove_file(journal.join("checkpoint")).unwrap();
    let began = Instant::now();
    let (live, opened) = JournaledMachine::<Counter>::open(journal, Options::default()).unwrap();
    let elapsed = began.elapsed();
    assert_eq!(live.state().events, opened.last);
    let speed = opened.replayed as f64 / elapsed.as_secs_f64();
    println!(
        "  replay from the first event: {:.0}/s (goal 500000)",
        speed
    );
}

/// In a process of its own: records events, tells its memory, and dies without a clean end.
fn fill_and_die(folder: &Path, group: usize, events: u64) {
    let before = resident_kilobytes();
    let (mut live, _) = JournaledMachine::<Counter>::open(folder, Options::default()).unwrap();
    commit_in_groups(&mut live, group, events);
    println!("{events} events in groups of {group}, then kill -9");
    println!(
        "  memory: {before} kB before, {} kB after",
        resident_kilobytes()
    );
    std::io::stdout().flush().unwrap();
    std::process::abort();
}

/// In a process of its own: opens, and tells time and memory.
fn open_and_tell(folder: &Path) {
    let began = Instant::now();
    let (live, opened) = JournaledMachine::<Counter>::open(folder, Options::default()).unwrap();
    println!(
        "  open: {:.1} ms until {} events are known ({} replayed), {} kB, {:?}",
        milliseconds(began.elapsed()),
        live.state().events,
        opened.replayed,
        resident_kilobytes(),
        opened.recoveries
    );
    std::io::stdout().flush().unwrap();
    std::process::abort();
}

fn commit_in_groups(live: &mut JournaledMachine<Counter>, group: usize, events: u64) {
    let mut number = 0;
    while number < events {
        let batch = (number..).take(group).map(event).collect();
        live.commit(&mut SystemClock, batch).unwrap();
        live.maintain().unwrap();
        number += group as u64;
    }
}

/// The baseline: the same bytes into a file, with an fdatasync per group.
fn raw_append(folder: &Path, length: usize, group: usize, events: u64) {
    let mut file = File::create(folder.join("raw")).unwrap();
    let bytes = vec![b'x'; length * group];
    for _ in 0..events / group as u64 {
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
    }
}

fn rate(events: u64, work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    events as f64 / began.elapsed().as_secs_f64()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The resident memory of this process; 0 where the system does not tell.
fn resident_kilobytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn disk_kilobytes(path: &Path) -> u64 {
    let mut total = 0;
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        total += if metadata.is_dir() {
            disk_kilobytes(&entry.path())
        } else {
            metadata.len() / 1024
        };
    }
    total
}
