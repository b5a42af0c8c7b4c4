//! The pump: moves bytes between a socket and whatever takes them apart, until the connection ends.
//!
//! [`pump`] is the loop, over any [`Link`]. [`Opened::start`] runs it as a task over a stream with its
//! [`Wire`]:
//!
//! ```text
//!   socket ──► Wire ──► Inbox (bounded, may be shared) ──► application
//!   socket ◄── Wire (bounded bytes) ◄── Outgoing (never blocks) ◄──┘
//! ```
//!
//! When the application is behind, the connection is not read, and the peer waits. A peer that does not
//! read is cut off when [`MAX_QUEUED_BYTES`](crate::framing::MAX_QUEUED_BYTES) wait for it. All that
//! waits when the task wakes goes to the socket in one write. However a connection ends, its last
//! delivery is [`WireItem::Closed`] with the reason.

use std::collections::VecDeque;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use crate::close::CloseReason;
use crate::framing::wire::{Wire, WireItem};

/// How long the last bytes may take to leave when a connection closes.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How much is read from a socket at once.
pub const READ_BYTES: usize = 16 * 1_024;

/// What a connection needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Bytes wait for the socket.
    pub writing: bool,
    /// What arrives may be read now.
    pub reading: bool,
    /// The connection ends when everything is written.
    pub finishing: bool,
}

/// One connection, as [`pump`] drives it. All its futures may be dropped before they are ready without
/// a loss.
pub trait Link: Sync {
    /// What is to be done.
    ///
    /// # Errors
    /// The socket cannot be used.
    fn turn(&self) -> io::Result<Turn>;
    /// Waits for bytes and takes them in; 0 when none will follow.
    fn read(&self) -> impl Future<Output = io::Result<usize>> + Send;
    /// Waits for room in the socket and writes what fits.
    fn write(&self) -> impl Future<Output = io::Result<()>> + Send;
    /// Waits until [`Link::turn`] may have changed from outside.
    fn changed(&self) -> impl Future<Output = ()> + Send;
    /// Waits until a link that could not be read can be read again.
    fn readable_again(&self) -> impl Future<Output = ()> + Send;
}

