//! The published AllexJS libraries as partners: a service of theirs for our client, their
//! clients for our LanManager, and a tool made of them at our master's local sockets.
//!
//! They come from the npm registry, by one command: `npm install --ignore-scripts --prefix
//! tests/interop`. Then `cargo test --features interop --test interop`. Without Node, or without
//! them, these tests fail and say so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use allexmaster_lanmanager::{Door, LanManager, Options};
use allexmaster_protocol::client::{
    CallError, Client, ClientEvent, ClientOptions, Timeout, address_credentials, reserved_session,
    same_machine_credentials,
};
use allexmaster_protocol::close::CarrierKind;
use allexmaster_protocol::frame::Target;
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::handshake::dial;
use allexmaster_protocol::pump::{Delivery, Inbox, Opened, Outgoing};
use serde_json::{Value, json};
use tokio::io::AsyncBufReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// No condition takes so long, however slow the machine: then the test fails.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Masks need no secret here.
const SEED: [u8; 32] = [7; 32];
/// The command that brings the libraries.
const INSTALL: &str = "npm install --ignore-scripts --prefix tests/interop";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

/// A program of this folder in Node.
fn node(program: &str) -> Command {
    let version = Command::new("node").arg("--version").output();
    assert!(
        version.is_ok_and(|output| output.status.success()),
        "Node is missing: install it, then `{INSTALL}`"
    );
    assert!(
        folder().join("node_modules/allex_servercore").is_dir(),
        "the AllexJS libraries are missing: `{INSTALL}`"
    );
    let mut command = Command::new("node");
    command.arg(folder().join(program));
    command
}

/// A service of theirs; it ends with this.
struct TheirService {
    child: Child,
    folder: tempfile::TempDir,
    http: u16,
    ws: u16,
}

impl TheirService {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (http, ws) = (free_port(), free_port());
        let mut child = node("server.js")
            .arg(folder.path())
            .args([http.to_string(), ws.to_string()])
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "listening\n", "their service did not start");
        Self {
            child,
            folder,
            http,
            ws,
        }
    }
}

impl Drop for TheirService {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A client of ours on one connection.
struct OurClient {
    client: Client,
    outgoing: Outgoing,
    deliveries: mpsc::Receiver<Delivery>,
}

impl OurClient {
    /// The next event.
    async fn next(&mut self) -> ClientEvent {
        loop {
            while let Some(text) = self.client.poll_transmit() {
                self.outgoing.send(&text).unwrap();
            }
            if let Some(event) = self.client.poll_event() {
                return event;
            }
            let delivery = timeout(TIMEOUT, self.deliveries.recv()).await;
            match delivery.unwrap().unwrap().item {
                WireItem::Text(text) => self.client.receive(0, &text),
                WireItem::Alive => self.client.traffic(0),
                WireItem::Closed(reason) => self.client.closed(reason),
            }
        }
    }

    /// The next event that is not a change of the state.
    async fn next_answer(&mut self) -> ClientEvent {
        loop {
            let event = self.next().await;
            if !matches!(event, ClientEvent::State { .. }) {
                return event;
            }
        }
    }

