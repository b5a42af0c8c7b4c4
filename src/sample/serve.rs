//! The three servers of the clock.

use std::convert::Infallible;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use allexmaster_protocol::framing::wire::WireItem;
use allexmaster_protocol::handshake::accept as handshake;
use allexmaster_protocol::handshake::web::WebAccess;
use allexmaster_protocol::pump::Inbox;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Settings, answer};

/// Connections per port; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// A visitor who says nothing for so long is sent away.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The clock's beat on WebSockets.
const BEAT: Duration = Duration::from_secs(1);
/// The most bytes that wait for a visitor who does not read, about 20 beats.
const MAX_WAITING_BYTES: usize = 4 * 1_024;
/// After a failed `accept` (no descriptors left, say) the server takes a breath.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Listens on the ports of the descriptor and serves them.
pub(super) async fn start(settings: &Arc<Settings>) -> Result<(), String> {
    let descriptor = &settings.descriptor;
    let http = listen(descriptor.httpport).await?;
    let tcp = listen(descriptor.tcpport).await?;
    let ws = listen(descriptor.wsport).await?;
    if let Some(http) = http {
        tokio::spawn(accept(http, Arc::clone(settings), serve_http));
    }
    if let Some(tcp) = tcp {
        tokio::spawn(accept(tcp, Arc::clone(settings), serve_tcp));
    }
    if let Some(ws) = ws {
        tokio::spawn(accept(ws, Arc::clone(settings), serve_ws));
    }
    Ok(())
}

async fn listen(port: Option<u16>) -> Result<Option<TcpListener>, String> {
    let Some(port) = port else {
        return Ok(None);
    };
    let listening = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await;
    listening
        .map(Some)
        .map_err(|error| format!("cannot listen on port {port}: {error}"))
}

async fn accept<Serving: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    settings: Arc<Settings>,
    serve: fn(TcpStream, Arc<Settings>) -> Serving,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let settings = Arc::clone(&settings);
        tokio::spawn(async move {
            serve(stream, settings).await;
            drop(place);
        });
    }
}

async fn serve_http(stream: TcpStream, settings: Arc<Settings>) {
    let respond = service_fn(|request: Request<Incoming>| {
        let response = respond(&request, &settings);
        async move { Ok::<_, Infallible>(response) }
    });
    // A visitor who breaks off is no concern of the clock.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIMEOUT)
        .serve_connection(TokioIo::new(stream), respond)
        .await;
}

fn respond(request: &Request<Incoming>, settings: &Settings) -> Response<Full<Bytes>> {
    let (status, kind, text) = match request.uri().path() {
        "/" => (
            StatusCode::OK,
            "text/html; charset=utf-8",
            answer::page(settings),
        ),
        "/json" => (
            StatusCode::OK,
            "application/json",
            answer::document(settings).to_string(),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "there is / and /json\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

async fn serve_tcp(mut stream: TcpStream, settings: Arc<Settings>) {
    let line = format!("{}\n", answer::document(&settings));
    let telling = async {
        stream.write_all(line.as_bytes()).await?;
        stream.shutdown().await
    };
    // A visitor who does not read, or breaks off, is no concern of the clock.
    let _ = timeout(TIMEOUT, telling).await;
}

async fn serve_ws(stream: TcpStream, settings: Arc<Settings>) {
    let Ok(opened) = handshake::web_socket(stream, &WebAccess::default()).await else {
        return;
    };
    let (inbox, mut deliveries) = Inbox::alone(1);
    let outgoing = opened.start(inbox);
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = beats.tick() => {
                let text = answer::document(&settings).to_string();
                if outgoing.queued_bytes() > MAX_WAITING_BYTES || outgoing.send(&text).is_err() {
                    return;
                }
            }
            delivery = deliveries.recv() => {
                // Whatever is said is ignored; pings and the close are answered underneath.
                if matches!(delivery.map(|delivery| delivery.item), None | Some(WireItem::Closed(_))) {
                    return;
                }
            }
        }
    }
}
