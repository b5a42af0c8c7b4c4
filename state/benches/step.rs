//! What one decision costs: `cargo bench -p allexmaster-state`.
//!
//! A life is recorded first (so many services run, sixteen at a time die and are
//! started again, with all the deadlines that this brings), then its events are
//! decided upon again, and only that is measured: one core, no input or output.
//! The same with ten times the needs shows how the cost grows.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a benchmark measures time and prints what it measured"
)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use allexmaster_state::{
    BidAnswer, BootId, ChildEffect, Connection, Effect, Event, Identity, InstanceName, JournalId,
    LanEffect, Launcher, ModuleName, Need, Outcome, PerProtocol, Pid, Recorded, ResponseAnswer,
    SessionEffect, Settings, State, Timestamp, step,
};
use allexmaster_testkit::report::size;
use serde_json::{Map, json};

/// So many services die at the same moment.
const DEATHS_AT_ONCE: u32 = 16;
/// Decided upon in one measurement.
fn event_count() -> usize {
    size(300_000, 20_000)
}
/// The best of so many measurements counts: what disturbs can only slow down.
fn rounds() -> u32 {
    size(5, 1)
}
/// What `step` must do at least.
const EVENTS_PER_SECOND_LEAST: f64 = 1_000_000.0;

fn main() {
    let [few, many] = [1_000, 10_000].map(measure);
    let growth = few / many;
    // ln(10,000 · 3) / ln(1,000 · 3): what lookups in an ordered tree of the ports may cost more.
    let logarithmic = (30_000_f64).ln() / (3_000_f64).ln();
    println!("growth with 10 times the needs: {growth:.2} (logarithmic: {logarithmic:.2})");
    for (needs, rate) in [(1_000, few), (10_000, many)] {
        let verdict = if rate >= EVENTS_PER_SECOND_LEAST {
            "reached"
        } else {
            "MISSED"
        };
        println!("goal of 1,000,000 events/s with {needs} needs: {verdict}");
    }
}

/// Events per second with so many needs.
fn measure(needs: u32) -> f64 {
    let (state, events) = Life::record(needs);
    let mut best = f64::MAX;
    for _ in 0..rounds() {
        let mut state = state.clone();
        let events = events.clone();
        let start = Instant::now();
        for recorded in events {
            let (next, effects) = step(state, recorded);
            black_box(effects);
            state = next;
        }
        best = best.min(start.elapsed().as_secs_f64());
        black_box(&state);
    }
    let rate = event_count() as f64 / best;
    let is_spawn = |recorded: &&Recorded| matches!(recorded.event, Event::ChildSpawned { .. });
    let spawned = events.iter().filter(is_spawn).count();
    println!(
        "step, {needs:>6} needs: {rate:>9.0} events/s, {:.0} ns each ({spawned} children started)",
        1e9 / rate
    );
    rate
}

/// A machine and a LanManager that do at once what they are asked.
struct Life {
    state: State,
    sequence: u64,
    now: u64,
    waiting: VecDeque<Event>,
    recorded: Vec<Recorded>,
    next_pid: u32,
    needs: Vec<Arc<Need>>,
}

impl Life {
    /// The state in which all services run, and the events that follow.
    fn record(needs: u32) -> (State, Vec<Recorded>) {
        let mut life = Self {
            state: State::default(),
            sequence: 0,
            now: 0,
            waiting: VecDeque::new(),
            recorded: Vec::new(),
            next_pid: 1_000,
            needs: (0..needs).map(need).collect(),
        };
        life.begin();
        let state = life.state.clone();
        life.recorded.clear();
        let mut next = 0;
        while life.recorded.len() < event_count() {
            for _ in 0..DEATHS_AT_ONCE {
                life.kill(next);
                next = (next + 1) % needs;
            }
            life.drain();
        }
        life.recorded.truncate(event_count());
        (state, life.recorded)
    }

    fn begin(&mut self) {
        self.waiting.push_back(Event::SettingsLoaded {
            settings: settings(),
        });
        self.waiting.push_back(Event::MasterStarted {
            journal: JournalId::from("6a7c1f7e-3b0e-4f2b-9c55-0a4f1e2d3c4b"),
            boot: boot(),
            pid: Pid(1),
            survivors: Vec::new(),
            ended: Vec::new(),
            resumed: false,
        });
        self.drain();
    }

