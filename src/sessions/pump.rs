//! The task of one connection: reads, writes, and reports how it ended.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use allexmaster_protocol::close::CloseReason;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::runtime::Shared;
use super::socket::ResumableSocket;
use allexmaster_sessions::{ConnectionName, Input, Mark};

/// How much is read from a socket at once.
const READ_BYTES: usize = 16 * 1_024;
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
    let mut finish_until = None;
    loop {
        let work = match work(shared, name, socket) {
            Ok(work) => work,
            Err(error) => return io_reason(&error),
        };
        if work == Work::Finished {
            return CloseReason::ByUs;
        }
        if finish_until.is_none() && shared.is_finishing(name) {
            finish_until = Some(Instant::now() + FINISH_PATIENCE);
        }
        let reading = finish_until.is_none() && shared.may_read(name);
        tokio::select! {
            ready = socket.readable(), if reading => {
                match ready {
                    Ok(mut ready) => match read(shared, name, socket) {
                        Ok(0) => return CloseReason::ByPeer,
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                        Err(error) => return io_reason(&error),
                    },
                    Err(error) => return io_reason(&error),
                }
            }
            ready = socket.writable(), if work == Work::Write => {
                match ready {
                    Ok(mut ready) => match write(shared, name, socket) {
                        Ok(()) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                        Err(error) => return io_reason(&error),
                    },
                    Err(error) => return io_reason(&error),
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Write,
    Nothing,
    /// Everything is sent, and nothing may follow.
    Finished,
}

fn work(shared: &Shared, name: &ConnectionName, socket: &ResumableSocket) -> io::Result<Work> {
    if socket.pipe_len()? > 0 || shared.chunk(name, 1).is_some() {
        return Ok(Work::Write);
    }
    Ok(if shared.is_finishing(name) {
        Work::Finished
    } else {
        Work::Nothing
    })
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

fn io_reason(error: &io::Error) -> CloseReason {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    // A peer that was killed resets the connection: for everybody but itself it has closed it.
    if matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    ) {
        CloseReason::ByPeer
    } else {
        CloseReason::Io {
            reason: error.to_string(),
        }
    }
}
