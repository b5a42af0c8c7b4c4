//! The runtime of the rules: sockets, port checks, files and the journal.
//!
//! ```text
//!  doors ──arrivals──► hub ◄──texts── connections       engine (own thread)
//!                       │ └─► sessions ─rules::Event─► journal ─► step
//!                       │       ▲                                 │
//!          checks ◄─────┤       └───────── rules::Effect ◄────────┘
//!   needs.runtime ◄─────┘
//! ```

mod access;
mod check;
mod guests;
mod hub;
mod listen;
mod runtime_file;
mod sessions;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use allexmaster_journal::runner::Ended;
use allexmaster_journal::{
    self as journal, Bounds, Failpoint, JournaledMachine, MachineTime, SteadyClock, runner,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

pub use self::listen::Door;
pub use self::sessions::{Sessions, Task};
pub use crate::rules::Rules;

use self::guests::Guests;
use self::hub::{Courier, Decided, Hub, HubEnd};
use self::listen::BoundDoor;
use crate::files::{self, FileError, Subnet};
use crate::rules::{self, EDITION, Event, Settings};

/// How many events may wait for the journal; the hub waits beyond it.
const INBOX_CAPACITY: usize = 1_024;

/// Maximum established connections that wait for the hub.
const ARRIVAL_CAPACITY: usize = 64;

/// How long the file of the runtime needs may take when the LanManager ends. What is
/// not written then is written at the next start.
const LAST_WRITE: Duration = Duration::from_millis(500);

/// How a LanManager is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder that has (or gets) `.allexlanmanager`.
    pub directory: PathBuf,
    /// The address to listen on.
    pub bind: IpAddr,
    /// Ports in the place of the standard ones; 0 takes any free one.
    pub ports: Ports,
    /// How long a master that is gone has for a reconnect, in the place of
    /// `boot.reconnectgrace`.
    pub reconnect_grace: Option<Duration>,
    /// Where a test wants the process to die.
    pub failpoint: Option<Failpoint>,
}

/// Ports that are not the standard ones (plus `boot.portcorrection`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Of [`Door::WebSocket`].
    pub web_socket: Option<u16>,
    /// Of [`Door::WebSocketOfJavaScript`].
    pub web_socket_of_javascript: Option<u16>,
    /// Of [`Door::SignalR`].
    pub signalr: Option<u16>,
    /// Of [`Door::Tcp`].
    pub tcp: Option<u16>,
}

impl Ports {
    /// Any free port for each door: for tests and for LanManagers inside other programs.
    pub const ANY: Self = Self {
        web_socket: Some(0),
        web_socket_of_javascript: Some(0),
        signalr: Some(0),
        tcp: Some(0),
    };

    fn of(self, door: Door) -> Option<u16> {
        match door {
            Door::WebSocket => self.web_socket,
            Door::WebSocketOfJavaScript => self.web_socket_of_javascript,
            Door::SignalR => self.signalr,
            Door::Tcp => self.tcp,
        }
    }
}

impl Options {
    /// The usual: all interfaces, standard ports, everything as the files say.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            bind: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            ports: Ports::default(),
            reconnect_grace: None,
            failpoint: None,
        }
    }

    /// Inside another program: loopback only, any free ports.
    #[must_use]
    pub fn embedded(directory: impl Into<PathBuf>) -> Self {
        Self {
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: Ports::ANY,
            ..Self::new(directory)
        }
    }
}

/// Why a LanManager could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the configuration cannot be used")]
    Files(#[source] FileError),
    /// The journal cannot be opened; another LanManager may hold it.
    #[error("the journal in {} cannot be used", folder.display())]
    Journal {
        folder: PathBuf,
        #[source]
        source: journal::Error,
    },
    #[error(
        "cannot listen on {address} ({door}): stop the program that has the port, or move all ports \
         with \"portcorrection\" in .allexlanmanager/boot, or this one with {flag}",
        flag = door.flag()
    )]
    Port {
        door: Door,
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    /// The correction moves a port out of the range of ports.
    #[error(
        "\"portcorrection\" {correction} in .allexlanmanager/boot would move port {port} ({door}) to \
         a number that is no port; choose a smaller correction",
        port = door.standard_port()
    )]
    PortCorrection { door: Door, correction: i32 },
    /// The system gives no thread, or a part of the start broke.
    #[error("the system has no thread for the LanManager; check its limits")]
    Thread(#[source] std::io::Error),
    #[error("the journal failed while the LanManager started; the log says why")]
    Stillborn,
}

impl StartError {
    /// Whether another LanManager works in the folder.
    #[must_use]
    pub fn is_already_running(&self) -> bool {
        match self {
            Self::Journal { source, .. } => matches!(source, journal::Error::Held { .. }),
            Self::Files(_)
            | Self::Port { .. }
            | Self::PortCorrection { .. }
            | Self::Thread(_)
            | Self::Stillborn => false,
        }
    }
}

/// Why a LanManager that ran could not go on, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The journal cannot be written, so nothing more can be decided.
    #[error("the journal failed")]
    Journal(#[source] journal::Error),
    /// A part of the LanManager broke. This is a mistake in the program.
    #[error("a part of the LanManager broke: {0}")]
    Broken(String),
}

