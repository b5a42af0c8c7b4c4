//! The task of one connection: reads, writes, and reports how it ended.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use allexmaster_protocol::close::CloseReason;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::runtime::Shared;
use super::socket::ResumableSocket;
use allexmaster_sessions::transfer::{
    SendState, Transfer, close_reason, read_some, send_state, write_some,
};
use allexmaster_sessions::{ConnectionName, Input};

/// How long the last bytes may take to leave when this side closes.
const FINISH_PATIENCE: Duration = Duration::from_secs(1);

/// How the runtime reaches the task of a connection.
#[derive(Debug, Default)]
pub(super) struct PumpHandle {
    /// There is something to write, or the connection is to end.
    pub(super) wake: Notify,
    /// The connection is to end now.
    pub(super) cut: Notify,
}

/// Serves a connection until it ends.
pub(super) async fn serve(
    shared: Arc<Shared>,
    name: ConnectionName,
    socket: ResumableSocket,
    pump: Arc<PumpHandle>,
) {
    let reason = tokio::select! {
        reason = run(&shared, &name, &socket, &pump) => Some(reason),
        () = pump.cut.notified() => None,
    };
    socket.shut_down();
    shared.close(&name, &pump);
    if let Some(reason) = reason {
        shared.enter(Input::Ended { name, reason });
    }
}

/// Reads and writes until one of it ends.
async fn run(
    shared: &Arc<Shared>,
    name: &ConnectionName,
    socket: &ResumableSocket,
    pump: &PumpHandle,
) -> CloseReason {
    let mut connection = Connection {
        shared,
        name,
        socket,
    };
    let mut finish_until = None;
    loop {
        let sending = match send_state(&mut connection) {
            Ok(sending) => sending,
            Err(error) => return close_reason(&error),
        };
        if sending == SendState::Finished {
            return CloseReason::ByUs;
        }
        if finish_until.is_none() && shared.is_finishing(name) {
            finish_until = Some(Instant::now() + FINISH_PATIENCE);
        }
        let reading = finish_until.is_none() && shared.may_read(name);
        tokio::select! {
            ready = socket.readable(), if reading => {
                match ready {
                    Ok(mut ready) => match read_some(&mut connection) {
                        Ok(0) => return CloseReason::ByPeer,
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                        Err(error) => return close_reason(&error),
                    },
                    Err(error) => return close_reason(&error),
                }
            }
            ready = socket.writable(), if sending == SendState::Pending => {
                match ready {
                    Ok(mut ready) => match write_some(&mut connection) {
                        Ok(()) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                        Err(error) => return close_reason(&error),
                    },
                    Err(error) => return close_reason(&error),
                }
            }
            () = pump.wake.notified() => {}
            () = shared.room_again(), if !reading && finish_until.is_none() => {}
            () = until(finish_until) => return CloseReason::ByUs,
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
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
