//! Connecting to local sockets, whose names in a shared folder anybody can take.
//!
//! Nothing is said to a socket before the kernel has named its owner, and nothing here waits: a
//! stranger who fills the queue of his own socket would hold us up as long as he likes.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use allexmaster_keeper::os;
use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

/// Why a local socket is not spoken to.
#[derive(Debug, Error)]
pub enum DialError {
    /// Nobody listens, or the file is gone.
    #[error("nobody listens there")]
    Nobody(#[source] io::Error),
    /// Somebody listens, but takes no connections now.
    #[error("the program that listens there takes no connections; it may be stopped")]
    Busy,
    /// The file, or who listens, belongs to somebody else.
    #[error("it belongs to user {user}, not to you or root")]
    OtherUser {
        /// His number.
        user: u32,
    },
    /// Another process listens than the one that was meant.
    #[error("process {pid} listens there, not the one that is meant")]
    OtherProcess {
        /// Its number.
        pid: u32,
    },
    /// There is a file of another kind.
    #[error("it is no socket")]
    NoSocket,
    /// The system refused.
    #[error("it cannot be dialled: {0}")]
    Io(#[source] io::Error),
}

/// Who may listen at a socket, beside this user and root.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meant {
    /// Another user: root asks the master in the folder of this one.
    pub user: Option<u32>,
    /// Only this process.
    pub pid: Option<u32>,
}

impl Meant {
    fn trusts(self, user: u32) -> bool {
        os::is_trusted_user(user) || self.user == Some(user)
    }
}

/// Connects to the socket of a program that is meant, without waiting. The stream does not block.
///
/// # Errors
/// [`DialError`].
pub fn dial(path: &Path, meant: Meant) -> Result<UnixStream, DialError> {
    let file = std::fs::symlink_metadata(path).map_err(refusal)?;
    if !file.file_type().is_socket() {
        return Err(DialError::NoSocket);
    }
    if !meant.trusts(file.uid()) {
        return Err(DialError::OtherUser { user: file.uid() });
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(DialError::Io)?;
    socket.set_nonblocking(true).map_err(DialError::Io)?;
    let address = SockAddr::unix(path).map_err(DialError::Io)?;
    socket.connect(&address).map_err(refusal)?;
    // The name may have gone to somebody else since the look at it.
    let peer = os::peer(&socket).map_err(DialError::Io)?;
    if !meant.trusts(peer.user) {
        return Err(DialError::OtherUser { user: peer.user });
    }
    if meant.pid.is_some_and(|pid| pid != peer.pid) {
        return Err(DialError::OtherProcess { pid: peer.pid });
    }
    Ok(socket.into())
}

fn refusal(error: io::Error) -> DialError {
    let kind = error.kind();
    if kind == io::ErrorKind::WouldBlock {
        DialError::Busy
    } else if matches!(
        kind,
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    ) {
        DialError::Nobody(error)
    } else {
        DialError::Io(error)
    }
}
