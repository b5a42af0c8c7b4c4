//! The queue of messages to the keeper.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

use super::LinkError;
use crate::keeper::MAX_DESCRIPTORS_PER_MESSAGE;
use crate::os;

/// Maximum number of messages that wait for a keeper that does not read: one for each descriptor that it
/// can store.
const MAX_WAITING: usize = 16_384;
/// How long a call waits for the keeper before its message is queued.
const SEND_TIMEOUT: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Notifications {
    socket: Arc<AsyncFd<Arc<OwnedFd>>>,
    queue: Mutex<Queue>,
    /// Signals the task that messages wait.
    wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Box<str>, Vec<OwnedFd>)>,
    /// The keeper has ended: messages are dropped.
    gone: bool,
}

impl Notifications {
    /// Sends over a connected socket that keeps messages apart.
    pub(super) fn start(socket: OwnedFd) -> io::Result<Arc<Self>> {
        let notifications = Arc::new(Self {
            socket: Arc::new(os::watch(Arc::new(socket), Interest::WRITABLE)?),
            queue: Mutex::default(),
            wake: Arc::default(),
        });
        tokio::spawn(send_waiting(
            Arc::downgrade(&notifications),
            Arc::clone(&notifications.socket),
            Arc::clone(&notifications.wake),
        ));
        Ok(notifications)
    }

    /// Sends at once or, if the keeper does not read, after the messages that wait already.
    pub(super) fn send(&self, text: &str, descriptors: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        let mut queue = self.queue();
        if queue.waiting.is_empty() && queue.send_soon(&self.socket, text, descriptors)? {
            return Ok(());
        }
        if queue.waiting.len() >= MAX_WAITING {
            let waiting = queue.waiting.len();
            return Err(LinkError::Behind { waiting });
        }
        let copies = descriptors.iter().map(BorrowedFd::try_clone_to_owned);
        let copies = copies.collect::<io::Result<_>>()?;
        queue.waiting.push_back((text.into(), copies));
        self.wake.notify_one();
        Ok(())
    }

    pub(super) fn is_gone(&self) -> bool {
        self.queue().gone
    }

    /// The keeper was killed: drops the messages that wait and all later ones.
    pub(super) fn close(&self) {
        let mut queue = self.queue();
        queue.gone = true;
        queue.waiting.clear();
    }

    /// Sends as many waiting messages as the keeper takes; true if none waits any more.
    fn flush(&self) -> bool {
        let mut queue = self.queue();
        while let Some((text, descriptors)) = queue.waiting.pop_front() {
            let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
            match queue.try_send(&self.socket, &text, &borrowed) {
                Ok(true) => {}
                Ok(false) => {
                    queue.waiting.push_front((text, descriptors));
                    return false;
                }
                Err(error) => tracing::warn!(%error, "the keeper was not told something"),
            }
        }
        true
    }

    /// No code panics while holding this lock; if it did, the queue would still be consistent.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Sends as soon as the keeper reads, within [`SEND_TIMEOUT`]; false if it does not. The kernel's
    /// queue is short, so it is often full for some microseconds.
    fn send_soon(
        &mut self,
        socket: &AsyncFd<Arc<OwnedFd>>,
        text: &str,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<bool, LinkError> {
        let deadline = Instant::now() + SEND_TIMEOUT;
        while !self.try_send(socket, text, descriptors)? {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut asked = [PollFd::new(socket.get_ref(), PollFlags::OUT)];
            let timeout = Timespec::try_from(left).unwrap_or_default();
            if left.is_zero() || poll(&mut asked, Some(&timeout)) == Ok(0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// False if there is no room now.
    fn try_send(
        &mut self,
        socket: &AsyncFd<Arc<OwnedFd>>,
        text: &str,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<bool, LinkError> {
        if self.gone {
            return Ok(true);
        }
        let mut space =
            [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_DESCRIPTORS_PER_MESSAGE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            // There is room for the maximum.
            control.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let text = [IoSlice::new(text.as_bytes())];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(socket.get_ref(), &text, &mut control, flags) {
            Ok(_) => Ok(true),
            // Too many descriptors in flight (`RLIMIT_NOFILE`) is temporary, too.
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::TOOMANYREFS) => Ok(false),
            Err(Errno::CONNREFUSED | Errno::NOTCONN | Errno::PIPE | Errno::CONNRESET) => {
                self.gone = true;
                Ok(true)
            }
            Err(error) => Err(LinkError::System(error.into())),
        }
    }
}

/// Ends when the last sender is dropped.
async fn send_waiting(
    notifications: Weak<Notifications>,
    socket: Arc<AsyncFd<Arc<OwnedFd>>>,
    wake: Arc<Notify>,
) {
    loop {
        wake.notified().await;
        loop {
            // If this fails, sending is tried all the same.
            let ready = socket.writable().await;
            let Some(notifications) = notifications.upgrade() else {
                return;
            };
            if notifications.flush() {
                break;
            }
            if let Ok(mut ready) = ready {
                ready.clear_ready();
            }
        }
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        self.wake.notify_one();
    }
}
