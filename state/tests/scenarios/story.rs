//! Writes a scenario: what happens is said in one word each; which attempt, which
//! bid and which connection it belongs to, the story knows from the state.

use std::sync::Arc;

use allexmaster_state::{
    BidAnswer, BootId, Claim, Connection, Descendant, Ended, Event, Identity, Incarnation,
    InstanceName, JournalId, Lan, Launcher, MissingPackage, ModuleName, Need, Outcome, PerProtocol,
    Pid, Port, Recorded, RequestId, ResponseAnswer, Sender, Settings, State, StopSource, Survivor,
    Timestamp, step,
};
use allexmaster_testkit::assert_snapshot;
use serde_json::Map;

use crate::transcript;

/// The address that the LanManager sees this machine under.
pub(crate) const ADDRESS: &str = "10.0.0.1";

/// A scenario that is being written.
pub(crate) struct Story {
    pub(crate) state: State,
    settings: Settings,
    boot: &'static str,
    pid: u32,
    now: u64,
    sequence: u64,
    entropy: u32,
    next_pid: u32,
    quiet: bool,
    text: String,
}

/// How far a service is brought before a scenario begins. `Won` is: its ports are probed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Stage {
    Listed,
    Won,
    Spawning,
    Starting,
    Responding,
    Approved,
}

impl Stage {
    /// All of them, in their order.
    pub(crate) const ALL: [Self; 6] = [
        Self::Listed,
        Self::Won,
        Self::Spawning,
        Self::Starting,
        Self::Responding,
        Self::Approved,
    ];

    /// The name of the service that stands for this stage in a scenario.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Listed => "Bidding",
            Self::Won => "Probing",
            Self::Spawning => "Spawning",
            Self::Starting => "Starting",
            Self::Responding => "Responding",
            Self::Approved => "Approved",
        }
    }
}

impl Story {
    /// Opens with the sentence that says what the scenario shows. The master
    /// runs, and the LanManager has let it in and needs nothing.
    pub(crate) fn about(sentence: &str) -> Self {
        let mut story = Self::from_nothing(sentence);
        story.given(|story| {
            story.load();
            story.start();
            story.connect();
            story.lists(&[]);
        });
        story
    }

    /// Opens with the sentence; nothing has happened yet.
    pub(crate) fn from_nothing(sentence: &str) -> Self {
        Self {
            state: State::default(),
            settings: settings(),
            boot: "boot-1",
            pid: 1,
            now: 0,
            sequence: 0,
            entropy: u32::MAX / 2 + 1, // the middle: no jitter
            next_pid: 100,
            quiet: false,
            text: format!("{sentence}\n\n"),
        }
    }

    /// What came before and is not shown.
    pub(crate) fn given(&mut self, before: impl FnOnce(&mut Self)) -> &mut Self {
        self.quiet = true;
        before(self);
        self.quiet = false;
        self
    }

    /// A line for the reader.
    pub(crate) fn note(&mut self, line: &str) -> &mut Self {
        self.text.push_str(&format!("--- {line}\n"));
        self
    }

    /// Compares with the accepted snapshot.
    #[track_caller]
    pub(crate) fn end(&self, name: &str) {
        assert_snapshot(&format!("state__{name}"), &self.text);
    }

    /// Any event.
    pub(crate) fn happens(&mut self, event: Event) -> &mut Self {
        self.sequence += 1;
        let recorded = Recorded {
            sequence: self.sequence,
            at: Timestamp(self.now),
            entropy: self.entropy,
            event,
        };
        let before = self.state.clone();
        let (after, effects) = step(before.clone(), recorded.clone());
        if !self.quiet {
            let block = transcript::block(&recorded, &effects, &before, &after);
            self.text.push_str(&block);
        }
        self.state = after;
        self
    }

    // The clock and the settings.

    pub(crate) fn passes(&mut self, milliseconds: u64) -> &mut Self {
        self.now += milliseconds;
        self
    }

    pub(crate) fn entropy(&mut self, entropy: u32) -> &mut Self {
        self.entropy = entropy;
        self
    }

    /// The time of the next deadline comes.
    pub(crate) fn wakes(&mut self) -> &mut Self {
        let (at, _) = self.state.next_deadline().expect("there is a deadline");
        self.now = self.now.max(at.0);
        self.happens(Event::DeadlineReached)
    }

    /// Nothing is due, whatever time passes.
    pub(crate) fn is_at_rest(&mut self) -> &mut Self {
        assert_eq!(self.state.next_deadline(), None);
        self.note("nothing is due")
    }

