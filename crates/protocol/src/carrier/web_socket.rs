//! Plain WebSockets, both sides. Compression is not offered.

use std::future::Future;
use std::sync::Arc;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config, client_async_with_config};

use super::handshake_stream::HandshakeStream;
use super::queue::{self, Inbox, Outgoing, Queue, Work};
use super::{CONNECT_PATIENCE, HANDSHAKE_PATIENCE, Incoming, io_reason};
use crate::close::CloseReason;
use crate::framing::{FramingError, MAX_MESSAGE_BYTES, text_batch};

/// Why a WebSocket could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Nobody answers at the address.
    #[error("cannot connect to {address}")]
    Connect {
        /// The address that was dialled.
        address: String,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// Somebody answers, but not as a WebSocket.
    #[error(
        "the WebSocket handshake with {peer} failed; check that it serves WebSockets on this port"
    )]
    Handshake {
        /// The other end.
        peer: String,
        /// What went wrong.
        #[source]
        source: Box<tungstenite::Error>,
    },
    /// Somebody answers, but not with a TLS that can be trusted.
    #[error(
        "no trusted TLS with {peer}; check its certificate, and that it serves wss on this port"
    )]
    Tls {
        /// The other end.
        peer: String,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// Somebody answers, but grants no SignalR connection.
    #[error(
        "{peer} grants no SignalR connection: {reason}; check that it serves SignalR on this port"
    )]
    Negotiation {
        /// The other end.
        peer: String,
        /// What went wrong.
        reason: String,
    },
    /// It took too long.
    #[error("{peer} did not answer within {seconds} seconds")]
    TimedOut {
        /// The other end.
        peer: String,
        /// How long was waited.
        seconds: u64,
    },
}

impl OpenError {
    /// Whether the peer's system refused the connection at once: another port may be the right one.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        match self {
            Self::Connect { address: _, source } => {
                source.kind() == std::io::ErrorKind::ConnectionRefused
            }
            Self::Handshake { .. }
            | Self::Tls { .. }
            | Self::Negotiation { .. }
            | Self::TimedOut { .. } => false,
        }
    }
}

/// Dials `ws://host:port/`, within [`CONNECT_PATIENCE`].
///
/// # Errors
/// [`OpenError`].
pub async fn dial(host: &str, port: u16) -> Result<WebSocketStream<TcpStream>, OpenError> {
    let address = address(host, port);
    let opening = async {
        let stream = connect(host, port, &address).await?;
        shake_hands(stream, &address, "").await
    };
    within_patience(opening, &address).await
}

/// Dials as [`dial`] does, and gives the stream right behind the handshake, not a byte further: for a
/// [`Wire`](crate::framing::wire::Wire).
///
/// # Errors
/// [`OpenError`].
pub async fn dial_raw(host: &str, port: u16) -> Result<TcpStream, OpenError> {
    let address = address(host, port);
    let opening = async {
        let stream = HandshakeStream::new(connect(host, port, &address).await?);
        let socket = shake_hands(stream, &address, "").await?;
        Ok(socket.into_inner().into_inner())
    };
    within_patience(opening, &address).await
}

/// Takes the handshake of a peer that has dialled, within [`HANDSHAKE_PATIENCE`]. Call it in a task
/// of its own: a listener must not wait for a peer that says nothing.
///
/// # Errors
/// [`OpenError`].
pub async fn accept(stream: TcpStream) -> Result<WebSocketStream<TcpStream>, OpenError> {
    let peer = stream
        .peer_addr()
        .map_or_else(|_| "the peer".to_owned(), |address| address.to_string());
    stream
        .set_nodelay(true)
        .map_err(|source| OpenError::Connect {
            address: peer.clone(),
            source,
        })?;
    let timed_out = |_| OpenError::TimedOut {
        peer: peer.clone(),
        seconds: HANDSHAKE_PATIENCE.as_secs(),
    };
    time::timeout(
        HANDSHAKE_PATIENCE,
        accept_async_with_config(stream, Some(configuration())),
    )
    .await
    .map_err(timed_out)?
    .map_err(|source| OpenError::Handshake {
        peer: peer.clone(),
        source: Box::new(source),
    })
}

