//! How bytes move between a connection's descriptors and the sessions, so that none is lost or doubled
//! where the process is killed between any two steps.
//!
//! ```text
//!  in:   socket ──peek──► log ──► sessions       then the same bytes are taken out of the socket
//!  out:  sessions ──► log ──► pipe ──splice──► socket
//! ```
//!
//! The next process has to know how far the steps came, and the kernel's objects tell it. In:
//! `SO_PEEK_OFF`, which belongs to the socket, is the number of bytes that were peeked and not taken.
//! Out: bytes are put only into an empty pipe, and moved on only after that was logged; so what is in
//! the pipe tells whether they were put. A write to the socket itself would leave no trace of how far
//! it came.

use std::io;

use crate::connections::Progress;
use crate::input::{ConnectionName, Input, Mark};

/// How much is read from a socket at once, in bytes.
const READ_BYTES: usize = 16 * 1_024;

/// The descriptors of one connection, with the sessions that it belongs to and their log.
pub trait Transfer {
    fn name(&self) -> &ConnectionName;

    /// Hands an input in: logged first, then taken.
    ///
    /// # Errors
    /// The process ends here, which only a simulated one lives to see.
    fn enter(&mut self, input: Input) -> io::Result<()>;

    /// [`Sessions::chunk`](crate::Sessions::chunk) of this connection.
    fn chunk(&self, most: usize) -> Option<(Vec<u8>, u64)>;

    /// [`Sessions::is_finishing`](crate::Sessions::is_finishing) of this connection.
    fn is_finishing(&self) -> bool;

    /// Whether there is a pipe, so that not one byte is lost when the process is killed.
    fn is_exact(&self) -> bool;

    /// Reads what has come; without taking it where the connection is exact. Zero bytes: the peer has
    /// closed.
    ///
    /// # Errors
    /// `WouldBlock` where nothing has come; else the connection has ended.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Takes bytes that were peeked out of the socket.
    ///
    /// # Errors
    /// The connection has ended.
    fn consume(&mut self, count: usize) -> io::Result<()>;

    /// How many bytes were peeked and not taken.
    ///
    /// # Errors
    /// The system does not know it for this socket.
    fn peek_offset(&mut self) -> io::Result<usize>;

    /// Peeks from the first byte on again.
    ///
    /// # Errors
    /// The system does not know it for this socket.
    fn reset_peek_offset(&mut self) -> io::Result<()>;

    /// How many bytes an empty pipe surely takes at once; without a pipe, how many are written at once.
    ///
    /// # Errors
    /// The system does not tell.
    fn room(&mut self) -> io::Result<usize>;

    /// How many bytes are in the pipe.
    ///
    /// # Errors
    /// The system does not tell.
    fn pipe_len(&mut self) -> io::Result<usize>;

    /// Puts bytes into the empty pipe, all of them.
    ///
    /// # Errors
    /// There is no pipe, or it took less.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Moves bytes from the pipe into the socket, as many as that takes now.
    ///
    /// # Errors
    /// `WouldBlock` where it takes none; else the connection has ended.
    fn flush_pipe(&mut self) -> io::Result<()>;

    /// Writes to the socket itself; gives how many bytes it took.
    ///
    /// # Errors
    /// As [`flush_pipe`](Self::flush_pipe).
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
}

/// What a connection has to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendState {
    /// There are bytes to be sent: [`write_some`].
    Pending,
    /// There are none now.
    Idle,
    /// Everything is sent, and nothing may follow: close it.
    Finished,
}

/// What there is to send.
///
/// # Errors
/// The system does not tell.
pub fn send_state(transfer: &mut impl Transfer) -> io::Result<SendState> {
    if transfer.pipe_len()? > 0 || transfer.chunk(1).is_some() {
        return Ok(SendState::Pending);
    }
    Ok(if transfer.is_finishing() {
        SendState::Finished
    } else {
        SendState::Idle
    })
}

/// Takes in what has come: logged before it leaves the socket. Gives the number of bytes; zero where
/// the peer has closed.
///
/// # Errors
/// As [`Transfer::read`].
pub fn read_some(transfer: &mut impl Transfer) -> io::Result<usize> {
    let mut buffer = [0_u8; READ_BYTES];
    let count = transfer.read(&mut buffer)?;
    let bytes = buffer.get(..count).unwrap_or_default();
    if count > 0 {
        let name = transfer.name().clone();
        let bytes = bytes.to_vec();
        transfer.enter(Input::Received { name, bytes })?;
        if transfer.is_exact() {
            transfer.consume(count)?;
            mark(transfer, Mark::Consumed)?;
        }
    }
    Ok(count)
}

/// Sends as much as the socket takes now.
///
/// # Errors
/// `WouldBlock` where it takes no more; else the connection has ended.
pub fn write_some(transfer: &mut impl Transfer) -> io::Result<()> {
    loop {
        while transfer.pipe_len()? > 0 {
            transfer.flush_pipe()?;
        }
        let room = transfer.room()?;
        let Some((bytes, end)) = transfer.chunk(room) else {
            return Ok(());
        };
        if transfer.is_exact() {
            mark(transfer, Mark::Offered(end))?;
            transfer.put(&bytes)?;
            mark(transfer, Mark::Taken(end))?;
        } else {
            let written = transfer.write(&bytes)?;
            let unwritten = (bytes.len() - written) as u64;
            mark(transfer, Mark::Taken(end - unwritten))?;
        }
    }
}

/// Settles what was under way when the process before this one was killed.
///
/// # Errors
/// The connection has ended.
pub fn reconcile(transfer: &mut impl Transfer, progress: Progress) -> io::Result<()> {
    let peeked = transfer.peek_offset()?;
    if progress.unconsumed > 0 {
        // Zero: they were taken, and only that was not logged.
        transfer.consume(peeked)?;
        mark(transfer, Mark::Consumed)?;
    }
    transfer.reset_peek_offset()?;
    if let Some(end) = progress.offered {
        let put = transfer.pipe_len()? > 0;
        let settled = if put {
            Mark::Taken(end)
        } else {
            Mark::Withdrawn
        };
        mark(transfer, settled)?;
    }
    Ok(())
}
fn mark(transfer: &mut impl Transfer, mark: Mark) -> io::Result<()> {
    let name = transfer.name().clone();
    transfer.enter(Input::Marked { name, mark })
}
