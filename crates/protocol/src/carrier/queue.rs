//! The two ends that the application holds, and the task between.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::sync::{Notify, mpsc};
use tokio::time;

use super::{CLOSE_PATIENCE, Incoming, MAX_QUEUED_BYTES};
use crate::close::CloseReason;

/// What arrived, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The number that the application gave the connection.
    pub connection: u64,
    /// What arrived.
    pub incoming: Incoming,
}

/// Where a connection delivers: a bounded channel, which connections may share.
#[derive(Clone, Debug)]
pub struct Inbox {
    /// Marks every delivery.
    pub connection: u64,
    /// The channel. When its receiver is gone, the connection closes.
    pub sender: mpsc::Sender<Delivery>,
}

/// The connection does not take the text.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SendError {
    /// It has ended or is ending; the inbox tells or will tell why.
    #[error("the connection has ended")]
    Closed,
    /// The peer does not read; it is cut now.
    #[error(transparent)]
    SlowPeer(CloseReason),
}

/// Where a connection takes what is to be sent. Clones are the same connection; when the last one is
/// dropped, the connection closes after what is queued has left.
#[derive(Clone, Debug)]
pub struct Outgoing(Arc<Handle>);

impl Inbox {
    /// An inbox for one connection alone, with its receiving end; `capacity` texts wait in it.
    #[must_use]
    pub fn alone(capacity: usize) -> (Self, mpsc::Receiver<Delivery>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (
            Self {
                connection: 0,
                sender,
            },
            receiver,
        )
    }

    /// Delivers; false when nobody receives any more.
    pub(super) async fn deliver(&self, incoming: Incoming) -> bool {
        if let Incoming::Text(text) = &incoming {
            tracing::trace!(target: "wire::receive", connection = self.connection, %text);
        }
        self.sender
            .send(Delivery {
                connection: self.connection,
                incoming,
            })
            .await
            .is_ok()
    }
}

impl Outgoing {
    /// Queues a text. Never blocks.
    ///
    /// # Errors
    /// [`SendError`]; what is lost belongs to a connection that has ended.
    pub fn send(&self, text: String) -> Result<(), SendError> {
        self.0.0.push(text)
    }

    /// Closes the connection after what is queued has left, or after
    /// [`CLOSE_PATIENCE`].
    pub fn close(&self) {
        self.0.0.finish(CloseReason::ByUs);
    }

    /// How many bytes wait for the peer.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.0.0.lock().bytes
    }
}

/// Closes the connection when the application has forgotten it.
#[derive(Debug)]
struct Handle(Arc<Queue>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.finish(CloseReason::ByUs);
    }
}

/// Texts on their way to the writing half of the task.
#[derive(Debug)]
pub(super) struct Queue {
    connection: u64,
    waiting: Mutex<Waiting>,
    changed: Notify,
    cut: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    texts: VecDeque<String>,
    /// Counts the texts and those that the writer has taken but not yet written.
    bytes: usize,
    ending: Option<CloseReason>,
}

/// What the writing half does next.
pub(super) enum Work {
    /// Write these; then tell [`Queue::written`].
    Write(VecDeque<String>),
    /// Everything is written and nothing may follow: say goodbye.
    Finish(CloseReason),
}

impl Queue {
    pub(super) fn new(connection: u64) -> Arc<Self> {
        Arc::new(Self {
            connection,
            waiting: Mutex::default(),
            changed: Notify::new(),
            cut: Notify::new(),
        })
    }

    pub(super) fn outgoing(self: &Arc<Self>) -> Outgoing {
        Outgoing(Arc::new(Handle(Arc::clone(self))))
    }

    /// Waits for something to write.
    pub(super) async fn next(&self) -> Work {
        loop {
            let changed = self.changed.notified();
            {
                let mut waiting = self.lock();
                if !waiting.texts.is_empty() {
                    return Work::Write(std::mem::take(&mut waiting.texts));
                }
                if let Some(reason) = &waiting.ending {
                    return Work::Finish(reason.clone());
                }
            }
            changed.await;
        }
    }

    /// Notes that so many bytes have left.
    pub(super) fn written(&self, bytes: usize) {
        let mut waiting = self.lock();
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
    }

    fn push(&self, text: String) -> Result<(), SendError> {
        let mut waiting = self.lock();
        if waiting.ending.is_some() {
            return Err(SendError::Closed);
        }
        let queued = waiting.bytes.saturating_add(text.len());
        if queued > MAX_QUEUED_BYTES {
            let reason = CloseReason::SlowPeer {
                queued,
                limit: MAX_QUEUED_BYTES,
            };
            waiting.ending = Some(reason.clone());
            waiting.texts.clear();
            drop(waiting);
            self.cut.notify_one();
            return Err(SendError::SlowPeer(reason));
        }
        tracing::trace!(target: "wire::send", connection = self.connection, %text);
        waiting.bytes = queued;
        waiting.texts.push_back(text);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    fn finish(&self, reason: CloseReason) {
        let mut waiting = self.lock();
        if waiting.ending.is_none() {
            waiting.ending = Some(reason);
            drop(waiting);
            self.changed.notify_one();
            self.cut.notify_one();
        }
    }

    /// Waits until this side has decided to end, and for as long as the rest may take to leave.
    async fn ended(&self) -> CloseReason {
        self.cut.notified().await;
        let reason = self.lock().ending.clone().unwrap_or(CloseReason::ByUs);
        match reason {
            // What waits would never leave.
            CloseReason::SlowPeer { .. } => {}
            CloseReason::ByPeer
            | CloseReason::ByUs
            | CloseReason::Silent { .. }
            | CloseReason::HalfMessage
            | CloseReason::Framing(_)
            | CloseReason::Frame(_)
            | CloseReason::TooManySessions { .. }
            | CloseReason::TooManyCalls { .. }
            | CloseReason::TooManyQueries { .. }
            | CloseReason::Handshake { .. }
            | CloseReason::Io { .. } => time::sleep(CLOSE_PATIENCE).await,
        }
        reason
    }

    /// A queue is consistent after every statement, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs both halves of a connection until one of them ends, and delivers the reason.
pub(super) fn run(
    inbox: Inbox,
    queue: Arc<Queue>,
    read: impl Future<Output = CloseReason> + Send + 'static,
    write: impl Future<Output = CloseReason> + Send + 'static,
) {
    tokio::spawn(async move {
        let reason = tokio::select! {
            reason = read => reason,
            reason = write => reason,
            reason = queue.ended() => reason,
        };
        queue.finish(reason.clone());
        tracing::debug!(target: "wire::close", connection = inbox.connection, %reason);
        inbox.deliver(Incoming::Closed(reason)).await;
    });
}
