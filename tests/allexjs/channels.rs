//! Real processes with a channel. The child is a shell that speaks as a child of AllexJS does.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use allexmaster::channel::Neighbours;
use allexmaster::child::{ChildOptions, Children};
use allexmaster::config::{Config, InForce};
use allexmaster::launch::{Launcher, Launchers, MasterFacts, Template};
use allexmaster::machine::{EventInbox, Rules};
use allexmaster::node::{child_socket, remove_left_behind};
use allexmaster::process;
use allexmaster::sessions::{Beginning, Inherited, Runtime, RuntimeOptions};
use allexmaster_inspect::source::{Page, PageWish};
use allexmaster_journal::{Error, JournaledMachine, Options, Performer, SystemClock, runner};
use allexmaster_sessions::{Sessions, SessionsIdentity};
use allexmaster_state::{
    Effect, Event, Incarnation, Need, Outcome, PerProtocol, Pid, Port, SpawnOrder, State,
};
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::time::timeout;

/// No condition takes so long, however slow the machine: then the test fails.
const TIMEOUT: Duration = Duration::from_secs(60);
const CHILD: Incarnation = Incarnation {
    sequence: 1,
    index: 0,
};

/// Says that it is there, and answers the introduction in the name that it was given.
const GREET: &str = r#"
    printf '{"child_init":%s}\n' $$ >&3
    IFS= read -r line <&3
    id=$(printf %s "$line" | cut -d'"' -f2)
    session=$(printf %s "$line" | cut -d'"' -f4)
    printf '["r","%s",{"session":"%s","role":"service","modulename":"allex_x"}]\n' "$id" "$session" >&3
"#;

/// Does nothing: these tests look at what is told.
struct Idle;

impl Performer<Rules> for Idle {
    type Exit = ();

    fn perform(&mut self, _effect: Effect) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn settled(&mut self, _state: &State) {}

    fn journal_failed(&mut self, error: &Error) {
        panic!("{error}");
    }
}

struct Bench {
    folder: TempDir,
    children: Children<EventInbox>,
    runtime: Runtime,
    inbox: EventInbox,
}

impl Bench {
    /// Runs a script as the child program.
    fn run(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (live, _) =
            JournaledMachine::open(&folder.path().join("journal"), Options::default()).unwrap();
        let (inbox, mailbox) = runner::inbox(64);
        runner::start(live, mailbox, SystemClock, Idle).unwrap();
        let node = Launcher {
            program: PathBuf::from("sh"),
            arguments: ["-c", &script.replace('{', "{{").replace('}', "}}")]
                .map(|text| Template::parse(text).unwrap())
                .to_vec(),
            folder: None,
            environment: BTreeMap::new(),
            ready: None,
        };
        let journal = folder.path().display().to_string().replace('/', "-");
        let master = Pid(std::process::id());
        let config = Config {
            launchers: Launchers::new(
                BTreeMap::from([("node".to_owned(), node)]),
                Path::new(env!("CARGO_BIN_EXE_allexmaster")),
            ),
            ..Config::default()
        };
        let config = Arc::new(InForce::from(config));
        let options = ChildOptions {
            boot: process::boot_id().unwrap(),
            config: Arc::clone(&config),
            master: MasterFacts {
                journal: journal.as_str().into(),
                pid: master,
                folder: folder.path().to_owned(),
                runtime_folder: ".".to_owned(),
            },
            log_folder: folder.path().join("logs"),
            keeper: None,
            abort_after_fork: None,
        };
        let identity = SessionsIdentity {
            journal,
            master,
            prefix: "m".to_owned(),
        };
        let runtime_options = RuntimeOptions {
            config,
            socket_folder: folder.path().to_owned(),
            log_folder: std::path::PathBuf::new(),
            inbox: inbox.clone(),
            store: None,
        };
        let beginning = Beginning::New(Box::new(Sessions::new(identity, 0)));
        let runtime = Runtime::start(runtime_options, beginning, Inherited::new()).unwrap();
        let opened = runtime.clone();
        let neighbours = Neighbours {
            channel_opened: Box::new(move |channel| opened.open_channel(channel)),
            ..Neighbours::default()
        };
        let children =
            Children::with_neighbours(Handle::current(), inbox.clone(), options, neighbours);
        let need = Need {
            instance: "X".into(),
            module: "allex_x".into(),
            address: None,
            ports: PerProtocol::default(),
            details: Map::new(),
        };
        children.spawn(SpawnOrder {
            incarnation: CHILD,
            need: Arc::new(need),
            ports: PerProtocol {
                tcp: Port(1),
                http: Port(2),
                ws: Port(3),
            },
        });
        Self {
            folder,
            children,
            runtime,
            inbox,
        }
    }