#[derive(Clone, Copy, Debug)]
pub struct LanManager;

impl LanManager {
    /// Starts a LanManager in the current tokio runtime. When this returns, the doors
    /// are open and the tables are complete. The journal is opened before anything
    /// else: it is what two LanManagers in one folder would fight for.
    ///
    /// # Errors
    /// [`StartError`]; then nothing runs, and no port is taken.
    pub async fn start(options: Options) -> Result<Running, StartError> {
        let live = open_journal(&options).await?;
        let configuration = files::read(&options.directory).map_err(StartError::Files)?;
        if let Err(error) = journal::store::keep_private(&files::folder(&options.directory)) {
            tracing::warn!(%error, "other users may be able to read the properties of needs");
        }
        let bound = bind_all(&options, configuration.boot.port_correction).await?;
        for key in &configuration.boot.unused {
            tracing::warn!(key, "this key of .allexlanmanager/boot means nothing here");
        }
        tell_who_gets_in(&options.directory, &configuration.subnets);
        let files = &configuration.files;
        for remark in rules::remarks(&files.needs, &files.overlay, &files.runtime) {
            tracing::warn!("{remark}");
        }
        let addresses = bound
            .iter()
            .map(|bound| (bound.door, bound.address))
            .collect();
        let settings = settings(&options, &configuration);
        let sessions = Sessions::new(uuid::Uuid::new_v4().simple().to_string());
        let guests = Arc::new(Guests::new(&configuration));
        let (inbox, mailbox) = runner::inbox(INBOX_CAPACITY);
        let (decided_sender, mut decided) = mpsc::unbounded_channel();
        let has_started = Arc::<AtomicBool>::default();
        let courier = Courier::new(decided_sender, Arc::clone(&has_started));
        let engine = runner::start(
            live,
            mailbox,
            SteadyClock::new(MachineTime::default()),
            courier,
        )
        .map_err(StartError::Thread)?;
        let sessions = tell_start(
            sessions,
            &inbox,
            &mut decided,
            configuration.files,
            settings,
        )
        .await?;
        has_started.store(true, Ordering::Relaxed);
        let removed = inbox.look(|state| state.removed().cloned().collect::<Vec<_>>());
        for need in removed.await.map_err(|_| StartError::Stillborn)? {
            tracing::warn!(
                %need,
                "an entry of the file needs does not count, because the need was removed while running; \
                 it counts again when it is added, or when its entry is changed"
            );
        }
        let (runtime_sender, runtime_receiver) = watch::channel(0);
        let writer = runtime_file::keep(options.directory, inbox.clone(), runtime_receiver);
        let writer = tokio::spawn(writer);
        let (arrival_sender, arrivals) = mpsc::channel(ARRIVAL_CAPACITY);
        let mut doors = JoinSet::new();
        for bound in bound {
            tracing::info!(door = %bound.door, address = %bound.address, "listening");
            doors.spawn(listen::accept_all(
                bound,
                Arc::clone(&guests),
                arrival_sender.clone(),
            ));
        }
        let hub = Hub::new(sessions, inbox, decided, arrivals, runtime_sender);
        let (stop, stopped) = oneshot::channel();
        let parts = Parts {
            hub,
            doors,
            writer,
            engine,
        };
        let task = tokio::spawn(live_and_end(parts, stopped));
        Ok(Running {
            addresses,
            stop,
            task,
        })
    }
}

/// A LanManager that runs. It ends when this is dropped, but only [`Running::shutdown`]
/// waits for it.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<(Door, SocketAddr)>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), RunError>>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[(Door, SocketAddr)] {
        &self.addresses
    }

    #[must_use]
    pub fn address(&self, door: Door) -> Option<SocketAddr> {
        let mut addresses = self.addresses.iter();
        addresses.find_map(|(of, address)| (*of == door).then_some(*address))
    }

    /// Waits until it ends by itself, which only a failure makes it do. Cancel safe.
    ///
    /// # Errors
    /// [`RunError`] says what failed.
    pub async fn ended(&mut self) -> Result<(), RunError> {
        joined((&mut self.task).await)
    }

    /// Ends it: connections are closed, the journal is complete and checkpointed.
    ///
    /// # Errors
    /// [`RunError`] when the journal could not be closed.
    pub async fn shutdown(self) -> Result<(), RunError> {
        drop(self.stop);
        joined(self.task.await)
    }
}

/// The parts that run.
struct Parts {
    hub: Hub,
    doors: JoinSet<()>,
    writer: tokio::task::JoinHandle<()>,
    engine: JoinHandle<Result<Ended<std::convert::Infallible>, journal::Error>>,
}

