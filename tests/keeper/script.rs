//! The engine of the tests. The keeper starts this test program with only the function below, which
//! connects to the test and does what it is told, a line at a time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use allexmaster::child::{Children, end_of};
use allexmaster::launch::Template;
use allexmaster::process;
use allexmaster::sink::EventSink;
use allexmaster_keeper::link::{FromKeeper, Inheritance, KeeperLink, Messages};
use allexmaster_state::{Event, Incarnation, Pid};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::hands::{journal, launcher, launchers, options, order};

/// The socket of the test.
pub(crate) const TEST_VARIABLE: &str = "ALLEXMASTER_TEST_OF_KEEPER";
/// The name of the function below, as the test program wants it.
pub(crate) const SCRIPT: &str = "script::an_engine_does_what_its_test_says";

/// Not a test by itself: a keeper starts it.
#[test]
fn an_engine_does_what_its_test_says() {
    let Some(test) = std::env::var_os(TEST_VARIABLE) else {
        return;
    };
    let inheritance = Inheritance::take().unwrap().expect("a keeper started it");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (link, messages, inherited) = KeeperLink::start(inheritance).unwrap();
        let mut engine = Engine {
            link,
            messages,
            kept: BTreeMap::new(),
            hands: None,
        };
        for (name, descriptor) in inherited {
            engine.kept.entry(name).or_default().push(descriptor);
        }
        let mut control = UnixStream::connect(test).unwrap();
        let lines = BufReader::new(control.try_clone().unwrap()).lines();
        writeln!(control, "{} {}", std::process::id(), engine.link.keeper()).unwrap();
        for line in lines {
            let words: Vec<String> = line.unwrap().split(' ').map(str::to_owned).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let answer = engine.obey(&words).await;
            writeln!(control, "{answer}").unwrap();
            // What waits for the keeper is sent by a task.
            tokio::task::yield_now().await;
        }
    });
}

struct Engine {
    link: KeeperLink,
    messages: Messages,
    kept: BTreeMap<String, Vec<OwnedFd>>,
    hands: Option<Hands>,
}

/// The driver of children, and what it reports.
struct Hands {
    children: Children<Sink>,
    events: mpsc::Receiver<Event>,
    disk: watch::Sender<bool>,
}

/// A journal that is behind until the test says otherwise.
#[derive(Clone)]
struct Sink {
    events: mpsc::Sender<Event>,
    disk: watch::Receiver<bool>,
}

impl EventSink for Sink {
    async fn send(&self, event: Event) {
        self.events.send(event).await.unwrap();
    }

    async fn recorded(&self, _: Incarnation) -> bool {
        self.disk.clone().wait_for(|works| *works).await.is_ok()
    }
}

impl Engine {
    async fn obey(&mut self, words: &[&str]) -> String {
        let done = match *words {
            ["ready"] => self.link.ready(),
            ["stopping"] => self.link.stopping(),
            ["alive"] => self.link.alive(),
            ["keep-alive"] => {
                tokio::spawn(
                    self.link
                        .clone()
                        .keep_alive(async || tokio::task::yield_now().await),
                );
                Ok(())
            }
            ["watchdog", micros] => {
                let time = Duration::from_micros(micros.parse().unwrap());
                self.link.set_watchdog(time)
            }
            ["store", name, count, text] => self.store(name, count.parse().unwrap(), text),
            ["listen", name, path] => {
                let listener = UnixListener::bind(path).unwrap();
                self.link.store_listener(name, listener.as_fd())
            }
            ["remove", name] => self.link.remove(name),
            ["reap", pid] => self.link.reap(pid.parse().unwrap()),
            ["program", path] => self.link.next_engine(Path::new(path)),
            ["names"] => return self.names(),
            ["read", name] => return self.read(name),
            ["hear", name] => return self.hear(name),
            ["next"] => return self.next().await,
            ["variables"] => return variables(),
            // The folder of the children, as for all that follow.
            ["hands", folder] => {
                self.hands = Some(self.hands(Path::new(folder)));
                Ok(())
            }
            ["record"] => {
                self.hands.as_ref().unwrap().disk.send_replace(true);
                Ok(())
            }
            ["spawn", number, ref script @ ..] => {
                let script = json!({ "do": script.join(" ") });
                let order = order(number.parse().unwrap(), "exec:sh", script);
                self.hands.as_ref().unwrap().children.spawn(order);
                Ok(())
            }
            // A child that looks like one that does not run its program yet.
            ["spawn-newborn", number, ref script @ ..] => {
                let script = json!({ "do": script.join(" ") });
                let order = order(number.parse().unwrap(), "exec:newborn", script);
                self.hands.as_ref().unwrap().children.spawn(order);
                Ok(())
            }
            ["spawn-nothing", number] => {
                let order = order(number.parse().unwrap(), "exec:nothing", json!({}));
                self.hands.as_ref().unwrap().children.spawn(order);
                Ok(())
            }
            ["event"] => return self.event().await,
            ["find", folder] => return self.find(Path::new(folder)),
            ["bury", folder] => {
                let found = self.kept_children(Path::new(folder));
                self.hands.as_ref().unwrap().children.bury(found.ended);
                Ok(())
            }
            ["wait"] => {
                // Time for the task that sends what waits.
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok(())
            }
            ["exit", code] => std::process::exit(code.parse().unwrap()),
            _ => panic!("{words:?} is no command"),
        };
        done.map_or_else(|error| error.to_string(), |()| "done".to_owned())
    }

