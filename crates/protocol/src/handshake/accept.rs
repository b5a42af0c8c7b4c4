//! Accepting: plain WebSockets, and SignalR over HTTP.
//!
//! A SignalR client asks `POST /negotiate` for a connection number, then opens a WebSocket at
//! `GET /?id=…`, usually over another TCP connection. So a listener calls [`signalr`] for each TCP
//! connection and gets a connection from some of them.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time;
use tungstenite::handshake::derive_accept_key;

use super::web::{WebAccess, WebRefusal};
use super::{HANDSHAKE_TIMEOUT, MAX_HEAD_BYTES};
use crate::close::CloseReason;
use crate::framing::signalr::negotiation;
use crate::framing::wire::{Wire, WireItem};
use crate::pump::{Opened, READ_BYTES};

/// How long the HTTP part of a SignalR connection may take, with all its requests. A negotiation takes
/// milliseconds; clients open another connection for the WebSocket.
const SIGNALR_HTTP_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the head of one request may take; as long as the JavaScript server keeps an idle
/// connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The most negotiated connections whose WebSocket has not come yet; the oldest give way.
const MAX_NEGOTIATED: usize = 1_024;
const NO_UPGRADE: &str = "This is an AllexJS port: open a WebSocket here.\n";

/// Why a peer got no connection.
#[derive(Debug, Error)]
pub enum AcceptError {
    /// The HTTP part failed.
    #[error("the peer does not speak HTTP; check that it means this port")]
    Http(#[source] hyper::Error),
    /// It asked for something else, or for nothing, on a port for WebSockets.
    #[error("the peer opens no WebSocket; check that it means this port")]
    NoUpgrade,
    /// A web page that is not allowed, or a name that is not this machine's.
    #[error("refused with 403")]
    Forbidden(#[source] WebRefusal),
    /// The socket cannot be used.
    #[error("the connection failed before the handshake")]
    Io(#[source] io::Error),
    /// The WebSocket ended before the SignalR handshake, or brought something else.
    #[error("the peer did not complete the SignalR handshake")]
    Handshake(#[source] CloseReason),
    /// It took too long.
    #[error("the peer did not complete the handshake within {seconds} seconds")]
    TimedOut { seconds: u64 },
}

/// What browsers have to be told, beside the origin that is allowed, before a page of it may talk to
/// this port; as the JavaScript server answers.
const CROSS_ORIGIN_HEADERS: [(HeaderName, HeaderValue); 4] = [
    (header::VARY, HeaderValue::from_static("Origin")),
    (
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        HeaderValue::from_static("true"),
    ),
    (
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET,HEAD,OPTIONS,POST,PUT"),
    ),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "Access-Control-Allow-Headers, Origin,Accept, X-Requested-With, Content-Type, Access-Control-Request-Method, Access-Control-Request-Headers, X-SignalR-User-Agent, Cache-Control",
        ),
    ),
];

/// Gives out the connection numbers of one listener.
#[derive(Debug, Default)]
pub struct Negotiator(Mutex<Negotiated>);

#[derive(Debug, Default)]
struct Negotiated {
    last: u64,
    open: BTreeSet<u64>,
}

impl Negotiator {
    fn give(&self) -> u64 {
        let mut negotiated = self.lock();
        negotiated.last += 1;
        let number = negotiated.last;
        negotiated.open.insert(number);
        if negotiated.open.len() > MAX_NEGOTIATED {
            negotiated.open.pop_first();
        }
        number
    }

    /// Whether the number was given out; it counts once.
    fn take(&self, number: u64) -> bool {
        self.lock().open.remove(&number)
    }

    /// The numbers are consistent after every statement, so a panic elsewhere does not spoil them.
    fn lock(&self) -> MutexGuard<'_, Negotiated> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the handshake of a peer that opens a plain WebSocket, within [`HANDSHAKE_TIMEOUT`]. Call it in
/// a task of its own: a listener must not wait for a peer that says nothing.
///
/// # Errors
/// [`AcceptError`].
pub async fn web_socket(
    stream: TcpStream,
    access: &WebAccess,
) -> Result<Opened<TcpStream>, AcceptError> {
    let upgraded = serve_http(stream, access, None, HANDSHAKE_TIMEOUT).await?;
    let Parts { io, read_buf, .. } = upgraded.ok_or(AcceptError::NoUpgrade)?;
    let mut wire = Wire::web_socket_server();
    let mut received = Vec::new();
    wire.receive(&read_buf, &mut received);
    Ok(Opened::with_received(io.into_inner(), wire, received))
}

/// Answers the HTTP requests of one TCP connection; gives a connection behind SignalR's handshake when
/// one of them opened it, and none when they only negotiated. Call it in a task of its own: a listener
/// must not wait for a peer that says nothing.
///
/// # Errors
/// [`AcceptError`].
pub async fn signalr(
    stream: TcpStream,
    access: &WebAccess,
    negotiator: &Negotiator,
) -> Result<Option<Opened<TcpStream>>, AcceptError> {
    let upgraded = serve_http(stream, access, Some(negotiator), SIGNALR_HTTP_TIMEOUT).await?;
    let Some(Parts { io, read_buf, .. }) = upgraded else {
        return Ok(None);
    };
    within(HANDSHAKE_TIMEOUT, shake_hands(io.into_inner(), &read_buf))
        .await?
        .map(Some)
}

/// Takes SignalR's handshake, which may have begun with these bytes, and answers it.
async fn shake_hands(
    mut stream: TcpStream,
    first: &[u8],
) -> Result<Opened<TcpStream>, AcceptError> {
    let mut wire = Wire::signalr_server();
    let mut received = Vec::new();
    wire.receive(first, &mut received);
    // Nothing is sent before the handshake but its answer, and answers to pings.
    while !wire.is_ready() {
        let answers = wire.take_output();
        stream.write_all(&answers).await.map_err(AcceptError::Io)?;
        if let Some(reason) = wire.closed() {
            return Err(AcceptError::Handshake(reason.clone()));
        }
        let mut bytes = Vec::with_capacity(READ_BYTES);
        let read = stream.read_buf(&mut bytes).await;
        match read.map_err(AcceptError::Io)? {
            0 => wire.receive_end(&mut received),
            _ => wire.receive(&bytes, &mut received),
        }
    }
    let behind = received.iter().position(|item| *item == WireItem::Alive);
    received.drain(..behind.map_or(0, |place| place + 1));
    Ok(Opened::with_received(stream, wire, received))
}

async fn within<Output>(
    limit: Duration,
    waiting: impl Future<Output = Output>,
) -> Result<Output, AcceptError> {
    let seconds = limit.as_secs();
    let output = time::timeout(limit, waiting).await;
    output.map_err(|_| AcceptError::TimedOut { seconds })
}

/// Answers requests until the connection ends or becomes a WebSocket: a plain one, or with a negotiator
/// one of SignalR.
async fn serve_http(
    stream: TcpStream,
    access: &WebAccess,
    negotiator: Option<&Negotiator>,
    limit: Duration,
) -> Result<Option<Parts<TokioIo<TcpStream>>>, AcceptError> {
    // Frames are small and wait for one another; without this each waits 40 ms for the last.
    stream.set_nodelay(true).map_err(AcceptError::Io)?;
    let outcome = Mutex::new(None);
    let service = service_fn(|request| {
        let response = respond(request, access, negotiator, &outcome);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let served = within(limit, connection).await?;
    match (
        outcome.into_inner().unwrap_or_else(PoisonError::into_inner),
        served,
    ) {
        (Some(Err(refusal)), _) => Err(AcceptError::Forbidden(refusal)),
        (Some(Ok(upgrade)), _) => {
            let upgraded = upgrade.await.map_err(AcceptError::Http)?;
            let parts = upgraded.downcast().map_err(|_| {
                AcceptError::Io(io::Error::other("hyper gives back another stream"))
            })?;
            Ok(Some(parts))
        }
        // An idle connection after a negotiation is no failure.
        (None, Err(error)) if error.is_timeout() => Ok(None),
        (None, Err(error)) => Err(AcceptError::Http(error)),
        (None, Ok(())) => Ok(None),
    }
}

/// What came of a connection, where something did: the WebSocket that it becomes, or why it is refused.
type Outcome = Mutex<Option<Result<OnUpgrade, WebRefusal>>>;

/// Answers one request. Whoever may not be here is told so, and nothing else.
fn respond(
    request: Request<Incoming>,
    access: &WebAccess,
    negotiator: Option<&Negotiator>,
    outcome: &Outcome,
) -> Response<Full<Bytes>> {
    match access.check(&request) {
        Ok(origin) => {
            let mut response = serve(request, negotiator, outcome);
            if let Some(origin) = origin {
                let headers = response.headers_mut();
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.extend(CROSS_ORIGIN_HEADERS);
            }
            response
        }
        Err(refusal) => {
            let response = closing(StatusCode::FORBIDDEN, format!("Refused: {refusal}.\n"));
            *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(Err(refusal));
            response
        }
    }
}

fn serve(
    mut request: Request<Incoming>,
    negotiator: Option<&Negotiator>,
    outcome: &Outcome,
) -> Response<Full<Bytes>> {
    let accept_key = web_socket_accept(&request);
    let Some(negotiator) = negotiator else {
        return match accept_key {
            Some(accept_key) => switch(&mut request, accept_key, outcome),
            // Only SignalR has a second request, behind a negotiation.
            None => closing(StatusCode::BAD_REQUEST, NO_UPGRADE),
        };
    };
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/negotiate") => answer(StatusCode::OK, negotiation(negotiator.give())),
        // Browsers ask whether they may before they do.
        (&Method::OPTIONS, "/negotiate" | "/") => answer(StatusCode::NO_CONTENT, ""),
        (&Method::GET, "/") => match (accept_key, connection_number(&request)) {
            (Some(accept_key), Some(number)) if negotiator.take(number) => {
                switch(&mut request, accept_key, outcome)
            }
            (Some(_), _) => answer(
                StatusCode::NOT_FOUND,
                "No such connection: ask POST /negotiate for a number first.\n",
            ),
            (None, _) => answer(StatusCode::BAD_REQUEST, NO_UPGRADE),
        },
        _ => answer(StatusCode::NOT_FOUND, "Nothing is here.\n"),
    }
}

/// Switches to the WebSocket protocol.
fn switch(
    request: &mut Request<Incoming>,
    accept_key: HeaderValue,
    outcome: &Outcome,
) -> Response<Full<Bytes>> {
    let opened = hyper::upgrade::on(request);
    *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(Ok(opened));
    let mut response = answer(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept_key);
    response
}

fn answer(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}

/// An answer behind which the connection ends.
fn closing(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = answer(status, body);
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// The answer to the key of a WebSocket request; none when it is not one.
fn web_socket_accept(request: &Request<Incoming>) -> Option<HeaderValue> {
    let headers = request.headers();
    let names = |name: HeaderName, expected: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| {
                value
                    .split(',')
                    .any(|part| part.trim().eq_ignore_ascii_case(expected))
            })
    };
    if request.method() != Method::GET
        || !names(header::UPGRADE, "websocket")
        || !names(header::CONNECTION, "upgrade")
        || !names(header::SEC_WEBSOCKET_VERSION, "13")
    {
        return None;
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

/// The number in `?id=…`.
fn connection_number(request: &Request<Incoming>) -> Option<u64> {
    request
        .uri()
        .query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("id="))?
        .parse()
        .ok()
}
