//! SignalR over HTTP, the dialling side.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::read;
use crate::carrier::handshake_stream::HandshakeStream;
use crate::carrier::queue::{self, Inbox, Outgoing, Queue, Work};
use crate::carrier::web_socket::{
    self, OpenError, address, close_reason, connect, within_patience,
};
use crate::close::CloseReason;
use crate::framing::FramingError;
use crate::framing::signalr::{
    Decoder, End, Received, encode_at_client, handshake_request, hub_ping,
};

/// The most bytes of an answer to a negotiation; the JavaScript server's has about 300.
const MAX_NEGOTIATION_BYTES: usize = 64 * 1_024;
/// The most letters of a connection's identifier, which goes into a URL.
const MAX_IDENTIFIER_LETTERS: usize = 128;

/// A socket that was dialled, behind the SignalR handshake.
#[derive(Debug)]
pub struct DialledSocket {
    socket: WebSocketStream<TcpStream>,
    decoder: Decoder,
}

/// Dials SignalR at `http://host:port/`, within [`CONNECT_PATIENCE`](crate::carrier::CONNECT_PATIENCE):
/// negotiates a connection, opens its WebSocket, and shakes hands.
///
/// # Errors
/// [`OpenError`].
pub async fn dial(host: &str, port: u16) -> Result<DialledSocket, OpenError> {
    let address = address(host, port);
    let opening = async {
        let identifier = ask_for_connection(host, port, &address).await?;
        let stream = connect(host, port, &address).await?;
        let query = format!("?id={identifier}");
        let socket = web_socket::shake_hands(stream, &address, &query).await?;
        shake_hands(socket)
            .await
            .map_err(|reason| OpenError::Negotiation {
                peer: address.clone(),
                reason: reason.to_string(),
            })
    };
    within_patience(Box::pin(opening), &address).await
}

/// Dials as [`dial`] does, but for SignalR's own handshake, and gives the stream right behind that of
/// the WebSocket, not a byte further: for a [`Wire`](crate::framing::wire::Wire).
///
/// # Errors
/// [`OpenError`].
pub async fn dial_raw(host: &str, port: u16) -> Result<TcpStream, OpenError> {
    let address = address(host, port);
    let opening = async {
        let identifier = ask_for_connection(host, port, &address).await?;
        let stream = HandshakeStream::new(connect(host, port, &address).await?);
        let query = format!("?id={identifier}");
        let socket = web_socket::shake_hands(stream, &address, &query).await?;
        Ok(socket.into_inner().into_inner())
    };
    within_patience(Box::pin(opening), &address).await
}

/// Starts to pump a dialled socket. Needs a tokio runtime.
pub fn start_dialled(dialled: DialledSocket, inbox: Inbox) -> Outgoing {
    let (writer, reader) = dialled.socket.split();
    let queue = Queue::new(inbox.connection);
    let outgoing = queue.outgoing();
    let read = read(reader, dialled.decoder, inbox.clone());
    queue::run(inbox, Arc::clone(&queue), read, write(writer, queue));
    outgoing
}

/// Asks over a connection of its own for a SignalR connection; gives its identifier.
async fn ask_for_connection(host: &str, port: u16, address: &str) -> Result<String, OpenError> {
    let stream = connect(host, port, address).await?;
    negotiate(stream, address)
        .await
        .map_err(|reason| OpenError::Negotiation {
            peer: address.to_owned(),
            reason,
        })
}

async fn negotiate(stream: TcpStream, address: &str) -> Result<String, String> {
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let request = Request::post("/negotiate?negotiateVersion=1")
        .header(HOST, address)
        .header(CONTENT_LENGTH, 0)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let asking = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("it answers {}", response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_NEGOTIATION_BYTES);
        let bytes = body.collect().await.map_err(|error| error.to_string())?;
        identifier_of(&bytes.to_bytes())
    };
    tokio::select! {
        answer = asking => answer,
        // It ends when the peer closes, which may be before the answer was taken.
        ended = connection => match ended {
            Ok(()) => Err("it closed the connection before it answered".to_owned()),
            Err(error) => Err(error.to_string()),
        },
    }
}

/// What a WebSocket has to name. Newer servers tell a token beside the identifier, and want that.
fn identifier_of(body: &[u8]) -> Result<String, String> {
    let answer: Value =
        serde_json::from_slice(body).map_err(|_| "its answer is not JSON".to_owned())?;
    let member = |name| answer.get(name).and_then(Value::as_str);
    let identifier = member("connectionToken")
        .or_else(|| member("connectionId"))
        .ok_or("its answer names no connection")?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
    if identifier.len() > MAX_IDENTIFIER_LETTERS || !identifier.chars().all(is_plain) {
        return Err("its answer names a connection in a way that fits no URL".to_owned());
    }
    Ok(identifier.to_owned())
}

async fn shake_hands(mut socket: WebSocketStream<TcpStream>) -> Result<DialledSocket, CloseReason> {
    socket
        .send(Message::text(handshake_request()))
        .await
        .map_err(close_reason)?;
    let mut decoder = Decoder::new(End::Client);
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
        if decoder.next_received() == Some(Received::Handshake) {
            // As the JavaScript client does: a first sign of life.
            socket
                .send(Message::text(hub_ping()))
                .await
                .map_err(close_reason)?;
            return Ok(DialledSocket { socket, decoder });
        }
    }
}

/// One record a message: the JavaScript server reads no more of it.
async fn write(
    mut writer: SplitSink<WebSocketStream<TcpStream>, Message>,
    queue: Arc<Queue>,
) -> CloseReason {
    loop {
        match queue.next().await {
            Work::Write(texts) => {
                let bytes = texts.iter().map(String::len).sum();
                for text in texts {
                    let message = Message::text(encode_at_client(&text));
                    if let Err(error) = writer.send(message).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negotiation_names_its_connection_or_says_why_not() {
        let named = |body: &str| identifier_of(body.as_bytes());
        assert_eq!(named(r#"{"connectionId":"1"}"#), Ok("1".to_owned()));
        let both = r#"{"connectionId":"1","connectionToken":"x-Y_2"}"#;
        assert_eq!(named(both), Ok("x-Y_2".to_owned()));
        let long = format!(r#"{{"connectionId":"{}"}}"#, "x".repeat(200));
        for body in [
            "",
            "1",
            "{}",
            r#"{"connectionId":1}"#,
            r#"{"connectionId":"a&b"}"#,
            &long,
        ] {
            assert!(named(body).is_err(), "{body}");
        }
    }
}
