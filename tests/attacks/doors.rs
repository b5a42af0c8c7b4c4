//! The doors of the LanManager: who gets in, and what those cost who do not.

use std::io::Read;
use std::time::Duration;

use allexmaster_testkit::lan::read_file;
use serde_json::json;

use crate::lan::{Client, LanManager, connect, framed, is_closed, send};

const SOON: Duration = Duration::from_secs(20);

pub(crate) fn a_fresh_lan_manager_lets_only_this_machine_in_and_says_how_to_let_others_in() {
    let lan = LanManager::start(&[]);
    assert_eq!(read_file(lan.folder.path(), "subnets"), "[]");
    assert!(lan.log_has("only this machine gets in; to let a network in, write it into"));
    for port in lan.ports {
        assert!(is_closed(&mut connect("127.0.0.2", port), SOON), "{port}");
    }
    Client::introduce(lan.tcp_port());
}

pub(crate) fn the_default_file_of_javascript_lets_in_the_network_that_it_names_and_no_more() {
    let lan = LanManager::start(&[("subnets", json!(["192.168.1.0/8"]))]);
    assert!(lan.log_has("it is taken as 192.168.1.0/24"));
    let mut client = Client::introduce(lan.tcp_port());
    let session = client.session.clone();
    let need = json!([{"instancename": "N", "modulename": "m"}]);
    assert_eq!(client.call(&session, ".", "addNeed", need)[2], true);
    assert!(read_file(lan.folder.path(), "subnets").contains("192.168.1.0/8"));
}

/// More strangers than the LanManager could have connections, each with pings that keep him alive.
pub(crate) fn a_stranger_holds_no_connection_however_often_he_comes() {
    let lan = LanManager::start_with_descriptors(&[], Some(1_024));
    let mut held: Vec<_> = (0..1_100)
        .map(|_| {
            let mut stream = connect("127.0.0.2", lan.tcp_port());
            send(&mut stream, &framed(&json!(["?", 1])));
            stream
        })
        .collect();
    Client::introduce(lan.tcp_port());
    for stream in &mut held {
        assert!(is_closed(stream, SOON));
    }
    let told = lan
        .log()
        .iter()
        .filter(|line| line.to_string().contains("turned away"))
        .count();
    assert!((1..=10).contains(&told), "{told} lines about one stranger");
}

/// Half-open handshakes of an address that may come in take no places of others.
pub(crate) fn one_address_cannot_shut_the_doors_for_others() {
    let files = [("subnets", json!(["127.0.0.0/8"]))];
    let lan = LanManager::start_with_descriptors(&files, Some(1_024));
    let _held: Vec<_> = (0..1_100)
        .map(|_| connect("127.0.0.2", lan.ports[0]))
        .collect();
    let mut request = connect("127.0.0.3", lan.ports[0]);
    send(&mut request, upgrade("", "127.0.0.1").as_bytes());
    assert!(head(&mut request).starts_with("HTTP/1.1 101 "));
    Client::introduce(lan.tcp_port());
}

pub(crate) fn web_pages_and_names_of_strangers_get_403_at_every_door() {
    let lan = LanManager::start(&[]);
    let [web_socket, of_javascript, signalr, _] = lan.ports;
    let page = "Origin: https://evil.example\r\n";
    for port in [web_socket, of_javascript, signalr] {
        for (origin, host) in [
            (page, "127.0.0.1"),
            ("Origin: null\r\n", "127.0.0.1"),
            ("Origin: http://localhost:3000\r\n", "localhost"),
            ("", "rebind.evil.example:23552"),
        ] {
            let answer = asked(port, &upgrade(origin, host));
            assert!(
                answer.starts_with("HTTP/1.1 403 "),
                "{port} {origin}{host}: {answer}"
            );
            assert!(
                !answer.to_lowercase().contains("access-control"),
                "{answer}"
            );
        }
    }
    for method in ["OPTIONS", "POST"] {
        let request = format!(
            "{method} /negotiate HTTP/1.1\r\nHost: 127.0.0.1\r\n{page}Access-Control-Request-Method: POST\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let answer = asked(signalr, &request);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{method}: {answer}");
        assert!(
            !answer.to_lowercase().contains("access-control"),
            "{answer}"
        );
    }
    assert!(lan.log_has("list it in \\\"allowedorigins\\\" of .allexlanmanager/boot"));
}

pub(crate) fn a_listed_web_page_gets_in() {
    let boot = json!({
        "allowedorigins": ["https://tools.example"],
        "allowedhosts": ["lan.example"],
    });
    let lan = LanManager::start(&[("boot", boot)]);
    let page = "Origin: https://tools.example\r\n";
    let mut stream = connect("127.0.0.1", lan.ports[0]);
    send(&mut stream, upgrade(page, "lan.example:23552").as_bytes());
    assert!(head(&mut stream).starts_with("HTTP/1.1 101 "));
    let mut stream = connect("127.0.0.1", lan.ports[2]);
    let request = format!("OPTIONS /negotiate HTTP/1.1\r\nHost: lan.example\r\n{page}\r\n");
    send(&mut stream, request.as_bytes());
    let answer = head(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    assert!(
        answer.contains("access-control-allow-origin: https://tools.example"),
        "{answer}"
    );
    let other = upgrade("Origin: https://evil.example\r\n", "lan.example");
    assert!(asked(lan.ports[0], &other).starts_with("HTTP/1.1 403 "));
}

fn upgrade(origin: &str, host: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\n{origin}Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
}

/// Sends a request and reads until the end of the connection.
fn asked(port: u16, request: &str) -> String {
    let mut stream = connect("127.0.0.1", port);
    send(&mut stream, request.as_bytes());
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The head of an answer, behind which the connection stays open.
fn head(stream: &mut std::net::TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "no answer");
        head.extend(byte);
    }
    String::from_utf8(head).unwrap()
}
