//! A LanManager in this process, and who watches its list of services from outside.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use allexmaster_lanmanager::{Door, LanManager, Options, Running};
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::handshake::dial;
use allexmaster_protocol::pump::{Delivery, Inbox, Opened, Outgoing};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Nothing takes so long, however slow the machine: then something is wrong.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often the LanManager is told that somebody is there; it waits 20 s.
const PING_EVERY: Duration = Duration::from_secs(5);

/// The LanManager, and the services that it lists, each with the time at which it was told.
pub(crate) struct Watch {
    runtime: Runtime,
    running: Running,
    outgoing: Outgoing,
    deliveries: mpsc::Receiver<Delivery>,
    listed: BTreeMap<String, Instant>,
    pinged: Instant,
}

impl Watch {
    /// Starts a LanManager that needs so many services of the time, named `Time0` and so on.
    pub(crate) fn start(folder: &Path, needs: u16) -> Self {
        let files = folder.join(".allexlanmanager");
        std::fs::create_dir_all(&files).unwrap();
        let list: Vec<Value> = (0..needs)
            .map(|number| {
                json!({
                    "instancename": name(number),
                    "modulename": "allex_timeservice",
                    "propertyhash": {},
                })
            })
            .collect();
        std::fs::write(files.join("needs"), json!(list).to_string()).unwrap();
        let runtime = Runtime::new().unwrap();
        let running = runtime
            .block_on(LanManager::start(Options::embedded(folder)))
            .unwrap();
        let port = running.address(Door::WebSocket).unwrap().port();
        let (inbox, deliveries) = Inbox::alone(1_024);
        let outgoing = runtime.block_on(async {
            let stream = dial::web_socket("127.0.0.1", port).await.unwrap();
            Opened::new(stream, Wire::web_socket_client([7; 32])).start(inbox)
        });
        let mut watch = Self {
            runtime,
            running,
            outgoing,
            deliveries,
            listed: BTreeMap::new(),
            pinged: Instant::now(),
        };
        watch.follow();
        watch
    }

    pub(crate) fn port(&self, door: Door) -> u16 {
        self.running.address(door).unwrap().port()
    }

    /// Waits until so many services are listed, and tells when the last was.
    pub(crate) fn listed(&mut self, count: u16) -> Instant {
        while self.listed.len() < usize::from(count) {
            self.hear();
        }
        *self.listed.values().max().unwrap()
    }

    /// Waits until a service is listed anew, and tells when it was.
    pub(crate) fn listed_again(&mut self, instance: &str, since: Instant) -> Instant {
        loop {
            if let Some(at) = self.listed.get(instance).filter(|at| **at > since) {
                return *at;
            }
            self.hear();
        }
    }

    pub(crate) fn end(self) {
        let Self {
            runtime, running, ..
        } = self;
        runtime.block_on(running.shutdown()).unwrap();
    }

    /// As somebody in the role `service`, who is no master: a new session of a master would end what
    /// others have at the same address.
    fn follow(&mut self) {
        let identity = json!({"role": "service", "name": "figures"});
        self.send(&json!(["1", [null, {"ip": identity}]]));
        let root = self.answer("1")["session"].clone();
        self.send(&json!([
            "2",
            [root, null],
            ["!", ["subConnect", ["services", identity]]]
        ]));
        let session = self.answer("2")["introduce"]["session"].clone();
        self.send(&json!(["3", [session, null]]));
        self.answer("3");
        let query = json!({"continuous": true});
        self.send(&json!(["4", [session, null], ["!", ["query", [query]]]]));
    }

    fn send(&self, frame: &Value) {
        self.outgoing.send(&frame.to_string()).unwrap();
    }

    fn answer(&mut self, id: &str) -> Value {
        loop {
            let frame = self.hear();
            assert_ne!(frame[0], "e", "{frame}");
            if frame[0] == "r" && frame[1] == id {
                return frame[2].clone();
            }
        }
    }

    /// The next frame; what it tells of the services is kept.
    fn hear(&mut self) -> Value {
        let began = Instant::now();
        let frame = loop {
            assert!(began.elapsed() < PATIENCE, "nothing happens any more");
            if self.pinged.elapsed() >= PING_EVERY {
                self.pinged = Instant::now();
                self.send(&json!(["?", 1]));
            }
            let delivery = self
                .runtime
                .block_on(async { timeout(PING_EVERY, self.deliveries.recv()).await });
            match delivery.map(|delivery| delivery.unwrap().item) {
                Ok(WireItem::Text(text)) => break serde_json::from_str::<Value>(&text).unwrap(),
                Ok(WireItem::Alive) | Err(_) => {}
                Ok(WireItem::Closed(reason)) => panic!("the LanManager hung up: {reason}"),
            }
        };
        match frame[2][0].as_str() {
            Some("c") => {
                let instance = frame[2][1]["instancename"].as_str().unwrap();
                self.listed.insert(instance.to_owned(), Instant::now());
            }
            Some("d") => {
                let instance = frame[2][1]["value"].as_str().unwrap_or_default();
                self.listed.remove(instance);
            }
            Some(_) | None => {}
        }
        frame
    }
}

pub(crate) fn name(number: u16) -> String {
    format!("Time{number}")
}
