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
//! The engine does all the work and may die at any instruction. What must survive it is kept here:
//! sockets, and the exit statuses of children. The keeper has one thread, does not interpret what is
//! sent over the sockets, and starts the engine again when it dies. The two speak systemd's protocols:
//!
//! - **Descriptors are handed over** from 3 on (sd_listen_fds(3): `LISTEN_PID`, `LISTEN_FDS`,
//!   `LISTEN_FDNAMES`). One is named `keeper`: the engine's end of the *link*, a socket pair
//!   (`SOCK_SEQPACKET`). A variable holds at most 128 KiB: if the names are longer, the variable is the
//!   word `names`, and the first descriptor is a file in memory with the names of all the others,
//!   separated by colons.
//! - **From the engine, over the link** (in the words of sd_notify(3)): `READY=1`, `STOPPING=1`,
//!   `RELOADING=1`, `STATUS=`, `WATCHDOG=1`, `FDSTORE=1` with `FDNAME=`, `FDSTOREREMOVE=1`, `BARRIER=1`; and of our own
//!   `X_ALLEX_ACCEPT=1` (with `FDSTORE=1`: the keeper accepts on this socket), `X_ALLEX_REAP=<pid>` (the
//!   exit status of this child is in the journal) and `X_ALLEX_ENGINE=<path>` (the program to start
//!   next time).
//! - **From the keeper, over the link**: `ACCEPTED=<name>` with a connection that is already stored
//!   under that name (the listener's, a point and a number that is never used again);
//!   `EXITED=<pid>`, a hint that a child has ended (simultaneous ends may be reported as one);
//!   `SIGNAL=TERM`, `INT` or `HUP`, which the keeper received: the first two ask for the end, `HUP` for
//!   the configuration to be read again.
//!
//! The link has no address, so no other process can write to it: only what inherits it can.
//!
//! **When the engine ends**, everything that it has sent is read first. An engine that exits after
//! `STOPPING=1`, or before any engine was ever ready (a mistake in the configuration), ends the
//! keeper with its exit code. In every other case it is started again: at once, or after a growing
//! pause if it keeps dying. A stop signal that no engine has answered with `STOPPING=1` is sent to the
//! next one. A new program (`X_ALLEX_ENGINE`) that dies before it is ready is replaced by the one before.
//!
//! **While no engine gets ready** after one was (the journal cannot be opened, say), the keeper tells why
//! to whoever asks ([`engine_trouble`]), and obeys a stop signal by itself: it ends the children, each with
//! the grace that the last engine told (`X_ALLEX_GRACE=`, in milliseconds), and exits with 0.
//!
//! **When the keeper is killed**, the engine sees the end of the link and continues alone.
//!
//! **Children** are started as the keeper's (`CLONE_PARENT`), and stay zombies until the engine has
//! their status in its journal. The keeper is also the subreaper of all that they start: an orphan
//! becomes its child, and is reaped within a second of its end ([`os::is_marked`] tells the two apart).
//!
//! **The service manager** that started the keeper (systemd: `NOTIFY_SOCKET`) gets `READY=1`, `STATUS=`,
//! `RELOADING=1`, `STOPPING=1`, `WATCHDOG=1` and `EXTEND_TIMEOUT_USEC=` from it. Neither the engine nor a
//! service inherits that address.
//!
//! Signals without a meaning for it (all but `TERM`, `INT`, `HUP` and `CHLD`: `USR1`, `QUIT`, `ALRM`, the
//! real-time ones …) are ignored: they would end a process by default.

mod alone;
mod engine_process;
mod input;
mod log;
mod message;
mod name;
mod role;
mod service_manager;
mod store;

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::Signal;

use crate::{FAILURE, os};
use alone::{Board, DEFAULT_GRACE};
use engine_process::{EngineProcess, EngineProgram};
use input::stop_text;
use log::Log;
use name::DescriptorName;
use service_manager::ServiceManager;
use store::DescriptorStore;