    /// Whether a deadline has come already.
    pub(crate) fn is_due_now(&self) -> bool {
        let due = self.state.next_deadline();
        due.is_some_and(|(at, _)| at.0 <= self.now)
    }

    /// So much time passes, with all deadlines in it.
    pub(crate) fn waits(&mut self, milliseconds: u64) -> &mut Self {
        let end = self.now + milliseconds;
        while self
            .state
            .next_deadline()
            .is_some_and(|(at, _)| at.0 <= end)
        {
            self.wakes();
        }
        self.now = end;
        self
    }

    pub(crate) fn set(&mut self, change: impl FnOnce(&mut Settings)) -> &mut Self {
        change(&mut self.settings);
        self.load()
    }

    pub(crate) fn load(&mut self) -> &mut Self {
        let settings = self.settings.clone();
        self.happens(Event::SettingsLoaded { settings })
    }

    // The master.

    pub(crate) fn start(&mut self) -> &mut Self {
        self.start_with(Vec::new(), Vec::new())
    }

    /// The master starts again, and finds these of its children alive, by their service.
    pub(crate) fn start_finding(&mut self, alive: &[&str]) -> &mut Self {
        let alive = alive.iter().map(|name| self.survivor(name)).collect();
        self.start_with(alive, Vec::new())
    }

    pub(crate) fn start_with(&mut self, survivors: Vec<Survivor>, ended: Vec<Ended>) -> &mut Self {
        self.come_back(false, survivors, ended)
    }

    /// The engine alone was away, and finds these of its children alive, by their service.
    pub(crate) fn resume_finding(&mut self, alive: &[&str]) -> &mut Self {
        let alive = alive.iter().map(|name| self.survivor(name)).collect();
        self.come_back(true, alive, Vec::new())
    }

    pub(crate) fn come_back(
        &mut self,
        resumed: bool,
        survivors: Vec<Survivor>,
        ended: Vec<Ended>,
    ) -> &mut Self {
        self.happens(Event::MasterStarted {
            journal: JournalId::from("journal-1"),
            boot: BootId::from(self.boot),
            pid: Pid(self.pid),
            survivors,
            ended,
            resumed,
        })
    }

    /// The master runs under another number from its next start on.
    pub(crate) fn renumber(&mut self) -> &mut Self {
        self.pid += 1;
        self
    }

    pub(crate) fn reboot(&mut self) -> &mut Self {
        self.boot = "boot-2";
        self.start()
    }

    /// The process of a service, or the one that was forked and never recorded.
    pub(crate) fn survivor(&mut self, name: &str) -> Survivor {
        let service = self.state.services.get(&InstanceName::from(name));
        let process = service.and_then(|service| service.activity.process());
        let recorded = process.map(|process| process.identity.clone());
        Survivor {
            incarnation: self.attempt(name),
            identity: recorded.unwrap_or_else(|| self.new_process()),
        }
    }

    pub(crate) fn new_process(&mut self) -> Identity {
        self.next_pid += 1;
        Identity {
            boot: BootId::from(self.boot),
            pid: Pid(self.next_pid),
            started: u64::from(self.next_pid),
        }
    }

    // The LanManager.

    pub(crate) fn connection(&self) -> Connection {
        match &self.state.lan {
            Lan::Up { connection, .. } | Lan::Dialing { connection, .. } => *connection,
            Lan::Away { .. } => Connection(0),
        }
    }

    pub(crate) fn connect(&mut self) -> &mut Self {
        let connection = self.connection();
        self.happens(Event::LanConnected {
            connection,
            endpoint: Arc::from("ws://10.0.0.254:23552"),
            address: Arc::from(ADDRESS),
            grace: None,
        })
    }

    pub(crate) fn disconnect(&mut self) -> &mut Self {
        let connection = self.connection();
        self.happens(Event::LanClosed {
            connection,
            reason: Arc::from("reset by peer"),
            silent: 0,
        })
    }

    /// The connection was lost, and a new one is made after the pause.
    pub(crate) fn reconnect(&mut self) -> &mut Self {
        while matches!(self.state.lan, Lan::Away { .. }) {
            self.wakes();
        }
        self.connect()
    }

    pub(crate) fn lists(&mut self, names: &[&str]) -> &mut Self {
        let needs = names.iter().map(|name| Arc::new(need(name))).collect();
        let connection = self.connection();
        self.happens(Event::NeedsListed { connection, needs })
    }

    pub(crate) fn appears(&mut self, name: &str) -> &mut Self {
        self.appears_as(need(name))
    }

