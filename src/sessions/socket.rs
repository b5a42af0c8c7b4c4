//! The descriptors of one connection: a socket, and with a keeper also a pipe in front of it.
//! The steps that use them are in [`allexmaster_sessions::transfer`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use allexmaster_keeper::os;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// The descriptors of one connection.
#[derive(Debug)]
pub(super) struct ResumableSocket {
    socket: AsyncFd<OwnedFd>,
    pipe: Option<Pipe>,
}

/// The pipe that bytes go through on their way to the socket.
#[derive(Debug)]
pub(super) struct Pipe {
    from: OwnedFd,
    to: OwnedFd,
}

impl Pipe {
    pub(super) fn new() -> io::Result<Self> {
        let (from, to) = os::pipe()?;
        Ok(Self { from, to })
    }

    /// One that an earlier process made.
    pub(super) const fn of(from: OwnedFd, to: OwnedFd) -> Self {
        Self { from, to }
    }

    /// Both ends, to be kept by somebody else too.
    pub(super) fn ends(&self) -> [std::os::fd::BorrowedFd<'_>; 2] {
        [self.from.as_fd(), self.to.as_fd()]
    }

    fn filled(&self) -> io::Result<usize> {
        os::pipe_length(&self.from)
    }
}

impl ResumableSocket {
    /// Takes the descriptors over. The socket must not block.
    ///
    /// # Errors
    /// The system has no room for a further watch, or does not know `SO_PEEK_OFF` for this socket.
    pub(super) fn new(socket: OwnedFd, pipe: Option<Pipe>) -> io::Result<Self> {
        os::set_nonblocking(&socket)?;
        if pipe.is_some() && os::peek_offset(&socket)? < 0 {
            os::set_peek_offset(&socket, 0)?;
        }
        let socket = os::watch_socket(socket, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket, pipe })
    }

    /// Whether not one byte is lost when this process is killed.
    pub(super) const fn is_exact(&self) -> bool {
        self.pipe.is_some()
    }

    /// How many bytes were peeked and not taken.
    pub(super) fn peek_offset(&self) -> io::Result<usize> {
        let offset = os::peek_offset(self.socket.get_ref())?;
        // Negative: it was never set.
        Ok(usize::try_from(offset).unwrap_or(0))
    }

    pub(super) fn reset_peek_offset(&self) -> io::Result<()> {
        os::set_peek_offset(self.socket.get_ref(), 0)
    }

    pub(super) async fn readable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.socket.readable().await
    }

    pub(super) async fn writable(&self) -> io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
        self.socket.writable().await
    }

    /// Reads what has come: without taking it where it is exact; then it is to be
    /// [consumed](Self::consume). Zero bytes: the peer has closed.
    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        os::receive(self.socket.get_ref(), buffer, self.is_exact())
    }

    /// Takes bytes that were read out of the socket.
    pub(super) fn consume(&self, count: usize) -> io::Result<()> {
        let mut left = count;
        let mut buffer = [0_u8; 4_096];
        while left > 0 {
            let most = left.min(buffer.len());
            let room = buffer.get_mut(..most).unwrap_or_default();
            let taken = os::receive(self.socket.get_ref(), room, false)?;
            if taken == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left = left.saturating_sub(taken);
        }
        Ok(())
    }

    /// How many bytes an empty pipe surely takes at once.
    pub(super) fn room(&self) -> io::Result<usize> {
        match &self.pipe {
            Some(pipe) => Ok(os::pipe_size(&pipe.to)?),
            None => Ok(MAX_DIRECT_BYTES),
        }
    }

    /// Puts bytes into the empty pipe, all of them.
    pub(super) fn put(&self, bytes: &[u8]) -> io::Result<()> {
        let Some(pipe) = &self.pipe else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let written = os::write_pipe(&pipe.to, bytes)?;
        if written == bytes.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// How many bytes are in the pipe.
    pub(super) fn pipe_len(&self) -> io::Result<usize> {
        self.pipe.as_ref().map_or(Ok(0), Pipe::filled)
    }

    /// Moves bytes from the pipe into the socket, as many as that takes now.
    ///
    /// # Errors
    /// `WouldBlock` where it takes none; else the connection has ended.
    pub(super) fn flush_pipe(&self) -> io::Result<()> {
        let Some(pipe) = &self.pipe else {
            return Ok(());
        };
        let most = pipe.filled()?;
        os::splice(&pipe.from, self.socket.get_ref(), most)?;
        Ok(())
    }

    /// Writes to the socket itself; gives how many bytes it took.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        os::send(self.socket.get_ref(), bytes)
    }

    /// Ends the connection, whoever else pumps it open.
    pub(super) fn shut_down(&self) {
        os::shut_down(self.socket.get_ref());
    }
}

/// So much is written to a socket at once.
const MAX_DIRECT_BYTES: usize = 64 * 1_024;