    /// Waits until something like this has been told.
    async fn told<T>(&self, what: &str, wanted: impl Fn(Event) -> Option<T>) -> T {
        let wait = async {
            loop {
                let page = self
                    .inbox
                    .read(|journal| {
                        Page::read(
                            journal,
                            PageWish {
                                from: 1,
                                most: 64,
                                base: None,
                                state: None,
                            },
                        )
                    })
                    .await;
                for line in page.unwrap().records {
                    let line: Value = serde_json::from_str(&line).unwrap();
                    let event = serde_json::from_value(line["event"].clone()).unwrap();
                    if let Some(found) = wanted(event) {
                        return found;
                    }
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(TIMEOUT, wait).await.expect(what)
    }

    async fn spawned(&self) -> Pid {
        let spawned = |event| {
            let Event::ChildSpawned { identity, .. } = event else {
                return None;
            };
            Some(identity.pid)
        };
        self.told("the child's start is told", spawned).await
    }

    async fn exited(&self) -> Outcome {
        let exited = |event| {
            let Event::ChildExited { outcome, .. } = event else {
                return None;
            };
            Some(outcome)
        };
        self.told("the child's end is told", exited).await
    }
}

#[tokio::test]
async fn a_child_is_introduced_when_it_says_that_it_is_there() {
    let bench = Bench::run(&format!("{GREET}\nIFS= read -r line <&3"));
    let pid = bench.spawned().await;
    let (child, introduced) = bench.runtime.introduction(CHILD).expect("it has a channel");
    assert_eq!(child.pid, pid);
    timeout(TIMEOUT, introduced)
        .await
        .expect("it is introduced");
    let gone = bench.children.gone(CHILD);
    bench
        .children
        .signal(CHILD, child, allexmaster_state::Signal::Kill);
    timeout(TIMEOUT, gone).await.expect("it ends");
}

#[tokio::test]
async fn a_child_that_reports_an_exception_has_failed() {
    let script =
        r#"printf '{"uncaughtException":{"code":"X","message":"no such thing"}}\n' >&3; cat <&3"#;
    let bench = Bench::run(script);
    bench.spawned().await;
    let failed = |event| {
        let Event::ChildFailed {
            incarnation,
            reason,
        } = event
        else {
            return None;
        };
        Some((incarnation, reason))
    };
    let (incarnation, reason) = bench.told("its failure is told", failed).await;
    assert_eq!(incarnation, CHILD);
    assert!(reason.contains("no such thing"), "{reason}");
    let (child, _) = bench.runtime.introduction(CHILD).expect("it has a channel");
    bench
        .children
        .signal(CHILD, child, allexmaster_state::Signal::Kill);
    bench.exited().await;
}

#[tokio::test]
async fn what_a_child_says_is_read_for_ever_so_that_it_is_never_held_up() {
    // Some megabytes, far more than a socket holds: a child that is not read would never end.
    let script = format!(
        "{GREET}\nyes '[\"oob\",[\"'$session'\",\"s\",{{\"p\":[\"time\"],\"o\":\"s\",\"d\":1}}]]' \
         | head -n 60000 >&3; exit 7"
    );
    let bench = Bench::run(&script.replace("{{", "{").replace("}}", "}"));
    bench.spawned().await;
    assert_eq!(bench.exited().await, Outcome::Exited(7));
}

#[tokio::test]
async fn a_socket_that_a_killed_child_left_behind_is_removed_and_no_other() {
    let bench = Bench::run("exit 0");
    let dead = child_socket(bench.folder.path(), Pid(1));
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    assert!(dead.exists());
    remove_left_behind(&dead);
    assert!(!dead.exists());
    let alive = child_socket(bench.folder.path(), Pid(2));
    let _listener = std::os::unix::net::UnixListener::bind(&alive).unwrap();
    remove_left_behind(&alive);
    assert!(alive.exists());
}
