//! The HTTP part of SignalR: negotiation, and the way to the WebSocket.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::AcceptError;
use crate::framing::signalr::negotiation;

/// How long the HTTP part of a connection may take, with all its requests. A negotiation takes
/// milliseconds; clients open another connection for the WebSocket.
const HTTP_PATIENCE: Duration = Duration::from_secs(20);
/// How long the head of one request may take; as long as the JavaScript server keeps an idle
/// connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of a request's head. A browser sends about one thousand.
const MAX_HEAD_BYTES: usize = 16 * 1_024;
/// The most negotiated connections whose WebSocket has not come yet; the oldest give way.
const MAX_NEGOTIATED: usize = 1_024;

/// What browsers have to be told before they may talk to another port of this machine; as the
/// JavaScript server answers.
const CROSS_ORIGIN_HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    ),
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

/// Answers requests until the connection ends or becomes a WebSocket.
pub(super) async fn serve(
    stream: TcpStream,
    negotiator: &Arc<Negotiator>,
) -> Result<Option<Upgraded>, AcceptError> {
    let upgrade = Arc::new(Mutex::new(None));
    let service = service_fn(|request| {
        let response = respond(request, negotiator, &upgrade);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let served = time::timeout(HTTP_PATIENCE, connection)
        .await
        .map_err(|_| AcceptError::TimedOut {
            seconds: HTTP_PATIENCE.as_secs(),
        })?;
    let upgrade: Option<OnUpgrade> = upgrade
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    match (upgrade, served) {
        (Some(upgrade), _) => upgrade.await.map(Some).map_err(AcceptError::Http),
        // An idle connection after a negotiation is no failure.
        (None, Err(error)) if error.is_timeout() => Ok(None),
        (None, Err(error)) => Err(AcceptError::Http(error)),
        (None, Ok(())) => Ok(None),
    }
}

fn respond(
    mut request: Request<Incoming>,
    negotiator: &Negotiator,
    upgrade: &Mutex<Option<OnUpgrade>>,
) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/negotiate") => {
            answer(StatusCode::OK, Full::from(negotiation(negotiator.give())))
        }
        // Browsers ask whether they may before they do.
        (&Method::OPTIONS, "/negotiate" | "/") => answer(StatusCode::NO_CONTENT, Full::default()),
        (&Method::GET, "/") => match (web_socket_accept(&request), connection_number(&request)) {
            (Some(accept), Some(number)) if negotiator.take(number) => {
                let mut response = answer(StatusCode::SWITCHING_PROTOCOLS, Full::default());
                let headers = response.headers_mut();
                headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
                let opened = hyper::upgrade::on(&mut request);
                *upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
                response
            }
            (Some(_), _) => answer(
                StatusCode::NOT_FOUND,
                Full::from("No such connection: ask POST /negotiate for a number first.\n"),
            ),
            (None, _) => answer(
                StatusCode::BAD_REQUEST,
                Full::from("This is an AllexJS port: open a WebSocket here.\n"),
            ),
        },
        _ => answer(StatusCode::NOT_FOUND, Full::from("Nothing is here.\n")),
    }
}

fn answer(status: StatusCode, body: Full<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().extend(CROSS_ORIGIN_HEADERS);
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
    if !names(header::UPGRADE, "websocket")
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
