//! Real processes with a channel. The child is a shell that speaks as a child of AllexJS does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use allexmaster::channel::Neighbours;
use allexmaster::child::{ChildOptions, Children};
use allexmaster::launch::{Launcher, Launchers, MasterFacts, Template};
use allexmaster::node::{Nodes, child_socket, remove_left_behind};
use allexmaster::{process, relay};
use allexmaster_state::{Event, Incarnation, Need, Outcome, PerProtocol, Pid, Port, SpawnOrder};
use serde_json::Map;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// No condition takes so long, however slow the machine: then the test fails.
const PATIENCE: Duration = Duration::from_secs(60);
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

struct Bench {
    folder: TempDir,
    children: Children<mpsc::Sender<Event>>,
    nodes: Nodes<mpsc::Sender<Event>>,
    events: mpsc::Receiver<Event>,
    from_children: mpsc::Receiver<relay::FromChild>,
}

impl Bench {
    /// Runs a script as the child program.
    fn run(script: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (sink, events) = mpsc::channel(64);
        let node = Launcher {
            program: PathBuf::from("sh"),
            arguments: ["-c", &script.replace('{', "{{").replace('}', "}}")]
                .map(|text| Template::parse(text).unwrap())
                .to_vec(),
            folder: None,
            environment: BTreeMap::new(),
            ready: None,
        };
        let options = ChildOptions {
            boot: process::boot_id().unwrap(),
            launchers: Launchers::new(
                BTreeMap::from([("node".to_owned(), node)]),
                Path::new(env!("CARGO_BIN_EXE_allexmaster")),
            ),
            master: MasterFacts {
                journal: folder.path().display().to_string().replace('/', "-").into(),
                pid: Pid(std::process::id()),
                folder: folder.path().to_owned(),
                runtime_folder: ".".to_owned(),
            },
            log_folder: folder.path().join("logs"),
            keeper: None,
            abort_after_fork: None,
        };
        let (to_local, from_children) = relay::channel();
        let master = Pid(std::process::id());
        let sockets = folder.path().to_owned();
        let nodes = Nodes::new(Handle::current(), sink.clone(), master, sockets, to_local);
        let opened = nodes.clone();
        let neighbours = Neighbours {
            channel_opened: Box::new(move |channel| opened.begin(channel)),
            ..Neighbours::default()
        };
        let children = Children::with_neighbours(Handle::current(), sink, options, neighbours);
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
            nodes,
            events,
            from_children,
        }
    }

    async fn next(&mut self) -> Event {
        let received = timeout(PATIENCE, self.events.recv()).await;
        received.expect("an event comes").expect("the drivers live")
    }

    async fn spawned(&mut self) -> Pid {
        let event = self.next().await;
        let Event::ChildSpawned { identity, .. } = event else {
            panic!("expected ChildSpawned, got {event:?}");
        };
        identity.pid
    }
}

#[tokio::test]
async fn a_child_is_introduced_when_it_says_that_it_is_there() {
    let mut bench = Bench::run(&format!("{GREET}\nIFS= read -r line <&3"));
    let pid = bench.spawned().await;
    let (child, introduced) = bench.nodes.introduction(CHILD).expect("it has a channel");
    assert_eq!(child.pid, pid);
    timeout(PATIENCE, introduced)
        .await
        .expect("it is introduced");
    let gone = bench.children.gone(CHILD);
    bench
        .children
        .signal(CHILD, child, allexmaster_state::Signal::Kill);
    timeout(PATIENCE, gone).await.expect("it ends");
}

#[tokio::test]
async fn a_child_that_reports_an_exception_has_failed() {
    let script =
        r#"printf '{"uncaughtException":{"code":"X","message":"no such thing"}}\n' >&3; cat <&3"#;
    let mut bench = Bench::run(script);
    bench.spawned().await;
    let event = bench.next().await;
    let Event::ChildFailed {
        incarnation,
        reason,
    } = &event
    else {
        panic!("expected ChildFailed, got {event:?}");
    };
    assert_eq!(*incarnation, CHILD);
    assert!(reason.contains("no such thing"), "{reason}");
    let (child, _) = bench.nodes.introduction(CHILD).expect("it has a channel");
    bench
        .children
        .signal(CHILD, child, allexmaster_state::Signal::Kill);
    assert!(matches!(bench.next().await, Event::ChildExited { .. }));
}

#[tokio::test]
async fn what_a_child_says_is_read_for_ever_so_that_it_is_never_held_up() {
    // Some megabytes, far more than a socket holds: a child that is not read would never end.
    let script = format!(
        "{GREET}\nyes '[\"oob\",[\"'$session'\",\"s\",{{\"p\":[\"time\"],\"o\":\"s\",\"d\":1}}]]' \
         | head -n 60000 >&3\nprintf '[\"oob\",[\"%s\",\"s\",{{\"p\":[\"closed\"],\"o\":\"s\",\"d\":true}}]]\\n' \
         $session >&3; exit 7"
    );
    let mut bench = Bench::run(&script.replace("{{", "{").replace("}}", "}"));
    let pid = bench.spawned().await;
    let outcome = bench.next().await;
    let Event::ChildExited { outcome, .. } = outcome else {
        panic!("expected ChildExited, got {outcome:?}");
    };
    assert_eq!(outcome, Outcome::Exited(7));
    let column = timeout(PATIENCE, bench.from_children.recv())
        .await
        .expect("it is told");
    let Some(relay::FromChild::Column {
        pid: of,
        name,
        value,
        ..
    }) = column
    else {
        panic!("expected a column, got {column:?}");
    };
    assert_eq!((of, name.as_str(), value), (pid, "closed", true.into()));
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
