//! A client that speaks frames: what it sends and gets is exactly what is on the wire.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_protocol::handshake::dial;
use allexmaster_protocol::pump::{Delivery, Inbox, Opened, Outgoing};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// When a test gives up. Far beyond what anything takes; only a failed test sees it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to a LanManager.
pub(crate) struct Client {
    outgoing: Outgoing,
    incoming: mpsc::Receiver<Delivery>,
    /// Frames that came while something else was waited for.
    aside: VecDeque<Value>,
    calls: u64,
}

/// Masks need no secret here.
const SEED: [u8; 32] = [7; 32];

impl Client {
    pub(crate) async fn web_socket(address: SocketAddr) -> Self {
        let host = address.ip().to_string();
        let stream = dial::web_socket(&host, address.port()).await.unwrap();
        Self::over(stream, Wire::web_socket_client(SEED))
    }

    pub(crate) async fn tcp(address: SocketAddr) -> Self {
        Self::over_stream(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn over_stream(stream: TcpStream) -> Self {
        Self::over(stream, Wire::length_prefixed())
    }

    /// Negotiates over HTTP as the JavaScript client does, then opens the WebSocket.
    pub(crate) async fn signalr(address: SocketAddr) -> Self {
        let host = address.ip().to_string();
        let stream = dial::signalr(&host, address.port()).await.unwrap();
        Self::over(stream, Wire::signalr_client(SEED))
    }

    fn over(stream: TcpStream, wire: Wire) -> Self {
        let (inbox, incoming) = Inbox::alone(64);
        Self {
            outgoing: Opened::new(stream, wire).start(inbox),
            incoming,
            aside: VecDeque::new(),
            calls: 0,
        }
    }

    pub(crate) fn send_text(&mut self, text: &str) {
        // A test may send to a connection that has just been cut.
        drop(self.outgoing.send(text));
    }

    pub(crate) fn send(&mut self, frame: &Value) {
        self.send_text(&frame.to_string());
    }

    /// The next text from the wire, or why it ended.
    async fn receive(&mut self) -> Result<Value, CloseReason> {
        let receiving = async {
            loop {
                match self.incoming.recv().await.unwrap().item {
                    WireItem::Text(text) => return Ok(text),
                    WireItem::Alive => {}
                    WireItem::Closed(reason) => return Err(reason),
                }
            }
        };
        let text = tokio::time::timeout(TIMEOUT, receiving).await;
        let text = text.expect("the LanManager must say something")?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    /// The first frame that fits; others are kept for later.
    pub(crate) async fn wait_for(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.aside.iter().position(&fits) {
            return self.aside.remove(place).unwrap();
        }
        loop {
            let frame = self.receive().await.unwrap();
            if fits(&frame) {
                return frame;
            }
            self.aside.push_back(frame);
        }
    }

    /// Waits until the LanManager has closed the connection.
    pub(crate) async fn wait_for_end(&mut self) -> CloseReason {
        loop {
            match self.receive().await {
                Ok(frame) => self.aside.push_back(frame),
                Err(reason) => return reason,
            }
        }
    }

    /// Frames that nobody waited for.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Value> {
        self.aside.iter()
    }

    /// Sends a request and gives its number.
    pub(crate) fn request(&mut self, rest: &[Value]) -> String {
        self.calls += 1;
        let id = format!("c{}", self.calls);
        let mut frame = vec![json!(id)];
        frame.extend_from_slice(rest);
        self.send(&Value::Array(frame));
        id
    }

    pub(crate) fn call(
        &mut self,
        session: &str,
        target: &str,
        method: &str,
        arguments: Value,
    ) -> String {
        self.request(&[json!([session, null]), json!([target, [method, arguments]])])
    }

    /// The answer to a request: `r`, `e`, or `f` frame.
    pub(crate) async fn answer(&mut self, id: &str) -> Value {
        self.wait_for(|frame| match frame[0].as_str() {
            Some("r" | "e") => frame[1] == id,
            Some("f") => frame[1][0] == id,
            _ => false,
        })
        .await
    }

    pub(crate) async fn ask(
        &mut self,
        session: &str,
        target: &str,
        method: &str,
        arguments: Value,
    ) -> Value {
        let id = self.call(session, target, method, arguments);
        let answer = self.answer(&id).await;
        match answer[0].as_str() {
            Some("r") => answer[2].clone(),
            _ => json!({"error": answer[2]}),
        }
    }

    /// Opens a root session.
    pub(crate) async fn introduce(&mut self) -> String {
        let id = self.request(&[json!([null, {"ip": {"name": "any_name", "role": "user"}}])]);
        let answer = self.answer(&id).await;
        answer[2]["session"].as_str().unwrap().to_owned()
    }

    /// Opens a session on a subservice.
    pub(crate) async fn sub_connect(&mut self, session: &str, subservice: &str) -> String {
        let arguments = json!([subservice, {"role": "user"}]);
        let answer = self.ask(session, "!", "subConnect", arguments).await;
        let session = answer["introduce"]["session"].as_str().unwrap().to_owned();
        let id = self.request(&[json!([session, null])]);
        self.answer(&id).await;
        let confirmed = self
            .ask(&session, "!", "confirmReservation", json!([]))
            .await;
        assert_eq!(confirmed, "ok");
        session
    }

    /// Follows a table; gives the number of the query and the rows that are there.
    pub(crate) async fn follow(&mut self, session: &str) -> (String, Vec<Value>) {
        let id = self.call(session, "!", "query", json!([{"continuous": true}]));
        let mut rows = Vec::new();
        loop {
            let event = self.progress(&id).await;
            match event[0].as_str().unwrap() {
                "r1" => rows.push(event[2].clone()),
                "re" => return (id, rows),
                _ => {}
            }
        }
    }

    /// The next event of a query.
    pub(crate) async fn progress(&mut self, query: &str) -> Value {
        let frame = self
            .wait_for(|frame| frame[0] == "n" && frame[1] == query)
            .await;
        frame[2].clone()
    }

    /// The next event of a query with a kind, without those before it.
    pub(crate) async fn progress_of_kind(&mut self, query: &str, kind: &str) -> Value {
        loop {
            let event = self.progress(query).await;
            if event[0] == kind {
                return event;
            }
        }
    }

    /// All rows of a table, as they are now.
    pub(crate) async fn rows(&mut self, session: &str) -> Vec<Value> {
        let id = self.call(session, ".", "read", json!([{}]));
        let mut rows = Vec::new();
        loop {
            let event = self.progress(&id).await;
            match event[0].as_str().unwrap() {
                "r1" => rows.push(event[2].clone()),
                "re" => return rows,
                _ => {}
            }
        }
    }
}
