//! The front at work: one lock around the machine and its log, one task for each line.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use allexmaster_journal::{Heard, Outage, Tail};
use allexmaster_protocol::pump::Outgoing;
use allexmaster_state::{Effect, Identity, Incarnation, InstanceName, SessionEffect};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::carry::Hold;
use super::memory::Memory;
use super::resume::Restored;
use super::store::{CHANNEL, Inherited, LOG, Store};
use super::{accept, dialer, looks, narrate};
use crate::channel::{Channel, ChannelEnd};
use crate::machine::EventInbox;
use crate::node;
use allexmaster_sessions::Endpoint;
use allexmaster_sessions::Front;
use allexmaster_sessions::{ChildWire, Input, LineName, Mark, Output};

/// How long the last words may take to leave at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the front needs to know.
pub struct FrontOptions {
    /// What is dialed, in this order.
    pub endpoints: Vec<Endpoint>,
    /// Where children open their sockets.
    pub socket_folder: std::path::PathBuf,
    /// Where events go.
    pub inbox: EventInbox,
    /// Who keeps descriptors.
    pub store: Option<Arc<dyn Store>>,
}

/// What a driver begins with.
#[derive(Debug)]
pub enum Beginning {
    /// A new front.
    New(Box<Front>),
    /// One that was made again, and what later events of the journal caused.
    Again(Box<Restored>, Tail<Effect>),
}

/// The way to the front. Clones lead to the same one.
#[derive(Clone)]
pub struct Driver {
    pub(super) shared: Arc<Shared>,
}

/// What all tasks share.
pub(super) struct Shared {
    inner: Mutex<Inner>,
    pub(super) runtime: Handle,
    pub(super) inbox: EventInbox,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) socket_folder: std::path::PathBuf,
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) tell: Notify,
    timer: Notify,
    room: Notify,
    empty: Notify,
}

pub(super) struct Inner {
    pub(super) front: Front,
    memory: Option<(Memory, u64)>,
    pub(super) holds: HashMap<LineName, Arc<Hold>>,
    /// Encrypted connections, which have pumps of their own.
    pub(super) carried: HashMap<LineName, Outgoing>,
    introduced: BTreeMap<Incarnation, watch::Sender<bool>>,
    pub(super) dial: Option<AbortHandle>,
    /// Channels of children that were given back, and that the front does not know.
    pub(super) spare: BTreeMap<LineName, OwnedFd>,
    armed: Option<u64>,
}

impl Driver {
    /// Starts with a front, and takes up the connections that were given back.
    #[must_use]
    pub fn start(options: FrontOptions, beginning: Beginning, inherited: Inherited) -> Self {
        let FrontOptions {
            endpoints,
            socket_folder,
            inbox,
            store,
        } = options;
        let (front, memory, tail) = match beginning {
            Beginning::New(front) => (*front, None, None),
            Beginning::Again(restored, tail) => {
                let memory = Some((restored.memory, restored.generation));
                (restored.front, memory, Some(tail))
            }
        };
        let is_restored = tail.is_some();
        let inner = Inner {
            front,
            memory,
            holds: HashMap::new(),
            carried: HashMap::new(),
            introduced: BTreeMap::new(),
            dial: None,
            spare: BTreeMap::new(),
            armed: None,
        };
        let shared = Arc::new(Shared {
            inner: Mutex::new(inner),
            runtime: Handle::current(),
            inbox,
            endpoints,
            socket_folder,
            store,
            tell: Notify::new(),
            timer: Notify::new(),
            room: Notify::new(),
            empty: Notify::new(),
        });
        shared.begin_memory();
        if let Some(Tail { effects, heard }) = tail {
            shared.enter(Input::Journaled {
                sequence: heard.sequence,
                heard: heard.told,
                effects: effects
                    .into_iter()
                    .filter_map(Effect::into_session)
                    .collect(),
            });
            // It has just been opened.
            shared.enter(Input::JournalOut { outage: None });
        }
        shared.attach(inherited, is_restored);
        tokio::spawn(Arc::clone(&shared).tell_all());
        tokio::spawn(Arc::clone(&shared).keep_time());
        Self { shared }
    }

