//! Starts programs as the standard library cannot: with descriptors at chosen numbers, as a child of
//! this process's parent if wanted, with a pidfd, and with a variable that holds the new process's own
//! number.
//!
//! # Theory of operation
//!
//! The new process shares our memory until it runs its program, while the thread that started it
//! sleeps (`CLONE_VM | CLONE_VFORK`, as in glibc's `posix_spawn`). So the cost of a start does not depend
//! on the memory of this process, and a failure is reported through that memory. Everything that the
//! new process needs is prepared here; the few calls that it makes are in [`os::vfork_exec`].

mod moves;

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec, retry_on_intr};
use thiserror::Error;

use crate::os::{self, SpawnSpec};

use moves::Move;

/// Where programs without a folder in their name are searched if `PATH` is absent, as in execvp(3).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// A program and how to start it. It gets its own process group, the default action of every signal
/// that is not ignored, and no blocked signal.
#[derive(Debug)]
pub struct Program<'descriptors> {
    /// A path, or a name that is looked for in the `PATH` of its environment.
    pub path: OsString,
    /// Its own name is the first.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// A variable, as `NAME=`, that holds the new process's own number.
    pub number_variable: Option<&'static str>,
    /// Its working directory; `None`: that of this process.
    pub folder: Option<OsString>,
    /// A number that can be read from the process until it is reaped: see [`os::SpawnSpec::mark`].
    pub mark: Option<u64>,
    /// Its descriptors and their numbers, besides those of this process without close-on-exec.
    pub descriptors: Vec<(BorrowedFd<'descriptors>, RawFd)>,
    /// Whether it becomes a child of this process's parent, which then has to reap it.
    pub sibling: bool,
}

/// A running program.
#[derive(Debug)]
pub struct Started {
    pub pid: u32,
    pub pidfd: OwnedFd,
}

/// A program that could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// A name, an argument or a variable contains a zero byte.
    #[error("{what} has a zero byte in it; take it out of the configuration")]
    ZeroByte { what: &'static str },
    /// The system has no room for another process or descriptor.
    #[error("the system has no room for another process: {0}")]
    NoRoom(Errno),
    /// The program is not there, or the system does not run it.
    #[error("{error}")]
    NotRun {
        error: Errno,
        /// The process that failed to run it, now a zombie of this process's parent, which has to reap it.
        left_behind: Option<u32>,
    },
}

impl From<StartError> for io::Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::ZeroByte { .. } => Self::new(io::ErrorKind::InvalidInput, error),
            StartError::NoRoom(error) | StartError::NotRun { error, .. } => error.into(),
        }
    }
}

/// Starts a program; returns once it runs.
///
/// # Errors
/// See [`StartError`]; nothing runs then.
pub fn start(program: &Program<'_>) -> Result<Started, StartError> {
    let candidates = texts("the program's name", candidates(program))?;
    let arguments = texts("an argument", program.arguments.iter().cloned())?;
    let variables = program.environment.iter().map(|(name, value)| {
        let mut text = name.clone();
        text.push("=");
        text.push(value);
        text
    });
    let environment = texts("a variable", variables)?;
    let folder = texts("its folder", program.folder.iter().cloned())?;
    let spare = spare(&program.descriptors).map_err(StartError::NoRoom)?;
    let spawned = os::vfork_exec(&SpawnSpec {
        programs: &candidates,
        arguments: &arguments,
        environment: &environment,
        number_variable: program.number_variable,
        folder: folder.first().map(AsRef::as_ref),
        mark: program.mark,
        moves: &moves(&program.descriptors, spare.as_ref()),
        spare: spare.as_ref().map(AsRawFd::as_raw_fd),
        sibling: program.sibling,
    })
    .map_err(StartError::NoRoom)?;
    let Some(error) = spawned.failure else {
        return Ok(Started {
            pid: spawned.pid,
            pidfd: spawned.pidfd,
        });
    };
    // It is about to end, and can be reaped after that.
    let ended = || poll(&mut [PollFd::new(&spawned.pidfd, PollFlags::IN)], None);
    // If the wait fails, the next start of an engine finds it.
    let _ = retry_on_intr(ended);
    if !program.sibling {
        os::reap(&spawned.pidfd);
    }
    Err(StartError::NotRun {
        error,
        left_behind: program.sibling.then_some(spawned.pid),
    })
}

/// Candidates for the program file.
fn candidates(program: &Program<'_>) -> Vec<OsString> {
    if program.path.as_bytes().contains(&b'/') {
        return vec![program.path.clone()];
    }
    let path = program
        .environment
        .iter()
        .find(|(name, _)| name == "PATH")
        .map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value);
    std::env::split_paths(path)
        .map(|folder| folder.join(&program.path).into_os_string())
        .collect()
}

fn texts(
    what: &'static str,
    texts: impl IntoIterator<Item = OsString>,
) -> Result<Vec<CString>, StartError> {
    texts
        .into_iter()
        .map(|text| CString::new(text.into_vec()).map_err(|_| StartError::ZeroByte { what }))
        .collect()
}

/// A descriptor above all targets, to break rings of moves with; `None` if there can be no ring, since
/// all that is moved is above them already.
fn spare(descriptors: &[(BorrowedFd<'_>, RawFd)]) -> Result<Option<OwnedFd>, Errno> {
    let last = descriptors.iter().map(|(_, to)| *to).max();
    let (Some((any, _)), Some(last)) = (descriptors.first(), last) else {
        return Ok(None);
    };
    if descriptors.iter().all(|(from, _)| from.as_raw_fd() > last) {
        return Ok(None);
    }
    fcntl_dupfd_cloexec(any, last.saturating_add(1)).map(Some)
}

fn moves(descriptors: &[(BorrowedFd<'_>, RawFd)], spare: Option<&OwnedFd>) -> Vec<Move> {
    let wanted = descriptors
        .iter()
        .map(|(descriptor, to)| (descriptor.as_raw_fd(), *to));
    let wanted: Vec<Move> = wanted.collect();
    match spare {
        Some(spare) => moves::in_order(&wanted, spare.as_raw_fd()),
        None => wanted,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};
    use std::os::fd::AsFd as _;

    use super::*;

    /// The descriptors that a program finds open when it is given these.
    fn open_in(descriptors: &[(BorrowedFd<'_>, RawFd)]) -> String {
        let mut output = tempfile::tempfile().unwrap();
        let given = descriptors.iter().copied();
        let started = start(&Program {
            path: "sh".into(),
            arguments: ["sh", "-c", "ls /proc/self/fd; exit 0"]
                .map(OsString::from)
                .to_vec(),
            environment: std::env::vars_os().collect(),
            number_variable: None,
            folder: None,
            mark: None,
            descriptors: given.chain([(output.as_fd(), 1)]).collect(),
            sibling: false,
        })
        .unwrap();
        while os::reap(&started.pidfd).is_none() {
            std::thread::yield_now();
        }
        let mut listed = String::new();
        output.rewind().unwrap();
        output.read_to_string(&mut listed).unwrap();
        listed
    }

    #[test]
    fn descriptors_that_change_places_leave_no_other_one_open() {
        let file = tempfile::tempfile().unwrap();
        let [one, other] = [20, 20].map(|least| fcntl_dupfd_cloexec(&file, least).unwrap());
        let (first, second) = (one.as_raw_fd(), other.as_raw_fd());
        let staying = open_in(&[(one.as_fd(), first), (other.as_fd(), second)]);
        let changing = open_in(&[(one.as_fd(), second), (other.as_fd(), first)]);
        assert!(staying.contains(&first.to_string()), "{staying}");
        assert_eq!(changing, staying);
    }
}
