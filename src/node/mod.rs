//! Children of AllexJS: the master's session with each, over its channel.
//!
//! ```text
//!  Channel (from the child driver) ──► one task a child ──► ChildFailed (to the loop)
//!                                        │   ▲
//!                  introduced ◄──────────┤   │ ToChild
//!        (the readiness probe waits)     ▼   │
//!                                      FromChild (columns, relayed sessions; to the local sockets)
//! ```
//!
//! # Theory of operation
//!
//! A child of AllexJS says on its channel when its service is there (`child_init`); the master
//! introduces itself in a session whose name is its own process number, and is told the service's
//! state from then on, for ever. A reader that stopped would stop the child: so whatever comes is
//! read at once, and what nobody here wants to know is dropped.
//!
//! [`session`] knows what is said, without sockets; this module is the task around it. A child
//! written for .NET has no channel of Node's but opens a socket, where the same is said.

pub mod session;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use allexmaster_protocol::carrier::{
    Delivery, Inbox as CarrierInbox, Incoming, Outgoing, length_prefixed, lines,
};
use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::frame::RemoteError;
use allexmaster_state::{Event, Identity, Incarnation, InstanceName, Pid};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info};

use crate::channel::{Channel, ChannelEnd};
use crate::process;
use crate::relay::{self, FromChild, ToChild};
use crate::sink::EventSink;
use session::{News, Session};

/// How many texts of a child may wait for its task; then the child waits.
const TEXTS_MOST: usize = 64;
/// How many wishes of tools may wait for one child's task; more are refused.
const WISHES_MOST: usize = 1_024;
/// How often it is tried to reach a child on the socket that it will open; as the JavaScript master.
const DIAL_PAUSE: Duration = Duration::from_millis(100);

/// The name of the socket that a child of AllexJS opens, before the point and its process number.
const CHILD_SOCKET: &str = "allexprocess";

/// The socket that a child of AllexJS opens.
#[must_use]
pub fn child_socket(folder: &Path, pid: Pid) -> PathBuf {
    folder.join(format!("{CHILD_SOCKET}.{pid}"))
}

/// The driver. Clones are the same driver.
pub struct Nodes<Sink> {
    shared: Arc<Shared<Sink>>,
}

impl<Sink> Clone for Nodes<Sink> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<Sink> std::fmt::Debug for Nodes<Sink> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Nodes")
    }
}

struct Shared<Sink> {
    runtime: Handle,
    sink: Sink,
    master: Pid,
    /// Where children open their sockets.
    socket_folder: PathBuf,
    from_children: relay::Sender<FromChild>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    by_incarnation: BTreeMap<Incarnation, (Identity, watch::Receiver<bool>)>,
    by_instance: BTreeMap<InstanceName, (Incarnation, mpsc::Sender<ToChild>)>,
}

