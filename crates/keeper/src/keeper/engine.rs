//! The engine as the keeper sees it: how it is started, and what is told to it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
};
use rustix::process::Pid;

use super::role::{ENGINE_VARIABLE, ROLE_VARIABLE, Role, own_program};
use super::store::Store;
use crate::spawn::{self, Program, StartError};

/// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const FIRST_DESCRIPTOR: RawFd = 3;
/// The most bytes of the variable with all names: Linux takes 128 KiB for one variable
/// (`MAX_ARG_STRLEN`), with its own name and a zero byte.
const NAMES_MOST: usize = 128 * 1024 - 64;
/// How many messages wait for an engine that does not read. While one waits, no connection is
/// accepted, so these are signals and ends of children.
const OUTGOING_MOST: usize = 1_024;
/// What the program starts the engine with, and what is not the engine's business.
const OWN_VARIABLES: [&str; 9] = [
    ROLE_VARIABLE,
    ENGINE_VARIABLE,
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PIDFDID",
];

/// Which program the engine is.
#[derive(Debug)]
pub(super) struct Plan {
    program: OsString,
    /// The one before, until the new one has been ready once.
    previous: Option<OsString>,
}

impl Plan {
    /// As the environment wants it; without a wish, the program that this keeper is.
    pub(super) fn from_environment() -> Self {
        let program = std::env::var_os(ENGINE_VARIABLE);
        Self {
            program: program.unwrap_or_else(own_program),
            previous: None,
        }
    }

    /// The program for the next time.
    pub(super) fn change(&mut self, program: PathBuf) {
        let before = std::mem::replace(&mut self.program, program.into());
        self.previous.get_or_insert(before);
    }

    /// Whether another program is to come, or has not been ready yet.
    pub(super) const fn changes(&self) -> bool {
        self.previous.is_some()
    }

    /// The program works: there is no way back.
    pub(super) fn confirm(&mut self) {
        self.previous = None;
    }

    /// Goes back to the program before; false: there is none.
    pub(super) fn go_back(&mut self) -> bool {
        let previous = self.previous.take();
        let any = previous.is_some();
        self.program = previous.unwrap_or_else(|| std::mem::take(&mut self.program));
        any
    }

    /// Starts the engine with all that is kept.
    pub(super) fn start(
        &self,
        store: &Store,
        notify_address: &str,
        watchdog: Duration,
    ) -> Result<Engine, StartError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (link, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(StartError::NoRoom)?;
        let mut names = String::from(KEEPER_NAME);
        let mut descriptors: Vec<BorrowedFd<'_>> = vec![theirs.as_fd()];
        for (name, descriptor) in store.all() {
            names.push(':');
            names.push_str(name.as_str());
            descriptors.push(descriptor);
        }
        let names_file = (names.len() > NAMES_MOST).then(|| in_memory(&names));
        let names_file = names_file.transpose().map_err(StartError::NoRoom)?;
        if let Some(file) = &names_file {
            descriptors.insert(0, file.as_fd());
            names = String::from(NAMES_NAME);
        }
        let mut environment: Vec<(OsString, OsString)> = std::env::vars_os()
            .filter(|(name, _)| OWN_VARIABLES.iter().all(|own| name != own))
            .collect();
        let mut set = |name: &str, value: String| environment.push((name.into(), value.into()));
        set(ROLE_VARIABLE, Role::Engine.as_str().to_owned());
        set("NOTIFY_SOCKET", notify_address.to_owned());
        set("WATCHDOG_USEC", watchdog.as_micros().to_string());
        set("LISTEN_FDS", descriptors.len().to_string());
        set("LISTEN_FDNAMES", names);
        let started = spawn::start(&Program {
            path: self.program.clone(),
            arguments: std::env::args_os().collect(),
            environment,
            number_variable: Some("LISTEN_PID="),
            folder: None,
            mark: None,
            descriptors: descriptors.into_iter().zip(FIRST_DESCRIPTOR..).collect(),
            sibling: false,
        })?;
        // It is a child of this process: its number is its own until it is reaped.
        drop(started.pidfd);
        let pid = i32::try_from(started.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(StartError::NoRoom(Errno::AGAIN))?;
        Ok(Engine::new(pid, link))
    }
}

/// The name of the engine's end of the link.
pub(crate) const KEEPER_NAME: &str = "keeper";
/// The name of a file in memory with the names of all descriptors after it, where they are too long
/// for a variable.
pub(crate) const NAMES_NAME: &str = "names";

/// A file in memory with this text, to be read from its beginning.
fn in_memory(text: &str) -> Result<OwnedFd, Errno> {
    let file = memfd_create(NAMES_NAME, MemfdFlags::CLOEXEC)?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    seek(&file, SeekFrom::Start(0))?;
    Ok(file)
}

/// An engine that runs.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) pid: Pid,
    /// When it said that it is ready.
    pub(super) ready: Option<Instant>,
    /// It said that it is about to end.
    pub(super) stopping: bool,
    /// When it has been silent for too long.
    pub(super) deadline: Option<Instant>,
    /// `None`: it has closed its end.
    link: Option<OwnedFd>,
    outgoing: VecDeque<Outgoing>,
}

#[derive(Debug)]
struct Outgoing {
    text: String,
    descriptor: Option<OwnedFd>,
}

impl Engine {
    const fn new(pid: Pid, link: OwnedFd) -> Self {
        Self {
            pid,
            ready: None,
            stopping: false,
            deadline: None,
            link: Some(link),
            outgoing: VecDeque::new(),
        }
    }

    /// Tells something; where the engine does not read, it waits its turn. False: too much waits
    /// already, and this is lost.
    pub(super) fn tell(&mut self, text: String, descriptor: Option<OwnedFd>) -> bool {
        if self.outgoing.len() >= OUTGOING_MOST {
            return false;
        }
        self.outgoing.push_back(Outgoing { text, descriptor });
        self.flush();
        true
    }

    /// Tells as much as the engine takes.
    pub(super) fn flush(&mut self) {
        while let (Some(link), Some(next)) = (&self.link, self.outgoing.front()) {
            match send(link, next) {
                Ok(()) => {
                    self.outgoing.pop_front();
                }
                Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::TOOMANYREFS) => return,
                Err(_) => self.hang_up(),
            }
        }
    }

    /// Whether something waits for the engine to read.
    pub(super) fn is_behind(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The link, where it is open.
    pub(super) const fn link(&self) -> Option<&OwnedFd> {
        self.link.as_ref()
    }

    /// The engine has closed its end, as one does that is about to die.
    pub(super) fn hang_up(&mut self) {
        self.link = None;
        self.outgoing.clear();
    }
}

fn send(link: &OwnedFd, message: &Outgoing) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<BorrowedFd<'_>> = message.descriptor.iter().map(AsFd::as_fd).collect();
    if !descriptors.is_empty() {
        // There is room for one.
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let text = [IoSlice::new(message.text.as_bytes())];
    sendmsg(
        link,
        &text,
        &mut control,
        SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
    )
    .map(drop)
}
