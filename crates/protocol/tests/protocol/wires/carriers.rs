//! Carriers as the other end, over real sockets.

use std::sync::Arc;

use allexmaster_protocol::carrier::signalr::{self, Negotiator};
use allexmaster_protocol::carrier::web_socket::{self, OpenError};
use allexmaster_protocol::carrier::{Delivery, Inbox, Incoming, Outgoing, length_prefixed, lines};
use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{SEED, frame, text};

/// A wire with its socket.
struct Driven<Stream> {
    stream: Stream,
    wire: Wire,
    items: Vec<WireItem>,
}

impl<Stream: AsyncRead + AsyncWrite + Unpin> Driven<Stream> {
    fn new(stream: Stream, wire: Wire) -> Self {
        let items = vec![];
        Self {
            stream,
            wire,
            items,
        }
    }

    async fn flush(&mut self) {
        let output = self.wire.take_output();
        self.stream.write_all(&output).await.unwrap();
    }

    /// Reads until there are so many items, and gives them.
    async fn items(&mut self, count: usize) -> Vec<WireItem> {
        self.flush().await;
        while self.items.len() < count {
            let mut buffer = [0; 1_000];
            match self.stream.read(&mut buffer).await.unwrap() {
                0 => self.wire.receive_end(&mut self.items),
                length => self.wire.receive(&buffer[..length], &mut self.items),
            }
            self.flush().await;
        }
        self.items.drain(..count).collect()
    }
}

/// Talks both ways with a carrier, which then closes.
async fn talk<Stream>(mut driven: Driven<Stream>, carrier: Outgoing, mut inbox: Receiver<Delivery>)
where
    Stream: AsyncRead + AsyncWrite + Unpin,
{
    for number in 0..40_usize {
        // JSON that is a frame, as SignalR wants it, and sometimes longer than a batch.
        let long = "é".repeat(number * number * 100);
        let (asked, told) = (format!("[\"f\",[{number}]]"), format!("[\"f\",\"{long}\"]"));
        driven.wire.send(&asked).unwrap();
        driven.flush().await;
        while let Some(delivery) = inbox.recv().await {
            match delivery.incoming {
                Incoming::Text(content) => {
                    assert_eq!(content, asked);
                    break;
                }
                Incoming::Alive => {}
                Incoming::Closed(reason) => panic!("{reason}"),
            }
        }
        carrier.send(told.clone()).unwrap();
        let item = loop {
            let item = driven.items(1).await.remove(0);
            if item != WireItem::Alive {
                break item;
            }
        };
        assert_eq!(item, text(&told));
    }
    drop(carrier);
    let end = driven.items(1).await.remove(0);
    assert_eq!(end, WireItem::Closed(CloseReason::ByPeer));
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn a_wire_talks_with_the_carrier_of_sockets() {
    let (ours, theirs) = duplex(1_000);
    let (inbox, receiver) = Inbox::alone(64);
    let carrier = length_prefixed::start(theirs, inbox);
    talk(
        Driven::new(ours, Wire::length_prefixed()),
        carrier,
        receiver,
    )
    .await;
}

#[tokio::test]
async fn a_wire_talks_with_the_carrier_of_lines() {
    let (ours, theirs) = duplex(1_000);
    let (inbox, receiver) = Inbox::alone(64);
    let carrier = lines::start(theirs, inbox);
    talk(Driven::new(ours, Wire::lines()), carrier, receiver).await;
}

#[tokio::test]
async fn a_wire_talks_with_the_carrier_of_web_sockets() {
    let (listener, port) = listener().await;
    let (dialled, accepted) = tokio::join!(web_socket::dial_raw("127.0.0.1", port), async {
        web_socket::accept(listener.accept().await.unwrap().0).await
    });
    let (inbox, receiver) = Inbox::alone(64);
    let carrier = web_socket::start(accepted.unwrap(), inbox);
    let wire = Wire::web_socket_client(SEED);
    talk(Driven::new(dialled.unwrap(), wire), carrier, receiver).await;
}

#[tokio::test]
async fn a_wire_talks_with_the_carrier_of_signalr() {
    let (listener, port) = listener().await;
    let negotiator = Arc::new(Negotiator::default());
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Some(socket) = signalr::accept(stream, &negotiator).await.unwrap() {
                return socket;
            }
        }
    };
    let dial = async {
        let stream = signalr::dial_raw("127.0.0.1", port).await.unwrap();
        let mut driven = Driven::new(stream, Wire::signalr_client(SEED));
        assert_eq!(driven.items(1).await, [WireItem::Alive]);
        driven
    };
    let (driven, accepted) = tokio::join!(dial, accept);
    let (inbox, receiver) = Inbox::alone(64);
    let carrier = signalr::start(accepted, inbox);
    talk(driven, carrier, receiver).await;
}

/// Answers the handshake of one WebSocket, with something behind it in the same packet.
async fn answer_handshake(listener: &TcpListener, behind: &[u8]) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        request.push(char::from(stream.read_u8().await.unwrap()));
    }
    let key = request
        .lines()
        .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
        .unwrap();
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    )
    .into_bytes();
    answer.extend(behind);
    stream.write_all(&answer).await.unwrap();
    stream
}

#[tokio::test]
async fn dialling_leaves_in_the_socket_what_comes_with_the_answer() {
    let (listener, port) = listener().await;
    let first = frame(0x81, b"\"at once\"\r\n\r\n");
    let (dialled, _accepted) = tokio::join!(
        web_socket::dial_raw("127.0.0.1", port),
        answer_handshake(&listener, &first)
    );
    let mut arrived = vec![0; first.len()];
    dialled.unwrap().read_exact(&mut arrived).await.unwrap();
    assert_eq!(arrived, first);
}

#[tokio::test]
async fn dialling_a_raw_stream_fails_as_dialling_does() {
    let (listener, port) = listener().await;
    let refuse = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        // Until the other side has gone, so that it reads all of it.
        drop(stream.read_to_end(&mut vec![]).await);
    };
    let (dialled, ()) = tokio::join!(web_socket::dial_raw("127.0.0.1", port), refuse);
    assert!(matches!(dialled, Err(OpenError::Handshake { .. })));
    let hang_up = async { drop(listener.accept().await.unwrap()) };
    let (dialled, ()) = tokio::join!(web_socket::dial_raw("127.0.0.1", port), hang_up);
    assert!(matches!(dialled, Err(OpenError::Handshake { .. })));
    let hang_up = async { drop(listener.accept().await.unwrap()) };
    let (dialled, ()) = tokio::join!(signalr::dial_raw("127.0.0.1", port), hang_up);
    assert!(matches!(dialled, Err(OpenError::Negotiation { .. })));
    drop(listener);
    let dialled = web_socket::dial_raw("127.0.0.1", port).await;
    assert!(dialled.unwrap_err().is_refused());
}
