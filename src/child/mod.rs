//! Children: forked, watched, adopted, signalled.
//!
//! ```text
//!  Spawn ──► fork thread ──► ChildSpawned ┐
//!                                         ├──► pidfd ──► one small task waits ──► ChildExited
//!  Adopt ──► pidfd, identity compared ────┘      ▲
//!  Signal ───────────────────────────────────────┘  to the whole group
//! ```
//!
//! # Theory of operation
//!
//! Each child leads a process group of its own, has `/dev/null` as its input, and writes its output
//! into its log file itself, so neither a dead master nor a slow one holds it up. A *pidfd* names
//! it: a descriptor that means this process and never another one with the same number. Waiting for
//! a child costs one descriptor and one small task, no thread.
//!
//! A child of this process is reaped through its pidfd, which tells its end completely. A child of
//! an earlier run of the master belongs to init: here the kernel (Linux 6.15 and later) keeps the
//! exit status for whoever holds a pidfd, once init has reaped it; where it does not, the end is
//! recorded as lost.
//!
//! Where there is a keeper, it is the parent of the children: it keeps each as a zombie, whose status
//! any process may read, until the end is recorded and the rules ask for `Reap`. So no exit code is
//! lost, whenever this process dies.
//!
//! A child's end is reported when all that it has started itself has ended too, in its process group
//! or not: see `descendants.rs`. If others live on, that is reported first (`DescendantsLeft`), and the
//! rules have them signalled.
//!
//! Children are not ended with the master: they are what the next run adopts.

mod descendants;
mod end;
mod fork;
mod group;

use std::collections::BTreeMap;
use std::future::Future;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use allexmaster_keeper::link::KeeperLink;
use allexmaster_keeper::os;
use allexmaster_state::{
    BootId, Event, Identity, Incarnation, InstanceName, Launcher, MissingPackage, Outcome, Signal,
    SpawnOrder,
};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

use crate::channel::{Channel, ChannelEnd, Neighbours};
use crate::config::{Accepted, InForce};
use crate::launch::{ChannelKind, LaunchError, MasterFacts};
use crate::process::Zombie;
use crate::sink::EventSink;
use crate::{logs, process};

use descendants::{Leaving, Look};
pub use end::end_of;
pub use fork::ForkError;

use fork::Forked;

/// Forks at the same time. Each takes a thread until the program runs; the kernel forks one process
/// at a time anyway, so two are enough to hide the latency of opening files.
const FORKS_AT_ONCE: usize = 2;

/// A test's wish: the process dies right after so many forks (1: the first), before anybody can
/// know of the child. Unset in production.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AbortAfterFork(pub u64);

/// The driver of `Spawn`, `Adopt`, `Signal` and `Reap`. No method blocks; clones are the same driver.
pub struct Children<Sink> {
    shared: Arc<Shared<Sink>>,
}

/// What the driver needs to know.
#[derive(Clone, Debug)]
pub struct ChildOptions {
    /// The run of the machine.
    pub boot: BootId,
    /// All that this machine may run, and how.
    pub config: Arc<InForce>,
    /// What the children get to know of their master; the runtime directory is that of the
    /// configuration when they are started.
    pub master: MasterFacts,
    /// The folder of the children's log files.
    pub log_folder: PathBuf,
    /// Who is the parent of the children in our place.
    pub keeper: Option<KeeperLink>,
    /// Where to abort, in tests.
    pub abort_after_fork: Option<AbortAfterFork>,
}

struct Shared<Sink> {
    runtime: Handle,
    sink: Sink,
    options: ChildOptions,
    neighbours: Neighbours,
    forks: Semaphore,
    forked: AtomicU64,
    watched: Mutex<BTreeMap<Incarnation, Watched>>,
    look: tokio::sync::Mutex<Look>,
    /// Whether a child was adopted whose parent is not the keeper: what it leaves goes to others.
    has_strangers: AtomicBool,
    /// Children whose end is reported and not yet recorded: the keeper still has them as zombies.
    ended: Mutex<BTreeMap<Incarnation, Identity>>,
}

