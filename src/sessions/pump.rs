//! The task of one connection of the sessions: the pump, over a socket that outlives this process.

use std::io;
use std::sync::Arc;

use allexmaster_protocol::pump::{Link, Turn, pump};
use tokio::sync::Notify;

use super::runtime::Shared;
use super::socket::ResumableSocket;
use allexmaster_sessions::transfer::{SendState, Transfer, read_some, send_state, write_some};
use allexmaster_sessions::{ConnectionName, Input};

/// How the runtime reaches the task of a connection.
#[derive(Debug, Default)]
pub(super) struct PumpHandle {
    /// There is something to write, or the connection is to end.
    pub(super) wake: Notify,
    /// The connection is to end now.
    pub(super) cut: Notify,
}

struct ResumableLink {
    shared: Arc<Shared>,
    name: ConnectionName,
    socket: ResumableSocket,
    handle: Arc<PumpHandle>,
}

/// Serves a connection until it ends.
pub(super) async fn serve(
    shared: Arc<Shared>,
    name: ConnectionName,
    socket: ResumableSocket,
    handle: Arc<PumpHandle>,
) {
    let link = ResumableLink {
        shared,
        name,
        socket,
        handle,
    };
    let reason = tokio::select! {
        reason = pump(&link) => Some(reason),
        () = link.handle.cut.notified() => None,
    };
    let ResumableLink {
        shared,
        name,
        socket,
        handle,
    } = link;
    socket.shut_down();
    shared.close(&name, &handle);
    if let Some(reason) = reason {
        shared.enter(Input::Ended { name, reason });
    }
}

impl ResumableLink {
    fn connection(&self) -> Connection<'_> {
        Connection {
            shared: &self.shared,
            name: &self.name,
            socket: &self.socket,
        }
    }
}

impl Link for ResumableLink {
    fn turn(&self) -> io::Result<Turn> {
        Ok(Turn {
            writing: send_state(&mut self.connection())? == SendState::Pending,
            reading: self.shared.may_read(&self.name),
            finishing: self.shared.is_finishing(&self.name),
        })
    }

    async fn read(&self) -> io::Result<usize> {
        loop {
            let mut ready = self.socket.readable().await?;
            match read_some(&mut self.connection()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                read => return read,
            }
        }
    }

    async fn write(&self) -> io::Result<()> {
        loop {
            let mut ready = self.socket.writable().await?;
            match write_some(&mut self.connection()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                written => return written,
            }
        }
    }

    async fn changed(&self) {
        self.handle.wake.notified().await;
    }

    async fn readable_again(&self) {
        self.shared.room_again().await;
    }
}

/// One connection, for the steps of [`allexmaster_sessions::transfer`].
pub(super) struct Connection<'task> {
    pub(super) shared: &'task Arc<Shared>,
    pub(super) name: &'task ConnectionName,
    pub(super) socket: &'task ResumableSocket,
}

impl Transfer for Connection<'_> {
    fn name(&self) -> &ConnectionName {
        self.name
    }

    fn enter(&mut self, input: Input) -> io::Result<()> {
        self.shared.enter(input);
        Ok(())
    }

    fn chunk(&self, most: usize) -> Option<(Vec<u8>, u64)> {
        self.shared.chunk(self.name, most)
    }

    fn is_finishing(&self) -> bool {
        self.shared.is_finishing(self.name)
    }

    fn is_exact(&self) -> bool {
        self.socket.is_exact()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.read(buffer)
    }

    fn consume(&mut self, count: usize) -> io::Result<()> {
        self.socket.consume(count)
    }

    fn peek_offset(&mut self) -> io::Result<usize> {
        self.socket.peek_offset()
    }

    fn reset_peek_offset(&mut self) -> io::Result<()> {
        self.socket.reset_peek_offset()
    }

    fn room(&mut self) -> io::Result<usize> {
        self.socket.room()
    }

    fn pipe_len(&mut self) -> io::Result<usize> {
        self.socket.pipe_len()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.put(bytes)
    }

    fn flush_pipe(&mut self) -> io::Result<()> {
        self.socket.flush_pipe()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }
}
