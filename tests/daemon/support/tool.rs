//! A tool at a local socket, that says and hears frames one by one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use allexmaster_protocol::framing::wire::{Wire, WireItem};
use serde_json::{Value, json};

use super::PATIENCE;

/// A connection with a session.
pub(crate) struct Tool {
    stream: UnixStream,
    wire: Wire,
    heard: Vec<WireItem>,
    session: Value,
}

impl Tool {
    /// Connects, and is let in.
    pub(crate) fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        let mut tool = Self {
            stream,
            wire: Wire::length_prefixed(),
            heard: Vec::new(),
            session: Value::Null,
        };
        let identity = json!({"samemachineprocess": {"pid": std::process::id(), "role": "user"}});
        tool.say(&json!(["in", [null, identity]]));
        tool.session = tool.answer("in")["session"].clone();
        tool
    }

    pub(crate) fn say(&mut self, frame: &Value) {
        self.wire.send(&frame.to_string()).unwrap();
        let bytes = self.wire.take_output();
        self.stream.write_all(&bytes).unwrap();
    }

    /// Calls a method of the user (`"."`) or of the session (`"!"`); the answer is heard later.
    pub(crate) fn call(&mut self, id: &str, target: &str, method: &str, arguments: Value) {
        let session = self.session.clone();
        self.say(&json!([id, [session, null], [target, [method, arguments]]]));
    }

    /// Waits for the result of a call; what else is heard before it is dropped.
    pub(crate) fn answer(&mut self, id: &str) -> Value {
        loop {
            let frame = self.hear(PATIENCE).unwrap();
            if frame[0] == "r" && frame[1] == id {
                return frame[2].clone();
            }
            assert!(frame[0] != "e" || frame[1] != id, "refused: {frame}");
        }
    }

    /// The next frame, if one comes in time. The connection must not end.
    pub(crate) fn hear(&mut self, patience: Duration) -> Option<Value> {
        let deadline = Instant::now() + patience;
        loop {
            if !self.heard.is_empty() {
                match self.heard.remove(0) {
                    WireItem::Text(text) => return Some(serde_json::from_str(&text).unwrap()),
                    WireItem::Alive => continue,
                    WireItem::Closed(reason) => panic!("the connection ended: {reason}"),
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            self.stream.set_read_timeout(Some(left)).unwrap();
            let mut buffer = [0; 4_096];
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("the master closed the connection"),
                Ok(count) => self.wire.receive(&buffer[..count], &mut self.heard),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("the connection broke: {error}"),
            }
        }
    }
}