    pub(crate) fn appears_as(&mut self, need: Need) -> &mut Self {
        let connection = self.connection();
        let need = Arc::new(need);
        self.happens(Event::NeedAppeared { connection, need })
    }

    pub(crate) fn withdrawn(&mut self, name: &str) -> &mut Self {
        let connection = self.connection();
        self.happens(Event::NeedWithdrawn {
            connection,
            instance: InstanceName::from(name),
        })
    }

    pub(crate) fn bid(&self, name: &str) -> Incarnation {
        let service = self.state.services.get(&InstanceName::from(name));
        let bid = service.and_then(|service| service.claim.bid());
        bid.expect("there is an open bid")
    }

    pub(crate) fn has_bid(&self, name: &str) -> bool {
        let service = self.state.services.get(&InstanceName::from(name));
        service.is_some_and(|service| matches!(service.claim, Claim::Bidding { .. }))
    }

    pub(crate) fn bid_is(&mut self, name: &str, answer: BidAnswer) -> &mut Self {
        let bid = self.bid(name);
        self.happens(Event::BidAnswered {
            instance: InstanceName::from(name),
            bid,
            answer,
        })
    }

    pub(crate) fn challenged(&mut self, name: &str) -> &mut Self {
        self.bid_is(name, BidAnswer::Challenged)
    }

    pub(crate) fn response_is(&mut self, name: &str, answer: ResponseAnswer) -> &mut Self {
        let bid = self.bid(name);
        self.happens(Event::ResponseAnswered {
            instance: InstanceName::from(name),
            bid,
            answer,
        })
    }

    /// The LanManager takes the need from its list, and approves.
    pub(crate) fn approved(&mut self, name: &str) -> &mut Self {
        self.withdrawn(name);
        self.response_is(name, ResponseAnswer::Approved)
    }

    pub(crate) fn down_heard(&mut self, name: &str) -> &mut Self {
        let connection = self.connection();
        self.happens(Event::ServiceDownAcknowledged {
            connection,
            instance: InstanceName::from(name),
        })
    }

    // The children.

    pub(crate) fn attempt(&self, name: &str) -> Incarnation {
        let service = self.state.services.get(&InstanceName::from(name));
        let attempt = service.and_then(|service| service.activity.attempt());
        attempt.expect("there is an attempt").0
    }

    pub(crate) fn ports_are_free(&mut self, name: &str) -> &mut Self {
        self.ports_are_taken(name, &[])
    }

    pub(crate) fn ports_are_freed(&mut self, ports: &[u16]) -> &mut Self {
        let ports = ports.iter().copied().map(Port).collect();
        self.happens(Event::PortsFreed { ports })
    }

    /// The words of `status` for a service.
    pub(crate) fn reason(&mut self, name: &str) -> &mut Self {
        let status = self.state.status_of(&InstanceName::from(name));
        let status = status.expect("the service is known");
        let reason = status.reason.unwrap_or_default();
        self.note(&format!("status of {name}: {}, {reason}", status.state))
    }

    pub(crate) fn ports_are_taken(&mut self, name: &str, taken: &[u16]) -> &mut Self {
        let incarnation = self.attempt(name);
        let taken = taken.iter().copied().map(Port).collect();
        self.happens(Event::PortsProbed {
            incarnation,
            taken,
            holders: Vec::new(),
        })
    }

    pub(crate) fn spawned(&mut self, name: &str) -> &mut Self {
        let incarnation = self.attempt(name);
        let identity = self.new_process();
        self.happens(Event::ChildSpawned {
            incarnation,
            identity,
            launcher: None,
        })
    }

    pub(crate) fn not_spawned(&mut self, name: &str) -> &mut Self {
        let incarnation = self.attempt(name);
        self.happens(Event::ChildNotSpawned {
            incarnation,
            reason: Arc::from("python3: not found"),
            missing: None,
        })
    }

    pub(crate) fn not_installed(&mut self, name: &str, package: &str) -> &mut Self {
        let incarnation = self.attempt(name);
        self.happens(Event::ChildNotSpawned {
            incarnation,
            reason: Arc::from("the module is not installed"),
            missing: Some(MissingPackage {
                package: Arc::from(package),
                folder: Arc::from("/srv/allex"),
            }),
        })
    }

    pub(crate) fn npm_ends(&mut self, package: &str, complaint: Option<&str>) -> &mut Self {
        self.happens(Event::InstallEnded {
            package: Arc::from(package),
            complaint: complaint.map(Arc::from),
        })
    }