    /// Introduces itself, is refused a method, gets another session, and ends it.
    async fn converse(mut self, credentials: Value) {
        self.client.introduce(0, credentials);
        let ClientEvent::Introduced { introduction, .. } = self.next_answer().await else {
            panic!("they let us in");
        };
        assert_eq!(
            (introduction.modulename.as_str(), introduction.role.as_str()),
            (".", "user")
        );
        let own = introduction.session;
        let timeout_of_call = Timeout::default();
        self.client.call(
            0,
            &own,
            Target::User,
            "nosuch",
            vec![json!(1)],
            timeout_of_call,
        );
        let ClientEvent::Answered {
            outcome: Err(CallError::Remote(error)),
            ..
        } = self.next_answer().await
        else {
            panic!("they refuse a method that they do not have");
        };
        assert_eq!(error.code.as_deref(), Some("METHOD_DOES_NOT_EXIST"));
        let identity = json!({"role": "user", "name": "another"});
        self.client
            .sub_connect(0, &own, ".", identity, timeout_of_call);
        let ClientEvent::Answered {
            outcome: Ok(answer),
            ..
        } = self.next_answer().await
        else {
            panic!("they reserve another session");
        };
        let reserved = reserved_session(&answer).unwrap();
        self.client.claim(0, &reserved);
        let ClientEvent::Introduced { introduction, .. } = self.next_answer().await else {
            panic!("they give the session that they reserved");
        };
        assert_eq!(introduction.session, reserved);
        self.client.die(0, &reserved);
        let mut told = Vec::new();
        while told.len() < 2 {
            told.push(self.next_answer().await);
        }
        let ended = ClientEvent::SessionEnded { session: reserved };
        assert!(told.contains(&ended), "the session ends: {told:?}");
    }
}

fn client(carrier: CarrierKind) -> (Client, Inbox, mpsc::Receiver<Delivery>) {
    let options = ClientOptions {
        carrier,
        identifier_prefix: "t".to_owned(),
    };
    let (inbox, deliveries) = Inbox::alone(64);
    (Client::new(0, options), inbox, deliveries)
}

#[tokio::test]
async fn our_client_talks_to_their_service_over_every_transport() {
    let service = tokio::task::spawn_blocking(TheirService::start)
        .await
        .unwrap();
    let user = || address_credentials("any_name", "user");

    let (client_end, inbox, deliveries) = client(CarrierKind::SignalR);
    let stream = dial::signalr("127.0.0.1", service.http).await.unwrap();
    let outgoing = Opened::new(stream, Wire::signalr_client(SEED)).start(inbox);
    OurClient {
        client: client_end,
        outgoing,
        deliveries,
    }
    .converse(user())
    .await;

    let (client_end, inbox, deliveries) = client(CarrierKind::WebSocket);
    let stream = dial::web_socket("127.0.0.1", service.ws).await.unwrap();
    let outgoing = Opened::new(stream, Wire::web_socket_client(SEED)).start(inbox);
    OurClient {
        client: client_end,
        outgoing,
        deliveries,
    }
    .converse(user())
    .await;

    let (client_end, inbox, deliveries) = client(CarrierKind::Socket);
    let stream = UnixStream::connect(service.folder.path().join("plain"))
        .await
        .unwrap();
    let outgoing = Opened::new(stream, Wire::length_prefixed()).start(inbox);
    let credentials = same_machine_credentials(std::process::id(), "user");
    OurClient {
        client: client_end,
        outgoing,
        deliveries,
    }
    .converse(credentials)
    .await;
}

#[tokio::test]
async fn their_clients_talk_to_our_lan_manager() {
    let folder = tempfile::tempdir().unwrap();
    let needs =
        json!([{"instancename": "Time", "modulename": "allex_timeservice", "propertyhash": {}}]);
    let files = folder.path().join(".allexlanmanager");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::write(files.join("needs"), needs.to_string()).unwrap();
    let options = Options::embedded(folder.path());
    let running = LanManager::start(options).await.unwrap();
    let port = |door| running.address(door).unwrap().port();
    let urls = [
        format!("http://127.0.0.1:{}", port(Door::SignalR)),
        format!("ws://127.0.0.1:{}", port(Door::WebSocket)),
    ];
    let mut command = node("client.js");
    command.args(&urls);
    let talking = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = timeout(TIMEOUT, talking).await.unwrap().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for url in &urls {
        let told = |wanted: &Value| {
            lines
                .iter()
                .any(|line| line["url"] == url.as_str() && line["frame"] == *wanted)
        };
        assert!(told(&json!(["r", "4", "ok"])), "{text}");
        assert!(told(&json!(["r", "5", true])), "{text}");
        let rows = lines.iter().filter(|line| {
            line["url"] == url.as_str() && line["frame"][2][2]["instancename"] == "Time"
        });
        assert_eq!(rows.count(), 1, "{text}");
    }
    running.shutdown().await.unwrap();
}

/// Our master, and a LanManager of ours that needs one sample service.
struct OurMaster {
    child: Child,
    sockets: tempfile::TempDir,
    _folder: tempfile::TempDir,
    _lan: allexmaster_lanmanager::Running,
}

impl OurMaster {
    async fn start(service: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sockets = tempfile::tempdir().unwrap();
        let files = folder.path().join(".allexlanmanager");
        std::fs::create_dir_all(&files).unwrap();
        let needs =
            json!([{"instancename": service, "modulename": "sample:clock", "propertyhash": {}}]);
        std::fs::write(files.join("needs"), needs.to_string()).unwrap();
        let nat = json!([{"iaddress": "192.168.1.1", "iport": 12345, "eaddress": "1.2.3.4", "eport": 80}]);
        std::fs::write(files.join("nat"), nat.to_string()).unwrap();
        let lan = LanManager::start(Options::embedded(folder.path()))
            .await
            .unwrap();
        let config = json!({
            "lanmanagerport": lan.address(Door::WebSocket).unwrap().port(),
            "portrangestart": {"tcp": 18_900, "http": 18_930, "ws": 18_960},
            "limits": {"portrangesize": 30},
        });
        let file = folder.path().join("allexmasterconfig.json");
        std::fs::write(file, config.to_string()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_allexmaster"))
            .arg("--directory")
            .arg(folder.path())
            .arg("--socket-dir")
            .arg(sockets.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            sockets,
            _folder: folder,
            _lan: lan,
        }
    }

    /// Its name is in those of its sockets.
    async fn serves(&self) {
        let socket = format!("allexmachinemanager.{}", self.child.id());
        let socket = self.sockets.path().join(socket);
        let serving = async {
            while UnixStream::connect(&socket).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(TIMEOUT, serving).await.unwrap();
    }

    fn stop(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
}

impl Drop for OurMaster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_of_theirs_finds_at_our_master_all_that_tools_ask_for() {
    let master = OurMaster::start("Clock").await;
    master.serves().await;
    let mut command = tokio::process::Command::from(node("tool.js"));
    let mut tool = command
        .arg(master.sockets.path())
        .arg(master.child.id().to_string())
        .arg("Clock")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::BufReader::new(tool.stdout.take().unwrap()).lines();
    let mut told = Vec::new();
    while let Some(line) = timeout(TIMEOUT, lines.next_line())
        .await
        .unwrap_or_else(|_| panic!("it is told nothing more than {told:#?}"))
        .unwrap()
    {
        told.push(serde_json::from_str::<Value>(&line).unwrap());
        if told.last().unwrap()[0] == "done" {
            master.stop();
        }
    }
    let expected = [
        json!(["machine", ["allex_masterservice", "service"]]),
        json!(["our name there is our process", true]),
        json!(["child", ["Clock", "sample:clock", true]]),
        json!(["engaged", true]),
        json!(["added", true]),
        json!(["removed", true]),
        json!(["refused", "NEED_NOT_DEFINED"]),
        json!([
            "listed",
            [
                "allex_availablelanservicesservice",
                "Clock",
                "127.0.0.1",
                true
            ]
        ]),
        json!(["LanManager", 1]),
        json!(["translated", ["allex_natservice", [["1.2.3.4", 80]]]]),
        json!(["done", true]),
        json!(["lost", true]),
    ];
    assert_eq!(told, expected);
}
