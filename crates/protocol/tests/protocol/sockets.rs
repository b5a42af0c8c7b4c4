//! Real sockets: both ends of every transport, and peers that misbehave. Nothing here sleeps; what does
//! not come keeps a test waiting, and the runner's limit ends it.

use std::sync::Arc;

use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::framing::signalr::{encode_at_client, handshake_request, hub_ping};
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::framing::{FramingError, MAX_MESSAGE_BYTES, MAX_QUEUED_BYTES};
use allexmaster_protocol::handshake::accept::{self, AcceptError, Negotiator};
use allexmaster_protocol::handshake::dial::{self, DialError, Trust};
use allexmaster_protocol::handshake::web::WebAccess;
use allexmaster_protocol::pump::{Delivery, Inbox, Opened, Outgoing};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::wires::SEED;

const CAPACITY: usize = 64;

/// Starts to pump, with an inbox of this capacity.
fn start<Stream>(stream: Stream, wire: Wire, capacity: usize) -> (Outgoing, Receiver<Delivery>)
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (inbox, receiver) = Inbox::alone(capacity);
    (Opened::new(stream, wire).start(inbox), receiver)
}

/// The next thing that a connection delivers.
async fn next(receiver: &mut Receiver<Delivery>) -> WireItem {
    receiver.recv().await.unwrap().item
}

/// The reason with which a connection ends; what comes before is ignored.
async fn end(receiver: &mut Receiver<Delivery>) -> CloseReason {
    loop {
        match next(receiver).await {
            WireItem::Closed(reason) => return reason,
            WireItem::Text(_) | WireItem::Alive => {}
        }
    }
}

