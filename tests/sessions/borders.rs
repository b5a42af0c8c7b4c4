//! Real sockets, and engines that end in the middle of something. A tool makes calls meanwhile: each is
//! answered once, and what it caused is told once.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::ops::ControlFlow;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use allexmaster::config::Config;
use allexmaster::machine::{EventInbox, Rules};
use allexmaster::sessions::{
    Beginning, DescriptorStore, Inherited, Runtime, RuntimeOptions, SessionLog, restore,
};
use allexmaster_journal::store::FakeDisk;
use allexmaster_journal::{Error, JournaledMachine, Options, Performer, SystemClock, runner};
use allexmaster_machine::Mono;
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_sessions::{ConnectionName, Input, Mark, OutboxAck, ReplayedEffects, Sessions};
use allexmaster_state::{Effect, Event, Reply, SessionEffect, State, StopSource};
use rustix::net::{RecvFlags, recv};
use rustix::pipe::{SpliceFlags, splice};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::world::identity;

const LINE: &str = "listen.0-0.1";
const LOG: &str = "log.1";
/// No answer takes so long, however slow the machine: then the test fails.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A keeper: it holds what it was given open.
#[derive(Default)]
struct Keeper(Mutex<BTreeMap<String, Vec<OwnedFd>>>);

impl Keeper {
    fn give_back(&self) -> Inherited {
        let kept = self.0.lock().unwrap();
        let copy = |all: &Vec<OwnedFd>| all.iter().map(|one| one.try_clone().unwrap()).collect();
        kept.iter()
            .map(|(name, all)| (name.clone(), copy(all)))
            .collect()
    }

    fn log(&self) -> SessionLog {
        let mut all = self.give_back();
        SessionLog::open(all.remove(LOG).unwrap().remove(0)).unwrap()
    }
}

impl DescriptorStore for Keeper {
    fn is_there(&self) -> bool {
        true
    }

    fn keep(&self, name: &str, descriptors: &[BorrowedFd<'_>]) {
        let copies = descriptors
            .iter()
            .map(|one| one.try_clone_to_owned().unwrap());
        let mut kept = self.0.lock().unwrap();
        kept.entry(name.to_owned()).or_default().extend(copies);
    }

    fn accept(&self, _name: &str, _listener: BorrowedFd<'_>) {}

    fn next_engine(&self, _program: &Path) -> Result<(), String> {
        Err("it stays".to_owned())
    }

    fn forget(&self, name: &str) {
        self.0.lock().unwrap().remove(name);
    }
}

/// The tool at the other end.
struct Tool {
    socket: UnixStream,
    wire: Wire,
    session: String,
}

impl Tool {
    fn call(&mut self, number: usize) {
        let of = json!([self.session, null]);
        let module = format!("m{number}");
        self.say(&json!([
            format!("c{number}"),
            of,
            [".", ["notifyModuleEngaged", [module]]]
        ]));
    }

    fn say(&mut self, frame: &Value) {
        self.wire.send(&frame.to_string()).unwrap();
        self.socket.write_all(&self.wire.take_output()).unwrap();
    }

    /// Reads until so many answers have come.
    fn hear(&mut self, count: usize) -> Vec<Value> {
        let mut answers = Vec::new();
        while answers.len() < count {
            let mut buffer = [0; 4_096];
            let bytes = self.socket.read(&mut buffer).expect("an answer");
            assert!(bytes > 0, "the connection stays");
            let mut items = Vec::new();
            self.wire.receive(&buffer[..bytes], &mut items);
            for item in items {
                let WireItem::Text(text) = item else {
                    panic!("frames are valid: {item:?}");
                };
                let frame: Value = serde_json::from_str(&text).unwrap();
                if frame[0] == "r" {
                    answers.push(frame);
                }
            }
        }
        answers
    }
}

fn options(keeper: &Arc<Keeper>, inbox: EventInbox) -> RuntimeOptions {
    RuntimeOptions {
        config: Arc::new(Config::default().into()),
        socket_folder: "/nonexistent".into(),
        log_folder: std::path::PathBuf::new(),
        inbox,
        store: Some(Arc::<Keeper>::clone(keeper)),
    }
}

/// The rules over a journal in memory, which answer while the engine lives. They acknowledge nothing,
/// so every event stays in the outbox to be looked at.
struct Rulebook {
    sessions: Arc<Mutex<Option<Runtime>>>,
    effects: Vec<SessionEffect>,
}

impl Performer<Rules> for Rulebook {
    type Exit = ();

    fn perform(&mut self, effect: Effect) -> ControlFlow<()> {
        if effect == Effect::Exit {
            return ControlFlow::Break(());
        }
        self.effects.extend(effect.into_session());
        ControlFlow::Continue(())
    }

    fn settled(&mut self, _state: &State) {
        let effects = std::mem::take(&mut self.effects);
        if let Some(sessions) = &*self.sessions.lock().unwrap() {
            sessions.journaled(OutboxAck::default(), effects);
        }
    }

    fn journal_failed(&mut self, error: &Error) {
        panic!("{error}");
    }
}

/// An engine lives as long as this does; then it ends wherever it is.
fn live<T>(keeper: &Arc<Keeper>, first: Option<OwnedFd>, until: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (inbox, mailbox) = runner::inbox(16);
        let options = options(keeper, inbox.clone());
        let mut inherited = keeper.give_back();
        let beginning = match restore(&mut inherited) {
            Some(restored) => {
                let replayed = ReplayedEffects::after(restored.sessions().ack());
                Beginning::Restored(Box::new(restored), replayed)
            }
            None => {
                inherited.retain(|name, _| name.starts_with("log."));
                Beginning::New(Box::new(Sessions::new(identity(), 0)))
            }
        };
        let driver = Runtime::start(options, beginning, inherited).unwrap();
        if let Some(socket) = first {
            driver.take_in(ConnectionName(LINE.to_owned()), socket);
        }
        let sessions = Arc::new(Mutex::new(Some(driver)));
        let performer = Rulebook {
            sessions: Arc::clone(&sessions),
            effects: Vec::new(),
        };
        let store = Box::new(FakeDisk::new());
        let (rules, _) = JournaledMachine::<Rules>::with_store(store, Options::default()).unwrap();
        let rules = runner::start(rules, mailbox, SystemClock, performer).unwrap();
        let result = until.await;
        sessions.lock().unwrap().take();
        let stop = Event::StopRequested {
            request: None,
            source: StopSource::Signal,
            urgent: false,
        };
        inbox.send(stop).await.unwrap();
        rules.join().unwrap().unwrap();
        result
    })
}