/// Reads and writes until the connection ends. A link that finishes has [`CLOSE_TIMEOUT`] to write the
/// rest, and is not read meanwhile.
pub async fn pump(link: &impl Link) -> CloseReason {
    let mut finish_until = None;
    loop {
        let turn = match link.turn() {
            Ok(turn) => turn,
            Err(error) => return CloseReason::from_io(&error),
        };
        if turn.finishing {
            if !turn.writing {
                return CloseReason::ByUs;
            }
            finish_until.get_or_insert_with(|| Instant::now() + CLOSE_TIMEOUT);
        }
        let open = finish_until.is_none();
        let outcome = tokio::select! {
            read = link.read(), if open && turn.reading => match read {
                Ok(0) => return CloseReason::ByPeer,
                read => read.map(drop),
            },
            written = link.write(), if turn.writing => written,
            () = link.changed() => Ok(()),
            () = link.readable_again(), if open && !turn.reading => Ok(()),
            () = until(finish_until) => return CloseReason::ByUs,
        };
        if let Err(error) = outcome {
            return CloseReason::from_io(&error);
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// What arrived, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The number that the application gave the connection.
    pub connection: u64,
    pub item: WireItem,
}

/// Where a connection delivers: a bounded channel, which connections may share.
#[derive(Clone, Debug)]
pub struct Inbox {
    /// Marks every delivery.
    pub connection: u64,
    /// When its receiver is gone, the connection closes.
    pub sender: mpsc::Sender<Delivery>,
}

impl Inbox {
    /// An inbox for one connection alone, with its receiving end; `capacity` items wait in it.
    #[must_use]
    pub fn alone(capacity: usize) -> (Self, mpsc::Receiver<Delivery>) {
        let (sender, receiver) = mpsc::channel(capacity);
        let connection = 0;
        (Self { connection, sender }, receiver)
    }

    fn delivery(&self, item: WireItem) -> Delivery {
        if let WireItem::Text(text) = &item {
            tracing::trace!(target: "wire::receive", connection = self.connection, %text);
        }
        let connection = self.connection;
        Delivery { connection, item }
    }
}

/// A connection behind its handshakes.
#[derive(Debug)]
pub struct Opened<Stream> {
    stream: Stream,
    wire: Wire,
    /// What came together with the handshake.
    received: Vec<WireItem>,
}

impl<Stream> Opened<Stream> {
    #[must_use]
    pub fn new(stream: Stream, wire: Wire) -> Self {
        Self::with_received(stream, wire, Vec::new())
    }

    pub(crate) fn with_received(stream: Stream, wire: Wire, received: Vec<WireItem>) -> Self {
        Self {
            stream,
            wire,
            received,
        }
    }

    /// Starts the task of the connection. Needs a tokio runtime.
    pub fn start(self, inbox: Inbox) -> Outgoing
    where
        Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::new(Shared {
            connection: inbox.connection,
            sending: Mutex::new(Sending {
                wire: self.wire,
                in_flight: 0,
            }),
            changed: Notify::new(),
        });
        let link = StreamLink {
            shared: Arc::clone(&shared),
            socket: Mutex::new(Socket {
                stream: self.stream,
                output: Vec::new(),
                written: 0,
            }),
            undelivered: Mutex::new(self.received.into()),
            inbox,
        };
        tokio::spawn(link.serve());
        Outgoing(Arc::new(Handle(shared)))
    }
}

/// Where a connection takes what is to be sent. Clones are the same connection; when the last one is
/// dropped, the connection closes after what is queued has left.
#[derive(Clone, Debug)]
pub struct Outgoing(Arc<Handle>);

impl Outgoing {
    /// Queues a text. Never blocks.
    ///
    /// # Errors
    /// Why the connection has ended; it may have ended by this, with [`CloseReason::SlowPeer`].
    pub fn send(&self, text: &str) -> Result<(), CloseReason> {
        let shared = &self.0.0;
        let outcome = shared.sending().send(text);
        if outcome.is_ok() {
            tracing::trace!(target: "wire::send", connection = shared.connection, %text);
        }
        shared.changed.notify_one();
        outcome
    }

    /// Closes the connection after what is queued has left, or after [`CLOSE_TIMEOUT`].
    pub fn close(&self) {
        self.0.0.close();
    }

    /// How many bytes wait for the peer.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.0.0.sending().queued_bytes()
    }
}

/// Closes the connection when the application has dropped it.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What the application and the task share.
#[derive(Debug)]
struct Shared {
    connection: u64,
    sending: Mutex<Sending>,
    changed: Notify,
}

#[derive(Debug)]
struct Sending {
    wire: Wire,
    /// How many bytes the task has taken from the wire but not yet written.
    in_flight: usize,
}

impl Sending {
    fn send(&mut self, text: &str) -> Result<(), CloseReason> {
        self.wire.send_behind(self.in_flight, text)
    }

    fn has_output(&self) -> bool {
        self.in_flight > 0 || self.wire.has_output()
    }

    fn queued_bytes(&self) -> usize {
        self.in_flight.saturating_add(self.wire.queued_bytes())
    }
}

impl Shared {
    fn close(&self) {
        self.sending().wire.close();
        self.changed.notify_one();
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        lock(&self.sending)
    }
}

/// All of it is consistent after every statement, so a panic elsewhere does not spoil it.
fn lock<Guarded>(mutex: &Mutex<Guarded>) -> MutexGuard<'_, Guarded> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A stream with its wire. Only the task itself locks `socket` and `undelivered`.
struct StreamLink<Stream> {
    shared: Arc<Shared>,
    socket: Mutex<Socket<Stream>>,
    /// What the full inbox did not take; until it does, nothing is read.
    undelivered: Mutex<VecDeque<WireItem>>,
    inbox: Inbox,
}

struct Socket<Stream> {
    stream: Stream,
    output: Vec<u8>,
    written: usize,
}

