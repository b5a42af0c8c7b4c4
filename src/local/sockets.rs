//! The socket files: names, permissions, stale ones, and who is at the other end.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::dial::{DialError, Meant, dial};
use allexmaster_sessions::Socket;
use interprocess::local_socket::{
    GenericFilePath, Listener as SocketListener, ListenerNonblockingMode, ListenerOptions,
    ToFsName as _,
};
use interprocess::os::unix::local_socket::ListenerOptionsExt as _;
use thiserror::Error;
use tracing::{debug, warn};

/// The folder of the JavaScript master's sockets; tools look nowhere else.
pub const DEFAULT_FOLDER: &str = "/tmp";

/// Why a socket could not be opened.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Somebody else listens there.
    #[error("{} is in use by another program; stop it, or set ALLEXMASTER_SOCKET_DIR to another folder", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("the socket {} cannot be opened; check that its folder exists and is writable, or set ALLEXMASTER_SOCKET_DIR", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// An open socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    /// Which of the three.
    pub socket: Socket,
    /// Under which name.
    pub name: Name,
    descriptor: OwnedFd,
    path: PathBuf,
}

/// The two names that a socket may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// With the process number of the master.
    OfMaster,
    /// Without: only one master of a machine has it.
    Plain,
}

impl Name {
    /// Both.
    pub const ALL: [Self; 2] = [Self::OfMaster, Self::Plain];

    /// Its number among the names of a socket.
    #[must_use]
    pub const fn number(self) -> usize {
        match self {
            Self::OfMaster => 0,
            Self::Plain => 1,
        }
    }
}

impl Listener {
    /// One that an earlier process of this master opened.
    #[must_use]
    pub fn given_back(
        socket: Socket,
        name: Name,
        folder: &Path,
        pid: u32,
        descriptor: OwnedFd,
    ) -> Self {
        let path = path(socket, name, folder, pid);
        Self {
            socket,
            name,
            descriptor,
            path,
        }
    }

    /// Whether another program has removed its file: nobody finds the socket any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let file = std::fs::symlink_metadata(&self.path);
        file.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Opens it again under its name; the socket of before is closed.
    ///
    /// # Errors
    /// The system refuses.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.descriptor = bind(&self.path)?;
        Ok(())
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The listening socket.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            debug!(path = %self.path.display(), %error, "a socket is not removed");
        }
    }
}

fn path(socket: Socket, name: Name, folder: &Path, pid: u32) -> PathBuf {
    match name {
        Name::OfMaster => socket.path(folder, pid),
        Name::Plain => folder.join(socket.name()),
    }
}

/// Opens all sockets of a master: the three with its process number, and the plain name if
/// no other master on this machine has it.
///
/// # Errors
///
/// One of the three cannot be opened. The plain name is a convenience: without it the
/// master runs all the same.
pub fn open_all(folder: &Path, pid: u32) -> Result<Vec<Listener>, SocketError> {
    let mut listeners = Vec::new();
    for socket in Socket::ALL {
        listeners.push(open(socket, Name::OfMaster, folder, pid)?);
    }
    match open(Socket::MachineManager, Name::Plain, folder, pid) {
        Ok(listener) => listeners.push(listener),
        Err(SocketError::InUse { path }) => {
            debug!(path = %path.display(), "another master on this machine has the plain name");
        }
        Err(error) => warn!(%error, "the plain name cannot be had"),
    }
    Ok(listeners)
}

/// Removes the sockets that a killed master left behind, if it is certain that nobody listens.
pub fn remove_stale(folder: &Path, pid: u32) {
    for socket in Socket::ALL {
        let path = socket.path(folder, pid);
        if path.exists() && !somebody_listens(&path) {
            match std::fs::remove_file(&path) {
                Ok(()) => debug!(path = %path.display(), "a socket of a killed master was removed"),
                Err(error) => warn!(path = %path.display(), %error, "a socket cannot be removed"),
            }
        }
    }
}

fn open(socket: Socket, name: Name, folder: &Path, pid: u32) -> Result<Listener, SocketError> {
    let path = path(socket, name, folder, pid);
    let bound = match bind(&path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if somebody_listens(&path) {
                return Err(SocketError::InUse { path });
            }
            // Left behind by a program that was killed: nobody can be reached there.
            std::fs::remove_file(&path).and_then(|()| bind(&path))
        }
        bound => bound,
    };
    match bound {
        Ok(descriptor) => Ok(Listener {
            socket,
            name,
            descriptor,
            path,
        }),
        Err(source) => Err(SocketError::Open { path, source }),
    }
}

fn bind(path: &Path) -> io::Result<OwnedFd> {
    let options = ListenerOptions::new()
        .name(path.to_fs_name::<GenericFilePath>()?)
        .nonblocking(ListenerNonblockingMode::Both)
        // The file is removed by whoever ends the master, not by whoever held the socket.
        .reclaim_name(false)
        .mode(0o600); // the user's alone
    match options.create_sync()? {
        SocketListener::UdSocket(listener) => Ok(listener.into()),
    }
}

/// Only a refusal is a proof that nobody listens; anything else is not. Does not wait.
pub(crate) fn somebody_listens(path: &Path) -> bool {
    !matches!(
        dial(path, Meant::default()),
        Err(DialError::Nobody(_) | DialError::NoSocket)
    )
}

/// Whether a program of this user or root listens.
pub(crate) fn one_of_ours_listens(path: &Path) -> bool {
    matches!(
        dial(path, Meant::default()),
        Ok(_) | Err(DialError::Busy | DialError::Io(_))
    )
}
