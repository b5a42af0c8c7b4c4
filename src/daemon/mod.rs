//! One run of the master: boot, the loop, the end.

pub mod boot;
mod keeper;
mod performer;
mod pid_file;
mod put_back;
mod stops;
mod time;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use allexmaster_journal::runner;
use allexmaster_journal::{Ended, Failpoint, SteadyClock};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle as Task};
use tracing::{error, info};

use crate::channel::Neighbours;
use crate::child::{AbortAfterFork, Children};
use crate::config::{Accepted, InForce, Overrides, log_folder};
use crate::exit_code;
use crate::install::Installer;
use crate::local::sockets::{self, Listener, Name};
use crate::machine::EventInbox;
use crate::probe::Probe;
use crate::sessions::{self, DescriptorStore, Inherited, Runtime, RuntimeOptions};
use allexmaster_keeper::link::{Inheritance, KeeperLink};
use allexmaster_sessions::{OutboxAck, Socket};
use boot::Boot;
use keeper::{KeeperConnection, Served};
use performer::{EffectPerformer, FailureLog, ForSessions};
pub use pid_file::{PID_FILE, PidFile, PidFileError, read_pid};
use put_back::Listeners;
pub use stops::interrupt_source;
use stops::{Stops, obey_signals};
pub use time::Time;

/// How many events may wait for the loop; then the drivers wait.
const MAX_EVENTS: usize = 16_384;

/// What a run needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the master: its configuration, pid file, journal and logs.
    pub folder: PathBuf,
    /// The configuration to begin with.
    pub accepted: Accepted,
    /// What flags and variables of the start say instead of its file.
    pub overrides: Overrides,
    /// Where the sockets are.
    pub socket_folder: PathBuf,
    /// Where in the loop to abort, in tests.
    pub failpoint: Option<Failpoint>,
    /// After which fork to abort, in tests.
    pub abort_after_fork: Option<AbortAfterFork>,
    /// The machine's time, or what a test makes of it.
    pub time: Time,
}

/// What to do about a master whose keeper was killed.
const ALONE: &str = ". Its keeper was killed, and it goes on alone: `allexmaster shutdown` ends it and its services in \
                     order, then start again";