    /// Events are in the journal, and this is what they caused for the front. Called on the loop's
    /// thread, in order.
    pub fn journaled(&self, heard: Heard, effects: Vec<SessionEffect>) {
        self.shared.enter(Input::Journaled {
            sequence: heard.sequence,
            heard: heard.told,
            effects,
        });
        self.shared.room.notify_waiters();
    }

    /// The journal cannot be written, or can be again.
    pub fn journal_is_out(&self, outage: Option<Outage>) {
        self.shared.enter(Input::JournalOut {
            outage: outage.map(|outage| outage.reason),
        });
    }

    /// A child can be spoken to.
    pub fn open_channel(&self, channel: Channel) {
        let Channel {
            incarnation,
            instance,
            identity,
            end,
        } = channel;
        match end {
            ChannelEnd::Inherited(stream) => {
                let descriptor = OwnedFd::from(stream);
                self.shared.open_child(
                    incarnation,
                    instance,
                    identity,
                    ChildWire::Inherited,
                    descriptor,
                );
            }
            ChannelEnd::OwnSocket => {
                let shared = Arc::clone(&self.shared);
                self.shared.runtime.spawn(async move {
                    let socket = dialer::dial_child(&shared.socket_folder, &identity).await;
                    // None: it has ended before.
                    if let Some(socket) = socket {
                        let wire = ChildWire::OwnSocket;
                        shared.keep(&channel_name(incarnation), &socket);
                        shared.open_child(incarnation, instance, identity, wire, socket);
                    }
                });
            }
        }
    }

    /// A child of an earlier run lives: its channel, where that was given back, is taken up.
    pub fn adopted(&self, incarnation: Incarnation, instance: &InstanceName, identity: &Identity) {
        let name = channel_name(incarnation);
        let spare = self.shared.lock().spare.remove(&name);
        if let Some(descriptor) = spare {
            let (instance, identity) = (instance.clone(), identity.clone());
            self.shared.open_child(
                incarnation,
                instance,
                identity,
                ChildWire::Inherited,
                descriptor,
            );
        }
    }

    /// A child that runs serves nobody, as somebody else found out.
    pub fn child_failed(&self, incarnation: Incarnation, reason: &str) {
        let reason = reason.to_owned();
        self.shared.enter(Input::ChildFailed {
            incarnation,
            reason,
        });
    }

    /// The process of a child that is spoken to, and a wait that completes when the master has its
    /// session with it (never, where it ends before); none for a child that is not spoken to.
    #[must_use]
    pub fn introduction(
        &self,
        incarnation: Incarnation,
    ) -> Option<(Identity, impl Future<Output = ()> + Send + use<>)> {
        let mut inner = self.shared.lock();
        let (child, introduced) = inner.front.child(incarnation)?;
        let mut told = inner
            .introduced
            .entry(incarnation)
            .or_insert_with(|| watch::Sender::new(introduced))
            .subscribe();
        let introduced = async move {
            if told.wait_for(|introduced| *introduced).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        Some((child, introduced))
    }

    /// A local peer has connected. The name of the line is that of its listener, a point, and more.
    pub fn take_in(&self, line: LineName, descriptor: OwnedFd) {
        match accept::socket_of(&line) {
            Some(socket) => self.shared.accepted(line, socket, descriptor),
            None => warn!(%line, "a connection came over no listener that is known"),
        }
    }

    /// Accepts itself, where nobody else does.
    pub fn listen(&self, name: String, listener: OwnedFd) -> AbortHandle {
        let accepting = accept::accept_all(self.clone(), name, listener);
        self.shared.runtime.spawn(accepting).abort_handle()
    }

    /// Sends what is left to be sent, and ends all lines.
    pub async fn end(&self) {
        {
            let mut inner = self.shared.lock();
            inner.front.finish_all();
            self.shared.obey(&mut inner);
        }
        let ended = async {
            loop {
                let empty = self.shared.empty.notified();
                if self.shared.lock().holds.is_empty() {
                    return;
                }
                empty.await;
            }
        };
        // Whoever does not read what it is sent has to do without.
        let _ = tokio::time::timeout(FAREWELL, ended).await;
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Driver")
    }
}

/// Milliseconds of the machine's clock: the same for every process, and never set.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1_000)
        .saturating_add(nanoseconds / 1_000_000)
}

