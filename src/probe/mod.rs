//! Ports: whether one is free, and whether those of a child answer yet.
//!
//! ```text
//!  ProbePorts ──► bind [::]:p, for IPv4 and IPv6 ───────────► PortsProbed { taken }
//!  AwaitFree  ──► bind, pause, bind … ──────────────────────► PortsFreed
//!  AwaitReady ──► connect 127.0.0.1:p, pause, connect … ────► ChildReady
//!                 (AllexJS: and who listens there?) ────────► ForeignListener
//! ```
//!
//! # Theory of operation
//!
//! A port is free if a server could bind it, so that is what is tried. `SO_REUSEADDR` is set, as
//! nearly every server sets it: connections of an earlier server that only wait out their time
//! (`TIME_WAIT`) then do not count, while a listener on any address of the machine still does
//! (Linux refuses a bind against a listener whatever the option says).
//!
//! A child is ready when a connection to each port that it is to serve succeeds. Nobody but the
//! rules decides how long that may take: they stop the child, and a child that is gone ends the
//! waiting.
//!
//! A service of AllexJS says that it listens even where it could not bind its port, and the
//! LanManager would then approve the program that has it. So there the listeners must be the child's own.
//! Other programs may let another process listen for them (a container, say).

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use allexmaster_state::{Event, Identity, Incarnation, Port};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::process;
use crate::sink::EventSink;

/// The first pause between two attempts: a small program listens within a few milliseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// The longest pause: what a slow starter costs at most in lateness.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// The pause between two looks at ports that other programs have.
const FREE_PAUSE: Duration = Duration::from_secs(1);
/// A connection on the loopback comes about at once, or the server's queue is full and the kernel
/// retries after one second: then we do it ourselves.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Attempts at the same time: bounds the descriptors that a thousand starting children take.
const CONNECTS_AT_ONCE: usize = 64;

/// The driver of `ProbePorts`, `AwaitFree` and `AwaitReady`.
pub struct Probe<Sink> {
    runtime: Handle,
    sink: Sink,
    connects: Arc<Semaphore>,
}

impl<Sink: EventSink> Probe<Sink> {
    /// A driver whose tasks run on `runtime` and report to `sink`.
    #[must_use]
    pub fn new(runtime: Handle, sink: Sink) -> Self {
        Self {
            runtime,
            sink,
            connects: Arc::new(Semaphore::new(CONNECTS_AT_ONCE)),
        }
    }

    /// Tests ports and reports `PortsProbed`. Returns at once.
    pub fn probe(&self, incarnation: Incarnation, ports: Vec<Port>) {
        let sink = self.sink.clone();
        self.runtime.spawn(async move {
            let taken = taken(&ports);
            let holders = process::holders(&taken);
            let event = Event::PortsProbed {
                incarnation,
                taken,
                holders,
            };
            sink.send(event).await;
        });
    }

    /// Reports `PortsFreed` for each of these ports once it can be bound. Returns at once.
    pub fn await_free(&self, mut ports: Vec<Port>) {
        let sink = self.sink.clone();
        self.runtime.spawn(async move {
            while !ports.is_empty() {
                sleep(FREE_PAUSE).await;
                let taken = taken(&ports);
                let (held, free) = ports.into_iter().partition(|port| taken.contains(port));
                ports = held;
                if !free.is_empty() {
                    sink.send(Event::PortsFreed { ports: free }).await;
                }
            }
        });
    }

    /// Reports `ChildReady` when all `ports` answer, unless `gone` completes first. Returns at once.
    pub fn await_ready(
        &self,
        incarnation: Incarnation,
        ports: Vec<Port>,
        gone: impl Future<Output = ()> + Send + 'static,
    ) {
        let connects = Arc::clone(&self.connects);
        self.report(incarnation, gone, async move {
            all_answer(&ports, &connects).await;
            Event::ChildReady { incarnation }
        });
    }

    /// The same for a service of AllexJS: it must be `introduced` first, and the listeners must
    /// belong to the group of `child`, else `ForeignListener` is reported.
    pub fn await_own(
        &self,
        incarnation: Incarnation,
        ports: Vec<Port>,
        child: Identity,
        introduced: impl Future<Output = ()> + Send + 'static,
        gone: impl Future<Output = ()> + Send + 'static,
    ) {
        let connects = Arc::clone(&self.connects);
        self.report(incarnation, gone, async move {
            introduced.await;
            all_answer(&ports, &connects).await;
            match process::foreign_listener(&child, &ports) {
                None => Event::ChildReady { incarnation },
                Some(port) => Event::ForeignListener { incarnation, port },
            }
        });
    }

    /// Reports what a wait ends in, unless the child is gone before.
    fn report(
        &self,
        incarnation: Incarnation,
        gone: impl Future<Output = ()> + Send + 'static,
        waiting: impl Future<Output = Event> + Send + 'static,
    ) {
        let sink = self.sink.clone();
        self.runtime.spawn(async move {
            tokio::select! {
                biased;
                () = gone => tracing::debug!(%incarnation, "gone before it was ready"),
                event = waiting => sink.send(event).await,
            }
        });
    }
}

/// Those of `ports` that are in use by a listener or an open connection.
///
/// A port that cannot be tested (a number below 1,024 without the right to bind it) does not
/// count as taken: the child will tell better what is wrong.
#[must_use]
pub fn taken(ports: &[Port]) -> Vec<Port> {
    let in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    let is_taken = |port: &Port| {
        // A socket of IPv6 that takes IPv4 too meets the listeners of both.
        match bind((Ipv6Addr::UNSPECIFIED, port.0).into()) {
            Ok(_) => false,
            Err(error) if in_use(&error) => true,
            // This machine has no IPv6.
            Err(_) => {
                bind((Ipv4Addr::UNSPECIFIED, port.0).into()).is_err_and(|error| in_use(&error))
            }
        }
    };
    let distinct: BTreeSet<Port> = ports.iter().copied().collect();
    distinct.into_iter().filter(is_taken).collect()
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

async fn all_answer(ports: &[Port], connects: &Semaphore) {
    for port in ports {
        let mut pause = FIRST_PAUSE;
        while !answers(*port, connects).await {
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }
}

/// Whether the port has a listener.
async fn answers(port: Port, connects: &Semaphore) -> bool {
    // The semaphore is never closed.
    let _permit = connects.acquire().await;
    let connecting = TcpStream::connect((Ipv4Addr::LOCALHOST, port.0));
    match timeout(CONNECT_TIMEOUT, connecting).await {
        // A connection from a port to itself is possible without a listener (TCP calls it a
        // simultaneous open): that is no answer.
        Ok(Ok(stream)) => match (stream.local_addr(), stream.peer_addr()) {
            (Ok(own), Ok(other)) => own != other,
            (Ok(_) | Err(_), _) => false,
        },
        Ok(Err(_)) | Err(_) => false,
    }
}
