//! Children of AllexJS: the sockets that they open.
//!
//! A child of AllexJS says on its channel when its service is there (`child_init`); the master
//! introduces itself in a session whose name is its own process number, and is told the service's
//! state from then on, for ever. A reader that stopped would stop the child: so whatever comes is
//! read at once, and what nobody here wants to know is dropped.
//!
//! A child written for .NET has no channel of Node's but opens a socket, where the same is said.

use std::path::{Path, PathBuf};
use std::time::Duration;

use allexmaster_state::Pid;
use tracing::{debug, warn};

use crate::local::dial::{self, DialError, Meant};

/// How often it is tried to reach a child on the socket that it will open; as the JavaScript master.
const DIAL_PAUSE: Duration = Duration::from_millis(100);

/// The name of the socket that a child of AllexJS opens, before the point and its process number.
const CHILD_SOCKET: &str = "allexprocess";

/// The socket that a child of AllexJS opens.
#[must_use]
pub fn child_socket(folder: &Path, pid: Pid) -> PathBuf {
    folder.join(format!("{CHILD_SOCKET}.{pid}"))
}

/// Removes the socket of a child that was killed: it could not do so itself. One at which somebody
/// listens, under a number that is in use again, stays.
pub fn remove_left_behind(socket: &Path) {
    if matches!(
        dial::dial(socket, Meant::default()),
        Err(DialError::Nobody(_))
    ) && std::fs::remove_file(socket).is_ok()
    {
        debug!(socket = %socket.display(), "removed what a child left behind");
    }
}

/// Dials the socket that a child will open; none where the child ends before. Nobody but the child is
/// spoken to.
pub(crate) async fn dial(
    socket: &Path,
    pid: Pid,
    lives: impl Fn() -> bool,
) -> Option<std::os::unix::net::UnixStream> {
    let meant = Meant {
        pid: Some(pid.0),
        ..Meant::default()
    };
    let mut told = false;
    while lives() {
        match dial::dial(socket, meant) {
            Ok(stream) => return Some(stream),
            Err(error @ (DialError::OtherUser { .. } | DialError::OtherProcess { .. }))
                if !told =>
            {
                told = true;
                warn!(socket = %socket.display(), %error, "a child's socket is not spoken to");
            }
            Err(_) => {}
        }
        tokio::time::sleep(DIAL_PAUSE).await;
    }
    None
}
