//! SignalR over HTTP, both sides.
//!
//! A client asks `POST /negotiate` for a connection number, then opens a WebSocket at `GET /?id=…`,
//! usually over another TCP connection. So a listener calls [`accept`] for each TCP connection and
//! gets a socket from some of them.

mod dial;
mod http;

pub use dial::{DialledSocket, dial, dial_raw, start_dialled};
pub use http::Negotiator;

use std::sync::Arc;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::queue::{self, Inbox, Outgoing, Queue, Work};
use super::web_socket::{close_reason, configuration};
use super::{HANDSHAKE_PATIENCE, Incoming};
use crate::close::CloseReason;
use crate::framing::FramingError;
use crate::framing::signalr::{Decoder, End, Received, encode_at_server, handshake_answer};

type HttpSocket = WebSocketStream<TokioIo<Upgraded>>;

/// A socket behind the SignalR handshake.
#[derive(Debug)]
pub struct SignalRSocket {
    socket: HttpSocket,
    decoder: Decoder,
}

/// Why a peer got no SignalR connection.
#[derive(Debug, Error)]
pub enum AcceptError {
    /// The HTTP part failed.
    #[error("the peer does not speak HTTP; check that it means the SignalR port")]
    Http(#[source] hyper::Error),
    /// The socket cannot be used.
    #[error("the connection failed before the handshake")]
    Io(#[source] std::io::Error),
    /// The WebSocket ended before the SignalR handshake, or brought something else.
    #[error("the peer did not complete the SignalR handshake")]
    Handshake(#[source] CloseReason),
    /// It took too long.
    #[error("the peer did not complete the handshake within {seconds} seconds")]
    TimedOut {
        /// How long was waited.
        seconds: u64,
    },
}

/// Answers the HTTP requests of one TCP connection; gives a socket when one of them opened it, and
/// none when the connection only negotiated. Call it in a task of its own: a listener must not wait
/// for a peer that says nothing.
///
/// # Errors
/// [`AcceptError`].
pub async fn accept(
    stream: TcpStream,
    negotiator: &Arc<Negotiator>,
) -> Result<Option<SignalRSocket>, AcceptError> {
    // Frames are small and wait for one another; without this each waits 40 ms for the last.
    stream.set_nodelay(true).map_err(AcceptError::Io)?;
    let Some(upgraded) = http::serve(stream, negotiator).await? else {
        return Ok(None);
    };
    let socket = WebSocketStream::from_raw_socket(
        TokioIo::new(upgraded),
        Role::Server,
        Some(configuration()),
    )
    .await;
    time::timeout(HANDSHAKE_PATIENCE, shake_hands(socket))
        .await
        .map_err(|_| AcceptError::TimedOut {
            seconds: HANDSHAKE_PATIENCE.as_secs(),
        })?
        .map(Some)
        .map_err(AcceptError::Handshake)
}

/// Starts to pump an accepted socket. Needs a tokio runtime.
pub fn start(accepted: SignalRSocket, inbox: Inbox) -> Outgoing {
    let (writer, reader) = accepted.socket.split();
    let queue = Queue::new(inbox.connection);
    let outgoing = queue.outgoing();
    let read = read(reader, accepted.decoder, inbox.clone());
    queue::run(inbox, Arc::clone(&queue), read, write(writer, queue));
    outgoing
}

async fn shake_hands(mut socket: HttpSocket) -> Result<SignalRSocket, CloseReason> {
    let mut decoder = Decoder::new(End::Server);
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(records))) => decoder.feed(&records)?,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Close(_))) | None => return Err(CloseReason::ByPeer),
            Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
                return Err(FramingError::NotText.into());
            }
            Some(Err(error)) => return Err(close_reason(error)),
        }
        // The first record that a decoder lets through is the handshake.
        if decoder.next_received().is_some() {
            socket
                .send(Message::text(handshake_answer()))
                .await
                .map_err(close_reason)?;
            return Ok(SignalRSocket { socket, decoder });
        }
    }
}

async fn read<Stream>(
    mut reader: SplitStream<WebSocketStream<Stream>>,
    mut decoder: Decoder,
    inbox: Inbox,
) -> CloseReason
where
    Stream: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        while let Some(received) = decoder.next_received() {
            let incoming = match received {
                Received::Text(text) => Incoming::Text(text),
                Received::Handshake | Received::Alive => Incoming::Alive,
            };
            if !inbox.deliver(incoming).await {
                return CloseReason::ByUs;
            }
        }
        let fed = match reader.next().await {
            Some(Ok(Message::Text(records))) => decoder.feed(&records),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                if !inbox.deliver(Incoming::Alive).await {
                    return CloseReason::ByUs;
                }
                continue;
            }
            Some(Ok(Message::Close(_))) | None => return CloseReason::ByPeer,
            Some(Ok(Message::Binary(_) | Message::Frame(_))) => Err(FramingError::NotText),
            Some(Err(error)) => return close_reason(error),
        };
        match fed {
            Ok(()) => {}
            Err(FramingError::ClosedByPeer { reason: None }) => return CloseReason::ByPeer,
            Err(error) => return CloseReason::Framing(error),
        }
    }
}

async fn write(mut writer: SplitSink<HttpSocket, Message>, queue: Arc<Queue>) -> CloseReason {
    loop {
        match queue.next().await {
            Work::Write(mut texts) => {
                let bytes = texts.iter().map(String::len).sum();
                while let Some(records) = encode_at_server(&mut texts) {
                    if let Err(error) = writer.send(Message::text(records)).await {
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
