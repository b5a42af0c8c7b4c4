//! The task of one line: reads, writes, and tells the front how it ended.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use allexmaster_protocol::close::CloseReason;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::driver::Shared;
use super::kept::Kept;
use allexmaster_sessions::{Input, LineName, Mark};

/// How much is read from a socket at once.
const READ_BYTES: usize = 16 * 1_024;
/// How long the last bytes may take to leave when this side closes.
const FINISH_PATIENCE: Duration = Duration::from_secs(1);

/// How the driver reaches the task of a line.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// There is something to write, or the line is to end.
    pub(super) wake: Notify,
    /// The line is to end now.
    pub(super) cut: Notify,
}

/// Serves a line until it ends.
pub(super) async fn serve(shared: Arc<Shared>, name: LineName, kept: Kept, hold: Arc<Hold>) {
    let reason = tokio::select! {
        reason = pump(&shared, &name, &kept, &hold) => Some(reason),
        () = hold.cut.notified() => None,
    };
    kept.shut_down();
    shared.close(&name, &hold);
    if let Some(reason) = reason {
        shared.enter(Input::Ended { line: name, reason });
    }
}

/// Reads and writes until one of it ends.
async fn pump(shared: &Arc<Shared>, name: &LineName, kept: &Kept, hold: &Hold) -> CloseReason {
    let mut finish_until = None;
    loop {
        let work = match work(shared, name, kept) {
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
            ready = kept.readable(), if reading => {
                match ready {
                    Ok(mut ready) => match read(shared, name, kept) {
                        Ok(0) => return CloseReason::ByPeer,
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                        Err(error) => return io_reason(&error),
                    },
                    Err(error) => return io_reason(&error),
                }
            }
            ready = kept.writable(), if work == Work::Write => {
                match ready {
                    Ok(mut ready) => match write(shared, name, kept) {
                        Ok(()) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                        Err(error) => return io_reason(&error),
                    },
                    Err(error) => return io_reason(&error),
                }
            }
            () = hold.wake.notified() => {}
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

fn work(shared: &Shared, name: &LineName, kept: &Kept) -> io::Result<Work> {
    if kept.in_pipe()? > 0 || shared.chunk(name, 1).is_some() {
        return Ok(Work::Write);
    }
    Ok(if shared.is_finishing(name) {
        Work::Finished
    } else {
        Work::Nothing
    })
}

/// Takes in what has come. Logged before it leaves the socket.
fn read(shared: &Arc<Shared>, name: &LineName, kept: &Kept) -> io::Result<usize> {
    let mut buffer = [0_u8; READ_BYTES];
    let count = kept.read(&mut buffer)?;
    let bytes = buffer.get(..count).unwrap_or_default();
    if count > 0 {
        shared.receive(name, bytes);
        if kept.is_exact() {
            kept.consume(count)?;
            shared.mark(name, Mark::Consumed);
        }
    }
    Ok(count)
}

/// Sends as much as the socket takes now.
fn write(shared: &Shared, name: &LineName, kept: &Kept) -> io::Result<()> {
    loop {
        while kept.in_pipe()? > 0 {
            kept.move_on()?;
        }
        let Some((bytes, end)) = shared.chunk(name, kept.room()?) else {
            return Ok(());
        };
        if kept.is_exact() {
            shared.mark(name, Mark::Offered(end));
            kept.put(&bytes)?;
            shared.mark(name, Mark::Taken(end));
        } else {
            let written = kept.write(&bytes)?;
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