/// A tool that an engine has let in, which has ended then.
fn let_in() -> (Arc<Keeper>, Tool) {
    let keeper = Arc::new(Keeper::default());
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(TIMEOUT)).unwrap();
    let theirs = OwnedFd::from(theirs);
    keeper.keep(LINE, &[std::os::fd::AsFd::as_fd(&theirs)]);
    let mut tool = Tool {
        socket: ours,
        wire: Wire::length_prefixed(),
        session: String::new(),
    };
    let credentials = json!({"samemachineprocess": {"pid": std::process::id(), "role": "service"}});
    let tool = live(&keeper, Some(theirs), async {
        let talk = move || {
            tool.say(&json!(["a", [null, credentials]]));
            let granted = tool.hear(1).remove(0);
            tool.session = granted[2]["session"].as_str().unwrap().to_owned();
            tool
        };
        tokio::task::spawn_blocking(talk).await.unwrap()
    });
    (keeper, tool)
}

/// Another engine takes over, answers what is open and goes on; then nothing is missing or doubled.
fn check(keeper: &Arc<Keeper>, mut tool: Tool, calls: usize, what: &str) {
    let answers = live(keeper, None, async {
        let talk = move || {
            tool.call(calls);
            tool.hear(calls + 1)
        };
        tokio::task::spawn_blocking(talk).await.unwrap()
    });
    let expected: Vec<Value> = (0..=calls)
        .map(|number| json!(["r", format!("c{number}"), true]))
        .collect();
    assert_eq!(answers, expected, "{what}");
    let log = keeper.log();
    let sessions = log.sessions();
    let told: Vec<String> = (0..)
        .map_while(|after| sessions.unacked(after))
        .map(|(_, event)| {
            let Event::ModuleEngaged { module, .. } = event else {
                panic!("nobody asked for this: {event:?}");
            };
            module.to_string()
        })
        .collect();
    let expected: Vec<String> = (0..=calls).map(|number| format!("m{number}")).collect();
    assert_eq!(told, expected, "{what}");
}

/// Where an engine is when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Window {
    Nothing,
    Peeked,
    Logged,
    PartlyConsumed,
    Consumed,
    ConsumedNoted,
    Offered,
    Put,
    Taken,
    PartlyMoved,
    Moved,
}

const WINDOWS: [Window; 11] = [
    Window::Nothing,
    Window::Peeked,
    Window::Logged,
    Window::PartlyConsumed,
    Window::Consumed,
    Window::ConsumedNoted,
    Window::Offered,
    Window::Put,
    Window::Taken,
    Window::PartlyMoved,
    Window::Moved,
];

/// How many bytes of something half done were done.
const PART: usize = 7;

