//! The sessions at work: one lock around the machine and its log, one task for each connection.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use allexmaster_journal::{Outage, Survey};
use allexmaster_machine::Mono;
use allexmaster_protocol::pump::Outgoing;
use allexmaster_sessions::{
    ChildWire, ConnectionName, Input, OutboxAck, Output, ReplayedEffects, Sessions,
};
use allexmaster_state::{Identity, Incarnation, InstanceName, SessionEffect};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tracing::{info, warn};

use super::descriptors::{CHANNEL, DescriptorStore, Inherited, LOG, generation_of};
use super::pump::PumpHandle;
use super::resume::Restored;
use super::session_log::{SessionLog, SessionLogError};
use super::{accept, dialer, log_events, status_queries};
use crate::channel::{Channel, ChannelEnd};
use crate::config::InForce;
use crate::machine::EventInbox;
use crate::node;

/// How long the last bytes may take to leave when the master ends.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// What the runtime needs.
pub struct RuntimeOptions {
    /// The configuration in force: what is dialed.
    pub config: Arc<InForce>,
    /// Where children open their sockets.
    pub socket_folder: std::path::PathBuf,
    /// Where events go.
    /// Where the children's logs are.
    pub log_folder: std::path::PathBuf,
    pub inbox: EventInbox,
    /// Who keeps descriptors.
    pub store: Option<Arc<dyn DescriptorStore>>,
}

/// What the runtime begins with.
#[derive(Debug)]
pub enum Beginning {
    /// No connections.
    New(Box<Sessions>),
    /// Those of a killed engine, and what later events of the journal caused.
    Restored(Box<Restored>, ReplayedEffects),
}

impl Beginning {
    /// What the sessions have of the journal when it has begun.
    #[must_use]
    pub fn ack(&self) -> OutboxAck {
        match self {
            Self::New(sessions) => sessions.ack(),
            Self::Restored(_, replayed) => replayed.ack,
        }
    }
}

/// The sessions that run. Clones are of the same ones.
#[derive(Clone)]
pub struct Runtime {
    pub(super) shared: Arc<Shared>,
}

/// What all tasks share.
pub(super) struct Shared {
    inner: Mutex<Inner>,
    pub(super) runtime: Handle,
    pub(super) inbox: EventInbox,
    pub(super) config: Arc<InForce>,
    /// Held while the configuration is read again.
    pub(super) reloading: tokio::sync::Mutex<()>,
    pub(super) socket_folder: std::path::PathBuf,
    pub(super) log_folder: std::path::PathBuf,
    pub(super) store: Option<Arc<dyn DescriptorStore>>,
    /// What is known of damage in the journal's files.
    pub(super) survey: Arc<Mutex<Survey>>,
    pub(super) emit: Notify,
    timer: Notify,
    room: Notify,
    empty: Notify,
}

pub(super) struct Inner {
    /// The sessions; logged only where there is a keeper.
    pub(super) log: SessionLog,
    /// The number of the log's file, which is kept under it; none while nothing is logged.
    pub(super) generation: Option<u64>,
    pub(super) pumps: HashMap<ConnectionName, Arc<PumpHandle>>,
    /// Encrypted connections, which have pumps of their own.
    pub(super) carried: HashMap<ConnectionName, Outgoing>,
    introduced: BTreeMap<Incarnation, watch::Sender<bool>>,
    pub(super) dial: Option<AbortHandle>,
    /// Channels of children that were given back, and that the sessions do not know.
    pub(super) spare: BTreeMap<ConnectionName, OwnedFd>,
    armed: Option<Mono>,
}

