//! How fast a LanManager serves masters that bid for 1,000 needs at once.
//!
//! `cargo bench -p allexmaster-lanmanager` prints the time from the first bid to the
//! last acceptance, each need with its own session, port check and journaled events;
//! and, in the same run, the time that 1,000 bare connections to the checked port
//! take one after the other: the least that any LanManager has to do.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking and prints its result"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use allexmaster_lanmanager::{Door, LanManager, Options};
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::handshake::dial;
use allexmaster_protocol::pump::{Inbox, Opened};
use allexmaster_testkit::report::size;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};

fn need_count() -> usize {
    size(1_000, 20)
}
fn runs() -> usize {
    size(5, 1)
}

#[tokio::main]
async fn main() {
    let checked = listen_apart();
    println!("needs   LanManager   bare connections   ratio   shutdown");
    for _ in 0..runs() {
        let baseline = bare_connections(checked).await;
        let (taken, shutdown) = thousand_needs(checked).await;
        let ratio = taken.as_secs_f64() / baseline.as_secs_f64();
        println!(
            "{:<7} {taken:>10.1?}   {baseline:>16.1?}   {ratio:>5.1}   {shutdown:>8.1?}",
            need_count()
        );
    }
}

/// A port that answers from a thread of its own: were it a task beside the LanManager,
/// its queue would overflow while it waits for its turn.
fn listen_apart() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(4_096).unwrap().into_std().unwrap();
    listener.set_nonblocking(false).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || while listener.accept().is_ok() {});
    address
}

async fn bare_connections(address: SocketAddr) -> Duration {
    let began = Instant::now();
    for _ in 0..need_count() {
        drop(TcpStream::connect(address).await.unwrap());
    }
    began.elapsed()
}

async fn thousand_needs(checked: SocketAddr) -> (Duration, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join(".allexlanmanager");
    std::fs::create_dir_all(&files).unwrap();
    let needs =
        (0..need_count()).map(|number| json!({"instancename": name(number), "modulename": "m"}));
    let needs = Value::Array(needs.collect());
    std::fs::write(files.join("needs"), needs.to_string()).unwrap();
    let running = LanManager::start(Options::embedded(folder.path()))
        .await
        .unwrap();
    let address = running.address(Door::WebSocket).unwrap();
    let taken = bid_for_all(address, checked).await;
    let began = Instant::now();
    running.shutdown().await.unwrap();
    (taken, began.elapsed())
}

fn name(number: usize) -> String {
    format!("Need{number}")
}

/// Plays a master: every answer causes the next request of its need.
async fn bid_for_all(address: SocketAddr, checked: SocketAddr) -> Duration {
    let stream = dial::web_socket("127.0.0.1", address.port()).await.unwrap();
    let (inbox, mut incoming) = Inbox::alone(256);
    let wire = Wire::web_socket_client([7; 32]);
    let outgoing = Opened::new(stream, wire).start(inbox);
    let send = |frame: Value| outgoing.send(&frame.to_string()).unwrap();
    send(json!(["root", [null, {"ip": {"name": "bench", "role": "user"}}]]));
    let mut began = Instant::now();
    let mut sessions = vec![String::new(); need_count()];
    let mut accepted = 0;
    while accepted < need_count() {
        let WireItem::Text(text) = incoming.recv().await.unwrap().item else {
            continue;
        };
        let frame: Value = serde_json::from_str(&text).unwrap();
        assert_ne!(frame[0], "e", "{frame}");
        if frame[0] != "r" {
            continue;
        }
        let (step, number) = frame[1]
            .as_str()
            .unwrap()
            .split_once('-')
            .unwrap_or(("root", ""));
        let number: usize = number.parse().unwrap_or_default();
        let answer = &frame[2];
        match step {
            "root" if frame[1] == "root" => {
                let call = json!(["!", ["subConnect", ["needs", {"role": "user"}]]]);
                send(json!(["table-0", [answer["session"], null], call]));
            }
            "table" => {
                let session = &answer["introduce"]["session"];
                send(json!(["ready-0", [session, null]]));
                began = Instant::now();
                for number in 0..need_count() {
                    let call = json!(["!", ["subConnect", [name(number), {"role": "user"}]]]);
                    send(json!([format!("sub-{number}"), [session, null], call]));
                }
            }
            "sub" => {
                let session = answer["introduce"]["session"].as_str().unwrap();
                let call = json!(["!", ["bid", [{"ipaddress": "127.0.0.1"}]]]);
                send(json!([format!("claim-{number}"), [session, null]]));
                send(json!([format!("bid-{number}"), [session, null], call]));
                session.clone_into(&mut sessions[number]);
            }
            "bid" => {
                let place = json!({"ipaddress": "127.0.0.1", "pid": 1, "httpport": checked.port()});
                let call = json!(["!", ["respond", [answer["bid"], place]]]);
                send(json!([
                    format!("respond-{number}"),
                    [sessions[number], null],
                    call
                ]));
            }
            "respond" => accepted += 1,
            _ => {}
        }
    }
    began.elapsed()
}