/// Does what an engine does with what has come, step by step, until it ends there.
fn die_in(window: Window, keeper: &Keeper) {
    let line = ConnectionName(LINE.to_owned());
    let mut log = keeper.log();
    let kept = keeper.give_back();
    let [socket, from, to] = kept.get(LINE).unwrap().as_slice() else {
        panic!("a socket and both ends of its pipe are kept");
    };
    let mut buffer = [0; 4_096];
    let take =
        |buffer: &mut [u8], flags| recv(socket, buffer, flags | RecvFlags::DONTWAIT).unwrap().0;
    let mark = |log: &mut SessionLog, mark| {
        let name = line.clone();
        let marked = Input::Marked { name, mark };
        log.commit(Mono(0), &marked).unwrap();
    };
    if window < Window::Peeked {
        return;
    }
    let count = take(&mut buffer, RecvFlags::PEEK);
    if window < Window::Logged {
        return;
    }
    let clock = clock_gettime(ClockId::Monotonic);
    let now = Mono(u64::try_from(clock.tv_sec).unwrap() * 1_000);
    let received = Input::Received {
        name: line.clone(),
        bytes: buffer[..count].to_vec(),
    };
    log.commit(now, &received).unwrap();
    if window < Window::PartlyConsumed {
        return;
    }
    assert_eq!(take(&mut buffer[..PART], RecvFlags::empty()), PART);
    if window < Window::Consumed {
        return;
    }
    assert_eq!(
        take(&mut buffer[..count - PART], RecvFlags::empty()),
        count - PART
    );
    if window < Window::ConsumedNoted {
        return;
    }
    mark(&mut log, Mark::Consumed);
    if window < Window::Offered {
        return;
    }
    let asked = (0..).map_while(|after| log.sessions().unacked(after));
    let reply = |(_, event)| {
        let Event::ModuleEngaged { request, .. } = event else {
            panic!("nobody asked for this: {event:?}");
        };
        let (request, reply) = (request?, Reply::Done(json!(true)));
        Some(SessionEffect::Reply { request, reply })
    };
    let answered = Input::Journaled {
        ack: OutboxAck::default(),
        effects: asked.filter_map(reply).collect(),
    };
    log.commit(now, &answered).unwrap();
    let (bytes, end) = log.sessions().chunk(&line, usize::MAX).unwrap();
    mark(&mut log, Mark::Offered(end));
    if window < Window::Put {
        return;
    }
    assert_eq!(rustix::io::write(to, &bytes).unwrap(), bytes.len());
    if window < Window::Taken {
        return;
    }
    mark(&mut log, Mark::Taken(end));
    if window < Window::PartlyMoved {
        return;
    }
    let most = if window == Window::Moved {
        bytes.len()
    } else {
        PART
    };
    let moved = splice(from, None, socket, None, most, SpliceFlags::NONBLOCK);
    assert_eq!(moved.unwrap(), most);
}

#[test]
fn an_engine_that_ends_between_any_two_steps_loses_and_doubles_nothing() {
    for window in WINDOWS {
        let (keeper, mut tool) = let_in();
        for number in 0..3 {
            tool.call(number);
        }
        die_in(window, &keeper);
        check(&keeper, tool, 3, &format!("{window:?}"));
    }
}

#[test]
fn engines_that_end_one_after_the_other_in_the_same_step_lose_and_double_nothing() {
    for window in WINDOWS {
        let (keeper, mut tool) = let_in();
        tool.call(0);
        die_in(window, &keeper);
        // The next one has settled that, and nothing else.
        live(&keeper, None, async {});
        tool.call(1);
        if window < Window::Offered {
            die_in(window, &keeper);
        }
        check(&keeper, tool, 2, &format!("{window:?} twice"));
    }
}

#[test]
fn engines_that_end_after_any_number_of_turns_lose_and_double_nothing() {
    /// Far more than a turn reads or a pipe takes.
    const CALLS: usize = 600;
    let (keeper, mut tool) = let_in();
    let mut calling = Tool {
        socket: tool.socket.try_clone().unwrap(),
        wire: Wire::length_prefixed(),
        session: tool.session.clone(),
    };
    let caller = std::thread::spawn(move || (0..CALLS).for_each(|number| calling.call(number)));
    for turns in [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144] {
        live(&keeper, None, async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
        });
    }
    // It may wait for room that only an engine makes.
    tool = live(&keeper, None, async {
        tokio::task::spawn_blocking(move || {
            caller.join().unwrap();
            tool
        })
        .await
        .unwrap()
    });
    check(&keeper, tool, CALLS, "many engines");
}

#[test]
fn a_log_of_another_program_is_given_up_for_the_new_one() {
    let keeper = Arc::new(Keeper::default());
    let mut foreign = tempfile::tempfile().unwrap();
    foreign.write_all(b"what an older version wrote").unwrap();
    let foreign = OwnedFd::from(foreign);
    keeper.keep("log.7", &[std::os::fd::AsFd::as_fd(&foreign)]);
    live(&keeper, None, async {});
    let mut given_back = keeper.give_back();
    let names: Vec<&String> = given_back.keys().collect();
    assert_eq!(names, ["configuration.0", "log.8"]);
    assert!(restore(&mut given_back).is_some());
}