    /// Stores the same file so many times.
    fn store(
        &self,
        name: &str,
        count: usize,
        text: &str,
    ) -> Result<(), allexmaster_keeper::link::LinkError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let descriptors: Vec<BorrowedFd<'_>> = std::iter::repeat_n(file.as_fd(), count).collect();
        self.link.store(name, &descriptors)
    }

    fn names(&self) -> String {
        self.kept
            .iter()
            .fold(String::new(), |mut text, (name, of)| {
                write!(text, "{name}={} ", of.len()).unwrap();
                text
            })
    }

    /// The text of a stored file.
    fn read(&self, name: &str) -> String {
        let mut file = File::from(self.kept[name][0].try_clone().unwrap());
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }

    /// A line that comes over a stored connection; it is answered with the same line.
    fn hear(&self, name: &str) -> String {
        let stream = UnixStream::from(self.kept[name][0].try_clone().unwrap());
        stream.set_nonblocking(false).unwrap();
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        (&stream).write_all(line.as_bytes()).unwrap();
        line.trim().to_owned()
    }

    async fn next(&mut self) -> String {
        match self.messages.next().await {
            FromKeeper::Accepted { name, connection } => {
                self.kept.entry(name.clone()).or_default().push(connection);
                format!("accepted {name}")
            }
            FromKeeper::Exited(pid) => format!("exited {pid}"),
            FromKeeper::Signal(signal) => format!("signal {signal:?}"),
            FromKeeper::Gone => "gone".to_owned(),
        }
    }
}

impl Engine {
    fn hands(&self, folder: &Path) -> Hands {
        let (sender, events) = mpsc::channel(64);
        let (disk, works) = watch::channel(false);
        let sink = Sink {
            events: sender,
            disk: works,
        };
        let shell = || launcher("sh", &["-c", "{propertyhash.do}"]);
        let mut newborn = shell();
        let role = Template::parse("engine").unwrap();
        newborn
            .environment
            .insert("ALLEXMASTER_ROLE".to_owned(), role);
        let configured = launchers([
            ("sh", shell()),
            ("newborn", newborn),
            ("nothing", launcher("/there/is/nothing", &[])),
        ]);
        let mut options = options(folder, &journal(folder), configured, None);
        options.keeper = Some(self.link.clone());
        let children = Children::new(Handle::current(), sink, options);
        Hands {
            children,
            events,
            disk,
        }
    }

    async fn event(&mut self) -> String {
        let event = self.hands.as_mut().unwrap().events.recv().await.unwrap();
        if let Event::ChildSpawned {
            incarnation,
            identity,
        } = &event
        {
            return format!("spawned {incarnation} {}", identity.pid);
        }
        if let Event::ChildNotSpawned { incarnation, .. } = &event {
            return format!("not spawned {incarnation}");
        }
        let Event::ChildExited {
            incarnation,
            outcome,
        } = event
        else {
            panic!("{event:?}");
        };
        format!("ended {incarnation} {outcome:?}")
    }

    fn kept_children(&self, folder: &Path) -> process::Found {
        let found = process::find_kept(&journal(folder), &[], Pid(self.link.keeper())).unwrap();
        assert!(found.complete);
        found
    }

    /// The children that live, and those that have ended.
    fn find(&self, folder: &Path) -> String {
        let found = self.kept_children(folder);
        let alive = found.survivors.found.iter();
        let alive: Vec<String> = alive.map(|child| child.incarnation.to_string()).collect();
        let mut ended: Vec<String> = found
            .ended
            .iter()
            .map(|zombie| format!("{} {:?}", zombie.incarnation, end_of(zombie).outcome))
            .collect();
        ended.sort();
        format!("alive {alive:?} ended {ended:?}")
    }
}

/// What a child would inherit of the variables that are between keeper and engine.
fn variables() -> String {
    let all = std::env::vars().map(|(name, _)| name);
    let found: Vec<String> = all
        .filter(|name| {
            [
                "ALLEXMASTER_ROLE",
                "ALLEXMASTER_ENGINE",
                "NOTIFY_SOCKET",
                "WATCHDOG_USEC",
            ]
            .contains(&name.as_str())
                || name.starts_with("LISTEN_")
        })
        .collect();
    format!("{found:?}")
}