pub use alone::{EngineTrouble, engine_trouble};
pub(crate) use engine_process::{KEEPER_NAME, NAMES_NAME};
pub(crate) use message::MAX_MESSAGE;
pub(crate) use name::is_name;
pub use role::{ENGINE_VARIABLE, ROLE_VARIABLE, Role, UnknownRole, become_keeper};

/// How long a ready engine may be silent before it is killed, unless it asks for another time
/// (`WATCHDOG_USEC=`). Longer than a slow disk holds up a write.
const WATCHDOG: Duration = Duration::from_secs(20);
/// Maximum number of descriptors in one message (Linux' `SCM_MAX_FD`).
pub(crate) const MAX_DESCRIPTORS_PER_MESSAGE: usize = 253;
/// Maximum number of messages that are read before signals and listeners are looked at again.
const MAX_MESSAGES_PER_TURN: usize = 1_024;
/// An engine that ends by itself within this time after it was ready counts as failed.
const QUICK_END: Duration = Duration::from_secs(1);
/// The pause before the third start, when two engines in a row have failed; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two starts of the engine.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long no connection is accepted after the system had no room for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long after the end of a child the keeper looks for orphans to reap, so that many ends cost one
/// look.
const ORPHAN_PAUSE: Duration = Duration::from_secs(1);
/// Maximum number of stop signals kept for the next engine: more say nothing new.
const MAX_PENDING_STOPS: usize = 2;
/// Stop signals that come within this time of the first are the same wish (a whole control group is
/// signalled, say).
const SAME_STOP: Duration = Duration::from_secs(1);
/// Added to a signal's number, it is the exit code of a program that it ended.
const SIGNAL_EXIT_CODE: i32 = 128;

/// Runs the keeper until its engine has ended for good.
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
    service_manager: ServiceManager,
    signals: OwnedFd,
    store: DescriptorStore,
    program: EngineProgram,
    engine: Option<EngineProcess>,
    /// When the next engine is started, if there is none.
    start_at: Instant,
    /// How many engines in a row have failed.
    failures: u32,
    ever_ready: bool,
    watchdog: Duration,
    /// Stop signals that no engine has answered with `STOPPING=1` yet.
    pending_stops: Vec<Signal>,
    /// When the first of these stop signals came.
    first_stop: Option<Instant>,
    /// Why no engine is ready, while engines end before they are.
    trouble: Option<EngineTrouble>,
    board: Board,
    /// How long children have to end where no engine can be asked.
    grace: Duration,
    /// The end of the children's grace, in a stop without an engine.
    leaving: Option<Instant>,
    /// Who was asked to end in such a stop.
    told_to_end: BTreeSet<i32>,
    /// The engine is to read the configuration again, as soon as it is ready and has room for a message.
    pending_reload: bool,
    reported_full: bool,
    /// Until when no connection is accepted.
    accept_paused_until: Option<Instant>,
    /// When orphans are looked for.
    reap_orphans_at: Option<Instant>,
}