/// Why the master could not start, or had to end.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// Another one runs here.
    #[error("another master{} runs in {}; there is one per folder, and it was not touched{}", holder.map(|pid| format!(" (process {pid})")).unwrap_or_default(), folder.display(), if *alone { ALONE } else { "" })]
    AlreadyRunning {
        /// Where.
        folder: PathBuf,
        /// Its public process, where known.
        holder: Option<u32>,
        /// Whether its keeper was killed, so that the holder is its engine.
        alone: bool,
    },
    /// The journal.
    #[error(
        "the journal cannot be used, and without it nothing is started or stopped (children that run go on, and the `journal` commands read what is there)"
    )]
    Journal(#[from] allexmaster_journal::Error),
    /// The pid file.
    #[error(transparent)]
    PidFile(#[from] PidFileError),
    /// The sockets.
    #[error(transparent)]
    Socket(#[from] sockets::SocketError),
    /// The system.
    #[error("the system refused {what}")]
    System {
        /// What.
        what: &'static str,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
}

impl DaemonError {
    /// The exit code that says this.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::AlreadyRunning { .. } => exit_code::ALREADY_RUNNING,
            Self::PidFile(error) if error.is_held() => exit_code::ALREADY_RUNNING,
            Self::Journal(_) => exit_code::JOURNAL,
            Self::PidFile(_) | Self::Socket(_) | Self::System { .. } => exit_code::FAILURE,
        }
    }
}

/// Where a run takes place: what is around it.
pub struct Place {
    /// The process number that the master is known by.
    pub pid: u32,
    /// Who keeps the descriptors when this process is killed.
    pub store: Option<Arc<dyn DescriptorStore>>,
    /// The keeper, whose children ours are.
    pub keeper: Option<KeeperLink>,
    /// The descriptors that a killed process left.
    pub inherited: Inherited,
}

impl Place {
    /// A process by itself: with it end its connections.
    #[must_use]
    pub fn alone() -> Self {
        Self {
            pid: std::process::id(),
            store: None,
            keeper: None,
            inherited: Inherited::new(),
        }
    }
}

/// A master that runs.
pub struct Running {
    inbox: EventInbox,
    ended: oneshot::Receiver<Result<(), allexmaster_journal::Error>>,
    sessions: Runtime,
    acceptors: Vec<AbortHandle>,
    listeners: Listeners,
    listeners_watch: Task<std::convert::Infallible>,
    rotation: Task<()>,
    pid_file: PidFile,
    pid_file_watch: Task<()>,
    leave: Arc<AtomicBool>,
}

/// Starts a master.
///
/// # Errors
///
/// Nothing was started, and whatever runs was not touched.
pub fn start(mut options: Options, place: Place) -> Result<Running, DaemonError> {
    let Place {
        pid,
        store,
        keeper,
        mut inherited,
    } = place;
    let restored = sessions::restore(&mut inherited);
    if restored.is_some() {
        // A test's engine has died there already; the next one is to live.
        options.failpoint = None;
        options.abort_after_fork = None;
    }
    // The journal first: its lock is the proof that no other master runs here.
    let config = Arc::new(InForce::new(
        options.folder.clone(),
        options.overrides.clone(),
        options.accepted.clone(),
    ));
    let Boot {
        live,
        first_events,
        facts,
        beginning,
        zombies,
    } = boot::look_around(&options, pid, keeper, restored)?;
    let (pid_file, listeners, new) = claim_folder(&options, facts.pid.0, &mut inherited)?;
    let pid_file_watch = pid_file.put_back(&options.socket_folder);
    let (inbox, mailbox) = runner::inbox(MAX_EVENTS);
    for event in first_events {
        // The inbox is empty, and has room for more than these.
        let _ = inbox.try_send(event);
    }
    let limits = Arc::clone(&config);
    let rotation = tokio::spawn(crate::logs::rotate_all(
        log_folder(&options.folder),
        move || limits.accepted().config.logs,
    ));
    let runtime_options = RuntimeOptions {
        config: Arc::clone(&config),
        socket_folder: options.socket_folder.clone(),
        log_folder: log_folder(&options.folder),
        inbox: inbox.clone(),
        store: store.clone(),
    };
    let ack = beginning.ack();
    let sessions = Runtime::start(runtime_options, beginning, inherited);
    let sessions = sessions.map_err(|error| DaemonError::System {
        what: "memory for the log of the connections",
        source: std::io::Error::other(error),
    })?;
    let acceptors = if new {
        listen(&sessions, &listeners, store.as_deref())?
    } else {
        Vec::new()
    };
    let listeners = Listeners::new(listeners);
    let listeners_watch = listeners.clone().put_back(sessions.clone(), store.clone());
    let performer = performer(&options, config, &facts, &sessions, &inbox, store, ack);
    performer.children.ended_before(zombies);
    let leave = Arc::clone(&performer.leave);
    let clock = SteadyClock::new(options.time.clone());
    let thread =
        runner::start(live, mailbox, clock, performer).map_err(|source| DaemonError::System {
            what: "a thread for the loop",
            source,
        })?;
    Ok(Running {
        inbox,
        ended: watch(thread),
        sessions,
        acceptors,
        listeners,
        listeners_watch: tokio::spawn(listeners_watch),
        rotation,
        pid_file,
        pid_file_watch: tokio::spawn(pid_file_watch),
        leave,
    })
}

/// Puts the pid file and the sockets in place, and takes away what a killed master left. Tells
/// whether the sockets are new.
fn claim_folder(
    options: &Options,
    pid: u32,
    inherited: &mut Inherited,
) -> Result<(PidFile, Vec<Listener>, bool), DaemonError> {
    let before = read_pid(&options.folder).filter(|before| *before != pid);
    let pid_file = PidFile::create(&options.folder, &options.socket_folder, pid)?;
    if let Some(before) = before {
        sockets::remove_stale(&options.socket_folder, before);
    }
    let given_back = listeners_given_back(inherited, &options.socket_folder, pid);
    if given_back.is_empty() {
        let listeners = sockets::open_all(&options.socket_folder, pid)?;
        return Ok((pid_file, listeners, true));
    }
    Ok((pid_file, given_back, false))
}

/// The listeners that an earlier engine opened.
fn listeners_given_back(inherited: &mut Inherited, folder: &Path, pid: u32) -> Vec<Listener> {
    let mut listeners = Vec::new();
    for socket in Socket::ALL {
        for name in Name::ALL {
            let key = sessions::listener_name(socket.number(), name.number());
            let descriptors = inherited.remove(&key).unwrap_or_default();
            if let Some(descriptor) = descriptors.into_iter().next() {
                let listener = Listener::given_back(socket, name, folder, pid, descriptor);
                listeners.push(listener);
            }
        }
    }
    listeners
}

/// Has connections accepted: by whoever keeps descriptors, or else by ourselves.
fn listen(
    sessions: &Runtime,
    listeners: &[Listener],
    store: Option<&dyn DescriptorStore>,
) -> Result<Vec<AbortHandle>, DaemonError> {
    let mut acceptors = Vec::new();
    for listener in listeners {
        let name = keeper::name_of(listener);
        if let Some(store) = store {
            store.accept(&name, listener.descriptor());
            continue;
        }
        let descriptor = listener.descriptor().try_clone_to_owned();
        let descriptor = descriptor.map_err(|source| DaemonError::System {
            what: "a further descriptor",
            source,
        })?;
        acceptors.push(sessions.listen(name, descriptor));
    }
    Ok(acceptors)
}

/// The performer of effects for the loop.
fn performer(
    options: &Options,
    config: Arc<InForce>,
    facts: &boot::Facts,
    sessions: &Runtime,
    inbox: &EventInbox,
    store: Option<Arc<dyn DescriptorStore>>,
    ack: OutboxAck,
) -> EffectPerformer {
    let runtime = Handle::current();
    EffectPerformer {
        sessions: sessions.clone(),
        for_sessions: ForSessions::after(ack),
        children: Children::with_neighbours(
            runtime.clone(),
            inbox.clone(),
            facts.child_options(options, Arc::clone(&config)),
            neighbours(sessions, store),
        ),
        probe: Probe::new(runtime.clone(), inbox.clone()),
        installer: Installer::new(runtime, inbox.clone(), options.folder.clone(), config),
        failures: FailureLog::default(),
        leave: Arc::new(AtomicBool::new(false)),
        urgency_reported: false,
        reported_outage: None,
    }
}

/// Whom the children's driver tells of channels.
fn neighbours(sessions: &Runtime, store: Option<Arc<dyn DescriptorStore>>) -> Neighbours {
    let sessions = sessions.clone();
    let (keeping, forgetting) = (store.clone(), store);
    Neighbours {
        channel_made: Box::new(move |incarnation, channel| {
            if let Some(store) = &keeping {
                store.keep(&sessions::channel_name(incarnation).0, &[channel]);
            }
        }),
        channel_dropped: Box::new(move |incarnation| {
            if let Some(store) = &forgetting {
                store.forget(&sessions::channel_name(incarnation).0);
            }
        }),
        channel_opened: Box::new(move |channel| sessions.open_channel(channel)),
    }
}

/// Tells when the loop's thread has ended, and how.
fn watch(
    thread: JoinHandle<Result<Ended<()>, allexmaster_journal::Error>>,
) -> oneshot::Receiver<Result<(), allexmaster_journal::Error>> {
    let (sender, receiver) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let result = match thread.join() {
            Ok(result) => result.map(|_| ()),
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // Whoever waited may have gone.
        let _ = sender.send(result);
    });
    receiver
}

