//! What the keeper reports to the service manager that started it, by the protocol of sd_notify(3).
//!
//! The keeper is the main process of the unit, so it reports for the engine: `READY=1` when the first
//! engine serves, the engine's `STATUS=` and `RELOADING=1`, `STOPPING=1`, and `WATCHDOG=1` by its own
//! clock (a dead engine is the keeper's to replace, no reason to restart the unit). While it stops, each
//! sign of life of the engine extends the time that the service manager grants.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with,
};
use rustix::time::{ClockId, clock_gettime};

/// The variable with the address of the service manager's socket.
const ADDRESS_VARIABLE: &str = "NOTIFY_SOCKET";
/// How much more time a stop gets with each sign of life of the engine.
const EXTENSION: Duration = Duration::from_secs(30);
/// `WATCHDOG=1` is sent so many times per interval; sd_watchdog_enabled(3) recommends two.
const SIGNS_PER_INTERVAL: u32 = 2;

/// The service manager, if there is one.
#[derive(Debug)]
pub(super) struct ServiceManager {
    connection: Option<(OwnedFd, SocketAddrUnix)>,
    /// Time between two signs of life, if they are wanted.
    interval: Option<Duration>,
    /// When the next sign of life is due.
    pub(super) due: Option<Instant>,
    stopping: bool,
}

impl ServiceManager {
    /// The one named in the environment. An address that cannot be used counts as none.
    pub(super) fn from_environment() -> Self {
        let address = std::env::var(ADDRESS_VARIABLE).ok();
        let address = address.and_then(|address| match address.strip_prefix('@') {
            Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()).ok(),
            None => SocketAddrUnix::new(address).ok(),
        });
        let connection = address.and_then(|address| {
            let flags = SocketFlags::CLOEXEC;
            let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).ok()?;
            Some((socket, address))
        });
        let interval = connection.as_ref().and_then(|_| watchdog_interval());
        Self {
            connection,
            interval,
            due: interval.map(|_| Instant::now()),
            stopping: false,
        }
    }

    /// Reports that the first engine serves, or that a reload is over.
    pub(super) fn ready(&self) {
        self.tell("READY=1");
    }

    /// Reports that the engine reads its configuration again; [`Self::ready`] ends that.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// Reports one line for people.
    pub(super) fn status(&self, text: &str) {
        self.tell(&format!("STATUS={}", text.replace('\n', " ")));
    }

    /// Reports that the master is about to end.
    pub(super) fn stopping(&mut self) {
        if !self.stopping {
            self.stopping = true;
            self.tell("STOPPING=1");
        }
        self.extend();
    }

    /// The engine works: while it stops, it gets more time.
    pub(super) fn engine_works(&self) {
        if self.stopping {
            self.extend();
        }
    }

    /// Sends a sign of life if one is due.
    pub(super) fn alive(&mut self) {
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.tell("WATCHDOG=1");
            self.due = self.interval.map(|interval| Instant::now() + interval);
        }
    }

    fn extend(&self) {
        self.tell(&format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros()));
    }

    /// A message that the service manager does not take is dropped: the master goes on without it.
    fn tell(&self, text: &str) {
        if let Some((socket, address)) = &self.connection {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            let _ = sendto(socket, text.as_bytes(), flags, address);
        }
    }
}

/// The time between two signs of life, if the service manager wants them from this process.
fn watchdog_interval() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let process = number("WATCHDOG_PID");
    if process.is_some_and(|process| process != u64::from(std::process::id())) {
        return None;
    }
    let micros = number("WATCHDOG_USEC").filter(|micros| *micros > 0)?;
    Some(Duration::from_micros(micros) / SIGNS_PER_INTERVAL)
}
