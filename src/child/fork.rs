//! The start of a program.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use allexmaster_state::{BootId, Identity, Pid};
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{PidfdFlags, pidfd_open};
use thiserror::Error;

use crate::kernel;
use crate::launch::{ChannelKind, CommandLine, LaunchError};
use crate::process;

/// Logs may hold secrets: they are their user's alone.
const LOG_FILE_MODE: u32 = 0o600;

/// The descriptor that a child finds its end of the channel at: the first after the three of
/// every program, as Node itself gives it out.
const CHANNEL_DESCRIPTOR: i32 = 3;

/// A program that runs.
pub(crate) struct Forked {
    pub(crate) identity: Identity,
    pub(crate) pidfd: OwnedFd,
    /// Our end of the socket pair, where the child inherited the other one.
    pub(crate) channel: Option<UnixStream>,
}

/// A program that could not be started.
#[derive(Debug, Error)]
pub enum ForkError {
    /// There is no command line for it.
    #[error(transparent)]
    NoCommandLine(#[from] LaunchError),
    /// The folder that it is to run in is not there.
    #[error("its folder {} does not exist", folder.display())]
    NoFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// Its log file cannot be opened.
    #[error("its log file {} cannot be opened: {error}", file.display())]
    NoLogFile {
        /// The log file.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There is no socket pair to talk over.
    #[error("no channel can be opened to it: {error}")]
    NoChannel {
        /// Why not.
        error: io::Error,
    },
    /// The program is not there, or the system does not start it.
    #[error("cannot start {}: {error}", program.display())]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It was started, but cannot be watched; so it was killed.
    #[error("cannot watch {}, so it was killed: {error}", program.display())]
    NotWatched {
        /// The program.
        program: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The thread that was to start it ended.
    #[error("the master was about to end")]
    Interrupted,
}

/// Starts a program in a process group of its own. Blocks until it runs.
///
/// Nothing runs between fork and exec but the standard library's own code (it uses `posix_spawn`
/// here) and, for a child with a channel, the moving of one descriptor; so the environment that names the incarnation is there from the first instruction on.
pub(crate) fn fork(
    line: &CommandLine,
    log_file: &Path,
    boot: &BootId,
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
    let errors = output.try_clone().map_err(no_log_file)?;
    let mut command = Command::new(&line.program);
    let channel = match line.channel {
        ChannelKind::Inherited => {
            Some(add_channel(&mut command).map_err(|error| ForkError::NoChannel { error })?)
        }
        ChannelKind::None | ChannelKind::OwnSocket => None,
    };
    let started = command
        .args(&line.arguments)
        .envs(&line.environment)
        .current_dir(&line.folder)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn();
    // With it the child's end that this process still holds.
    drop(command);
    let mut child = started.map_err(|error| ForkError::NotStarted {
        program: line.program.clone(),
        error,
    })?;
    match name_own_child(boot, Pid(child.id())) {
        Ok((identity, pidfd)) => Ok(Forked {
            identity,
            pidfd,
            channel,
        }),
        Err(error) => {
            // Not reaped yet, so the number is its own. It may have ended by itself: either will do.
            let _ = child.kill();
            let _ = child.wait();
            Err(ForkError::NotWatched {
                program: line.program.clone(),
                error,
            })
        }
    }
}

/// Makes a socket pair, of which the child inherits one end.
fn add_channel(command: &mut Command) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mapping = FdMapping {
        parent_fd: theirs.into(),
        child_fd: CHANNEL_DESCRIPTOR,
    };
    command
        .fd_mappings(vec![mapping])
        .map_err(io::Error::other)?;
    Ok(ours)
}

/// Nobody but us can reap it, so the number is its own, even if it has ended already.
fn name_own_child(boot: &BootId, pid: Pid) -> io::Result<(Identity, OwnedFd)> {
    let number = kernel::number(pid).ok_or(io::ErrorKind::InvalidInput)?;
    let pidfd = pidfd_open(number, PidfdFlags::empty())?;
    let identity = process::identity(boot, pid)
        .ok_or_else(|| io::Error::other("it cannot be seen in /proc"))?;
    Ok((identity, pidfd))
}

/// Opened for appending: several writers, and the rotation, do not get into each other's way.
fn open_log_file(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(LOG_FILE_MODE)
        .open(path)
}