/// A child that has not ended, as far as is known.
struct Watched {
    identity: Identity,
    /// None where it had ended and was reaped before it could be adopted.
    pidfd: Option<Arc<OwnedFd>>,
    /// Dropped when its process has ended: that is how others hear that the child is gone.
    gone: Option<watch::Sender<()>>,
    /// Whether its group was asked to end.
    group_told: bool,
    /// Where its process has ended: what is to be done to what it has left.
    leaving: Option<watch::Sender<Option<Signal>>>,
}

impl<Sink> Clone for Children<Sink> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<Sink: EventSink> Children<Sink> {
    /// A driver whose tasks run on `runtime` and report to `sink`.
    #[must_use]
    pub fn new(runtime: Handle, sink: Sink, options: ChildOptions) -> Self {
        Self::with_neighbours(runtime, sink, options, Neighbours::default())
    }

    /// The same, where somebody talks to the children that have a channel.
    #[must_use]
    pub fn with_neighbours(
        runtime: Handle,
        sink: Sink,
        options: ChildOptions,
        neighbours: Neighbours,
    ) -> Self {
        let shared = Shared {
            runtime,
            sink,
            options,
            neighbours,
            forks: Semaphore::new(FORKS_AT_ONCE),
            forked: AtomicU64::new(0),
            watched: Mutex::new(BTreeMap::new()),
            look: tokio::sync::Mutex::new(None),
            has_strangers: AtomicBool::new(false),
            ended: Mutex::new(BTreeMap::new()),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Starts the program that a need asks for. Reports `ChildSpawned` and in the end
    /// `ChildExited`, or only `ChildNotSpawned`.
    pub fn spawn(&self, order: SpawnOrder) {
        let shared = Arc::clone(&self.shared);
        // What is in force when it is ordered, however long it waits for its turn.
        let accepted = shared.options.config.accepted();
        self.shared.runtime.spawn(async move {
            let (incarnation, instance) = (order.incarnation, order.need.instance.clone());
            let launcher = accepted
                .config
                .settings
                .launcher(&order.need.module)
                .copied();
            match Arc::clone(&shared).fork(order, &accepted).await {
                Ok(forked) => shared.begin(incarnation, instance, forked, launcher).await,
                Err(error) => {
                    let event = Event::ChildNotSpawned {
                        incarnation,
                        reason: Arc::from(error.to_string()),
                        missing: shared.missing(&error, &accepted),
                    };
                    shared.sink.send(event).await;
                }
            }
        });
    }

    /// Looks after a process that an earlier run started. Reports `ChildExited` when it ends; at
    /// once where it is no longer the process that it was.
    pub fn adopt(&self, incarnation: Incarnation, instance: InstanceName, identity: Identity) {
        let shared = Arc::clone(&self.shared);
        let opened = open(&shared.options.boot, &identity);
        tracing::debug!(%incarnation, %instance, pid = %identity.pid, lives = opened.is_some(), "adopting");
        let keeper = shared.options.keeper.as_ref().map(KeeperLink::keeper);
        let parent = os::stat(identity.pid.0).map(|stat| stat.parent);
        if keeper.is_none() || parent != keeper {
            shared.has_strangers.store(true, Ordering::Relaxed);
        }
        if shared.enter(incarnation, identity, opened) {
            self.shared
                .runtime
                .spawn(async move { shared.watch(incarnation).await });
        }
    }

    /// Takes over the children that ended before this run and have left nobody, whose zombies the keeper
    /// has. They are reaped when the rules ask for it.
    pub fn ended_before(&self, zombies: Vec<Zombie>) {
        for zombie in zombies {
            self.shared
                .ended()
                .insert(zombie.incarnation, zombie.identity);
        }
    }

    /// Has the keeper reap a child whose end is recorded. Without a keeper nothing is left to be
    /// reaped: it was this process's own child, and reading its status has reaped it.
    pub fn reap(&self, incarnation: Incarnation) {
        let Some(identity) = self.shared.ended().remove(&incarnation) else {
            return;
        };
        // The number cannot be reused while the process is a zombie, so it still means this child.
        if let Some(keeper) = &self.shared.options.keeper
            && process::exists(&self.shared.options.boot, &identity)
            && let Err(error) = keeper.reap(identity.pid.0)
        {
            tracing::warn!(pid = %identity.pid, %error, "a child that has ended stays a zombie until the next start");
        }
    }

    /// Sends a signal to the whole group of a child, if the process is the one of `identity`; to
    /// nobody else.
    pub fn signal(&self, incarnation: Incarnation, identity: Identity, signal: Signal) {
        let pidfd = match self.shared.watched().get_mut(&incarnation) {
            Some(watched) if watched.identity == identity => {
                if let Some(leaving) = &watched.leaving {
                    leaving.send_replace(Some(signal));
                    return;
                }
                watched.group_told = true;
                watched.pidfd.clone()
            }
            Some(_) | None => open(&self.shared.options.boot, &identity).map(Arc::new),
        };
        let Some(pidfd) = pidfd else {
            tracing::debug!(%incarnation, pid = %identity.pid, "no signal: the process is gone");
            return;
        };
        if let Err(error) = group::signal(&pidfd, &self.shared.options.boot, &identity, signal) {
            tracing::warn!(%incarnation, pid = %identity.pid, %error, "a signal could not be sent");
        }
    }

    /// Ends a process that no child is responsible for: SIGTERM, and SIGKILL after the grace.
    pub fn end_stray(&self, identity: Identity, grace: Duration) {
        let shared = Arc::clone(&self.shared);
        self.shared
            .runtime
            .spawn(async move { shared.end_stray(identity, grace).await });
    }

    /// Completes when the process of a child has ended; at once where there is none of this name.
    pub fn gone(&self, incarnation: Incarnation) -> impl Future<Output = ()> + Send + use<Sink> {
        let receiver = self
            .shared
            .watched()
            .get(&incarnation)
            .and_then(|watched| Some(watched.gone.as_ref()?.subscribe()));
        async move {
            if let Some(mut receiver) = receiver {
                // Nothing is ever sent: the wait ends when the sender is dropped.
                while receiver.changed().await.is_ok() {}
            }
        }
    }

    /// How many children are being looked after.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.watched().len()
    }
}

impl<Sink: EventSink> Shared<Sink> {
    /// Forks on a thread that may block: opening files and starting programs take a while.
    async fn fork(
        self: Arc<Self>,
        order: SpawnOrder,
        accepted: &Accepted,
    ) -> Result<(Forked, ChannelKind), ForkError> {
        let (options, config) = (&self.options, &accepted.config);
        let master = MasterFacts {
            runtime_folder: config.runtime_directory.clone(),
            ..options.master.clone()
        };
        let command = config.launchers.command_line(&order, &master)?;
        let log_file = logs::file_of(&options.log_folder, &order.need.instance);
        let boot = options.boot.clone();
        let keeper = options.keeper.clone();
        let incarnation = order.incarnation;
        let channel = command.channel;
        // The semaphore is never closed.
        let _permit = self.forks.acquire().await;
        let forker = Arc::clone(&self);
        let forking = self.runtime.spawn_blocking(move || {
            let neighbours = &forker.neighbours;
            let made = |channel: BorrowedFd<'_>| (neighbours.channel_made)(incarnation, channel);
            let keeper = keeper.as_ref();
            let forked = fork::fork(&command, &log_file, &boot, incarnation, keeper, made);
            if forked.is_err() && channel == ChannelKind::Inherited {
                (neighbours.channel_dropped)(incarnation);
            }
            forked
        });
        let forked = forking.await.unwrap_or(Err(ForkError::Interrupted))?;
        let count = self.forked.fetch_add(1, Ordering::Relaxed) + 1;
        if self.options.abort_after_fork == Some(AbortAfterFork(count)) {
            std::process::abort();
        }
        Ok((forked, channel))
    }

