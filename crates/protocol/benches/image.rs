//! What writing a server down costs: `cargo bench -p allexmaster-protocol`.
//!
//! A thousand connections with a session each, a thousand rows in two tables, a query for each session
//! that waits for a row of its name, and ten that follow a whole table.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark measures time, prints what it measured, and ends at the first surprise"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use allexmaster_protocol::close::CarrierKind;
use allexmaster_protocol::server::{
    ConnectionId, Event, Grant, Output, Peer, Server, ServerOptions, ServiceId, TableId,
};
use allexmaster_protocol::table::TableDescription;
use allexmaster_testkit::report::size;
use serde_json::json;

fn connection_count() -> usize {
    size(1_000, 20)
}
fn row_count() -> usize {
    size(1_000, 20)
}
const FOLLOWERS_OF_ALL: usize = 10;
/// The best of so many measurements counts: what disturbs can only slow down.
fn rounds() -> u32 {
    size(20, 1)
}
/// The fields of a running service, as the LanManager's table has them.
const FIELDS: [&str; 8] = [
    "instancename",
    "modulename",
    "ipaddress",
    "tcpport",
    "httpport",
    "wsport",
    "pid",
    "closed",
];

fn main() {
    let server = server();
    println!(
        "{} connections with a session each, {} rows in two tables, {} queries",
        connection_count(),
        row_count(),
        connection_count() + FOLLOWERS_OF_ALL
    );
    let text = serde_json::to_vec(&server).unwrap();
    let bytes = postcard::to_allocvec(&server).unwrap();
    report(
        "serde_json",
        text.len(),
        best(|| serde_json::to_vec(black_box(&server)).unwrap()),
        best(|| serde_json::from_slice::<Server>(black_box(&text)).unwrap()),
    );
    report(
        "postcard",
        bytes.len(),
        best(|| postcard::to_allocvec(black_box(&server)).unwrap()),
        best(|| postcard::from_bytes::<Server>(black_box(&bytes)).unwrap()),
    );
}

fn report(format: &str, size: usize, write: Duration, read: Duration) {
    println!("{format}: {size} bytes, written in {write:.2?}, read in {read:.2?}");
}

fn best<Made>(make: impl Fn() -> Made) -> Duration {
    (0..rounds())
        .map(|_| {
            let start = Instant::now();
            let made = make();
            let taken = start.elapsed();
            drop(black_box(made));
            taken
        })
        .min()
        .unwrap_or_default()
}

fn server() -> Server {
    let mut server = Server::new(ServerOptions {
        identifier_prefix: "1763836993-".to_owned(),
    });
    let fields: Vec<String> = FIELDS.map(str::to_owned).to_vec();
    let tables = [(); 2].map(|()| {
        server.add_table(TableDescription {
            key: vec!["instancename".to_owned()],
            visible_fields: BTreeMap::from([("user".to_owned(), fields.clone())]),
            named_filters: BTreeMap::new(),
            sparse_fields: std::collections::BTreeSet::new(),
        })
    });
    for number in 0..connection_count() {
        let connection = server
            .open(0, CarrierKind::Socket, Peer::default())
            .unwrap();
        let session = introduce(&mut server, connection, tables[number % 2]);
        let own = json!({"op": "eq", "field": "instancename", "value": format!("Service{number}")});
        follow(&mut server, connection, &session, own);
        if number < FOLLOWERS_OF_ALL {
            follow(&mut server, connection, &session, json!("*"));
        }
    }
    for number in 0..row_count() {
        let row = json!({
            "instancename": format!("Service{number}"), "modulename": "allex_timeservice",
            "ipaddress": "127.0.0.1", "tcpport": 15_000 + number, "httpport": 16_000 + number,
            "wsport": 17_000 + number, "pid": 40_000 + number, "closed": null,
        });
        server.put_row(tables[number % 2], row.as_object().unwrap().clone());
    }
    while server.poll_output().is_some() {}
    server
}

fn introduce(server: &mut Server, connection: ConnectionId, table: TableId) -> String {
    server.receive(0, connection, r#"["m1",[null,{"samemachineprocess":{}}]]"#);
    let grant = Grant {
        service: ServiceId(1),
        modulename: "allex_machinemanagerservice".to_owned(),
        role: "user".to_owned(),
        name: json!(4_711),
        state: vec![],
        table: Some(table),
    };
    let mut granted = None;
    while let Some(output) = server.poll_output() {
        if let Output::Event(Event::Introduce { token, .. }) = output {
            granted = server.accept(0, token, grant.clone());
        }
    }
    granted.unwrap().as_str().to_owned()
}

fn follow(server: &mut Server, connection: ConnectionId, session: &str, filter: serde_json::Value) {
    let query = json!({"continuous": true, "filter": filter});
    let call = json!(["m2", [session, null], ["!", ["query", [query]]]]);
    server.receive(0, connection, &call.to_string());
}