impl std::fmt::Debug for Running {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Running")
            .field("pid_file", &self.pid_file)
            .finish_non_exhaustive()
    }
}

impl Running {
    /// The way in to the loop.
    #[must_use]
    pub const fn inbox(&self) -> &EventInbox {
        &self.inbox
    }

    /// Waits for the end of the loop, tells a keeper of it, then ends the drivers and removes sockets and pid file.
    ///
    /// # Errors
    ///
    /// The journal could not be written, or the loop died: the children live on, for the
    /// next start.
    pub async fn finished(mut self, link: Option<&KeeperLink>) -> Result<(), DaemonError> {
        let result = (&mut self.ended).await;
        if let Some(link) = link {
            keeper::warn_unsent(link.stopping());
        }
        self.end_drivers().await;
        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(DaemonError::Journal(error)),
            Err(_) => Err(DaemonError::System {
                what: "the loop to go on",
                source: std::io::Error::other("it ended without a word"),
            }),
        }
    }

    async fn end_drivers(self) {
        let Self {
            sessions,
            acceptors,
            listeners,
            listeners_watch,
            rotation,
            pid_file,
            pid_file_watch,
            ..
        } = self;
        rotation.abort();
        pid_file_watch.abort();
        // Its last look is over before the file is removed; that it was aborted is known.
        let _ = pid_file_watch.await;
        for acceptor in acceptors {
            acceptor.abort();
        }
        // Nobody finds us any more; those who have are told the rest.
        listeners_watch.abort();
        listeners.lock().clear();
        sessions.end().await;
        drop(pid_file);
    }
}

/// Runs a master in the foreground until it is told to stop: for a keeper, where there is one.
pub async fn run(options: Options, inheritance: Option<Inheritance>) -> ExitCode {
    match run_to_the_end(options, inheritance).await {
        Ok(()) => {
            info!("the master has stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            report(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run_to_the_end(
    options: Options,
    inheritance: Option<Inheritance>,
) -> Result<(), DaemonError> {
    let no_room = |source| DaemonError::System {
        what: "further watches",
        source,
    };
    let folder = options.folder.clone();
    let (engine, place) = match inheritance.map(KeeperConnection::start).transpose() {
        Ok(Some((engine, place))) => (Some(engine), place),
        Ok(None) => (None, Place::alone()),
        Err(source) => return Err(no_room(source)),
    };
    let pid = place.pid;
    let link = engine.as_ref().map(|engine| engine.link.clone());
    let running = start(options, place).inspect_err(|error| {
        if let Some(link) = &link {
            keeper::warn_unsent(link.status(&in_one_line(error)));
        }
    })?;
    info!(folder = %folder.display(), pid, "the master runs");
    let signals = tokio::spawn(obey_signals(Stops::of(&running), running.sessions.clone()));
    let serving = match engine {
        Some(engine) => {
            let served = Served::of(&running);
            Some(tokio::spawn(engine.serve(served)))
        }
        None => None,
    };
    let result = running.finished(link.as_ref()).await;
    signals.abort();
    if let Some(serving) = serving {
        serving.abort();
    }
    result
}

/// Logs an error with all its reasons.
pub fn report(error: &DaemonError) {
    error!("{}", in_one_line(error));
}

fn in_one_line(error: &DaemonError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(reason) = source {
        text.push_str(": ");
        text.push_str(&reason.to_string());
        source = reason.source();
    }
    text
}
