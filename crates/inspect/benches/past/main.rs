//! What looking back costs, in a journal of 1,000,000 events of 200 services.
//!
//! `cargo bench -p allexmaster-inspect` takes about a minute. The baseline is a plain scan of the same
//! store: every record read and verified, no event decoded, no step made.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints its results, and fails where it cannot go on"
)]

mod terminal;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use allexmaster_inspect::explorer::{Index, Indexing};
use allexmaster_inspect::replay::{Past, Step};
use allexmaster_inspect::source;
use allexmaster_journal::{JournaledMachine, Options, Restore};
use allexmaster_state::Rules;
use allexmaster_state::{
    Activity, BidAnswer, BootId, Claim, Event, Identity, InstanceName, JournalId, Lan, Launcher,
    ModuleName, Need, Outcome, PerProtocol, Pid, Recorded, ResponseAnswer, Settings, State,
    Timestamp, step,
};
use allexmaster_testkit::report::size;
use terminal::Terminal;
use uuid::Uuid;

fn event_count() -> u64 {
    size(1_000_000, 1_000)
}
const SERVICES: u64 = 200;
fn jump_count() -> u64 {
    size(100, 3)
}

fn main() {
    if let Ok(journal) = std::env::var(terminal::EXPLORED) {
        terminal::explore(&journal);
        return;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let journal = folder.path().join("journal");
    write(&journal);
    let open = || Past::new(source::open(&journal).unwrap());

    let began = Instant::now();
    let mut scanned = 0_u64;
    open()
        .source()
        .visit(1, &mut |_| {
            scanned += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    let scan = rate(scanned, began);

    let began = Instant::now();
    let mut replayed = 0_u64;
    let mut past = open();
    past.replay(1..=u64::MAX, &mut |_: Step<'_>| {
        replayed += 1;
        ControlFlow::Continue(())
    })
    .unwrap();
    let replay = rate(replayed, began);
    println!(
        "plain scan {scan:.0}/s, replay {replay:.0}/s, ratio {:.2}",
        replay / scan
    );

    let mut jumps: Vec<f64> = Vec::new();
    for number in 0..jump_count() {
        let target = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % event_count() + 1;
        let began = Instant::now();
        past.state_after(target).unwrap();
        jumps.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    jumps.sort_by(f64::total_cmp);
    println!(
        "jump to any of {} events: median {:.1} ms, longest of {} {:.1} ms (goal 100)",
        event_count(),
        jumps[jumps.len() / 2],
        jumps.len(),
        jumps[jumps.len() - 1]
    );

    let path = journal.clone();
    let began = Instant::now();
    let reading = Indexing::begin(move || Ok(Past::new(source::open(&path)?))).unwrap();
    let mut index = Index::new(1);
    while !index.complete {
        reading.take_into(&mut index);
        std::thread::yield_now();
    }
    assert_eq!(index.last(), event_count());
    println!(
        "the explorer knows all of them after {:.1} s",
        began.elapsed().as_secs_f64()
    );
    println!(
        "memory with all that: {} kB at most (goal 200000)",
        peak_kilobytes(&fs::read_to_string("/proc/self/status").unwrap_or_default())
    );
    in_a_terminal(&journal);
}

/// The same for whoever sits before it: from the start of the program to what is on the screen.
fn in_a_terminal(journal: &Path) {
    let began = Instant::now();
    let mut terminal = Terminal::start(journal);
    let shows = |event: u64| {
        move |screen: &str| screen.contains(&format!("#{event} of {} ", event_count()))
    };
    terminal.wait_until(shows(event_count()));
    let first = began.elapsed().as_secs_f64() * 1000.0;
    let middle = event_count() / 2;
    let early = terminal.type_until(&format!("g{middle}\r"), shows(middle));
    terminal.wait_until(|screen| !screen.contains("reading:"));
    let read = began.elapsed().as_secs_f64();
    let mut jumps: Vec<f64> = (1..=jump_count())
        .map(|number| {
            let target = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % event_count() + 1;
            terminal.type_until(&format!("g{target}\r"), shows(target))
        })
        .collect();
    jumps.sort_by(f64::total_cmp);
    println!(
        "time machine in a terminal: first screen {first:.0} ms, all read {read:.1} s, a jump before that \
         {early:.0} ms, then median {:.0} ms, longest of {} {:.0} ms; memory {} kB (goal 200000)",
        jumps[jumps.len() / 2],
        jumps.len(),
        jumps[jumps.len() - 1],
        terminal.peak_kilobytes()
    );
    terminal.leave();
}

/// Services that come, run, fail and come back, as the rules themselves have it.
fn write(folder: &Path) {
    let mut restore = Restore::<Rules>::begin(folder, Uuid::nil(), None).unwrap();
    let mut state = State::default();
    let mut sequence = 0;
    let mut push = |state: &mut State, event: Event| {
        sequence += 1;
        let at = 1_760_000_000_000 + sequence * 40;
        let payload = serde_json::to_vec(&event).unwrap();
        restore.push(at, 7, event.kind(), &payload).unwrap();
        let recorded = Recorded {
            sequence,
            at: Timestamp(at),
            entropy: 7,
            event,
        };
        *state = step(std::mem::take(state), recorded).0;
        sequence >= event_count()
    };
    push(
        &mut state,
        Event::SettingsLoaded {
            settings: settings(),
        },
    );
    push(&mut state, started());
    let connection = match state.lan {
        Lan::Dialing { connection, .. } => connection,
        Lan::Away { .. } | Lan::Up { .. } => panic!("nobody dials"),
    };
    let endpoint: Arc<str> = Arc::from("ws://127.0.0.1:23552");
    push(
        &mut state,
        Event::LanConnected {
            connection,
            endpoint,
            address: Arc::from("127.0.0.1"),
            grace: None,
        },
    );
    for turn in 0.. {
        let instance = InstanceName::from(format!("Service{}", turn % SERVICES));
        let event = next(&state, &instance, turn).unwrap_or_else(|| Event::NeedAppeared {
            connection,
            need: Arc::new(need(&instance)),
        });
        if push(&mut state, event) {
            break;
        }
    }
    restore.finish().unwrap();
    // With a checkpoint, as every master leaves it.
    let (live, _) = JournaledMachine::<Rules>::open(folder, Options::default()).unwrap();
    live.close().unwrap();
}

/// What happens next to a service.
fn next(state: &State, instance: &InstanceName, turn: u64) -> Option<Event> {
    let service = state.services.get(instance)?;
    if service.down_unreported {
        let connection = state.lan.connection()?;
        return Some(Event::ServiceDownAcknowledged {
            connection,
            instance: instance.clone(),
        });
    }
    if let Claim::Bidding { bid } = service.claim {
        let answer = BidAnswer::Challenged;
        return Some(Event::BidAnswered {
            instance: instance.clone(),
            bid,
            answer,
        });
    }
    if let Claim::Responding { bid, .. } = service.claim {
        let answer = ResponseAnswer::Approved;
        return Some(Event::ResponseAnswered {
            instance: instance.clone(),
            bid,
            answer,
        });
    }
    match &service.activity {
        Activity::Probing { incarnation, .. } => Some(Event::PortsProbed {
            incarnation: *incarnation,
            taken: Vec::new(),
        }),
        Activity::Spawning { incarnation, .. } => {
            let pid = Pid(u32::try_from(turn % 4_000_000).unwrap() + 100);
            let identity = Identity {
                boot: BootId::from("boot"),
                pid,
                started: turn,
            };
            Some(Event::ChildSpawned {
                incarnation: *incarnation,
                identity,
                launcher: None,
            })
        }
        Activity::Starting { process, .. } => Some(Event::ChildReady {
            incarnation: process.incarnation,
        }),
        Activity::Up { process, .. } | Activity::Stopping { process, .. } => {
            let outcome = Outcome::Exited(1);
            Some(Event::ChildExited {
                incarnation: process.incarnation,
                outcome,
            })
        }
        Activity::BackingOff { .. } => Some(Event::DeadlineReached),
        Activity::Waiting(_) | Activity::Failed { .. } => None,
    }
}

fn settings() -> Settings {
    let mut settings = Settings {
        port_cooldown: 1000,
        ..Settings::default()
    };
    let serves = PerProtocol {
        tcp: true,
        http: true,
        ws: true,
    };
    settings.launchers.insert(
        ModuleName::from("sample:clock"),
        Launcher {
            serves,
            command: None,
        },
    );
    settings
}

fn started() -> Event {
    Event::MasterStarted {
        journal: JournalId::from("journal"),
        boot: BootId::from("boot"),
        pid: Pid(1),
        survivors: Vec::new(),
        ended: Vec::new(),
        resumed: false,
    }
}

fn need(instance: &InstanceName) -> Need {
    Need {
        instance: instance.clone(),
        module: ModuleName::from("sample:clock"),
        address: None,
        ports: PerProtocol::default(),
        details: serde_json::Map::new(),
    }
}

fn rate(events: u64, began: Instant) -> f64 {
    events as f64 / began.elapsed().as_secs_f64()
}

/// The most memory that a process ever had, by what the system tells of it; 0 where it does not.
fn peak_kilobytes(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