impl Keeper {
    fn new(log: Log) -> Result<Self, Errno> {
        let signals = os::signals_in_descriptor()?;
        if let Err(error) = os::become_subreaper() {
            log.warn(format_args!(
                "orphans of services go to the first process of the system: {error}"
            ));
        }
        let max_open = os::raise_descriptor_limit();
        Ok(Self {
            log,
            service_manager: ServiceManager::from_environment(),
            signals,
            store: DescriptorStore::new(max_open.unwrap_or(Some(0))),
            program: EngineProgram::from_environment(),
            engine: None,
            start_at: Instant::now(),
            failures: 0,
            ever_ready: false,
            watchdog: WATCHDOG,
            pending_stops: Vec::new(),
            first_stop: None,
            trouble: None,
            board: Board::new(),
            grace: DEFAULT_GRACE,
            leaving: None,
            told_to_end: BTreeSet::new(),
            pending_reload: false,
            reported_full: false,
            accept_paused_until: None,
            reap_orphans_at: None,
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
            self.pass_reload_on();
            self.reap_orphans();
            self.service_manager.alive();
            if let Some(code) = self.check_engine() {
                return Ok(code);
            }
            if self.has_left() {
                return Ok(0);
            }
        }
    }

    fn start_engine(&mut self) {
        if self.engine.is_some() || self.leaving.is_some() || Instant::now() < self.start_at {
            return;
        }
        match self.program.start(&self.store, self.watchdog) {
            Ok(mut engine) => {
                for stop in &self.pending_stops {
                    engine.send(stop_text(*stop), None);
                }
                self.engine = Some(engine);
            }
            Err(error) => {
                self.log
                    .error(format_args!("the engine cannot be started: {error}"));
                self.never_ready(None, format!("it cannot be started: {error}"));
            }
        }
    }

    /// Waits until there is something to do; returns the listeners with waiting connections.
    fn wait(&mut self) -> Result<Vec<DescriptorName>, Errno> {
        let now = Instant::now();
        self.accept_paused_until = self.accept_paused_until.filter(|until| *until > now);
        let due = match &self.engine {
            Some(engine) => engine.deadline,
            None => Some(self.start_at),
        };
        let due = due.into_iter().chain(self.accept_paused_until);
        let due = due.chain(self.reap_orphans_at);
        let due = due.chain(self.service_manager.due).min();
        // Whole milliseconds would turn the last one into a busy loop.
        let timeout = due.map(|due| Timespec::try_from(due.saturating_duration_since(now)));
        let timeout = timeout.and_then(Result::ok);
        let link = self.engine.as_ref().and_then(EngineProcess::link);
        let link_interest = match &self.engine {
            Some(engine) if engine.is_behind() => PollFlags::IN | PollFlags::OUT,
            Some(_) | None => PollFlags::IN,
        };
        let listeners = self.open_listeners();
        let mut polled = vec![PollFd::new(&self.signals, PollFlags::IN)];
        polled.extend(
            listeners
                .iter()
                .map(|(_, listener)| PollFd::new(listener, PollFlags::IN)),
        );
        polled.extend(link.map(|link| PollFd::new(link, link_interest)));
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let ready = polled.iter().skip(1).zip(listeners);
        let ready = ready.filter(|(polled, _)| !polled.revents().is_empty());
        Ok(ready.map(|(_, (name, _))| name.clone()).collect())
    }

    /// The listeners that are accepted on now: none while there is no room, and none while the
    /// engine does not read its messages.
    fn open_listeners(&self) -> &[(DescriptorName, OwnedFd)] {
        let behind = self.engine.as_ref().is_some_and(EngineProcess::is_behind);
        if behind || self.accept_paused_until.is_some() || self.store.room() == 0 {
            return &[];
        }
        self.store.listeners()
    }

    fn accept(&mut self, listener: &DescriptorName) {
        while let Some((_, socket)) = self.open_listeners().iter().find(|(of, _)| of == listener) {
            let accepted = os::accept(socket.as_fd()).and_then(|connection| {
                let copy = fcntl_dupfd_cloexec(&connection, 0)?;
                Ok((connection, copy))
            });
            match accepted {
                Ok((connection, copy)) => {
                    let name = self.store.connection_name(listener);
                    self.keep(&name, false, vec![connection]);
                    if let Some(engine) = &mut self.engine {
                        // No message waited, so there is room for this one.
                        engine.send(format!("ACCEPTED={}", name.as_str()), Some(copy));
                    }
                }
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    self.accept_paused_until = Some(Instant::now() + ACCEPT_PAUSE);
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

    fn keep(&mut self, name: &DescriptorName, accept: bool, descriptors: Vec<OwnedFd>) {
        let fits = self.store.add(name, accept, descriptors);
        if self.store.room() > 0 {
            self.reported_full = false;
        } else if !self.reported_full {
            self.reported_full = true;
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
