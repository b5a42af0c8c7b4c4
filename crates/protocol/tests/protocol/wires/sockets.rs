//! Wires at both ends of real sockets: this side driven by the test, the other one by the pump.

use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::handshake::accept::{self, Negotiator};
use allexmaster_protocol::handshake::dial::{self, DialError};
use allexmaster_protocol::handshake::web::WebAccess;
use allexmaster_protocol::pump::{Inbox, Opened};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
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

/// Talks both ways with the other end, which then closes.
async fn talk<Ours, Theirs>(mut driven: Driven<Ours>, opened: Opened<Theirs>)
where
    Ours: AsyncRead + AsyncWrite + Unpin,
    Theirs: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (inbox, mut inbox_end) = Inbox::alone(64);
    let outgoing = opened.start(inbox);
    if !driven.wire.is_ready() {
        assert_eq!(driven.items(1).await, [WireItem::Alive]);
    }
    for number in 0..40_usize {
        // JSON that is a frame, as SignalR wants it, and sometimes longer than a batch.
        let long = "é".repeat(number * number * 100);
        let (asked, told) = (format!("[\"f\",[{number}]]"), format!("[\"f\",\"{long}\"]"));
        driven.wire.send(&asked).unwrap();
        driven.flush().await;
        while let Some(delivery) = inbox_end.recv().await {
            match delivery.item {
                WireItem::Text(content) => {
                    assert_eq!(content, asked);
                    break;
                }
                WireItem::Alive => {}
                WireItem::Closed(reason) => panic!("{reason}"),
            }
        }
        outgoing.send(&told).unwrap();
        let item = loop {
            let item = driven.items(1).await.remove(0);
            if item != WireItem::Alive {
                break item;
            }
        };
        assert_eq!(item, text(&told));
    }
    drop(outgoing);
    let end = driven.items(1).await.remove(0);
    assert_eq!(end, WireItem::Closed(CloseReason::ByPeer));
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[tokio::test]
async fn length_prefixed_wires_talk() {
    let (ours, theirs) = duplex(1_000);
    let ours = Driven::new(ours, Wire::length_prefixed());
    talk(ours, Opened::new(theirs, Wire::length_prefixed())).await;
}

#[tokio::test]
async fn newline_delimited_wires_talk() {
    let (ours, theirs) = duplex(1_000);
    let ours = Driven::new(ours, Wire::newline_delimited());
    talk(ours, Opened::new(theirs, Wire::newline_delimited())).await;
}

#[tokio::test]
async fn web_socket_wires_talk() {
    let (listener, port) = listener().await;
    let (dialled, accepted) = tokio::join!(dial::web_socket("127.0.0.1", port), async {
        accept::web_socket(listener.accept().await.unwrap().0, &WebAccess::default()).await
    });
    let ours = Driven::new(dialled.unwrap(), Wire::web_socket_client(SEED));
    talk(ours, accepted.unwrap()).await;
}

#[tokio::test]
async fn signalr_wires_talk() {
    let (listener, port) = listener().await;
    let negotiator = Negotiator::default();
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Some(opened) = accept::signalr(stream, &WebAccess::default(), &negotiator)
                .await
                .unwrap()
            {
                return opened;
            }
        }
    };
    let dial = async {
        let stream = dial::signalr("127.0.0.1", port).await.unwrap();
        let mut ours = Driven::new(stream, Wire::signalr_client(SEED));
        ours.flush().await;
        ours
    };
    let (ours, accepted) = tokio::join!(dial, accept);
    talk(ours, accepted).await;
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
        dial::web_socket("127.0.0.1", port),
        answer_handshake(&listener, &first)
    );
    let mut arrived = vec![0; first.len()];
    dialled.unwrap().read_exact(&mut arrived).await.unwrap();
    assert_eq!(arrived, first);
}

#[tokio::test]
async fn dialling_fails_with_the_step_that_failed() {
    let (listener, port) = listener().await;
    let refuse = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        // Until the other side has gone, so that it reads all of it.
        drop(stream.read_to_end(&mut vec![]).await);
    };
    let (dialled, ()) = tokio::join!(dial::web_socket("127.0.0.1", port), refuse);
    assert!(matches!(dialled, Err(DialError::Handshake { .. })));
    let hang_up = async { drop(listener.accept().await.unwrap()) };
    let (dialled, ()) = tokio::join!(dial::web_socket("127.0.0.1", port), hang_up);
    assert!(matches!(dialled, Err(DialError::Handshake { .. })));
    let hang_up = async { drop(listener.accept().await.unwrap()) };
    let (dialled, ()) = tokio::join!(dial::signalr("127.0.0.1", port), hang_up);
    assert!(matches!(dialled, Err(DialError::Negotiation { .. })));
    drop(listener);
    let dialled = dial::web_socket("127.0.0.1", port).await;
    assert!(dialled.unwrap_err().is_refused());
}