/// Starts to pump an open WebSocket, whichever side dialled. Needs a tokio runtime.
pub fn start<Stream>(socket: WebSocketStream<Stream>, inbox: Inbox) -> Outgoing
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (writer, reader) = socket.split();
    let queue = Queue::new(inbox.connection);
    let outgoing = queue.outgoing();
    queue::run(
        inbox.clone(),
        Arc::clone(&queue),
        read(reader, inbox),
        write(writer, queue),
    );
    outgoing
}

/// How an address is written in a URL and in messages: IPv6 in brackets.
pub(super) fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

pub(super) async fn connect(host: &str, port: u16, address: &str) -> Result<TcpStream, OpenError> {
    let failed = |source| OpenError::Connect {
        address: address.to_owned(),
        source,
    };
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    // Frames are small and wait for one another; without this each waits 40 ms for the last.
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

/// Opens a WebSocket on a stream that has been dialled, with what the URL has behind its last slash.
pub(super) async fn shake_hands<Stream>(
    stream: Stream,
    address: &str,
    query: &str,
) -> Result<WebSocketStream<Stream>, OpenError>
where
    Stream: AsyncRead + AsyncWrite + Unpin,
{
    let url = format!("ws://{address}/{query}");
    client_async_with_config(url, stream, Some(configuration()))
        .await
        .map(|(socket, _)| socket)
        .map_err(|source| OpenError::Handshake {
            peer: address.to_owned(),
            source: Box::new(source),
        })
}

pub(super) async fn within_patience<Opened>(
    opening: impl Future<Output = Result<Opened, OpenError>>,
    address: &str,
) -> Result<Opened, OpenError> {
    let seconds = CONNECT_PATIENCE.as_secs();
    time::timeout(CONNECT_PATIENCE, opening)
        .await
        .map_err(|_| OpenError::TimedOut {
            peer: address.to_owned(),
            seconds,
        })?
}

/// The limits of a WebSocket.
pub(super) fn configuration() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES))
}

/// Why a WebSocket ended.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library may add errors, and all others are told the same way"
)]
pub(super) fn close_reason(error: tungstenite::Error) -> CloseReason {
    use tungstenite::error::{CapacityError, ProtocolError};
    match error {
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            CloseReason::ByPeer
        }
        tungstenite::Error::Io(error) => io_reason(&error),
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            CloseReason::Framing(FramingError::TooLarge {
                announced: size,
                limit: max_size,
            })
        }
        tungstenite::Error::Utf8(_) => CloseReason::Framing(FramingError::NotUtf8),
        other => CloseReason::Io {
            reason: other.to_string(),
        },
    }
}

async fn read<Stream>(mut reader: SplitStream<WebSocketStream<Stream>>, inbox: Inbox) -> CloseReason
where
    Stream: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let batch = match reader.next().await {
            Some(Ok(Message::Text(batch))) => batch,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                if inbox.deliver(Incoming::Alive).await {
                    continue;
                }
                return CloseReason::ByUs;
            }
            Some(Ok(Message::Close(_))) | None => return CloseReason::ByPeer,
            Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
                return CloseReason::Framing(FramingError::NotText);
            }
            Some(Err(error)) => return close_reason(error),
        };
        let texts = match text_batch::split(&batch) {
            Ok(texts) => texts,
            Err(error) => return CloseReason::Framing(error),
        };
        for text in texts {
            if !inbox.deliver(Incoming::Text(text)).await {
                return CloseReason::ByUs;
            }
        }
    }
}

async fn write<Stream>(
    mut writer: SplitSink<WebSocketStream<Stream>, Message>,
    queue: Arc<Queue>,
) -> CloseReason
where
    Stream: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match queue.next().await {
            Work::Write(mut texts) => {
                let bytes = texts.iter().map(String::len).sum();
                while let Some(batch) = text_batch::join(&mut texts) {
                    if let Err(error) = writer.send(Message::text(batch)).await {
                        return close_reason(error);
                    }
                }
                queue.written(bytes);
            }
            Work::Finish(reason) => {
                // The peer may have gone first; there is nobody to tell.
                drop(writer.close().await);
                return reason;
            }
        }
    }
}