    /// The package whose absence is why a child could not be started.
    fn missing(&self, error: &ForkError, accepted: &Accepted) -> Option<MissingPackage> {
        let ForkError::NoCommandLine(LaunchError::ModuleMissing { module, .. }) = error else {
            return None;
        };
        // Without the "." that a runtime directory often is.
        let folder = self
            .options
            .master
            .folder
            .join(&accepted.config.runtime_directory);
        let folder: PathBuf = folder.components().collect();
        Some(MissingPackage {
            package: Arc::from(module.as_str()),
            folder: Arc::from(folder.to_string_lossy()),
        })
    }

    async fn begin(
        &self,
        incarnation: Incarnation,
        instance: InstanceName,
        (forked, kind): (Forked, ChannelKind),
        launcher: Option<Launcher>,
    ) {
        let Forked {
            identity,
            pidfd,
            channel,
        } = forked;
        let entered = self.enter(incarnation, identity.clone(), Some(pidfd));
        let end = match (channel, kind) {
            (Some(stream), _) => Some(ChannelEnd::Inherited(stream)),
            (None, ChannelKind::OwnSocket) => Some(ChannelEnd::OwnSocket),
            (None, ChannelKind::None | ChannelKind::Inherited) => None,
        };
        if let Some(end) = end {
            let identity = identity.clone();
            let channel = Channel {
                incarnation,
                instance,
                identity,
                end,
            };
            (self.neighbours.channel_opened)(channel);
        }
        let event = Event::ChildSpawned {
            incarnation,
            identity,
            launcher,
        };
        self.sink.send(event).await;
        if entered {
            self.watch(incarnation).await;
        }
    }

