//! The keeper: the small process that outlives the engine.
//!
//! ```text
//!                 ┌──────── keeper (the public pid) ────────┐  LISTEN_FDS, NAMES   ┌────────┐
//!  SIGTERM ──────►│  descriptors by name, listeners,        │─────────────────────►│ engine │
//!  connections ──►│  the children's exit statuses (zombies) │  ACCEPTED= SIGNAL= …  │        │
//!                 │                                         │◄─────────────────────│        │
//!                 └─────────────────────────────────────────┘  READY=1 FDSTORE=1 …  └────────┘
//! ```
//!
//! # Theory of operation
//!
//! The engine does all the work and may die at any instruction. What must not end with it is here:
//! sockets, and the exit statuses of children. The keeper does the same few things over and over in
//! one thread, understands nothing of what goes over the sockets, and starts the engine again when
//! it dies. It speaks to it as systemd speaks to a service:
//!
//! - **Descriptors are handed over** from 3 on (sd_listen_fds(3): `LISTEN_PID`, `LISTEN_FDS`,
//!   `LISTEN_FDNAMES`). One is named `keeper`: the engine's end of a socket pair (`SOCK_SEQPACKET`).
//!   One variable holds 128 KiB: where the names are longer, the variable is the one word `names`, and
//!   the first descriptor is a file in memory with the names of all the others, separated by colons.
//! - **The engine tells** (sd_notify(3), to `NOTIFY_SOCKET`, which takes messages from the engine's
//!   process alone) `READY=1`, `STOPPING=1`, `WATCHDOG=1`, `FDSTORE=1` with
//!   `FDNAME=`, `FDSTOREREMOVE=1`, `BARRIER=1`; and of our own `X_ALLEX_ACCEPT=1` (with `FDSTORE=1`: the
//!   keeper accepts on this socket), `X_ALLEX_REAP=<pid>` (the exit status of this child is written
//!   down) and `X_ALLEX_ENGINE=<path>` (the program to start next time).
//! - **The keeper tells**, over `keeper`: `ACCEPTED=<name>` with a connection that is already kept
//!   under that name (the listener's, a point and a number that is never used again);
//!   `EXITED=<pid>`, a hint that a child has ended (ends that come at the same time may be told as
//!   one); `SIGNAL=TERM`, `INT` or `HUP`, which the keeper got.
//!
//! **When the engine ends.** All that it still said is read first. An engine that exits after
//! `STOPPING=1`, or before any engine was ever ready (a mistake in the configuration), ends the
//! keeper with its exit code. In every other case it is started again: at once, or after a growing
//! pause where it dies again and again. A stop signal that no engine has answered with `STOPPING=1` is
//! told to the next one. A new program (`X_ALLEX_ENGINE`) that dies before it is ready is given up
//! for the one before.
//!
//! **When the keeper is killed**, the engine sees the end of its link, and goes on alone.
//!
//! **Children** are born as the keeper's (`CLONE_PARENT`), and stay zombies until the engine has
//! their status in its journal. The keeper takes up no orphans.

mod engine;
mod hear;
mod log;
mod message;
mod name;
mod role;
mod store;

use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, getsockname,
    socket_with,
};
use rustix::process::Signal;

use crate::{FAILURE, os};
use engine::{Engine, Plan};
use hear::stop_text;
use log::Log;
use name::Name;
use store::Store;

pub(crate) use engine::{KEEPER_NAME, NAMES_NAME};
pub(crate) use message::MESSAGE_MOST;
pub(crate) use name::is_name;
pub use role::{ENGINE_VARIABLE, ROLE_VARIABLE, Role, UnknownRole, become_keeper};

/// How long an engine may be silent before it counts as hung, if it does not wish otherwise. A slow
/// disk may hold up a write for some seconds; nobody wants to wait for minutes.
const WATCHDOG: Duration = Duration::from_secs(20);
/// The most descriptors that come with one message (Linux' `SCM_MAX_FD`).
pub(crate) const DESCRIPTORS_AT_ONCE: usize = 253;
/// The most messages that are read before something else is looked after; more than the kernel lets
/// wait (`net.unix.max_dgram_qlen`, 10 to 512).
const MESSAGES_A_TURN: usize = 1_024;
/// An engine that died of itself so soon after it was ready may do so again.
const QUICK_END: Duration = Duration::from_secs(1);
/// The pause before an engine is started for the third time, when two have died; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two starts of the engine.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long no connection is accepted when the system has no room for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How many stop signals are kept for the next engine; the second one stops at once, so there is no
/// use for more.
const STOPS_MOST: usize = 2;
/// Added to a signal's number, it is the exit code of a program that it ended.
const SIGNAL_EXIT_CODE: i32 = 128;

/// Runs the keeper until there is nothing left to keep.
#[must_use]
pub fn run() -> ExitCode {
    os::keep_descriptors_from_children();
    let log = Log::from_environment();
    let ended = Keeper::new(log).and_then(|mut keeper| keeper.run());
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            log.error(format_args!(
                "the system refused what the keeper needs: {error}"
            ));
            ExitCode::from(FAILURE)
        }
    }
}

struct Keeper {
    log: Log,
    signals: OwnedFd,
    notify: OwnedFd,
    notify_address: String,
    store: Store,
    plan: Plan,
    engine: Option<Engine>,
    /// When the next engine is started, where there is none.
    start: Instant,
    /// How many engines in a row have died too soon.
    failures: u32,
    ever_ready: bool,
    watchdog: Duration,
    /// Signals that no engine has answered yet.
    stops: Vec<Signal>,
    told_full: bool,
    /// Until when no connection is accepted.
    accept_pause: Option<Instant>,
}

