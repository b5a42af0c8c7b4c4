//! The built LanManager, and connections to it from addresses of this machine.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::time::Duration;

use allexmaster_testkit::lan::{command, write_file};
use allexmaster_testkit::master::lan_manager_program;
use allexmaster_testkit::wait::{TIMEOUT, wait_for};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

/// A LanManager in a folder of its own.
pub(crate) struct LanManager {
    pub(crate) folder: TempDir,
    process: Child,
    /// WebSocket, JavaScript's WebSocket, SignalR, raw TCP.
    pub(crate) ports: [u16; 4],
}

impl LanManager {
    pub(crate) fn start(files: &[(&str, Value)]) -> Self {
        Self::start_with_descriptors(files, None)
    }

    /// With a limit of descriptors that it cannot raise.
    pub(crate) fn start_with_descriptors(files: &[(&str, Value)], limit: Option<u32>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            write_file(folder.path(), name, &content.to_string());
        }
        let log = File::create(folder.path().join("log")).unwrap();
        let plain = command(&lan_manager_program(), folder.path(), [0; 4]);
        let mut command = match limit {
            None => plain,
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh"]);
                shell.arg(plain.get_program()).args(plain.get_args());
                shell
            }
        };
        let process = command
            .args(["--log-format", "json"])
            .stderr(log)
            .spawn()
            .unwrap();
        let mut started = Self {
            folder,
            process,
            ports: [0; 4],
        };
        started.ports = wait_for("the LanManager's doors", || {
            let ports = started.log().into_iter().filter_map(|line| {
                let address = line["fields"]["address"].as_str()?;
                let listens = line["fields"]["message"] == "listening";
                listens.then(|| address.parse::<SocketAddr>().unwrap().port())
            });
            ports.collect::<Vec<_>>().try_into().ok()
        });
        started
    }

    /// The lines of its log so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        let lines = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn tcp_port(&self) -> u16 {
        self.ports[3]
    }

    pub(crate) fn log_has(&self, words: &str) -> bool {
        self.log()
            .iter()
            .any(|line| line.to_string().contains(words))
    }
}

impl Drop for LanManager {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Connects from an address of the loopback: all of 127.0.0.0/8 is here.
pub(crate) fn connect(from: &str, port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from: IpAddr = from.parse().unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Whether the other side has closed a connection, or does within the time.
pub(crate) fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    stream.set_read_timeout(Some(within)).unwrap();
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// Sends bytes; a peer that has closed is no failure.
pub(crate) fn send(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

/// A frame behind its length, as the raw TCP door takes it.
pub(crate) fn framed(frame: &Value) -> Vec<u8> {
    let text = frame.to_string();
    let mut bytes = u32::try_from(text.len()).unwrap().to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// A client at the raw TCP door that has introduced itself.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    pub(crate) session: Value,
    calls: u32,
}

impl Client {
    pub(crate) fn introduce(port: u16) -> Self {
        let mut client = Self {
            stream: connect("127.0.0.1", port),
            received: Vec::new(),
            session: Value::Null,
            calls: 0,
        };
        let answer = client.ask(&[json!([null, {"ip": {"name": "x", "role": "user"}}])]);
        client.session = answer[2]["session"].clone();
        assert!(client.session.is_string(), "{answer}");
        client
    }

    /// Says something and waits for the answer.
    pub(crate) fn ask(&mut self, parts: &[Value]) -> Value {
        let id = self.say(parts);
        loop {
            let frame = self.next();
            if (frame[0] == "r" || frame[0] == "e") && frame[1] == id.as_str() {
                return frame;
            }
        }
    }

    pub(crate) fn say(&mut self, parts: &[Value]) -> String {
        self.calls += 1;
        let id = format!("c{}", self.calls);
        let frame = [json!(id)].iter().chain(parts).cloned().collect();
        send(&mut self.stream, &framed(&Value::Array(frame)));
        id
    }

    pub(crate) fn call(
        &mut self,
        session: &Value,
        target: &str,
        method: &str,
        arguments: Value,
    ) -> Value {
        self.ask(&[json!([session, null]), json!([target, [method, arguments]])])
    }

    fn next(&mut self) -> Value {
        loop {
            if let Some(length) = self.received.first_chunk::<4>() {
                let end = 4 + u32::from_le_bytes(*length) as usize;
                if self.received.len() >= end {
                    let frame = serde_json::from_slice(&self.received[4..end]).unwrap();
                    self.received.drain(..end);
                    return frame;
                }
            }
            let mut more = [0; 65_536];
            let count = self.stream.read(&mut more).unwrap();
            assert!(count > 0, "the LanManager closed the connection");
            self.received.extend_from_slice(&more[..count]);
        }
    }
}
