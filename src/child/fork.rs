//! The start of a child: its command line, log file, channel and identity.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use allexmaster_keeper::link::KeeperLink;
use allexmaster_keeper::os;
use allexmaster_keeper::spawn::{Program, StartError, Started, start};
use allexmaster_state::{BootId, Identity, Incarnation, Pid};
use thiserror::Error;

use crate::launch::{ChannelKind, CommandLine, LaunchError};
use crate::process;

/// Logs may hold secrets: they are their user's alone.
const LOG_FILE_MODE: u32 = 0o600;

/// The number of a child's end of the channel: the first after the three standard ones, as Node itself
/// assigns it.
const CHANNEL_DESCRIPTOR: i32 = 3;

/// A running child.
pub(crate) struct Forked {
    pub(crate) identity: Identity,
    pub(crate) pidfd: OwnedFd,
    /// This process's end of the socket pair, if the child inherited the other one.
    pub(crate) channel: Option<UnixStream>,
}

/// Why a child was not started.
#[derive(Debug, Error)]
pub enum ForkError {
    #[error(transparent)]
    NoCommandLine(#[from] LaunchError),
    #[error("its folder {} does not exist", folder.display())]
    NoFolder { folder: PathBuf },
    #[error("its log file {} cannot be opened: {error}", file.display())]
    NoLogFile { file: PathBuf, error: io::Error },
    #[error("no channel can be opened to it: {error}")]
    NoChannel { error: io::Error },
    #[error("cannot start {}: {error}", program.display())]
    NotStarted { program: PathBuf, error: io::Error },
    #[error("cannot watch {}, so it was killed: {error}", program.display())]
    NotWatched { program: PathBuf, error: io::Error },
    /// The thread that was starting it ended with the runtime.
    #[error("the master was about to end")]
    Interrupted,
}

/// Starts a program in its own process group. Blocks until it runs.
///
/// With a keeper, the program is started as its child, so that its exit status survives this process. Its
/// environment names the incarnation from the first instruction on; its mark is set before that and kept
/// until it is reaped.
///
/// `channel_made` gets this process's end of the channel before the child exists.
pub(crate) fn fork(
    line: &CommandLine,
    log_file: &Path,
    boot: &BootId,
    incarnation: Incarnation,
    keeper: Option<&KeeperLink>,
    channel_made: impl FnOnce(BorrowedFd<'_>),
) -> Result<Forked, ForkError> {
    if !line.folder.is_dir() {
        return Err(ForkError::NoFolder {
            folder: line.folder.clone(),
        });
    }
    let no_log_file = |error| ForkError::NoLogFile {
        file: log_file.to_owned(),
        error,
    };
    let output = open_log_file(log_file).map_err(no_log_file)?;
    let not_started = |error| ForkError::NotStarted {
        program: line.program.clone(),
        error,
    };
    let input = no_input().map_err(not_started)?;
    let (channel, theirs) = channel(line.channel)?.unzip();
    if let Some(channel) = &channel {
        channel_made(channel.as_fd());
    }
    let keeper = keeper.filter(|keeper| !keeper.is_gone());
    let mut descriptors = vec![(input.as_fd(), 0), (output.as_fd(), 1), (output.as_fd(), 2)];
    descriptors.extend(theirs.iter().map(|end| (end.as_fd(), CHANNEL_DESCRIPTOR)));
    let started = start(&Program {
        path: line.program.clone().into_os_string(),
        arguments: arguments(line),
        environment: environment(line),
        number_variable: None,
        folder: Some(line.folder.clone().into_os_string()),
        mark: process::mark_of(incarnation),
        descriptors,
        sibling: keeper.is_some(),
    });
    let started = started.map_err(|error| {
        if let (
            Some(keeper),
            StartError::NotRun {
                left_behind: Some(pid),
                ..
            },
        ) = (keeper, &error)
        {
            // If this fails, the next engine finds it.
            let _ = keeper.reap(*pid);
        }
        not_started(error.into())
    })?;
    identify(started, boot, channel).map_err(|error| ForkError::NotWatched {
        program: line.program.clone(),
        error,
    })
}

/// A child has no input. Opened once for all children.
fn no_input() -> io::Result<&'static File> {
    static NO_INPUT: OnceLock<File> = OnceLock::new();
    if let Some(file) = NO_INPUT.get() {
        return Ok(file);
    }
    let file = File::open("/dev/null")?;
    Ok(NO_INPUT.get_or_init(|| file))
}

/// The socket pair of a child that inherits its channel: this process's end and the child's.
fn channel(kind: ChannelKind) -> Result<Option<(UnixStream, UnixStream)>, ForkError> {
    let pair = || {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((ours, theirs))
    };
    match kind {
        ChannelKind::Inherited => pair()
            .map(Some)
            .map_err(|error| ForkError::NoChannel { error }),
        ChannelKind::None | ChannelKind::OwnSocket => Ok(None),
    }
}

fn arguments(line: &CommandLine) -> Vec<OsString> {
    let own_name = line.program.clone().into_os_string();
    let given = line.arguments.iter().map(OsString::from);
    std::iter::once(own_name).chain(given).collect()
}

/// The environment of this process with what the command line sets.
fn environment(line: &CommandLine) -> Vec<(OsString, OsString)> {
    let mut all: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    let set = line.environment.iter();
    all.extend(set.map(|(name, value)| (name.into(), value.into())));
    all.into_iter().collect()
}

/// Adds the identity of a process that was just started. If it was reaped already (it ended, and is no
/// child of this process), it cannot be identified.
fn identify(started: Started, boot: &BootId, channel: Option<UnixStream>) -> io::Result<Forked> {
    if let Some(identity) = process::identity(boot, Pid(started.pid)) {
        return Ok(Forked {
            identity,
            pidfd: started.pidfd,
            channel,
        });
    }
    // If this fails, it has ended.
    let _ = os::signal_process(&started.pidfd, os::Signal::KILL);
    Err(io::Error::other("it cannot be seen in /proc"))
}

/// Opened for appending, so that several writers and the rotation do not overwrite each other.
fn open_log_file(path: &Path) -> io::Result<File> {
    let open = || {
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(LOG_FILE_MODE)
            .open(path)
    };
    match (open(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder)?;
            open()
        }
        (opened, _) => opened,
    }
}
