//! One run of the master: boot, the loop, the end.

pub mod boot;
mod hands;
mod pid_file;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use allexmaster_journal::engine;
use allexmaster_journal::{Ended, Failpoint, SystemClock};
use allexmaster_state::{Event, StopSource};
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle as Task;
use tracing::{error, info, warn};

use crate::channel::Neighbours;
use crate::child::{AbortAfterFork, Children};
use crate::config::Config;
use crate::exit_code;
use crate::install::Installer;
use crate::lan::{self, Lan};
use crate::local::{self, sockets};
use crate::machine::EventInbox;
use crate::node::Nodes;
use crate::probe::Probe;
use crate::relay;
use crate::tables;
use boot::Boot;
use hands::{Hands, Troubles};
pub use pid_file::{PID_FILE, PidFile, PidFileError, read_pid};

/// How many events may wait for the loop; then the drivers wait.
const EVENTS_MOST: usize = 16_384;
/// How long the drivers may take to say good-bye.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a run needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of the master: its configuration, pid file, journal and logs.
    pub folder: PathBuf,
    /// The configuration.
    pub config: Config,
    /// Where the sockets are.
    pub socket_folder: PathBuf,
    /// Where in the loop to abort, in tests.
    pub failpoint: Option<Failpoint>,
    /// After which fork to abort, in tests.
    pub abort_after_fork: Option<AbortAfterFork>,
}

