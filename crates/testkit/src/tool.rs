//! A tool that talks frame by frame: what it gets is exactly what is on the wire.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::mirror::Mirror;
use serde_json::{Value, json};

use crate::Finding;
use crate::wait::TIMEOUT;

/// How often the other side gets a sign of life: it parts with whoever gives none for 20 s, and a call
/// on a socket is none.
const PING_EVERY: Duration = Duration::from_secs(4);
/// How long is waited for what should have come already.
const AT_ONCE: Duration = Duration::from_millis(1);

enum Stream {
    Local(UnixStream),
    Network(TcpStream),
}

impl Stream {
    fn read(&mut self, timeout: Duration, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Local(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.read(buffer)
            }
            Self::Network(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.read(buffer)
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Local(stream) => stream.write_all(bytes),
            Self::Network(stream) => stream.write_all(bytes),
        }
    }
}

/// A connection with a session, that holds its peer to answering each call once.
pub struct Tool {
    stream: Stream,
    wire: Wire,
    heard: VecDeque<WireItem>,
    session: Value,
    calls: u64,
    open: BTreeSet<String>,
    /// Answers that were heard while another one was waited for.
    answers: BTreeMap<String, Value>,
    pinged: Instant,
}

impl Tool {
    /// Connects to a local socket of the master.
    ///
    /// # Errors
    /// There is none, or it lets nobody in.
    pub fn local(socket: &Path) -> Finding<Self> {
        let stream = UnixStream::connect(socket)
            .map_err(|error| format!("{} is not to be reached: {error}", socket.display()))?;
        let mut tool = Self::over(Stream::Local(stream));
        let process = json!({"pid": std::process::id(), "role": "user"});
        tool.introduce(json!({ "samemachineprocess": process }))?;
        Ok(tool)
    }

    /// Connects to the table `services` of the LanManager, at its port for plain TCP.
    ///
    /// # Errors
    /// There is none, or it lets nobody in.
    pub fn services(port: u16) -> Finding<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))
            .map_err(|error| format!("the LanManager is not to be reached: {error}"))?;
        let mut tool = Self::over(Stream::Network(stream));
        // No master: a new session of one would end what others have at the same address.
        let identity = json!({"role": "service", "name": "test"});
        tool.introduce(json!({ "ip": identity }))?;
        let id = tool.call("!", "subConnect", json!(["services", identity]))?;
        let below = tool.result(&id)?["introduce"]["session"].clone();
        let id = tool.next_id();
        tool.say(&json!([id, [below, null]]))?;
        tool.result(&id)?;
        tool.session = below;
        Ok(tool)
    }

    fn over(stream: Stream) -> Self {
        Self {
            stream,
            wire: Wire::length_prefixed(),
            heard: VecDeque::new(),
            session: Value::Null,
            calls: 0,
            open: BTreeSet::new(),
            answers: BTreeMap::new(),
            pinged: Instant::now(),
        }
    }

    fn introduce(&mut self, credentials: Value) -> Finding<()> {
        let id = self.next_id();
        self.say(&json!([id, [null, credentials]]))?;
        self.session = self.result(&id)?["session"].clone();
        Ok(())
    }

    fn next_id(&mut self) -> String {
        self.calls += 1;
        let id = format!("call{}", self.calls);
        self.open.insert(id.clone());
        id
    }

    fn say(&mut self, frame: &Value) -> Finding<()> {
        let sent = self.wire.send(&frame.to_string());
        sent.map_err(|reason| format!("a connection ended: {reason}"))?;
        let bytes = self.wire.take_output();
        let written = self.stream.write(&bytes);
        written.map_err(|error| format!("a connection broke in writing: {error}"))
    }

    /// Calls a method of the user (`"."`) or of the session (`"!"`); the answer is waited
    /// for by [`Self::result`].
    ///
    /// # Errors
    /// The connection has ended.
    pub fn call(&mut self, target: &str, method: &str, arguments: Value) -> Finding<String> {
        self.keep_alive()?;
        let id = self.next_id();
        let session = self.session.clone();
        self.say(&json!([id, [session, null], [target, [method, arguments]]]))?;
        Ok(id)
    }

    /// Gives a sign of life where one is due.
    fn keep_alive(&mut self) -> Finding<()> {
        if self.pinged.elapsed() < PING_EVERY {
            return Ok(());
        }
        self.pinged = Instant::now();
        self.say(&json!(["?", 1]))
    }

    /// Waits for the result of a call.
    ///
    /// # Errors
    /// The call is refused, answered twice or not at all, or the connection ends.
    pub fn result(&mut self, id: &str) -> Finding<Value> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(answer) = self.answers.remove(id) {
                if answer[0] == "r" {
                    return Ok(answer[2].clone());
                }
                return Err(format!("a call was refused: {answer}"));
            }
            if Instant::now() > deadline {
                return Err(format!("{id} was not answered within {TIMEOUT:?}"));
            }
            self.keep_alive()?;
            if let Some(frame) = self.hear(PING_EVERY)?
                && let (Some("r" | "e"), Some(id)) = (frame[0].as_str(), frame[1].as_str())
            {
                self.answers.insert(id.to_owned(), frame.clone());
            }
        }
    }

    /// Calls a method of the user and waits for its result.
    ///
    /// # Errors
    /// Those of [`Self::call`] and [`Self::result`].
    pub fn ask(&mut self, method: &str, arguments: Value) -> Finding<Value> {
        let id = self.call(".", method, arguments)?;
        self.result(&id)
    }

    /// The next frame, if one comes in time. The connection must not end.
    fn hear(&mut self, timeout: Duration) -> Finding<Option<Value>> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.heard.pop_front() {
                Some(WireItem::Text(text)) => return self.check(&text).map(Some),
                Some(WireItem::Alive) => continue,
                Some(WireItem::Closed(reason)) => {
                    return Err(format!("a connection ended: {reason}"));
                }
                None => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let mut buffer = [0; 16_384];
            match self.stream.read(left, &mut buffer) {
                Ok(0) => return Err("a connection was closed by the other side".to_owned()),
                Ok(count) => {
                    let mut heard = Vec::new();
                    self.wire
                        .receive(buffer.get(..count).unwrap_or_default(), &mut heard);
                    self.heard.extend(heard);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(format!("a connection broke: {error}")),
            }
        }
    }

    /// An answer belongs to a call that is open, and ends it.
    fn check(&mut self, text: &str) -> Finding<Value> {
        let frame: Value =
            serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))?;
        let is_answer = matches!(frame[0].as_str(), Some("r" | "e"));
        if is_answer && !frame[1].as_str().is_some_and(|id| self.open.remove(id)) {
            return Err(format!("answered twice, or never asked: {frame}"));
        }
        Ok(frame)
    }
}