fn text(content: &str) -> WireItem {
    WireItem::Text(content.to_owned())
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Both ends of a plain WebSocket.
async fn web_socket_pair() -> ((Outgoing, Receiver<Delivery>), WebSocketStream<TcpStream>) {
    let (listener, port) = listener().await;
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (dialled, accepted) = tokio::join!(
        tokio_tungstenite::client_async("ws://localhost/", stream),
        async {
            accept::web_socket(listener.accept().await.unwrap().0, &WebAccess::default()).await
        }
    );
    let (inbox, receiver) = Inbox::alone(CAPACITY);
    (
        (accepted.unwrap().start(inbox), receiver),
        dialled.unwrap().0,
    )
}

#[tokio::test]
async fn texts_cross_a_length_prefixed_stream_in_both_directions_and_in_order() {
    let (one, other) = duplex(1_000);
    let (one, mut at_one) = start(one, Wire::length_prefixed(), CAPACITY);
    let (other, mut at_other) = start(other, Wire::length_prefixed(), CAPACITY);
    for number in 0..500 {
        one.send(&number.to_string()).unwrap();
        other.send(&format!("\"{}\"", "x".repeat(number))).unwrap();
    }
    for number in 0..500 {
        assert_eq!(next(&mut at_other).await, text(&number.to_string()));
        assert_eq!(
            next(&mut at_one).await,
            text(&format!("\"{}\"", "x".repeat(number)))
        );
    }
    // What is queued leaves before the connection closes.
    one.send("\"last\"").unwrap();
    drop(one);
    assert_eq!(next(&mut at_other).await, text("\"last\""));
    assert_eq!(
        next(&mut at_other).await,
        WireItem::Closed(CloseReason::ByPeer)
    );
    assert_eq!(end(&mut at_one).await, CloseReason::ByUs);
}

#[tokio::test]
async fn texts_cross_the_ipc_channel_of_a_child() {
    let (one, mut child) = duplex(1_000);
    let (outgoing, mut receiver) = start(one, Wire::newline_delimited(), CAPACITY);
    child.write_all(b"{\"child_init\":7}\n[1").await.unwrap();
    assert_eq!(next(&mut receiver).await, text("{\"child_init\":7}"));
    outgoing.send("[\"m1\",[\"1\",null]]").unwrap();
    let mut received = vec![0; 18];
    child.read_exact(&mut received).await.unwrap();
    assert_eq!(received, b"[\"m1\",[\"1\",null]]\n");
    drop(child);
    assert_eq!(end(&mut receiver).await, CloseReason::HalfMessage);
    assert_eq!(outgoing.send("1"), Err(CloseReason::HalfMessage));
}

#[tokio::test]
async fn a_socket_peer_that_sends_garbage_a_gigabyte_or_half_a_frame_is_cut_with_the_reason() {
    let gigabyte = FramingError::TooLarge {
        announced: 1 << 30,
        limit: MAX_MESSAGE_BYTES,
    };
    let cases: [(&[u8], CloseReason); 5] = [
        (&[0, 0, 0, 0x40, b'x'], CloseReason::Framing(gigabyte)),
        (
            &[2, 0, 0, 0, 0xff, 0xff],
            CloseReason::Framing(FramingError::NotUtf8),
        ),
        (&[0, 0, 0, 0], CloseReason::Framing(FramingError::Empty)),
        (&[9, 0, 0, 0, b'x'], CloseReason::HalfMessage),
        (&[], CloseReason::ByPeer),
    ];
    for (bytes, expected) in cases {
        let (ours, mut theirs) = duplex(1_000);
        let (_outgoing, mut receiver) = start(ours, Wire::length_prefixed(), CAPACITY);
        theirs.write_all(bytes).await.unwrap();
        theirs.shutdown().await.unwrap();
        assert_eq!(end(&mut receiver).await, expected);
        // The other side sees the end too.
        assert_eq!(theirs.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_cut_while_the_sender_never_waits() {
    let (ours, theirs) = duplex(1_000);
    let (outgoing, mut receiver) = start(ours, Wire::length_prefixed(), CAPACITY);
    // With the length before it.
    let megabyte = 1_024 * 1_024;
    let content = "x".repeat(megabyte - 4);
    let refusal = (0..100).find_map(|sent| {
        // Some of it is in flight to the peer, and counts.
        if sent % 2 == 0 {
            assert_eq!(outgoing.queued_bytes(), sent * megabyte);
        }
        outgoing.send(&content).err()
    });
    let limit = MAX_QUEUED_BYTES;
    let reason = CloseReason::SlowPeer {
        queued: limit + content.len(),
        limit,
    };
    assert_eq!(refusal, Some(reason.clone()));
    assert_eq!(outgoing.send("1"), Err(reason.clone()));
    assert_eq!(end(&mut receiver).await, reason);
    drop(theirs);
}

#[tokio::test]
async fn a_peer_that_is_read_slowly_waits_and_loses_nothing() {
    let (ours, theirs) = duplex(1_000);
    let (_ours, mut receiver) = start(ours, Wire::length_prefixed(), 1);
    let (other, _at_other) = start(theirs, Wire::length_prefixed(), 1);
    for number in 0..2_000 {
        other.send(&number.to_string()).unwrap();
    }
    for number in 0..2_000 {
        assert_eq!(next(&mut receiver).await, text(&number.to_string()));
    }
}

#[tokio::test]
async fn texts_cross_a_web_socket_and_signs_of_life_are_told() {
    let ((server, mut at_server), mut client) = web_socket_pair().await;
    client.send(Message::text("[1]\0[2]")).await.unwrap();
    client
        .send(Message::Ping(Default::default()))
        .await
        .unwrap();
    assert_eq!(next(&mut at_server).await, text("[1]"));
    assert_eq!(next(&mut at_server).await, text("[2]"));
    assert_eq!(next(&mut at_server).await, WireItem::Alive);
    assert!(client.next().await.unwrap().unwrap().is_pong());
    server.send("[3]").unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Message::text("[3]"));
    server.close();
    assert!(client.next().await.unwrap().unwrap().is_close());
    drop(client);
    end(&mut at_server).await;
}

#[tokio::test]
async fn a_web_socket_peer_that_sends_too_much_or_something_else_is_cut_with_the_reason() {
    let ((_server, mut receiver), mut client) = web_socket_pair().await;
    drop(
        client
            .send(Message::text("x".repeat(MAX_MESSAGE_BYTES + 1)))
            .await,
    );
    let announced = MAX_MESSAGE_BYTES + 1;
    let too_large = FramingError::TooLarge {
        announced,
        limit: MAX_MESSAGE_BYTES,
    };
    assert_eq!(end(&mut receiver).await, CloseReason::Framing(too_large));

    let ((_server, mut receiver), mut client) = web_socket_pair().await;
    client.send(Message::binary(vec![1])).await.unwrap();
    assert_eq!(
        end(&mut receiver).await,
        CloseReason::Framing(FramingError::NotText)
    );

    let ((_server, mut receiver), client) = web_socket_pair().await;
    drop(client);
    assert_eq!(end(&mut receiver).await, CloseReason::ByPeer);
}

#[tokio::test]
async fn dialling_tells_a_refused_port_from_one_that_serves_something_else() {
    let (listening, port) = listener().await;
    drop(listening);
    let refused = dial::web_socket("127.0.0.1", port).await.unwrap_err();
    assert!(refused.is_refused() && refused.to_string().contains(&port.to_string()));

    let (listening, port) = listener().await;
    let (dialled, ()) = tokio::join!(dial::web_socket("127.0.0.1", port), async {
        let (mut stream, _) = listening.accept().await.unwrap();
        stream.write_all(b"220 mail ready\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let other = dialled.unwrap_err();
    assert!(!other.is_refused() && matches!(other, DialError::Handshake { .. }));
}

#[tokio::test]
async fn a_peer_that_speaks_http_or_nothing_gets_no_web_socket() {
    let (listening, port) = listener().await;
    let accept = || async {
        accept::web_socket(listening.accept().await.unwrap().0, &WebAccess::default()).await
    };
    let (accepted, answer) = tokio::join!(
        accept(),
        request(port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    );
    assert!(matches!(accepted, Err(AcceptError::NoUpgrade)));
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    let (accepted, _) = tokio::join!(accept(), request(port, "garbage\r\n\r\n"));
    assert!(matches!(accepted, Err(AcceptError::Http(_))));
    let (accepted, _) = tokio::join!(accept(), request(port, ""));
    assert!(matches!(accepted, Err(AcceptError::NoUpgrade)));
}

#[tokio::test]
async fn a_secure_web_socket_talks_to_a_trusted_server_and_to_no_other() {
    let server = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(server.signing_key.serialize_der());
    let configuration = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![server.cert.der().clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(configuration));
    let (listening, port) = listener().await;
    let accept = || async { acceptor.accept(listening.accept().await.unwrap().0).await };

    let trust = Trust::only([server.cert.der().clone()]).unwrap();
    let (dialled, mut accepted) =
        tokio::join!(dial::secure_web_socket("localhost", port, &trust), async {
            tokio_tungstenite::accept_async(accept().await.unwrap())
                .await
                .unwrap()
        });
    let wire = Wire::web_socket_client(SEED);
    let (client, mut receiver) = start(dialled.unwrap(), wire, CAPACITY);
    accepted.send(Message::text("[1]")).await.unwrap();
    assert_eq!(next(&mut receiver).await, text("[1]"));
    client.send("[2]").unwrap();
    assert_eq!(
        accepted.next().await.unwrap().unwrap(),
        Message::text("[2]")
    );

    let trust = Trust::only([other.cert.der().clone()]).unwrap();
    let (dialled, accepted) =
        tokio::join!(dial::secure_web_socket("localhost", port, &trust), accept());
    assert!(matches!(dialled, Err(DialError::Tls { .. })) && accepted.is_err());
}

#[tokio::test]
async fn a_signalr_client_negotiates_upgrades_and_talks() {
    let (listening, port) = listener().await;
    let negotiator = Negotiator::default();
    let (negotiated, answer) = tokio::join!(
        accept_signalr(&listening, &negotiator),
        request(
            port,
            "POST /negotiate?negotiateVersion=1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    );
    assert!(negotiated.unwrap().is_none());
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(!answer.contains("access-control"), "{answer}");
    assert!(answer.ends_with(r#"{"connectionId":"1","availableTransports":[{"transport":"WebSockets","transferFormats":["Text"]}]}"#));

    let (accepted, mut client) = tokio::join!(accept_signalr(&listening, &negotiator), async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (mut client, _) = tokio_tungstenite::client_async("ws://localhost/?id=1", stream)
            .await
            .unwrap();
        client
            .send(Message::text(handshake_request()))
            .await
            .unwrap();
        client
    });
    let (inbox, mut receiver) = Inbox::alone(CAPACITY);
    let server = accepted.unwrap().unwrap().start(inbox);
    assert_eq!(
        client.next().await.unwrap().unwrap(),
        Message::text("{}\u{1e}")
    );
    client.send(Message::text(hub_ping())).await.unwrap();
    client
        .send(Message::text(encode_at_client(r#"["m1",[null,{}]]"#)))
        .await
        .unwrap();
    assert_eq!(next(&mut receiver).await, WireItem::Alive);
    assert_eq!(next(&mut receiver).await, text(r#"["m1",[null,{}]]"#));
    server.send(r#"["r","m1",1]"#).unwrap();
    let expected =
        "{\"arguments\":[\"[[\\\"r\\\",\\\"m1\\\",1]]\"],\"target\":\"_\",\"type\":1}\u{1e}";
    assert_eq!(
        client.next().await.unwrap().unwrap(),
        Message::text(expected)
    );
    client.send(Message::text("garbage")).await.unwrap();
    assert!(matches!(
        end(&mut receiver).await,
        CloseReason::Framing(FramingError::NotSignalR { .. })
    ));
}

#[tokio::test]
async fn a_signalr_port_refuses_strangers_politely() {
    let (listening, port) = listener().await;
    let negotiator = Negotiator::default();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MTIzNDU2Nzg5MDEyMzQ1Ng==";
    for (asked, status) in [
        ("GET / HTTP/1.1\r\nConnection: close", "400 Bad Request"),
        (
            "GET /favicon.ico HTTP/1.1\r\nConnection: close",
            "404 Not Found",
        ),
        (
            "OPTIONS /negotiate HTTP/1.1\r\nConnection: close",
            "204 No Content",
        ),
        (
            &format!("GET /?id=77 HTTP/1.1\r\n{upgrade}"),
            "404 Not Found",
        ),
        (&format!("GET / HTTP/1.1\r\n{upgrade}"), "404 Not Found"),
    ] {
        let asked = format!("{asked}\r\nHost: localhost\r\n\r\n");
        let (accepted, answer) = tokio::join!(
            accept_signalr(&listening, &negotiator),
            request(port, &asked)
        );
        assert!(accepted.unwrap().is_none());
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{asked}: {answer}"
        );
    }
    let (accepted, _) = tokio::join!(
        accept_signalr(&listening, &negotiator),
        request(port, "garbage\r\n\r\n")
    );
    assert!(matches!(accepted, Err(AcceptError::Http(_))));
}

async fn accept_signalr(
    listening: &TcpListener,
    negotiator: &Negotiator,
) -> Result<Option<Opened<TcpStream>>, AcceptError> {
    let stream = listening.accept().await.unwrap().0;
    accept::signalr(stream, &WebAccess::default(), negotiator).await
}

/// Sends a request and reads until the end; half-closed, so that a server that keeps the connection
/// sees that nothing follows.
async fn request(port: u16, asked: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(asked.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