impl Keeper {
    fn new(log: Log) -> Result<Self, Errno> {
        let signals = [Signal::CHILD, Signal::TERM, Signal::INT, Signal::HUP];
        let signals = os::signals_in_descriptor(&signals)?;
        let open_most = os::raise_descriptor_limit();
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let notify = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        set_socket_passcred(&notify, true)?;
        // The system chooses a free abstract name: no file, nothing to clean up.
        bind(&notify, &SocketAddrUnix::new_unnamed())?;
        let address = SocketAddrUnix::try_from(getsockname(&notify)?)?;
        let name = address.abstract_name().ok_or(Errno::AFNOSUPPORT)?;
        let notify_address = format!("@{}", String::from_utf8_lossy(name));
        Ok(Self {
            log,
            signals,
            notify,
            notify_address,
            store: Store::new(open_most.unwrap_or(Some(0))),
            plan: Plan::from_environment(),
            engine: None,
            start: Instant::now(),
            failures: 0,
            ever_ready: false,
            watchdog: WATCHDOG,
            stops: Vec::new(),
            told_full: false,
            accept_pause: None,
        })
    }

    fn run(&mut self) -> Result<u8, Errno> {
        loop {
            self.start_engine();
            let listeners = self.wait()?;
            // Messages first: what a signal means depends on whether the engine is ready.
            self.read_messages();
            if let Some(code) = self.read_signals() {
                return Ok(code);
            }
            for listener in listeners {
                self.accept(&listener);
            }
            if let Some(engine) = &mut self.engine {
                engine.flush();
            }
            if let Some(code) = self.look_after_engine() {
                return Ok(code);
            }
        }
    }

    fn start_engine(&mut self) {
        if self.engine.is_some() || Instant::now() < self.start {
            return;
        }
        match self
            .plan
            .start(&self.store, &self.notify_address, self.watchdog)
        {
            Ok(mut engine) => {
                for stop in &self.stops {
                    engine.tell(stop_text(*stop), None);
                }
                self.engine = Some(engine);
            }
            Err(error) => {
                self.log
                    .error(format_args!("the engine cannot be started: {error}"));
                self.never_ready();
            }
        }
    }

    /// Waits until there is something to do; answers with the listeners at which somebody knocks.
    fn wait(&mut self) -> Result<Vec<Name>, Errno> {
        let now = Instant::now();
        self.accept_pause = self.accept_pause.filter(|until| *until > now);
        let due = match &self.engine {
            Some(engine) => engine.deadline,
            None => Some(self.start),
        };
        let due = due.into_iter().chain(self.accept_pause).min();
        // Whole milliseconds would turn the last one into a busy loop.
        let timeout = due.map(|due| Timespec::try_from(due.saturating_duration_since(now)));
        let timeout = timeout.and_then(Result::ok);
        let link = self.engine.as_ref().and_then(Engine::link);
        let link_wish = match &self.engine {
            Some(engine) if engine.is_behind() => PollFlags::OUT,
            Some(_) | None => PollFlags::empty(),
        };
        let listeners = self.open_listeners();
        let mut asked = vec![
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.notify, PollFlags::IN),
        ];
        asked.extend(
            listeners
                .iter()
                .map(|(_, listener)| PollFd::new(listener, PollFlags::IN)),
        );
        asked.extend(link.map(|link| PollFd::new(link, link_wish)));
        match poll(&mut asked, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let hung_up = link.is_some()
            && asked
                .last()
                .is_some_and(|link| link.revents().contains(PollFlags::HUP));
        let knocked = asked.iter().skip(2).zip(listeners);
        let knocked = knocked
            .filter(|(asked, _)| !asked.revents().is_empty())
            .map(|(_, (name, _))| name.clone())
            .collect();
        if let Some(engine) = &mut self.engine
            && hung_up
        {
            engine.hang_up();
        }
        Ok(knocked)
    }

    /// The listeners that are accepted on now: none while there is no room, and none while the
    /// engine does not read what it is told.
    fn open_listeners(&self) -> &[(Name, OwnedFd)] {
        let behind = self.engine.as_ref().is_some_and(Engine::is_behind);
        if behind || self.accept_pause.is_some() || self.store.room() == 0 {
            return &[];
        }
        self.store.listeners()
    }

    fn accept(&mut self, listener: &Name) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Some((_, socket)) = self.open_listeners().iter().find(|(of, _)| of == listener) {
            let accepted = accept_with(socket, flags).and_then(|connection| {
                let copy = fcntl_dupfd_cloexec(&connection, 0)?;
                Ok((connection, copy))
            });
            match accepted {
                Ok((connection, copy)) => {
                    let name = self.store.connection_name(listener);
                    self.keep(&name, false, vec![connection]);
                    if let Some(engine) = &mut self.engine {
                        // Nothing waited, so there is room.
                        engine.tell(format!("ACCEPTED={}", name.as_str()), Some(copy));
                    }
                }
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    self.accept_pause = Some(Instant::now() + ACCEPT_PAUSE);
                }
                Err(error) => {
                    let name = listener.as_str();
                    self.log
                        .error(format_args!("nothing can be accepted on {name}: {error}"));
                    self.store.remove(listener);
                }
            }
        }
    }

    fn keep(&mut self, name: &Name, accept: bool, descriptors: Vec<OwnedFd>) {
        let fits = self.store.add(name, accept, descriptors);
        if self.store.room() > 0 {
            self.told_full = false;
        } else if !self.told_full {
            self.told_full = true;
            self.log.error(format_args!(
                "no more connections can be kept: none is accepted now"
            ));
        }
        if !fits {
            let name = name.as_str();
            self.log
                .warn(format_args!("{name} was not kept: there is no room"));
        }
    }
}
