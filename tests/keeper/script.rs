//! The engine of these tests starts children for its keeper, as the daemon does it.

use std::path::Path;

use allexmaster::child::{Children, end_of};
use allexmaster::launch::Template;
use allexmaster::process;
use allexmaster::sink::EventSink;
use allexmaster_keeper::link::KeeperLink;
use allexmaster_state::{Event, Incarnation, Pid};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::hands::{journal, launcher, launchers, options, order};

/// What the engine has besides its keeper.
pub(crate) struct Engine {
    link: KeeperLink,
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
    pub(crate) const fn new(link: KeeperLink) -> Self {
        Self { link, hands: None }
    }

    pub(crate) async fn obey(&mut self, words: &[&str]) -> String {
        match *words {
            // The folder of the children, as for all that follow.
            ["hands", folder] => {
                self.hands = Some(self.hands(Path::new(folder)));
            }
            ["record"] => {
                self.hands.as_ref().unwrap().disk.send_replace(true);
            }
            ["spawn", number, ref script @ ..] => {
                let script = json!({ "do": script.join(" ") });
                let order = order(number.parse().unwrap(), "exec:sh", script);
                self.hands.as_ref().unwrap().children.spawn(order);
            }
            // A child that looks like one that does not run its program yet.
            ["spawn-newborn", number, ref script @ ..] => {
                let script = json!({ "do": script.join(" ") });
                let order = order(number.parse().unwrap(), "exec:newborn", script);
                self.hands.as_ref().unwrap().children.spawn(order);
            }
            ["spawn-nothing", number] => {
                let order = order(number.parse().unwrap(), "exec:nothing", json!({}));
                self.hands.as_ref().unwrap().children.spawn(order);
            }
            ["event"] => return self.event().await,
            ["find", folder] => return self.find(Path::new(folder)),
            ["bury", folder] => {
                let found = self.kept_children(Path::new(folder));
                self.hands.as_ref().unwrap().children.bury(found.ended);
            }
            _ => panic!("{words:?} is no command"),
        }
        "done".to_owned()
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