impl Runtime {
    /// Starts, and takes up the connections that were given back.
    ///
    /// # Errors
    /// The system has no memory for the log.
    pub fn start(
        options: RuntimeOptions,
        beginning: Beginning,
        mut inherited: Inherited,
    ) -> Result<Self, SessionLogError> {
        let RuntimeOptions {
            config,
            socket_folder,
            log_folder,
            inbox,
            store,
        } = options;
        let (log, generation, tail) = match beginning {
            Beginning::New(sessions) => (SessionLog::begin(&sessions)?, None, None),
            Beginning::Restored(restored, tail) => {
                (restored.log, Some(restored.generation), Some(tail))
            }
        };
        let is_restored = tail.is_some();
        // A log of no use to this program must not be taken for the newest by the next engine.
        let last_generation = inherited.keys().filter_map(|name| generation_of(name));
        let last_generation = last_generation.max().unwrap_or(0);
        let inner = Inner {
            log,
            generation,
            pumps: HashMap::new(),
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
            config,
            reloading: tokio::sync::Mutex::new(()),
            socket_folder,
            log_folder,
            store,
            survey: Arc::default(),
            emit: Notify::new(),
            timer: Notify::new(),
            room: Notify::new(),
            empty: Notify::new(),
        });
        shared.keep_first_configuration(&mut inherited);
        {
            let mut inner = shared.lock();
            match (&shared.store, inner.generation) {
                (Some(_), None) => shared.keep_log(&mut inner, last_generation + 1),
                (Some(_), Some(_)) => {}
                (None, _) => inner.log.detach(),
            }
        }
        if let Some(ReplayedEffects { ack, effects }) = tail {
            shared.enter(Input::Journaled { ack, effects });
            // It has just been opened.
            shared.enter(Input::JournalOut { outage: None });
        }
        shared.attach(inherited, is_restored);
        tokio::spawn(Arc::clone(&shared).emit_all());
        tokio::spawn(Arc::clone(&shared).keep_time());
        tokio::spawn(status_queries::warn_of_holes(Arc::clone(&shared)));
        Ok(Self { shared })
    }

    /// Events are in the journal, and this is what they caused for the sessions. Called on the loop's
    /// thread, in order.
    pub fn journaled(&self, ack: OutboxAck, effects: Vec<SessionEffect>) {
        self.shared.enter(Input::Journaled { ack, effects });
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

    /// The process of a child that is spoken to, and a wait that completes when the master has its
    /// session with it (never, where it ends before); none for a child that is not spoken to.
    #[must_use]
    pub fn introduction(
        &self,
        incarnation: Incarnation,
    ) -> Option<(Identity, impl Future<Output = ()> + Send + use<>)> {
        let mut inner = self.shared.lock();
        let (child, introduced) = inner.log.sessions().child(incarnation)?;
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

    /// A local peer has connected. The name is that of its listener, a point, and more.
    pub fn take_in(&self, name: ConnectionName, descriptor: OwnedFd) {
        match accept::socket_of(&name) {
            Some(socket) => self.shared.accepted(name, socket, descriptor),
            None => warn!(line = %name, "a connection came over no listener that is known"),
        }
    }

    /// Accepts itself, where nobody else does.
    pub fn listen(&self, name: String, listener: OwnedFd) -> AbortHandle {
        let accepting = accept::accept_all(self.clone(), name, listener);
        self.shared.runtime.spawn(accepting).abort_handle()
    }

    /// Sends what is left to be sent, and ends all connections.
    pub async fn end(&self) {
        self.shared.enter(Input::Stopping);
        let ended = async {
            loop {
                let empty = self.shared.empty.notified();
                if self.shared.lock().pumps.is_empty() {
                    return;
                }
                empty.await;
            }
        };
        // A peer that does not read loses the rest.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, ended).await;
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Runtime")
    }
}

/// Milliseconds of the host's clock that is never set: the same for every process.
fn now() -> Mono {
    Mono(allexmaster_keeper::os::monotonic())
}

/// The name of a child's connection.
#[must_use]
pub fn channel_name(incarnation: Incarnation) -> ConnectionName {
    ConnectionName(format!("{CHANNEL}{incarnation}"))
}

impl Shared {
    /// No code panics while it holds this lock; if it did, the machine would still be whole.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an input in: logged first, then taken.
    pub(super) fn enter(self: &Arc<Self>, input: Input) {
        let now = now();
        let mut inner = self.lock();
        let outputs = match inner.log.commit(now, &input) {
            Ok(outputs) => outputs,
            Err(error) => {
                self.give_log_up(&mut inner, &error);
                inner.log.commit(now, &input).unwrap_or_default()
            }
        };
        self.obey(&mut inner, outputs);
    }

    /// Goes on without a log: a killed engine will lose the connections.
    fn give_log_up(&self, inner: &mut Inner, error: &SessionLogError) {
        warn!(%error, "the connections cannot be logged: a killed engine will lose them");
        if let Some(generation) = inner.generation.take() {
            self.forget(&log_name(generation));
        }
        inner.log.detach();
    }

    pub(super) fn chunk(&self, name: &ConnectionName, most: usize) -> Option<(Vec<u8>, u64)> {
        self.lock().log.sessions().chunk(name, most)
    }

    pub(super) fn is_finishing(&self, name: &ConnectionName) -> bool {
        self.lock().log.sessions().is_finishing(name)
    }

    /// Whether more may be read from a connection.
    pub(super) fn may_read(&self, name: &ConnectionName) -> bool {
        self.lock().log.sessions().may_read(name)
    }

    /// Completes when there may be room again.
    pub(super) async fn room_again(&self) {
        self.room.notified().await;
    }

    /// A connection's task has ended.
    pub(super) fn close(&self, name: &ConnectionName, pump: &Arc<PumpHandle>) {
        let mut inner = self.lock();
        let is_present = |present: &Arc<PumpHandle>| Arc::ptr_eq(present, pump);
        if inner.pumps.get(name).is_some_and(is_present) {
            inner.pumps.remove(name);
        }
        self.forget(name);
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

    pub(super) fn keep(&self, name: &ConnectionName, descriptor: &OwnedFd) {
        if let Some(store) = &self.store {
            store.keep(&name.0, &[descriptor.as_fd()]);
        }
    }

    pub(super) fn forget(&self, name: &ConnectionName) {
        if let Some(store) = &self.store {
            store.forget(&name.0);
        }
    }

    /// Has the log's file kept in place of the one before.
    fn keep_log(&self, inner: &mut Inner, generation: u64) {
        if let Some(store) = &self.store {
            store.keep(&log_name(generation).0, &[inner.log.as_fd()]);
            if let Some(before) = inner.generation.replace(generation) {
                self.forget(&log_name(before));
            }
        }
    }

    /// Does what the sessions want.
    fn obey(self: &Arc<Self>, inner: &mut Inner, outputs: Vec<Output>) {
        for output in outputs {
            self.obey_one(inner, output);
        }
        let timeout = inner.log.sessions().poll_timeout();
        if inner.armed != timeout {
            inner.armed = timeout;
            self.timer.notify_one();
        }
        if let Some(generation) = inner.generation
            && inner.log.is_long()
        {
            match inner.log.renew() {
                Ok(()) => self.keep_log(inner, generation + 1),
                Err(error) => self.give_log_up(inner, &error),
            }
        }
    }

    fn obey_one(self: &Arc<Self>, inner: &mut Inner, output: Output) {
        match output {
            Output::Write(name) => {
                if let Some(pump) = inner.pumps.get(&name) {
                    pump.wake.notify_one();
                }
            }
            Output::Finish(name) => match (inner.pumps.get(&name), inner.carried.remove(&name)) {
                (Some(pump), _) => pump.wake.notify_one(),
                (None, Some(outgoing)) => outgoing.close(),
                (None, None) => {}
            },
            Output::Cut(name) => match (inner.pumps.remove(&name), inner.carried.remove(&name)) {
                (Some(pump), _) => pump.cut.notify_one(),
                (None, Some(outgoing)) => outgoing.close(),
                (None, None) => self.forget(&name),
            },
            Output::Carry(name, text) => {
                if let Some(outgoing) = inner.carried.get(&name) {
                    // Where it cannot be sent the connection has ended, and the inbox says why.
                    let _ = outgoing.send(&text);
                }
            }
            Output::Emit => self.emit.notify_one(),
            Output::Query(request, asked) => status_queries::answer(self, request, asked),
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
            Output::LogEvent(event) => log_events::log_event(&event),
            Output::Warn(text) => warn!("{text}"),
        }
    }

    /// Hands the sessions' events to the rules, in order.
    async fn emit_all(self: Arc<Self>) {
        let mut last = 0;
        loop {
            let next = self.lock().log.sessions().unacked(last);
            match next {
                Some((number, event)) => {
                    if self.inbox.send(event).await.is_err() {
                        return; // the program ends
                    }
                    last = number;
                }
                None => self.emit.notified().await,
            }
        }
    }

    /// Wakes the sessions when something is due.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let at = self.lock().armed;
            let sleep = async {
                match at {
                    Some(at) => {
                        let wait = at.since(now());
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
fn log_name(generation: u64) -> ConnectionName {
    ConnectionName(format!("{LOG}{generation}"))
}