    /// False where the incarnation is already being looked after.
    fn enter(&self, incarnation: Incarnation, identity: Identity, pidfd: Option<OwnedFd>) -> bool {
        let mut all = self.watched();
        if all.contains_key(&incarnation) {
            return false;
        }
        let watched = Watched {
            identity,
            pidfd: pidfd.map(Arc::new),
            gone: Some(watch::Sender::new(())),
            group_told: false,
            leaving: None,
        };
        all.insert(incarnation, watched);
        true
    }

    async fn watch(&self, incarnation: Incarnation) {
        let named = self
            .watched()
            .get(&incarnation)
            .map(|watched| (watched.pidfd.clone(), watched.identity.clone()));
        let Some((pidfd, identity)) = named else {
            return;
        };
        let outcome = match &pidfd {
            Some(pidfd) => end::outcome(pidfd, &identity).await,
            None => Outcome::Lost(Arc::from("it ended before it could be adopted")),
        };
        let Some(leaving) = self.leaves(incarnation) else {
            return;
        };
        self.see_off(incarnation, &identity, &outcome, leaving)
            .await;
        if let Some(pidfd) = &pidfd {
            // Not before: as long as it is a zombie, its number is that of its group and of nobody else.
            os::reap(pidfd);
        }
        self.watched().remove(&incarnation);
        if self.options.keeper.is_some() {
            self.ended().insert(incarnation, identity);
        }
        self.report_exit(incarnation, outcome).await;
    }

    async fn report_exit(&self, incarnation: Incarnation, outcome: Outcome) {
        let event = Event::ChildExited {
            incarnation,
            outcome,
        };
        self.sink.send(event).await;
    }

    /// The process of a child has ended: whoever waits for that hears of it, and orders go to what it
    /// has left from now on.
    fn leaves(&self, incarnation: Incarnation) -> Option<Leaving> {
        let mut all = self.watched();
        let watched = all.get_mut(&incarnation)?;
        watched.gone = None;
        let orders = watch::Sender::new(None);
        let leaving = Leaving {
            orders: orders.subscribe(),
            group_told: watched.group_told,
        };
        watched.leaving = Some(orders);
        Some(leaving)
    }

    fn ended(&self) -> MutexGuard<'_, BTreeMap<Incarnation, Identity>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic while the lock is held leaves the map whole: a poisoned lock may be used.
    fn watched(&self) -> MutexGuard<'_, BTreeMap<Incarnation, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A descriptor of exactly this process.
fn open(boot: &BootId, identity: &Identity) -> Option<OwnedFd> {
    let pidfd = os::open_process(identity.pid.0).ok()?;
    // Whoever has the number now and is the right one has had it since before the descriptor was
    // opened: so the descriptor means it.
    process::exists(boot, identity).then_some(pidfd)
}