impl<Sink: EventSink> Nodes<Sink> {
    /// A driver whose tasks run on `runtime`, report to `sink`, and tell the local sockets what is
    /// for them.
    #[must_use]
    pub fn new(
        runtime: Handle,
        sink: Sink,
        master: Pid,
        socket_folder: PathBuf,
        from_children: relay::Sender<FromChild>,
    ) -> Self {
        let open = Mutex::default();
        let shared = Shared {
            runtime,
            sink,
            master,
            socket_folder,
            from_children,
            open,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Begins to talk to a child. Returns at once.
    pub fn begin(&self, channel: Channel) {
        let (introduced, told) = watch::channel(false);
        let (wishes, asked) = mpsc::channel(WISHES_MOST);
        {
            let mut open = self.shared.open();
            let known = (channel.identity.clone(), told);
            open.by_incarnation.insert(channel.incarnation, known);
            open.by_instance
                .insert(channel.instance.clone(), (channel.incarnation, wishes));
        }
        let shared = Arc::clone(&self.shared);
        self.shared.runtime.spawn(async move {
            let (incarnation, instance) = (channel.incarnation, channel.instance.clone());
            let socket = child_socket(&shared.socket_folder, channel.identity.pid);
            shared.talk(channel, introduced, asked).await;
            shared.forget(incarnation, &instance);
            remove_left_behind(&socket);
        });
    }

    /// The process of a child that has a channel, and a wait that completes when the master has
    /// its session with it (never, where it ends before); none for a child without a channel.
    pub fn introduction(
        &self,
        incarnation: Incarnation,
    ) -> Option<(Identity, impl Future<Output = ()> + Send + use<Sink>)> {
        let known = self.shared.open().by_incarnation.get(&incarnation).cloned();
        let (child, mut told) = known?;
        let introduced = async move {
            if told.wait_for(|introduced| *introduced).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        Some((child, introduced))
    }

    /// Hands what local tools want to the children that they want it of, until the wishes end.
    pub async fn relay(self, mut wishes: mpsc::Receiver<ToChild>) {
        while let Some(wish) = wishes.recv().await {
            match &wish {
                ToChild::SubConnect { instance, .. } | ToChild::Frame { instance, .. } => {
                    let instance = instance.clone();
                    self.shared.hand_on(&instance, wish).await;
                }
                ToChild::Gone { connection } => {
                    for instance in self.shared.instances() {
                        let gone = ToChild::Gone {
                            connection: *connection,
                        };
                        self.shared.hand_on(&instance, gone).await;
                    }
                }
            }
        }
    }
}

impl<Sink: EventSink> Shared<Sink> {
    /// Talks to a child until it ends, or its channel does.
    async fn talk(
        &self,
        channel: Channel,
        introduced: watch::Sender<bool>,
        mut wishes: mpsc::Receiver<ToChild>,
    ) {
        let Channel {
            incarnation,
            instance,
            identity,
            end,
        } = channel;
        let (inbox, mut deliveries) = CarrierInbox::alone(TEXTS_MOST);
        let (kind, outgoing) = match end {
            ChannelEnd::Inherited(stream) => match UnixStream::from_std(stream) {
                Ok(stream) => (CarrierKind::Ipc, lines::start(stream, inbox)),
                Err(error) => {
                    return self
                        .fail(incarnation, &format!("its channel: {error}"))
                        .await;
                }
            },
            ChannelEnd::OwnSocket => {
                let socket = child_socket(&self.socket_folder, identity.pid);
                match dial(&socket, || process::exists(&identity.boot, &identity)).await {
                    Some(stream) => (CarrierKind::Socket, length_prefixed::start(stream, inbox)),
                    None => return, // it has ended
                }
            }
        };
        let clock = Instant::now();
        let mut session = Session::new(milliseconds(&clock), kind, self.master, identity.pid);
        loop {
            self.settle(&mut session, &outgoing, incarnation, &instance, &introduced)
                .await;
            if session.is_closed() {
                return;
            }
            let timeout = session.poll_timeout();
            tokio::select! {
                delivery = deliveries.recv() => take(&mut session, milliseconds(&clock), delivery),
                Some(wish) = wishes.recv() => session.obey(milliseconds(&clock), wish),
                () = sleep_until(&clock, timeout) => session.handle_timeout(milliseconds(&clock)),
            }
        }
    }

    /// Sends what is to be sent, and tells what is to be told.
    async fn settle(
        &self,
        session: &mut Session,
        outgoing: &Outgoing,
        incarnation: Incarnation,
        instance: &InstanceName,
        introduced: &watch::Sender<bool>,
    ) {
        while let Some(text) = session.poll_transmit() {
            // Where it cannot be sent the carrier ends, and says why.
            let _ = outgoing.send(text);
        }
        while let Some(news) = session.poll_news() {
            let message = match news {
                News::Introduced { modulename } => {
                    info!(service = %instance, module = %modulename, "its service is there");
                    introduced.send_replace(true);
                    continue;
                }
                News::Failed(reason) => {
                    self.fail(incarnation, &reason).await;
                    continue;
                }
                News::Column { name, value } => {
                    let (instance, pid) = (instance.clone(), session.child());
                    FromChild::Column {
                        instance,
                        pid,
                        name,
                        value,
                    }
                }
                News::SubConnected {
                    token,
                    connection,
                    outcome,
                } => {
                    let instance = instance.clone();
                    FromChild::SubConnected {
                        instance,
                        token,
                        connection,
                        outcome,
                    }
                }
                News::Frame { connection, frame } => FromChild::Frame { connection, frame },
                News::SessionEnded(session) => FromChild::SessionEnded { session },
            };
            self.from_children.send_patiently(message).await;
        }
    }

    async fn fail(&self, incarnation: Incarnation, reason: &str) {
        let reason = Arc::from(reason);
        self.sink
            .send(Event::ChildFailed {
                incarnation,
                reason,
            })
            .await;
    }

    /// Hands a wish to a child's task; where that is not there or behind, the tool is refused.
    async fn hand_on(&self, instance: &InstanceName, wish: ToChild) {
        let task = self
            .open()
            .by_instance
            .get(instance)
            .map(|(_, wishes)| wishes.clone());
        let refused = match task {
            Some(task) => match task.try_send(wish) {
                Ok(()) => return,
                Err(error) => error.into_inner(),
            },
            None => wish,
        };
        let error = RemoteError::new(
            "NO_SUBSERVICE",
            format!("{instance} is not there, or too busy"),
        );
        if let Some(refusal) = session::refusal(instance, refused, error) {
            self.from_children.send_patiently(refusal).await;
        }
    }

    fn instances(&self) -> Vec<InstanceName> {
        self.open().by_instance.keys().cloned().collect()
    }

    fn forget(&self, incarnation: Incarnation, instance: &InstanceName) {
        let mut open = self.open();
        open.by_incarnation.remove(&incarnation);
        let is_present = open
            .by_instance
            .get(instance)
            .is_some_and(|(present, _)| *present == incarnation);
        if is_present {
            open.by_instance.remove(instance);
        }
    }

    /// Nobody panics while holding this lock; if it happened, the maps would still be whole.
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the socket of a child that was killed: it could not do so itself. One at which somebody
/// listens, under a number that is in use again, stays.
pub fn remove_left_behind(socket: &Path) {
    use std::io::ErrorKind::ConnectionRefused;
    let dialed = std::os::unix::net::UnixStream::connect(socket);
    if dialed.is_err_and(|error| error.kind() == ConnectionRefused)
        && std::fs::remove_file(socket).is_ok()
    {
        debug!(socket = %socket.display(), "removed what a child left behind");
    }
}

/// Dials the socket that a child will open; none where the child ends before.
async fn dial(socket: &Path, lives: impl Fn() -> bool) -> Option<UnixStream> {
    while lives() {
        match UnixStream::connect(socket).await {
            Ok(stream) => return Some(stream),
            Err(_) => tokio::time::sleep(DIAL_PAUSE).await,
        }
    }
    None
}

fn take(session: &mut Session, now: u64, delivery: Option<Delivery>) {
    match delivery.map(|delivery| delivery.incoming) {
        Some(Incoming::Text(text)) => session.receive(now, &text),
        Some(Incoming::Alive) => session.traffic(now),
        Some(Incoming::Closed(reason)) => session.closed(reason),
        None => session.closed(CloseReason::ByPeer),
    }
}

fn milliseconds(clock: &Instant) -> u64 {
    u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX)
}

async fn sleep_until(clock: &Instant, at: Option<u64>) {
    match at {
        Some(at) => {
            let wait = at.saturating_sub(milliseconds(clock));
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        None => std::future::pending().await,
    }
}
