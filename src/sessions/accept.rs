//! Local connections: who accepts them, and what they are called.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use allexmaster_keeper::os;
use tokio::io::Interest;
use tracing::warn;

use super::descriptors::LISTENER;
use super::runtime::Runtime;
use allexmaster_sessions::ConnectionName;

/// How long a failing listener rests, so that it does not spin (too many open files, say).
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The name of a listener: that of its socket's number, and of its own among those of the socket.
#[must_use]
pub fn listener_name(socket: u32, index: usize) -> String {
    format!("{LISTENER}{socket}-{index}")
}

/// The number of the socket that a connection was accepted over, as its name tells; none for other
/// connections.
pub(super) fn socket_of(name: &ConnectionName) -> Option<u32> {
    let (socket, _) = name.0.strip_prefix(LISTENER)?.split_once('-')?;
    socket.parse().ok()
}

/// Accepts where no keeper does.
pub(super) async fn accept_all(driver: Runtime, name: String, listener: OwnedFd) {
    let listener = match os::watch_socket(listener, Interest::READABLE) {
        Ok(listener) => listener,
        Err(error) => return warn!(%error, "the system does not let us listen"),
    };
    let mut count: u64 = 0;
    loop {
        let accepted = listener
            .async_io(Interest::READABLE, |listener| {
                Ok::<_, io::Error>(os::accept(listener.as_fd())?)
            })
            .await;
        match accepted {
            Ok(descriptor) => {
                count += 1;
                // A keeper counts from one; whoever comes after it must not use its names again.
                driver.take_in(ConnectionName(format!("{name}.own{count}")), descriptor);
            }
            Err(error) => {
                warn!(%error, "a local connection failed");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}
