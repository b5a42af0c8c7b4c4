//! Sockets, pipes, files in memory, and the clock.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, fstatvfs, memfd_create};
use rustix::io::{Errno, ioctl_fionbio, ioctl_fionread, retry_on_intr};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags, accept_with};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, pipe_with};
use rustix::time::{ClockId, clock_gettime};

/// The process and user at the other end of a local socket, from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub pid: u32,
    pub user: u32,
}

impl Peer {
    /// Whether the other end belongs to the user of this process, or to root.
    #[must_use]
    pub fn is_trusted(self) -> bool {
        is_trusted_user(self.user)
    }
}

/// Whether a user is that of this process, or root.
#[must_use]
pub fn is_trusted_user(user: u32) -> bool {
    user == 0 || user == rustix::process::getuid().as_raw()
}

/// The name of a user, where `/etc/passwd` has one.
#[must_use]
pub fn user_name(user: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(user)).then_some(name)
    });
    named.map(str::to_owned)
}

/// Who connected the other end of a local socket.
///
/// # Errors
/// It is not a local socket.
pub fn peer(socket: impl AsFd) -> io::Result<Peer> {
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
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
}

/// Makes a descriptor non-blocking, for all processes that share it.
///
/// # Errors
/// It is no socket or pipe.
pub fn set_nonblocking(descriptor: impl AsFd) -> io::Result<()> {
    Ok(ioctl_fionbio(descriptor, true)?)
}

/// Reads what a socket has received, without waiting; `peek` leaves it there. Zero: the peer has closed.
///
/// # Errors
/// `WouldBlock` if there is nothing; else the connection has ended.
pub fn receive(socket: impl AsFd, buffer: &mut [u8], peek: bool) -> io::Result<usize> {
    let peek = if peek {
        RecvFlags::PEEK
    } else {
        RecvFlags::empty()
    };
    let receive = || rustix::net::recv(&socket, &mut *buffer, peek | RecvFlags::DONTWAIT);
    let (count, _) = retry_on_intr(receive)?;
    Ok(count)
}

/// Writes to a socket without waiting, and without a signal if the peer has closed.
///
/// # Errors
/// `WouldBlock` if it takes nothing; else the connection has ended.
pub fn send(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(retry_on_intr(|| rustix::net::send(&socket, bytes, flags))?)
}

/// Ends a connection in both directions, also for other processes that hold it.
pub fn shut_down(socket: impl AsFd) {
    // If this fails, the connection has ended already.
    let _ = rustix::net::shutdown(socket, Shutdown::Both);
}

/// A pipe, non-blocking and close-on-exec: its end to read, and its end to write.
///
/// # Errors
/// The system has no room for two more descriptors.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)
}

/// How many bytes an empty pipe takes.
///
/// # Errors
/// It is no pipe.
pub fn pipe_size(pipe: impl AsFd) -> io::Result<usize> {
    Ok(fcntl_getpipe_size(pipe)?)
}

/// How many bytes are in a pipe.
///
/// # Errors
/// It is no pipe.
pub fn pipe_length(pipe: impl AsFd) -> io::Result<usize> {
    usize::try_from(ioctl_fionread(pipe)?).map_err(io::Error::other)
}

/// Writes to a pipe; returns how many bytes it took.
///
/// # Errors
/// `WouldBlock` if it is full.
pub fn write_pipe(pipe: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(retry_on_intr(|| rustix::io::write(&pipe, bytes))?)
}

/// Moves up to `count` bytes from a pipe to a socket, without waiting.
///
/// # Errors
/// `WouldBlock` if the socket takes nothing; else the connection has ended.
pub fn splice(pipe: impl AsFd, socket: impl AsFd, count: usize) -> io::Result<usize> {
    let flags = SpliceFlags::NONBLOCK;
    let splice = || rustix::pipe::splice(&pipe, None, &socket, None, count, flags);
    Ok(retry_on_intr(splice)?)
}

/// Removes whole blocks from the beginning of a file, which gets shorter by `length`.
///
/// # Errors
/// `OPNOTSUPP`: the file system cannot do that.
pub fn cut_front(file: &File, length: u64) -> Result<(), Errno> {
    fallocate(file, FallocateFlags::COLLAPSE_RANGE, 0, length)
}

/// The size of a block of the file system that a file is on, in bytes; at least 1.
///
/// # Errors
/// The file system does not say.
pub fn block_size(file: &File) -> io::Result<u64> {
    Ok(fstatvfs(file)?.f_bsize.max(1))
}

/// A file without a name in memory; the name is for `/proc` alone.
///
/// # Errors
/// The system has no room for another descriptor.
pub fn memory_file(name: &str) -> Result<OwnedFd, Errno> {
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
