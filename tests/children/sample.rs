//! The sample service on its three ports.

use std::future::Future;

use allexmaster::launch::SAMPLE_CLOCK;
use allexmaster::probe::Probe;
use allexmaster_state::{Event, Identity, Outcome, PerProtocol, Port, Signal};
use allexmaster_testkit::wait::TIMEOUT;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::bench::{Bench, incarnation, launchers, order};

async fn clock(bench: &mut Bench) -> (Identity, PerProtocol<Port>) {
    let order = order(1, SAMPLE_CLOCK, json!({"colour": "<b>"}));
    let ports = order.ports;
    let identity = bench.spawn(order).await;
    let (sink, mut events) = mpsc::channel(1);
    let all = ports.given().collect();
    let gone = bench.children.gone(incarnation(1));
    Probe::new(Handle::current(), sink).await_ready(incarnation(1), all, gone);
    assert!(matches!(
        soon(events.recv()).await,
        Some(Event::ChildReady { .. })
    ));
    let ports = PerProtocol {
        tcp: ports.tcp.unwrap(),
        http: ports.http.unwrap(),
        ws: ports.ws.unwrap(),
    };
    (identity, ports)
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(TIMEOUT, future).await.expect("it comes")
}

async fn get(port: Port, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port.0)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn the_clock_answers_on_all_three_ports_and_ends_when_told() {
    let mut bench = Bench::new(launchers([]));
    let (identity, ports) = clock(&mut bench).await;
    let said = bench.logged("Service", "serves").await;
    assert!(
        said.contains(&format!("http://127.0.0.1:{}/", ports.http)),
        "{said}"
    );

    let page = get(ports.http, "/").await;
    assert!(page.starts_with("HTTP/1.1 200 OK"), "{page}");
    assert!(
        page.contains("<h1>Service</h1>") && page.contains("&lt;b&gt;"),
        "{page}"
    );
    assert!(
        get(ports.http, "/nowhere")
            .await
            .starts_with("HTTP/1.1 404")
    );
    let json = get(ports.http, "/json").await;
    let document: Value = serde_json::from_str(json.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(document["instancename"], "Service");
    assert_eq!(document["pid"], identity.pid.0);
    assert_eq!(document["descriptor"]["wsport"], ports.ws.0);

    let mut stream = TcpStream::connect(("127.0.0.1", ports.tcp.0))
        .await
        .unwrap();
    let mut line = String::new();
    soon(stream.read_to_string(&mut line)).await.unwrap();
    let told: Value = serde_json::from_str(&line).unwrap();
    assert!(line.ends_with('\n') && told["time"].is_u64());

    let url = format!("ws://127.0.0.1:{}/", ports.ws);
    let (mut socket, _) = soon(tokio_tungstenite::connect_async(url)).await.unwrap();
    for _ in 0..2 {
        let message = soon(socket.next()).await.unwrap().unwrap();
        let told: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        assert_eq!(told["modulename"], SAMPLE_CLOCK);
    }

    // An open connection does not hold it up.
    bench
        .children
        .signal(incarnation(1), identity, Signal::Terminate);
    assert_eq!(bench.outcome().await, Outcome::Exited(0));
}

#[tokio::test]
async fn a_clock_that_cannot_listen_says_so_and_ends() {
    let mut bench = Bench::new(launchers([]));
    let order = order(1, SAMPLE_CLOCK, json!({}));
    let _held = std::net::TcpListener::bind(("0.0.0.0", order.ports.ws.unwrap().0)).unwrap();
    bench.spawn(order).await;
    assert_eq!(bench.outcome().await, Outcome::Exited(1));
    bench.logged("Service", "cannot listen on port").await;
}
