//! The task of one connection of the sessions: the pump, over a socket that outlives this process.

use std::io;
use std::sync::Arc;

use allexmaster_protocol::pump::{Link, READ_BYTES, Turn, pump};
use tokio::sync::Notify;

use super::runtime::Shared;
use super::socket::ResumableSocket;
use allexmaster_sessions::{ConnectionName, Input, Mark};

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

impl Link for ResumableLink {
    fn turn(&self) -> io::Result<Turn> {
        let Self {
            shared,
            name,
            socket,
            ..
        } = self;
        Ok(Turn {
            writing: socket.pipe_len()? > 0 || shared.chunk(name, 1).is_some(),
            reading: shared.may_read(name),
            finishing: shared.is_finishing(name),
        })
    }

    async fn read(&self) -> io::Result<usize> {
        loop {
            let mut ready = self.socket.readable().await?;
            match read(&self.shared, &self.name, &self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                read => return read,
            }
        }
    }

    async fn write(&self) -> io::Result<()> {
        loop {
            let mut ready = self.socket.writable().await?;
            match write(&self.shared, &self.name, &self.socket) {
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

/// Takes in what has come. Logged before it leaves the socket.
fn read(
    shared: &Arc<Shared>,
    name: &ConnectionName,
    socket: &ResumableSocket,
) -> io::Result<usize> {
    let mut buffer = [0_u8; READ_BYTES];
    let count = socket.read(&mut buffer)?;
    let bytes = buffer.get(..count).unwrap_or_default();
    if count > 0 {
        shared.enter(Input::Received {
            name: name.clone(),
            bytes: bytes.to_vec(),
        });
        if socket.is_exact() {
            socket.consume(count)?;
            shared.mark(name, Mark::Consumed);
        }
    }
    Ok(count)
}

/// Sends as much as the socket takes now.
fn write(shared: &Arc<Shared>, name: &ConnectionName, socket: &ResumableSocket) -> io::Result<()> {
    loop {
        while socket.pipe_len()? > 0 {
            socket.flush_pipe()?;
        }
        let Some((bytes, end)) = shared.chunk(name, socket.room()?) else {
            return Ok(());
        };
        if socket.is_exact() {
            shared.mark(name, Mark::Offered(end));
            socket.put(&bytes)?;
            shared.mark(name, Mark::Taken(end));
        } else {
            let written = socket.write(&bytes)?;
            let unwritten = (bytes.len() - written) as u64;
            shared.mark(name, Mark::Taken(end - unwritten));
        }
    }
}
