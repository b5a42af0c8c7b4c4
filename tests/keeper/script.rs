//! The engine of these tests starts children for its keeper, as the daemon does it.

use std::path::Path;

use allexmaster::child::{Children, end_of};
use allexmaster::launch::Template;
use allexmaster::process;
use allexmaster_keeper::link::KeeperLink;
use allexmaster_state::{Event, Incarnation, Pid};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::hands::{journal, launcher, launchers, options, order};

/// What the engine has besides its keeper.
pub(crate) struct Engine {
    link: KeeperLink,
    hands: Option<Hands>,
}

/// The driver of children, and what it reports to a journal that is behind until the test says
/// otherwise.
struct Hands {
    children: Children<mpsc::Sender<Event>>,
    events: mpsc::Receiver<Event>,
    recorded: bool,
    /// The children whose end waits to be recorded.
    ended: Vec<Incarnation>,
}

impl Hands {
    /// An end is recorded, now or later: only then is the child reaped.
    fn has_ended(&mut self, incarnation: Incarnation) {
        self.ended.push(incarnation);
        if self.recorded {
            self.record();
        }
    }

    fn record(&mut self) {
        self.recorded = true;
        self.ended.drain(..).for_each(|of| self.children.reap(of));
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
                self.hands.as_mut().unwrap().record();
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
                let hands = self.hands.as_mut().unwrap();
                let ended: Vec<_> = found.ended.iter().map(|end| end.incarnation).collect();
                hands.children.ended_before(found.ended);
                ended.into_iter().for_each(|of| hands.has_ended(of));
            }
            _ => panic!("{words:?} is no command"),
        }
        "done".to_owned()
    }
}

impl Engine {
    fn hands(&self, folder: &Path) -> Hands {
        let (sender, events) = mpsc::channel(64);
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
        let children = Children::new(Handle::current(), sender, options);
        Hands {
            children,
            events,
            recorded: false,
            ended: Vec::new(),
        }
    }

    async fn event(&mut self) -> String {
        let event = self.hands.as_mut().unwrap().events.recv().await.unwrap();
        if let Event::ChildSpawned {
            incarnation,
            identity,
            ..
        } = &event
        {
            return format!("spawned {incarnation} {}", identity.pid);
        }
        if let Event::ChildNotSpawned { incarnation, .. } = &event {
            return format!("not spawned {incarnation}");
        }
        if let Event::DescendantsLeft {
            incarnation,
            outcome,
            left,
        } = &event
        {
            return format!("left {incarnation} {outcome:?} {}", left.len());
        }
        let Event::ChildExited {
            incarnation,
            outcome,
        } = event
        else {
            panic!("{event:?}");
        };
        self.hands.as_mut().unwrap().has_ended(incarnation);
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