    pub(crate) fn ready(&mut self, name: &str) -> &mut Self {
        let incarnation = self.attempt(name);
        self.happens(Event::ChildReady { incarnation })
    }

    pub(crate) fn fails(&mut self, name: &str) -> &mut Self {
        let incarnation = self.attempt(name);
        self.happens(Event::ChildFailed {
            incarnation,
            reason: Arc::from("port 15000 is in use by another program"),
        })
    }

    pub(crate) fn exits(&mut self, name: &str, outcome: Outcome) -> &mut Self {
        let incarnation = self.attempt(name);
        self.happens(Event::ChildExited {
            incarnation,
            outcome,
        })
    }

    /// The process ends, others that it had started live on: whether in its group, and on what they
    /// listen.
    pub(crate) fn leaves(
        &mut self,
        name: &str,
        outcome: Outcome,
        left: &[(bool, Option<&str>)],
    ) -> &mut Self {
        let incarnation = self.attempt(name);
        let one = |(in_group, listens): &(bool, Option<&str>)| Descendant {
            identity: self.new_process(),
            in_group: *in_group,
            listens: listens.iter().copied().map(Arc::from).collect(),
        };
        let left = left.iter().map(one).collect();
        self.happens(Event::DescendantsLeft {
            incarnation,
            outcome,
            left,
        })
    }

    /// A service is brought so far, and nothing of it is shown.
    pub(crate) fn brought_to(&mut self, name: &str, stage: Stage) -> &mut Self {
        self.given(|story| {
            story.appears(name);
            story.goes_on(name, stage);
        })
    }

    /// One service for each stage, brought there, named after it.
    pub(crate) fn one_at_each_stage(&mut self) -> &mut Self {
        for stage in Stage::ALL {
            self.brought_to(stage.name(), stage);
        }
        self
    }

    /// A listed need goes on, all going well, up to a stage.
    pub(crate) fn goes_on(&mut self, name: &str, stage: Stage) -> &mut Self {
        type Making = for<'story> fn(&'story mut Story, &str) -> &'story mut Story;
        let moves: [(Stage, Making); 5] = [
            (Stage::Won, Self::challenged),
            (Stage::Spawning, Self::ports_are_free),
            (Stage::Starting, Self::spawned),
            (Stage::Responding, Self::ready),
            (Stage::Approved, Self::approved),
        ];
        for (reaches, make) in moves {
            if reaches <= stage {
                make(self, name);
            }
        }
        self
    }

    // Local calls.

    pub(crate) fn stop(&mut self) -> &mut Self {
        self.asked_to_stop(StopSource::Operator, false)
    }

    pub(crate) fn asked_to_stop(&mut self, source: StopSource, urgent: bool) -> &mut Self {
        self.happens(Event::StopRequested {
            request: (source == StopSource::Operator).then_some(RequestId(1)),
            source,
            urgent,
        })
    }

    pub(crate) fn restart(&mut self, name: &str) -> &mut Self {
        self.happens(Event::RestartRequested {
            request: RequestId(2),
            instance: InstanceName::from(name),
            sender: None,
        })
    }

    /// An order of root's, to stop or to start a service.
    pub(crate) fn hold(&mut self, name: &str) -> &mut Self {
        self.happens(Event::HoldRequested {
            request: RequestId(3),
            instance: InstanceName::from(name),
            sender: Some(root()),
        })
    }

    pub(crate) fn release(&mut self, name: &str) -> &mut Self {
        self.happens(Event::StartRequested {
            request: RequestId(4),
            instance: InstanceName::from(name),
            sender: Some(root()),
        })
    }
}

fn root() -> Sender {
    Sender {
        uid: 0,
        name: Some(Arc::from("root")),
        pid: Pid(4_711),
    }
}

/// A need that any machine may satisfy.
pub(crate) fn need(name: &str) -> Need {
    Need {
        instance: InstanceName::from(name),
        module: ModuleName::from("sample:clock"),
        address: None,
        ports: PerProtocol::default(),
        details: Map::new(),
    }
}

/// A launcher whose children serve http only, or all three protocols.
pub(crate) fn launcher(http_only: bool) -> Launcher {
    Launcher {
        serves: PerProtocol {
            tcp: !http_only,
            http: true,
            ws: !http_only,
        },
        takes: PerProtocol {
            tcp: true,
            http: true,
            ws: true,
        },
        command: None,
    }
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    let clock = ModuleName::from("sample:clock");
    settings.launchers.insert(clock, launcher(false));
    settings
}