/// A query that is held open, and the table that it makes.
pub struct Held {
    tool: Tool,
    table: Mirror,
    /// How many changes came since this was last set to 0.
    pub changes: usize,
    pings: u64,
}

impl Held {
    /// Opens the query, and reads the whole table.
    ///
    /// # Errors
    /// The connection ends, or the table is never complete.
    pub fn open(mut tool: Tool) -> Finding<Self> {
        tool.call("!", "query", json!([{ "continuous": true }]))?;
        let mut held = Self {
            tool,
            table: Mirror::new(["instancename"]),
            changes: 0,
            pings: 0,
        };
        loop {
            let frame = held
                .tool
                .hear(TIMEOUT)?
                .ok_or("a query is never read to its end")?;
            held.take(&frame)?;
            if frame[0] == "n" && frame[2][0] == "re" {
                return Ok(held);
            }
        }
    }

    /// Takes all that the other side had to say before it answers now.
    ///
    /// # Errors
    /// The connection ends, or there is no answer.
    pub fn round_trip(&mut self) -> Finding<()> {
        self.pings += 1;
        let ping = json!(["?", format!("round trip {}", self.pings)]);
        self.tool.say(&ping)?;
        loop {
            let frame = self.tool.hear(TIMEOUT)?.ok_or("a ping is not answered")?;
            if frame[0] == "!" && frame[1] == ping[1] {
                return Ok(());
            }
            self.take(&frame)?;
        }
    }

    /// Waits for the next change of the table.
    ///
    /// # Errors
    /// The connection ends, or nothing changes in time.
    pub fn next_change(&mut self) -> Finding<Value> {
        self.next_change_within(TIMEOUT)
    }

    /// The same with a limit of its own.
    ///
    /// # Errors
    /// The connection ends, or nothing changes in time.
    pub fn next_change_within(&mut self, limit: Duration) -> Finding<Value> {
        let deadline = Instant::now() + limit;
        loop {
            self.tool.keep_alive()?;
            let frame = self.tool.hear(PING_EVERY)?;
            if frame.is_none() && Instant::now() > deadline {
                return Err("a held query says nothing any more".to_owned());
            }
            let Some(frame) = frame else { continue };
            self.take(&frame)?;
            if frame[0] == "n" {
                return Ok(frame);
            }
        }
    }

    /// Takes all that has come.
    ///
    /// # Errors
    /// The connection ends, or what was said fits no table.
    pub fn follow(&mut self) -> Finding<()> {
        self.tool.keep_alive()?;
        while let Some(frame) = self.tool.hear(AT_ONCE)? {
            self.take(&frame)?;
        }
        Ok(())
    }

    fn take(&mut self, frame: &Value) -> Finding<()> {
        if frame[0] == "n" {
            self.changes += 1;
            self.table
                .apply(frame[2].clone())
                .map_err(|error| format!("a held query cannot be followed: {error}"))?;
        }
        Ok(())
    }

    /// What identifies each row: its name and its ports.
    pub fn rows(&self) -> BTreeSet<String> {
        let port = |row: &Value, name: &str| row[name].as_u64().unwrap_or_default();
        // The LanManager stands among the services that it can tell of; nobody starts it for a need.
        let rows = self.table.rows().map(Value::Object);
        let rows = rows.filter(|row| row["instancename"] != "LanManager");
        rows.map(|row| {
            let [tcp, http, ws] = ["tcpport", "httpport", "wsport"].map(|name| port(&row, name));
            line(
                row["instancename"].as_str().unwrap_or_default(),
                [tcp, http, ws],
            )
        })
        .collect()
    }
}

/// A row as it is compared and shown.
pub fn line(name: &str, ports: [u64; 3]) -> String {
    let [tcp, http, ws] = ports;
    format!("{name} {tcp} {http} {ws}")
}
