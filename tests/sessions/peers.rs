//! Those that the sessions speaks to: what they say, as bytes of their framing, and what they have heard.

use std::collections::VecDeque;

use allexmaster_protocol::framing::wire::{Wire, WireItem};
use allexmaster_sessions::ChildWire;
use serde_json::{Value, json};

/// How bytes are made of texts.
#[derive(Debug)]
enum Speech {
    /// A framing that is the same in both directions.
    Same(Box<Wire>),
    /// A WebSocket's server, and what it has of a frame that is not whole yet.
    WebSocket(Vec<u8>),
    /// Somebody else makes the bytes.
    Texts,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Peer {
    speech: Speech,
    /// What it has said that has not arrived.
    pub(crate) pending: VecDeque<u8>,
    /// What it was told and has not answered.
    pub(crate) unanswered: Vec<Value>,
    /// The session that it was given, where it was.
    pub(crate) session: Option<String>,
    /// How many calls it has made.
    calls: u64,
}

impl Peer {
    fn new(speech: Speech) -> Self {
        Self {
            speech,
            pending: VecDeque::new(),
            unanswered: Vec::new(),
            session: None,
            calls: 0,
        }
    }

    /// A tool at one of the sockets.
    pub(crate) fn tool() -> Self {
        Self::new(Speech::Same(Box::new(Wire::length_prefixed())))
    }

    pub(crate) fn child(wire: ChildWire) -> Self {
        Self::new(Speech::Same(Box::new(match wire {
            ChildWire::Inherited => Wire::newline_delimited(),
            ChildWire::OwnSocket => Wire::length_prefixed(),
        })))
    }

    /// A LanManager; over TLS somebody else makes the bytes.
    pub(crate) fn lan(tls: bool) -> Self {
        Self::new(if tls {
            Speech::Texts
        } else {
            Speech::WebSocket(Vec::new())
        })
    }

    pub(crate) fn name_of_call(&mut self) -> String {
        self.calls += 1;
        format!("c{}", self.calls)
    }

    /// Says a frame; the bytes wait to arrive.
    pub(crate) fn say(&mut self, frame: &Value) {
        let text = frame.to_string();
        let bytes = match &mut self.speech {
            Speech::Same(wire) => {
                wire.send(&text).unwrap();
                wire.take_output()
            }
            Speech::WebSocket(_) => web_socket_frame(&text),
            Speech::Texts => text.into_bytes(),
        };
        self.pending.extend(bytes);
    }

    /// Hears bytes that the sessions have sent.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        let texts = match &mut self.speech {
            Speech::Same(wire) => {
                let mut items = Vec::new();
                wire.receive(bytes, &mut items);
                items.into_iter().map(text_of).collect()
            }
            Speech::WebSocket(rest) => {
                rest.extend_from_slice(bytes);
                std::iter::from_fn(|| take_masked(rest))
                    .filter(|(kind, _)| *kind == TEXT)
                    .map(|(_, text)| String::from_utf8(text).unwrap())
                    .collect()
            }
            Speech::Texts => vec![String::from_utf8(bytes.to_vec()).unwrap()],
        };
        for text in texts.iter().flat_map(|text| frames(text)) {
            let granted = text[2]["session"].as_str();
            if let Some(session) = granted.filter(|_| text[0] == "r") {
                self.session = Some(session.to_owned());
            }
            self.unanswered.push(text);
        }
    }
}

fn text_of(item: WireItem) -> String {
    match item {
        WireItem::Text(text) => text,
        WireItem::Alive | WireItem::Closed(_) => {
            panic!("the sessions sends valid frames: {item:?}")
        }
    }
}

/// The frames of a text; a WebSocket carries several in one.
fn frames(text: &str) -> Vec<Value> {
    match serde_json::from_str(text) {
        Ok(frame) => vec![frame],
        Err(_) => allexmaster_protocol::framing::text_batch::split(text)
            .unwrap()
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect(),
    }
}

fn web_socket_frame(text: &str) -> Vec<u8> {
    let mut bytes = match u8::try_from(text.len()) {
        Ok(length) if length < 126 => vec![TEXT, length],
        Ok(_) | Err(_) => {
            let length = u16::try_from(text.len()).unwrap().to_be_bytes();
            vec![TEXT, 126, length[0], length[1]]
        }
    };
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// A last (and only) part of a text. Pongs and closes are answers to bytes that make no sense.
const TEXT: u8 = 0x81;

/// The kind and the payload of the first frame, if that is whole.
fn take_masked(rest: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let kind = *rest.first()?;
    let short = usize::from(rest.get(1)? & 0x7f);
    let (length, start) = match short {
        126 => {
            let length = u16::from_be_bytes(rest.get(2..4)?.try_into().unwrap());
            (usize::from(length), 4)
        }
        short => (short, 2),
    };
    let mask: [u8; 4] = rest.get(start..start + 4)?.try_into().unwrap();
    let masked = rest.get(start + 4..start + 4 + length)?;
    let unmasked = masked.iter().zip(mask.iter().cycle());
    let text: Vec<u8> = unmasked.map(|(byte, mask)| byte ^ mask).collect();
    rest.drain(..start + 4 + length);
    Some((kind, text))
}

/// What a LanManager says to a frame of a master.
pub(crate) fn answers_of_a_lan_manager(frame: &Value) -> Vec<Value> {
    let call = &frame[0];
    let of = frame[1][0].as_str();
    match (of, frame[2][1][0].as_str()) {
        (None, _) => vec![
            json!(["oob", ["root", "s", {"p": ["name"], "o": "s", "d": "127.0.0.1"}]]),
            json!(["oob", ["root", "s", {"p": ["haveservices"], "o": "s", "d": true}]]),
            json!(["oob", ["root", "s", {"p": ["haveneeds"], "o": "s", "d": true}]]),
            json!(["oob", ["root", "s", {"p": ["havenat"], "o": "s", "d": true}]]),
            json!(["r", call, {"session": "root", "role": "user", "modulename": "lan"}]),
        ],
        (Some(_), Some("subConnect")) => {
            let name = frame[2][1][1][0].as_str().unwrap_or_default();
            let session = format!("s.{name}");
            let reserved = json!({"session": session, "modulename": "allex_x", "role": "user"});
            vec![json!(["r", call, {"introduce": reserved}])]
        }
        (Some(of), Some("query")) => {
            let row = json!({"instancename": "Time", "modulename": "allex_x", "strategies": {}});
            let rows = json!(["n", call, ["c", row]]);
            let begin = [
                json!(["n", call, ["i", "q"]]),
                json!(["n", call, ["rb", "l"]]),
            ];
            let end = json!(["n", call, ["re", "l"]]);
            let rows = (of == "s.needs").then_some(rows);
            begin.into_iter().chain(rows).chain([end]).collect()
        }
        (Some(of), None) if frame.get(2).is_none() => {
            vec![json!(["r", call, {"session": of, "role": "user", "modulename": "allex_x"}])]
        }
        (Some(_), _) => vec![json!(["r", call, "ok"])],
    }
}

/// What a child answers to a call of the master.
pub(crate) fn answer_of_a_child(frame: &Value, number: u64) -> Value {
    let call = &frame[0];
    if frame[2][1][0] == "subConnect" {
        let session = format!("tool{number}");
        let reserved = json!({"session": session, "role": "user", "modulename": "allex_x"});
        json!(["r", call, {"introduce": reserved}])
    } else if frame.get(2).is_none() {
        json!(["r", call, {"session": "1", "role": "service", "modulename": "allex_x"}])
    } else {
        json!(["r", call, number])
    }
}