/// The name of a child's line.
#[must_use]
pub fn channel_name(incarnation: Incarnation) -> LineName {
    LineName(format!("{CHANNEL}{incarnation}"))
}

impl Shared {
    /// Nobody panics while holding this lock; if it happened, the machine would still be whole.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an input in: logged first, then taken.
    pub(super) fn enter(self: &Arc<Self>, input: Input) {
        let now = now();
        let mut inner = self.lock();
        self.note(&mut inner, |memory| memory.input(now, &input));
        inner.front.handle(now, input);
        self.obey(&mut inner);
    }

    /// Hands bytes in.
    pub(super) fn receive(self: &Arc<Self>, line: &LineName, bytes: &[u8]) {
        let now = now();
        let mut inner = self.lock();
        self.note(&mut inner, |memory| memory.bytes(now, line, bytes));
        inner.front.receive(now, line, bytes);
        self.obey(&mut inner);
    }

    pub(super) fn mark(&self, line: &LineName, mark: Mark) {
        let mut inner = self.lock();
        self.note(&mut inner, |memory| memory.mark(line, mark));
        inner.front.mark(line, mark);
    }

    pub(super) fn chunk(&self, line: &LineName, most: usize) -> Option<(Vec<u8>, u64)> {
        self.lock().front.chunk(line, most)
    }

    pub(super) fn is_finishing(&self, line: &LineName) -> bool {
        self.lock().front.is_finishing(line)
    }

    /// Whether more may be read from a line.
    pub(super) fn may_read(&self, line: &LineName) -> bool {
        self.lock().front.may_read(line)
    }

    /// Completes when there may be room again.
    pub(super) async fn room_again(&self) {
        self.room.notified().await;
    }

    /// A line's task has ended.
    pub(super) fn close(&self, line: &LineName, hold: &Arc<Hold>) {
        let mut inner = self.lock();
        let is_present = |present: &Arc<Hold>| Arc::ptr_eq(present, hold);
        if inner.holds.get(line).is_some_and(is_present) {
            inner.holds.remove(line);
        }
        self.forget(line);
        self.empty.notify_waiters();
    }

