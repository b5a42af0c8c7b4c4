//! The engine's process: its start, and the messages to it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    sendmsg, socketpair,
};
use rustix::process::Pid;

use super::role::{ENGINE_VARIABLE, ROLE_VARIABLE, Role, own_program};
use super::store::DescriptorStore;
use crate::os;
use crate::spawn::{self, Program, StartError};

/// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const FIRST_DESCRIPTOR: RawFd = 3;
/// Maximum length of the variable with all names, in bytes: Linux takes 128 KiB for one variable
/// (`MAX_ARG_STRLEN`), with its own name and a zero byte.
const MAX_NAMES: usize = 128 * 1024 - 64;
/// Maximum number of messages that wait for an engine that does not read. While one waits, no
/// connection is accepted, so these are signals and ends of children.
const MAX_OUTGOING: usize = 1_024;
/// Variables of the keeper's own environment that the engine does not get.
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

/// The program that is started as the engine.
#[derive(Debug)]
pub(super) struct EngineProgram {
    program: OsString,
    /// The program before, until the new one has been ready once.
    previous: Option<OsString>,
}

impl EngineProgram {
    /// The one named in the environment; by default, the program of this process.
    pub(super) fn from_environment() -> Self {
        let program = std::env::var_os(ENGINE_VARIABLE);
        Self {
            program: program.unwrap_or_else(own_program),
            previous: None,
        }
    }

    /// Sets the program of the next start.
    pub(super) fn change(&mut self, program: PathBuf) {
        let before = std::mem::replace(&mut self.program, program.into());
        self.previous.get_or_insert(before);
    }

    /// Whether there is a new program that has not been ready yet.
    pub(super) const fn changes(&self) -> bool {
        self.previous.is_some()
    }

    /// The program was ready: the one before is forgotten.
    pub(super) fn confirm(&mut self) {
        self.previous = None;
    }

    /// Goes back to the program before; false if there is none.
    pub(super) fn go_back(&mut self) -> bool {
        let previous = self.previous.take();
        let any = previous.is_some();
        self.program = previous.unwrap_or_else(|| std::mem::take(&mut self.program));
        any
    }

    /// Starts the engine with everything that is stored.
    pub(super) fn start(
        &self,
        store: &DescriptorStore,
        watchdog: Duration,
    ) -> Result<EngineProcess, StartError> {
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
        let names_file = (names.len() > MAX_NAMES).then(|| in_memory(&names));
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
        // As a child of this process, it keeps its number until it is reaped.
        drop(started.pidfd);
        let pid = i32::try_from(started.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(StartError::NoRoom(Errno::AGAIN))?;
        Ok(EngineProcess::new(pid, link))
    }
}

/// The name of the engine's end of the link.
pub(crate) const KEEPER_NAME: &str = "keeper";
/// The name of a file in memory with the names of all descriptors after it, if they are too long for a
/// variable.
pub(crate) const NAMES_NAME: &str = "names";

/// A file in memory with this text, positioned at its beginning.
fn in_memory(text: &str) -> Result<OwnedFd, Errno> {
    let file = os::memory_file(NAMES_NAME)?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    seek(&file, SeekFrom::Start(0))?;
    Ok(file)
}

/// A running engine.
#[derive(Debug)]
pub(super) struct EngineProcess {
    pub(super) pid: Pid,
    /// When it reported that it is ready.
    pub(super) ready: Option<Instant>,
    /// It reported that it is about to end.
    pub(super) stopping: bool,
    /// The last line for people that it has sent.
    pub(super) last_words: Option<String>,
    /// When its silence has been too long.
    pub(super) deadline: Option<Instant>,
    /// `None` once it has closed its end.
    link: Option<OwnedFd>,
    outgoing: VecDeque<Outgoing>,
}

#[derive(Debug)]
struct Outgoing {
    text: String,
    descriptor: Option<OwnedFd>,
}

impl EngineProcess {
    const fn new(pid: Pid, link: OwnedFd) -> Self {
        Self {
            pid,
            ready: None,
            stopping: false,
            last_words: None,
            deadline: None,
            link: Some(link),
            outgoing: VecDeque::new(),
        }
    }

    /// Sends a message, after those that wait because the engine does not read. False: the queue is
    /// full, and the message is dropped.
    pub(super) fn send(&mut self, text: String, descriptor: Option<OwnedFd>) -> bool {
        if self.outgoing.len() >= MAX_OUTGOING {
            return false;
        }
        self.outgoing.push_back(Outgoing { text, descriptor });
        self.flush();
        true
    }

    /// Sends as many of the waiting messages as the engine takes.
    pub(super) fn flush(&mut self) {
        while let (Some(link), Some(next)) = (&self.link, self.outgoing.front()) {
            match send_message(link, next) {
                Ok(()) => {
                    self.outgoing.pop_front();
                }
                Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::TOOMANYREFS) => return,
                Err(_) => self.outgoing.clear(),
            }
        }
    }

    /// Whether messages wait for the engine to read.
    pub(super) fn is_behind(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The link, if it is open.
    pub(super) const fn link(&self) -> Option<&OwnedFd> {
        self.link.as_ref()
    }

    /// The engine has closed its end and everything that it sent was read: it is about to end.
    pub(super) fn close_link(&mut self) {
        self.link = None;
        self.outgoing.clear();
    }
}

fn send_message(link: &OwnedFd, message: &Outgoing) -> Result<(), Errno> {
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
