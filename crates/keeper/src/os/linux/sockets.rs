//! Local sockets, files in memory, and the clock.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{SocketFlags, accept_with};
use rustix::time::{ClockId, clock_gettime};

/// Who is at the other end of a local socket, from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub pid: u32,
    pub user: u32,
}

/// Who connected the other end of a local socket.
///
/// # Errors
/// It is not a local socket.
pub fn peer(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let credentials = socket_peercred(socket)?;
    Ok(Peer {
        pid: credentials.pid.as_raw_nonzero().get().unsigned_abs(),
        user: credentials.uid.as_raw(),
    })
}

/// Accepts a connection, non-blocking and close-on-exec.
///
/// # Errors
/// As accept(2).
pub fn accept(listener: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
}

/// A file without a name in memory; the name is for `/proc` alone.
///
/// # Errors
/// The system has no room for another descriptor.
pub fn memory_file(name: &str) -> rustix::io::Result<OwnedFd> {
    memfd_create(name, MemfdFlags::CLOEXEC)
}

/// Milliseconds of a clock that is never set, the same for every process of this boot.
#[must_use]
pub fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let millis = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or(0);
    seconds.saturating_mul(1_000).saturating_add(millis)
}