    fn kill(&mut self, number: u32) {
        let instance = &self.needs[number as usize].instance;
        let service = self.state.services.get(instance);
        if let Some(process) = service.and_then(|service| service.activity.process()) {
            self.waiting.push_back(Event::ChildExited {
                incarnation: process.incarnation,
                outcome: Outcome::Signaled(9),
            });
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.waiting.pop_front() {
            self.happen(event);
            let due = self.state.next_deadline();
            if due.is_some_and(|(at, _)| at.0 <= self.now) {
                self.happen(Event::DeadlineReached);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        self.sequence += 1;
        self.now += 1;
        let recorded = Recorded {
            sequence: self.sequence,
            at: Timestamp(self.now),
            entropy: 0,
            event,
        };
        self.recorded.push(recorded.clone());
        let (state, effects) = step(std::mem::take(&mut self.state), recorded);
        self.state = state;
        for effect in effects {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Child(effect) => self.perform_child(effect),
            Effect::Session(SessionEffect::Lan(effect)) => self.perform_lan(effect),
            Effect::Session(SessionEffect::Dial { connection, .. }) => self.admit(connection),
            Effect::Session(_) | Effect::Install { .. } | Effect::Exit => {}
        }
    }

    fn perform_lan(&mut self, effect: LanEffect) {
        match effect {
            LanEffect::Bid { instance, bid, .. } => self.waiting.push_back(Event::BidAnswered {
                instance,
                bid,
                answer: BidAnswer::Challenged,
            }),
            LanEffect::Respond { bid, record } => {
                let instance = record.need.instance.clone();
                if let Some(connection) = self.state.lan.connection() {
                    self.waiting.push_back(Event::NeedWithdrawn {
                        connection,
                        instance: instance.clone(),
                    });
                }
                self.waiting.push_back(Event::ResponseAnswered {
                    instance,
                    bid,
                    answer: ResponseAnswer::Approved,
                });
            }
            LanEffect::ReportDown {
                connection,
                instance,
            } => self.hear_down(connection, instance),
            LanEffect::Abandon { .. }
            | LanEffect::ReportEngaged { .. }
            | LanEffect::AddNeed { .. }
            | LanEffect::RemoveNeed { .. } => {}
        }
    }

    fn perform_child(&mut self, effect: ChildEffect) {
        match effect {
            ChildEffect::ProbePorts { incarnation, .. } => {
                self.waiting.push_back(Event::PortsProbed {
                    incarnation,
                    taken: Vec::new(),
                    holders: Vec::new(),
                });
            }
            ChildEffect::Spawn(order) => {
                self.next_pid += 1;
                let identity = Identity {
                    boot: boot(),
                    pid: Pid(self.next_pid),
                    started: u64::from(self.next_pid),
                };
                self.waiting.push_back(Event::ChildSpawned {
                    incarnation: order.incarnation,
                    identity,
                    launcher: None,
                });
            }
            ChildEffect::AwaitReady { incarnation, .. } => {
                self.waiting.push_back(Event::ChildReady { incarnation });
            }
            ChildEffect::AwaitFree { .. }
            | ChildEffect::Adopt { .. }
            | ChildEffect::Reap { .. }
            | ChildEffect::Signal { .. }
            | ChildEffect::EndStray { .. } => {}
        }
    }

    fn admit(&mut self, connection: Connection) {
        self.waiting.push_back(Event::LanConnected {
            connection,
            endpoint: Arc::from("ws://127.0.0.1:23552"),
            address: Arc::from("127.0.0.1"),
            grace: None,
        });
        self.waiting.push_back(Event::NeedsListed {
            connection,
            needs: self.needs.clone(),
        });
    }

    fn hear_down(&mut self, connection: Connection, instance: InstanceName) {
        let service = self.state.services.get(&instance);
        if let Some(need) = service.map(|service| Arc::clone(&service.need)) {
            self.waiting
                .push_back(Event::NeedAppeared { connection, need });
        }
        self.waiting.push_back(Event::ServiceDownAcknowledged {
            connection,
            instance,
        });
    }
}

fn settings() -> Settings {
    let serves = PerProtocol {
        tcp: true,
        http: true,
        ws: true,
    };
    let mut settings = Settings {
        port_range_start: PerProtocol {
            tcp: 2_000,
            http: 23_000,
            ws: 44_000,
        },
        port_range_size: 20_000,
        ..Settings::default()
    };
    // A service's turn to die comes again after some seconds of the recorded life.
    settings.restart.stable_after = 1_000;
    let module = ModuleName::from("sample:clock");
    settings.launchers.insert(
        module,
        Launcher {
            serves,
            takes: serves,
            command: None,
        },
    );
    settings
}

fn boot() -> BootId {
    BootId::from("f2d2b1f0-5d3e-4b43-8a53-0b6a3e3a1c11")
}

fn need(number: u32) -> Arc<Need> {
    let mut details = Map::new();
    details.insert("propertyhash".into(), json!({ "number": number }));
    Arc::new(Need {
        instance: InstanceName::from(format!("Service{number:05}")),
        module: ModuleName::from("sample:clock"),
        address: None,
        ports: PerProtocol::default(),
        details,
    })
}