/// Runs the hub, then takes everything down in order: no new connections, the last
/// words, the file, and the journal when all its senders are gone.
async fn live_and_end(parts: Parts, stopped: oneshot::Receiver<()>) -> Result<(), RunError> {
    let Parts {
        hub,
        mut doors,
        writer,
        engine,
    } = parts;
    let end = hub.run(stopped).await;
    doors.shutdown().await;
    let abort = writer.abort_handle();
    if tokio::time::timeout(LAST_WRITE, writer).await.is_err() {
        abort.abort();
    }
    let ended = tokio::task::spawn_blocking(move || engine.join()).await;
    match ended {
        Ok(Ok(Ok(Ended::Abandoned))) => match end {
            HubEnd::Asked => Ok(()),
            HubEnd::JournalFailed => Err(RunError::Broken("the engine ended early".to_owned())),
        },
        Ok(Ok(Ok(Ended::Exit(never)))) => match never {},
        Ok(Ok(Err(error))) => Err(RunError::Journal(error)),
        Ok(Err(_)) => Err(RunError::Broken("the engine's thread panicked".to_owned())),
        Err(error) => Err(RunError::Broken(error.to_string())),
    }
}

fn joined(outcome: Result<Result<(), RunError>, JoinError>) -> Result<(), RunError> {
    outcome.unwrap_or_else(|error| Err(RunError::Broken(error.to_string())))
}

/// Opens the journal on a thread that may wait for the disk.
async fn open_journal(options: &Options) -> Result<JournaledMachine<Rules>, StartError> {
    let folder = files::folder(&options.directory).join(files::JOURNAL);
    let journal_options = journal::Options {
        failpoint: options.failpoint,
        bounds: Some(Bounds::USUAL),
    };
    let opening = {
        let folder = folder.clone();
        move || JournaledMachine::<Rules>::open(&folder, journal_options)
    };
    let opened = tokio::task::spawn_blocking(opening).await;
    let opened = opened.map_err(|error| StartError::Thread(std::io::Error::other(error)))?;
    let (live, opened) = opened.map_err(|source| StartError::Journal { folder, source })?;
    for recovery in &opened.recoveries {
        tracing::warn!(%recovery, "the journal was repaired");
    }
    tracing::info!(
        identity = %opened.identity,
        events = opened.last,
        replayed = opened.replayed,
        "journal open"
    );
    Ok(live)
}

/// Says in the log who may connect, and how to let others in.
fn tell_who_gets_in(directory: &Path, subnets: &[Subnet]) {
    let file = files::folder(directory).join(files::SUBNETS);
    if subnets.is_empty() {
        tracing::info!(
            "only this machine gets in; to let a network in, write it into {} as in {}, and start again",
            file.display(),
            files::subnet::EXAMPLE
        );
    }
    for subnet in subnets {
        tracing::info!(subnet = subnet.written(), means = %subnet.network(), "besides this machine, this network gets in");
        if subnet.is_default_of_javascript() {
            tracing::warn!(
                "{}, AllexJS's default, would let in all of 192.0.0.0/8, most of it in the Internet; it is taken \
                 as {}; write the network that you mean into {}",
                subnet.written(),
                subnet.network(),
                file.display()
            );
        }
    }
}

async fn bind_all(options: &Options, correction: i32) -> Result<Vec<BoundDoor>, StartError> {
    let mut bound = Vec::with_capacity(Door::ALL.len());
    for door in Door::ALL {
        let port = match options.ports.of(door) {
            Some(port) => port,
            None => corrected(door, correction)?,
        };
        bound.push(listen::bind(door, options.bind, port).await?);
    }
    Ok(bound)
}

fn corrected(door: Door, correction: i32) -> Result<u16, StartError> {
    let port = i64::from(door.standard_port()) + i64::from(correction);
    let port = u16::try_from(port).ok().filter(|port| *port > 0);
    port.ok_or(StartError::PortCorrection { door, correction })
}

fn settings(options: &Options, configuration: &files::Configuration) -> Settings {
    let grace = options
        .reconnect_grace
        .map_or(configuration.boot.reconnect_grace, |grace| {
            u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)
        });
    Settings {
        ip_strategies: access::ip_strategies(&configuration.subnets),
        reconnect_grace: grace,
        edition: EDITION,
    }
}

/// Tells the rules that the LanManager started, and the tables what the rules say,
/// before anybody can look at them.
async fn tell_start(
    mut sessions: Sessions,
    inbox: &journal::Inbox<Rules>,
    decided: &mut mpsc::UnboundedReceiver<Decided>,
    files: crate::rules::Files,
    settings: Settings,
) -> Result<Sessions, StartError> {
    let mut first = true;
    for files in files.into_parts() {
        let part = Event::FilesRead { first, files };
        inbox.send(part).await.map_err(|_| StartError::Stillborn)?;
        first = false;
    }
    let started = Event::Started { settings };
    inbox
        .send(started)
        .await
        .map_err(|_| StartError::Stillborn)?;
    // The start is taken in when a look after it is answered; its effects are here by
    // then.
    inbox
        .look(|_| ())
        .await
        .map_err(|_| StartError::Stillborn)?;
    while let Ok(batch) = decided.try_recv() {
        match batch {
            Decided::Effects(effects) => {
                effects
                    .into_iter()
                    .for_each(|effect| sessions.perform(0, effect));
            }
            Decided::JournalFailed => return Err(StartError::Stillborn),
        }
    }
    Ok(sessions)
}
