//! A master's hands without a master: drivers that report to a channel.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use allexmaster::child::{AbortAfterFork, ChildOptions, Children};
use allexmaster::config::{Config, InForce};
use allexmaster::launch::{Launcher, Launchers, MasterFacts, SAMPLE_CLOCK, Template};
use allexmaster::{logs, process};
use allexmaster_state::{
    Event, Identity, Incarnation, JournalId, Need, Outcome, PerProtocol, Pid, Port, SpawnOrder,
};
use allexmaster_testkit::wait::TIMEOUT;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) children: Children<mpsc::Sender<Event>>,
    pub(crate) events: mpsc::Receiver<Event>,
}

impl Bench {
    pub(crate) fn new(configured: BTreeMap<String, Launcher>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sink, events) = mpsc::channel(64);
        let options = options(folder.path(), &journal(folder.path()), configured, None);
        let children = Children::new(Handle::current(), sink, options);
        Self {
            folder,
            children,
            events,
        }
    }

    pub(crate) async fn next(&mut self) -> Event {
        let received = timeout(TIMEOUT, self.events.recv()).await;
        received.expect("an event comes").expect("the drivers live")
    }

    /// Spawns and waits for the identity.
    pub(crate) async fn spawn(&mut self, order: SpawnOrder) -> Identity {
        self.children.spawn(order);
        let event = self.next().await;
        let Event::ChildSpawned { identity, .. } = event else {
            panic!("expected ChildSpawned, got {event:?}");
        };
        identity
    }

    /// Waits for the end.
    pub(crate) async fn outcome(&mut self) -> Outcome {
        let event = self.next().await;
        let Event::ChildExited { outcome, .. } = event else {
            panic!("expected ChildExited, got {event:?}");
        };
        outcome
    }

    /// Waits until the log of a child contains a text; answers with the line.
    pub(crate) async fn logged(&self, instance: &str, text: &str) -> String {
        let file = logs::file_of(&log_folder(self.folder.path()), &instance.into());
        let mut line = None;
        until(|| {
            let log = fs::read_to_string(&file).unwrap_or_default();
            line = log
                .lines()
                .find(|line| line.contains(text))
                .map(str::to_owned);
            line.is_some()
        })
        .await;
        line.unwrap_or_default()
    }
}

/// One journal per test, so that tests do not find each other's children.
pub(crate) fn journal(folder: &Path) -> JournalId {
    JournalId::from(folder.display().to_string().replace('/', "-"))
}

pub(crate) fn log_folder(folder: &Path) -> PathBuf {
    folder.join("logs")
}

pub(crate) fn options(
    folder: &Path,
    journal: &JournalId,
    configured: BTreeMap<String, Launcher>,
    abort_after_fork: Option<AbortAfterFork>,
) -> ChildOptions {
    let config = Config {
        launchers: Launchers::new(configured, Path::new(env!("CARGO_BIN_EXE_allexmaster"))),
        ..Config::default()
    };
    ChildOptions {
        boot: process::boot_id().unwrap(),
        config: Arc::new(InForce::from(config)),
        master: MasterFacts {
            journal: journal.clone(),
            pid: Pid(std::process::id()),
            folder: folder.to_owned(),
            runtime_folder: ".".to_owned(),
        },
        log_folder: log_folder(folder),
        keeper: None,
        abort_after_fork,
    }
}

pub(crate) fn launcher(program: &str, arguments: &[&str]) -> Launcher {
    Launcher {
        program: PathBuf::from(program),
        arguments: arguments
            .iter()
            .map(|argument| Template::parse(argument).unwrap())
            .collect(),
        folder: None,
        environment: BTreeMap::new(),
        ready: None,
    }
}

pub(crate) fn launchers<const COUNT: usize>(
    all: [(&str, Launcher); COUNT],
) -> BTreeMap<String, Launcher> {
    all.into_iter()
        .map(|(name, launcher)| (name.to_owned(), launcher))
        .collect()
}

pub(crate) fn incarnation(sequence: u64) -> Incarnation {
    Incarnation { sequence, index: 0 }
}

pub(crate) fn order(sequence: u64, module: &str, properties: Value) -> SpawnOrder {
    let mut details = Map::new();
    details.insert("propertyhash".to_owned(), properties);
    SpawnOrder {
        incarnation: incarnation(sequence),
        need: Arc::new(Need {
            instance: "Service".into(),
            module: module.into(),
            address: None,
            ports: PerProtocol::default(),
            details,
        }),
        ports: ports(),
    }
}

/// The sample service that serves nothing and sleeps until it is told otherwise.
pub(crate) fn silent(sequence: u64, mut properties: Value) -> SpawnOrder {
    properties["silent"] = json!(true);
    order(sequence, SAMPLE_CLOCK, properties)
}

/// Three free ports that no other test has.
pub(crate) fn ports() -> PerProtocol<Port> {
    PerProtocol {
        tcp: port(),
        http: port(),
        ws: port(),
    }
}

pub(crate) fn port() -> Port {
    Port(allexmaster_testkit::ports::one())
}

/// Waits for a condition that nobody reports.
pub(crate) async fn until(condition: impl FnMut() -> bool) {
    allexmaster_testkit::wait::until("the condition", condition).await;
}