impl<Stream: AsyncRead + AsyncWrite + Unpin + Send> StreamLink<Stream> {
    async fn serve(self) {
        let ended = pump(&self).await;
        let reason = self.shared.sending().wire.fail(ended);
        let Self {
            socket,
            undelivered,
            inbox,
            ..
        } = self;
        let mut socket = socket.into_inner().unwrap_or_else(PoisonError::into_inner);
        // The peer may have gone first, and then cannot be told.
        drop(timeout(CLOSE_TIMEOUT, socket.stream.shutdown()).await);
        drop(socket);
        tracing::debug!(target: "wire::close", connection = inbox.connection, %reason);
        let rest = undelivered
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let rest = rest.into_iter().filter(|_| reason != CloseReason::ByUs);
        for item in rest.chain([WireItem::Closed(reason.clone())]) {
            if inbox.sender.send(inbox.delivery(item)).await.is_err() {
                return;
            }
        }
    }

    fn poll_read(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [MaybeUninit::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut lock(&self.socket).stream).poll_read(context, &mut buffer))?;
        let mut items = Vec::new();
        let mut sending = self.shared.sending();
        match buffer.filled() {
            [] => sending.wire.receive_end(&mut items),
            bytes => sending.wire.receive(bytes, &mut items),
        }
        drop(sending);
        // The end is delivered when the answers have left.
        let items = items
            .into_iter()
            .filter(|item| !matches!(item, WireItem::Closed(_)));
        lock(&self.undelivered).extend(items);
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_write(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = lock(&self.socket);
        let Socket {
            stream,
            output,
            written,
        } = &mut *socket;
        let mut stream = Pin::new(stream);
        if *written == output.len() {
            let mut sending = self.shared.sending();
            *output = sending.wire.take_output();
            *written = 0;
            sending.in_flight = output.len();
        }
        while let Some(rest) = output.get(*written..).filter(|rest| !rest.is_empty()) {
            let count = ready!(stream.as_mut().poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += count;
        }
        // A stream that encrypts has its own buffer: only flushed bytes have left.
        ready!(stream.poll_flush(context))?;
        *output = Vec::new();
        *written = 0;
        self.shared.sending().in_flight = 0;
        Poll::Ready(Ok(()))
    }

    /// Delivers what the inbox has room for.
    fn deliver(&self) {
        let mut undelivered = lock(&self.undelivered);
        while !undelivered.is_empty() {
            match self.inbox.sender.try_reserve() {
                Ok(permit) => {
                    if let Some(item) = undelivered.pop_front() {
                        permit.send(self.inbox.delivery(item));
                    }
                }
                Err(TrySendError::Full(())) => return,
                Err(TrySendError::Closed(())) => {
                    undelivered.clear();
                    self.shared.close();
                }
            }
        }
    }
}

impl<Stream: AsyncRead + AsyncWrite + Unpin + Send> Link for StreamLink<Stream> {
    fn turn(&self) -> io::Result<Turn> {
        self.deliver();
        let sending = self.shared.sending();
        let closed = sending.wire.closed();
        Ok(Turn {
            // What waits for a slow peer would never leave.
            writing: sending.has_output() && !matches!(closed, Some(CloseReason::SlowPeer { .. })),
            reading: lock(&self.undelivered).is_empty(),
            finishing: closed.is_some(),
        })
    }

    async fn read(&self) -> io::Result<usize> {
        poll_fn(|context| self.poll_read(context)).await
    }

    async fn write(&self) -> io::Result<()> {
        poll_fn(|context| self.poll_write(context)).await
    }

    async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    async fn readable_again(&self) {
        // The place is used, not given back: of many connections that wait each gets its turn. An error
        // says that nobody receives any more; the next `deliver` then closes the connection.
        if let Ok(permit) = self.inbox.sender.reserve().await
            && let Some(item) = lock(&self.undelivered).pop_front()
        {
            permit.send(self.inbox.delivery(item));
        }
    }
}