    /// Whether there is a keeper, as `status` says it.
    pub(super) fn keeper(&self) -> &'static str {
        match &self.store {
            Some(store) if store.is_there() => "present",
            Some(_) => "gone",
            None => "none",
        }
    }

    pub(super) fn keep(&self, line: &LineName, descriptor: &OwnedFd) {
        if let Some(store) = &self.store {
            store.keep(&line.0, &[descriptor.as_fd()]);
        }
    }

    pub(super) fn forget(&self, line: &LineName) {
        if let Some(store) = &self.store {
            store.forget(&line.0);
        }
    }

    /// Without memory nothing is lost but what a kill would lose.
    fn note(&self, inner: &mut Inner, note: impl FnOnce(&mut Memory) -> std::io::Result<()>) {
        let Some((memory, generation)) = &mut inner.memory else {
            return;
        };
        if let Err(error) = note(memory) {
            warn!(%error, "the connections cannot be logged: a killed engine will lose them");
            self.forget(&log_name(*generation));
            inner.memory = None;
        }
    }

    /// Begins a log, where somebody keeps it.
    fn begin_memory(&self) {
        let mut inner = self.lock();
        if inner.memory.is_none() && self.store.is_some() {
            self.renew_memory(&mut inner, 1);
        }
    }

    /// Begins a new log with an image.
    fn renew_memory(&self, inner: &mut Inner, generation: u64) {
        let Some(store) = &self.store else {
            return;
        };
        match Memory::create(&inner.front) {
            Ok(memory) => {
                store.keep(&log_name(generation).0, &[memory.as_fd()]);
                if let Some((_, before)) = inner.memory.replace((memory, generation)) {
                    self.forget(&log_name(before));
                }
            }
            Err(error) => {
                warn!(%error, "the connections cannot be logged: a killed engine will lose them");
            }
        }
    }

    /// Does what the front wants.
    pub(super) fn obey(self: &Arc<Self>, inner: &mut Inner) {
        while let Some(output) = inner.front.poll() {
            self.obey_one(inner, output);
        }
        let timeout = inner.front.poll_timeout();
        if inner.armed != timeout {
            inner.armed = timeout;
            self.timer.notify_one();
        }
        if let Some((memory, generation)) = &inner.memory
            && memory.is_long()
        {
            let next = generation + 1;
            self.renew_memory(inner, next);
        }
    }

    fn obey_one(self: &Arc<Self>, inner: &mut Inner, output: Output) {
        match output {
            Output::Write(line) => {
                if let Some(hold) = inner.holds.get(&line) {
                    hold.wake.notify_one();
                }
            }
            Output::Finish(line) => match (inner.holds.get(&line), inner.carried.remove(&line)) {
                (Some(hold), _) => hold.wake.notify_one(),
                (None, Some(outgoing)) => outgoing.close(),
                (None, None) => {}
            },
            Output::Cut(line) => match (inner.holds.remove(&line), inner.carried.remove(&line)) {
                (Some(hold), _) => hold.cut.notify_one(),
                (None, Some(outgoing)) => outgoing.close(),
                (None, None) => self.forget(&line),
            },
            Output::Carry(line, text) => {
                if let Some(outgoing) = inner.carried.get(&line) {
                    // Where it cannot be sent the connection has ended, and the inbox says why.
                    let _ = outgoing.send(&text);
                }
            }
            Output::Tell => self.tell.notify_one(),
            Output::Look(request, asked) => looks::look(self, request, asked),
            Output::Dial => dialer::begin(self, inner),
            Output::StopDialing => {
                if let Some(dial) = inner.dial.take() {
                    dial.abort();
                }
            }
            Output::Introduced(incarnation, instance, module) => {
                info!(service = %instance, %module, "its service is there");
                let told = inner.introduced.entry(incarnation);
                told.or_insert_with(|| watch::Sender::new(true))
                    .send_replace(true);
            }
            Output::ChildGone(incarnation, identity) => {
                inner.introduced.remove(&incarnation);
                let socket = node::child_socket(&self.socket_folder, identity.pid);
                self.runtime
                    .spawn_blocking(move || node::remove_left_behind(&socket));
            }
            Output::Narrate(event) => narrate::narrate(&event),
            Output::Warn(text) => warn!("{text}"),
        }
    }

    /// Tells the rules what the front has for them, in order.
    async fn tell_all(self: Arc<Self>) {
        let mut told = 0;
        loop {
            let next = self.lock().front.untold(told);
            match next {
                Some((number, event)) => {
                    if self.inbox.send(event).await.is_err() {
                        return; // the program ends
                    }
                    told = number;
                }
                None => self.tell.notified().await,
            }
        }
    }

    /// Wakes the front when it wants to be woken.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let at = self.lock().armed;
            let sleep = async {
                match at {
                    Some(at) => {
                        let wait = at.saturating_sub(now());
                        tokio::time::sleep(Duration::from_millis(wait)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {
                    if at.is_some_and(|at| at <= now()) {
                        self.lock().armed = None;
                        self.enter(Input::Timeout);
                    }
                }
                () = self.timer.notified() => {}
            }
        }
    }
}

/// The name of a log.
fn log_name(generation: u64) -> LineName {
    LineName(format!("{LOG}{generation}"))
}
