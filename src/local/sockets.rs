//! The socket files: names, permissions, stale ones, and who is at the other end.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use interprocess::local_socket::tokio::{Listener as SocketListener, Stream};
use interprocess::local_socket::traits::StreamCommon as _;
use interprocess::local_socket::traits::tokio::Listener as _;
use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName as _};
use thiserror::Error;
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// The folder of the JavaScript master's sockets; tools look nowhere else.
pub const DEFAULT_FOLDER: &str = "/tmp";
/// How long a failing listener rests, so that it does not spin (too many open files, say).
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// One of the three services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// The master itself.
    MachineManager,
    /// The copy of the LanManager's services.
    LanServices,
    /// The copy of the LanManager's address translations.
    Translations,
}

impl Socket {
    /// All three.
    pub const ALL: [Self; 3] = [Self::MachineManager, Self::LanServices, Self::Translations];

    /// Its number among the listeners.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::MachineManager => 0,
            Self::LanServices => 1,
            Self::Translations => 2,
        }
    }

    /// The socket of a number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|socket| socket.number() == number)
    }

    /// Its file name without the process number.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MachineManager => "allexmachinemanager",
            Self::LanServices => "availablelanservices",
            Self::Translations => "nat",
        }
    }

    /// The file of a master's socket.
    #[must_use]
    pub fn path(self, folder: &Path, pid: u32) -> PathBuf {
        folder.join(format!("{}.{pid}", self.name()))
    }
}

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

/// An open socket.
pub struct Listener {
    socket: Socket,
    listener: SocketListener,
    path: PathBuf,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Listener({})", self.path.display())
    }
}

/// A connection that was let in.
#[derive(Debug)]
pub struct Accepted<S> {
    /// Over which socket.
    pub socket: Socket,
    /// The process at the other end, as the kernel says.
    pub process: Option<u32>,
    /// Its user, as the kernel says.
    pub user: Option<u32>,
    /// The connection.
    pub stream: S,
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
        listeners.push(open(socket, socket.path(folder, pid))?);
    }
    let plain = folder.join(Socket::MachineManager.name());
    match open(Socket::MachineManager, plain) {
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

fn open(socket: Socket, path: PathBuf) -> Result<Listener, SocketError> {
    match bind(&path) {
        Ok(listener) => Ok(Listener {
            socket,
            listener,
            path,
        }),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if somebody_listens(&path) {
                return Err(SocketError::InUse { path });
            }
            // Left behind by a program that was killed: nobody can be reached there.
            let removed = std::fs::remove_file(&path).and_then(|()| bind(&path));
            match removed {
                Ok(listener) => Ok(Listener {
                    socket,
                    listener,
                    path,
                }),
                Err(source) => Err(SocketError::Open { path, source }),
            }
        }
        Err(source) => Err(SocketError::Open { path, source }),
    }
}

fn bind(path: &Path) -> io::Result<SocketListener> {
    let options = ListenerOptions::new().name(path.to_fs_name::<GenericFilePath>()?);
    #[cfg(unix)]
    let options = {
        use interprocess::os::unix::local_socket::ListenerOptionsExt as _;
        options.mode(0o600) // the user's alone
    };
    options.create_tokio()
}

/// Only a refusal is a proof that nobody listens; anything else is not.
pub(crate) fn somebody_listens(path: &Path) -> bool {
    use interprocess::local_socket::ConnectOptions;
    let Ok(name) = path.to_fs_name::<GenericFilePath>() else {
        return true;
    };
    match ConnectOptions::new().name(name).connect_sync() {
        Ok(_) => true,
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
        ),
    }
}

impl Listener {
    /// Accepts until nobody takes what is accepted.
    pub async fn accept_all(self, accepted: mpsc::Sender<Accepted<Stream>>) {
        let own_user = rustix::process::getuid().as_raw();
        loop {
            let stream = match self.listener.accept().await {
                Ok(stream) => stream,
                Err(error) => {
                    warn!(path = %self.path.display(), %error, "a local connection failed");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let (process, user) = peer(&stream);
            if user.is_some_and(|user| user != own_user && user != 0) {
                warn!(user, "a local connection of another user was refused");
                continue;
            }
            if accepted
                .send(Accepted {
                    socket: self.socket,
                    process,
                    user,
                    stream,
                })
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

/// The process and the user at the other end, as far as the system can tell.
fn peer(stream: &Stream) -> (Option<u32>, Option<u32>) {
    let Ok(credentials) = stream.peer_creds() else {
        return (None, None);
    };
    #[cfg(unix)]
    let user = credentials.euid();
    #[cfg(not(unix))]
    let user = None;
    let process = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
    (process, user)
}