/// Why the master could not start, or had to end.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// Another one runs here.
    #[error("another master{} runs in {}; there is one per folder, and it was not touched", holder.map(|pid| format!(" (process {pid})")).unwrap_or_default(), folder.display())]
    AlreadyRunning {
        /// Where.
        folder: PathBuf,
        /// Its process, where known.
        holder: Option<u32>,
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

/// A master that runs.
pub struct Running {
    inbox: EventInbox,
    ended: oneshot::Receiver<Result<(), allexmaster_journal::Error>>,
    drivers: Vec<Task<()>>,
    rotation: Task<()>,
    pid_file: PidFile,
    leave: Arc<AtomicBool>,
}

/// Starts a master.
///
/// # Errors
///
/// Nothing was started, and whatever runs was not touched.
pub fn start(options: Options) -> Result<Running, DaemonError> {
    // The journal first: its lock is the proof that no other master runs here.
    let Boot {
        live,
        first_events,
        facts,
    } = boot::look_around(&options)?;
    let (pid_file, listeners) = claim_folder(&options, facts.pid.0)?;
    let (inbox, mailbox) = engine::inbox(EVENTS_MOST);
    for event in first_events {
        // The inbox is empty, and has room for more than these.
        let _ = inbox.try_send(event);
    }
    let rotation = tokio::spawn(crate::logs::rotate_all(
        options.config.log_folder(&options.folder),
        options.config.logs,
    ));
    let (drivers, hands) = start_drivers(&options, &facts, listeners, &inbox);
    let leave = Arc::clone(&hands.leave);
    let clock = SystemClock;
    let thread =
        engine::start(live, mailbox, clock, hands).map_err(|source| DaemonError::System {
            what: "a thread for the loop",
            source,
        })?;
    Ok(Running {
        inbox,
        ended: watch(thread),
        drivers,
        rotation,
        pid_file,
        leave,
    })
}

/// Puts the pid file and the sockets in place, and takes away what a killed master left.
fn claim_folder(
    options: &Options,
    pid: u32,
) -> Result<(PidFile, Vec<sockets::Listener>), DaemonError> {
    let before = read_pid(&options.folder).filter(|before| *before != pid);
    let pid_file = PidFile::create(&options.folder, &options.socket_folder, pid)?;
    if let Some(before) = before {
        sockets::remove_stale(&options.socket_folder, before);
    }
    let listeners = sockets::open_all(&options.socket_folder, pid)?;
    Ok((pid_file, listeners))
}

/// Starts the drivers, and gives the loop its hands.
fn start_drivers(
    options: &Options,
    facts: &boot::Facts,
    listeners: Vec<sockets::Listener>,
    inbox: &EventInbox,
) -> (Vec<Task<()>>, Hands) {
    let runtime = Handle::current();
    let (local_handle, local_orders) = local::Handle::new();
    let (table_sender, tables) = tables::channel();
    let (lan_orders, lan_receiver) = mpsc::channel(lan::ORDERS_MOST);
    let prefix = format!("{}_{}_", facts.pid, facts.started);
    let endpoint = options
        .config
        .lan_endpoints
        .first()
        .map(ToString::to_string);
    let endpoint = endpoint.unwrap_or_default();
    let lan = Lan {
        endpoints: options.config.lan_endpoints.clone(),
        inbox: inbox.clone(),
        tables: table_sender,
        prefix: prefix.clone(),
    };
    let (to_children, wishes) = relay::channel();
    let (from_children_sender, from_children) = relay::channel();
    let nodes = Nodes::new(
        runtime.clone(),
        inbox.clone(),
        facts.pid,
        options.socket_folder.clone(),
        from_children_sender,
    );
    let drivers = vec![
        tokio::spawn(local::run(
            listeners,
            inbox.clone(),
            prefix,
            endpoint,
            local_orders,
            local::Sources {
                tables,
                from_children,
                to_children,
            },
        )),
        tokio::spawn(lan.run(lan_receiver)),
        tokio::spawn(nodes.clone().relay(wishes)),
    ];
    let hands = Hands {
        lan: lan_orders,
        local: local_handle,
        children: Children::with_neighbours(
            runtime.clone(),
            inbox.clone(),
            facts.child_options(options),
            neighbours(&nodes, options, &runtime),
        ),
        nodes,
        probe: Probe::new(runtime, inbox.clone()),
        troubles: Troubles::default(),
        leave: Arc::new(AtomicBool::new(false)),
        told_outage: None,
    };
    (drivers, hands)
}

/// Whom the children's driver tells of channels, and of packages that are missing.
fn neighbours(nodes: &Nodes<EventInbox>, options: &Options, runtime: &Handle) -> Neighbours {
    let nodes = nodes.clone();
    let installer = Installer::new(
        runtime.clone(),
        // Without the "." that a runtime directory often is.
        options
            .folder
            .join(&options.config.runtime_directory)
            .components()
            .collect(),
        options.config.install_modules.clone(),
    );
    Neighbours {
        channel_opened: Box::new(move |channel| nodes.begin(channel)),
        package_missing: Box::new(move |package| installer.missing(package)),
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

    /// Waits for the end of the loop, then ends the drivers and removes sockets and pid file.
    ///
    /// # Errors
    ///
    /// The journal could not be written, or the loop died: the children live on, for the
    /// next start.
    pub async fn finished(mut self) -> Result<(), DaemonError> {
        let result = (&mut self.ended).await;
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
        // The loop has dropped the ends that gave orders: the drivers finish, and end.
        let Self {
            drivers,
            rotation,
            pid_file,
            ..
        } = self;
        rotation.abort();
        for mut driver in drivers {
            if tokio::time::timeout(FAREWELL, &mut driver).await.is_err() {
                driver.abort();
            }
        }
        drop(pid_file);
    }
}

/// Runs a master in the foreground until it is told to stop.
pub async fn run(options: Options) -> ExitCode {
    let folder = options.folder.clone();
    let running = match start(options) {
        Ok(running) => running,
        Err(error) => {
            report(&error);
            return ExitCode::from(error.exit_code());
        }
    };
    info!(folder = %folder.display(), pid = std::process::id(), "the master runs");
    let leave = Arc::clone(&running.leave);
    let stopping = tokio::spawn(stop_on_signals(running.inbox().clone(), leave));
    let result = running.finished().await;
    stopping.abort();
    match result {
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

/// An error with all its reasons, in one line.
pub fn report(error: &DaemonError) {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(reason) = source {
        text.push_str(": ");
        text.push_str(&reason.to_string());
        source = reason.source();
    }
    error!("{text}");
}

/// The first signal stops in order, the second at once. While the journal cannot be written there
/// is no order to stop in: the first waits for it, the second ends the master without its children.
async fn stop_on_signals(inbox: EventInbox, leave: Arc<AtomicBool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        warn!("signals cannot be received; use `allexmaster stop`");
        return;
    };
    let mut asked = false;
    loop {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        let waits = inbox.outage().is_some();
        if waits && asked {
            warn!(
                signal = name,
                "ending; the children stay, and the next start finds them"
            );
            leave.store(true, Ordering::Relaxed);
            continue;
        }
        if waits {
            warn!(
                signal = name,
                "stopping when the journal can be written; a second signal ends the master \
                 without its children"
            );
        } else {
            info!(signal = name, "stopping; a second signal stops at once");
        }
        asked = true;
        let event = Event::StopRequested {
            request: None,
            source: StopSource::Signal,
        };
        if waits {
            // To wait for room would keep the second signal waiting until the disk works.
            if inbox.try_send(event).is_err() {
                warn!("too much waits for the journal to take the wish to stop as well");
            }
        } else if inbox.send(event).await.is_err() {
            return;
        }
    }
}
