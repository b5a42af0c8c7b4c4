//! This LanManager in the place of the recorded one: what the JavaScript master said to its
//! LanManager is said to ours, and what it was told it has to be told by ours, and nothing else.
//!
//! Identifiers that the LanManager makes cannot be the same in a second life: the first time that a
//! recorded one stands where one of ours does the two are bound. Two things differ on purpose. What
//! changes in a row is told by ours in one update, by the recorded one in up to twenty, so updates are
//! not compared; and where the master ends a session that its approval has ended already, it depends
//! on the moment whether it is told `dead` or that there is no such session.

use std::collections::BTreeMap;

use allexmaster_lanmanager::Door;
use serde_json::{Value, json};

use crate::client::Client;
use crate::setting::{FOR_EVER, Setting, live_port};

/// What a line of a recording means for the play.
enum Line {
    /// The master says this.
    Master(Value),
    /// The master is told this.
    LanManager(Value),
    /// The LanManager ends.
    LanManagerEnds,
    /// The master's connection ends.
    MasterEnds,
}

#[tokio::test]
async fn a_recorded_master_is_served_over_websocket_through_restarts_of_both() {
    let played = play(
        "lan-ws-needs-and-restarts.jsonl",
        Door::WebSocketOfJavaScript,
    )
    .await;
    assert_eq!(played, 143);
}

#[tokio::test]
async fn a_recorded_master_is_served_over_signalr() {
    assert_eq!(play("lan-signalr.jsonl", Door::SignalR).await, 51);
}

#[tokio::test]
async fn a_recorded_master_whose_children_die_is_served() {
    let name = "lan-signalr-missing-module-and-deaths.jsonl";
    assert_eq!(play(name, Door::SignalR).await, 56);
}

/// Plays a recording; how many frames of the recorded LanManager had one of ours.
async fn play(name: &str, door: Door) -> usize {
    let (_listener, port) = live_port().await;
    let mut setting = recorded_setting().await;
    let mut visit: Option<Visit> = None;
    let mut compared = 0;
    for line in lines(name, port) {
        match line {
            Line::Master(frame) => {
                if frame[1][0].is_null() {
                    visit = Some(Visit::new(setting.client_at(door).await));
                }
                visit.as_mut().unwrap().say(&frame);
            }
            Line::LanManager(frame) => {
                visit.as_mut().unwrap().expect(&frame).await;
                compared += 1;
            }
            Line::LanManagerEnds => {
                if let Some(visit) = visit.take() {
                    visit.end();
                    setting = setting.restart(FOR_EVER).await;
                }
            }
            Line::MasterEnds => {
                if let Some(visit) = visit.take() {
                    visit.end();
                }
            }
        }
    }
    if let Some(visit) = visit {
        visit.end();
    }
    compared
}

/// The files of the recorded LanManager.
async fn recorded_setting() -> Setting {
    let files = [
        ("needs", crate::setting::time()),
        ("subnets", json!(["192.168.1.0/8"])),
        (
            "nat",
            json!([{"iaddress": "192.168.1.1", "iport": 12345, "eaddress": "1.2.3.4", "eport": 80}]),
        ),
    ];
    Setting::with_files(&files, FOR_EVER).await
}

/// The recorded master on one connection.
struct Visit {
    client: Client,
    /// Recorded identifiers, and ours.
    bound: BTreeMap<String, String>,
}

impl Visit {
    fn new(client: Client) -> Self {
        let bound = BTreeMap::new();
        Self { client, bound }
    }

    fn say(&mut self, frame: &Value) {
        let frame = self.translate(frame);
        self.client.send(&frame);
    }

    /// Waits for our frame in the place of a recorded one.
    async fn expect(&mut self, recorded: &Value) {
        let bound = self.bound.clone();
        let fits = |ours: &Value| match farewell(recorded) {
            Some(call) => farewell(ours) == Some(call),
            None => unify(&mut bound.clone(), recorded, ours),
        };
        let ours = self.client.wait_for(fits).await;
        if farewell(recorded).is_none() {
            unify(&mut self.bound, recorded, &ours);
        }
    }

    /// Nothing was told beside what was recorded.
    fn end(self) {
        let more: Vec<&Value> = self
            .client
            .others()
            .filter(|frame| !is_update(frame) && !is_ping(frame) && farewell(frame).is_none())
            .collect();
        assert!(more.is_empty(), "ours says more: {more:?}");
    }

    fn translate(&self, recorded: &Value) -> Value {
        match recorded {
            Value::String(text) => Value::from(self.bound.get(text).unwrap_or(text).as_str()),
            Value::Array(members) => members.iter().map(|one| self.translate(one)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(name, one)| (name.clone(), self.translate(one)))
                .collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) => recorded.clone(),
        }
    }
}

/// Whether ours is the recorded value but for identifiers; those that are new are bound.
fn unify(bound: &mut BTreeMap<String, String>, recorded: &Value, ours: &Value) -> bool {
    match (recorded, ours) {
        (Value::String(recorded), Value::String(ours)) if is_identifier(recorded) => {
            bound
                .entry(recorded.clone())
                .or_insert_with(|| ours.clone())
                == ours
        }
        (Value::Array(recorded), Value::Array(ours)) => {
            let mut pairs = recorded.iter().zip(ours);
            recorded.len() == ours.len()
                && pairs.all(|(recorded, ours)| unify(bound, recorded, ours))
        }
        (Value::Object(recorded), Value::Object(ours)) => {
            recorded.len() == ours.len()
                && recorded.iter().all(|(name, recorded)| {
                    ours.get(name)
                        .is_some_and(|ours| unify(bound, recorded, ours))
                })
        }
        (recorded, ours) => recorded == ours,
    }
}

/// JavaScript makes its identifiers from the hardware address, the process and the time.
fn is_identifier(text: &str) -> bool {
    text.len() > 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Which call to `die` a frame answers, in either shape. Not every recorded one was answered.
fn farewell(frame: &Value) -> Option<&Value> {
    match frame[0].as_str() {
        Some("r") if frame[2] == "dead" => Some(&frame[1]),
        Some("f") if frame[1][2][1][0] == "die" => Some(&frame[1][0]),
        Some(_) | None => None,
    }
}

fn is_update(frame: &Value) -> bool {
    frame[0] == "n" && frame[2][0] == "u"
}

fn is_ping(frame: &Value) -> bool {
    frame[0] == "?"
}

/// The lines of a recording that count, with a port that answers in the place of each recorded one.
fn lines(name: &str, port: u16) -> Vec<Line> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/tests/data/");
    let text = std::fs::read_to_string(format!("{folder}{name}")).unwrap();
    // Ours takes JavaScript's default for the network that it names.
    let text = text.replace("192.168.1.0/8", "192.168.1.0/24");
    let lines = text.lines().filter_map(|text| {
        let line: Value = serde_json::from_str(text).unwrap();
        let mut frame = line["frame"].clone();
        match line["dir"].as_str().unwrap() {
            "server end" => return Some(Line::LanManagerEnds),
            // The negotiation has a connection of its own.
            "client end" if !line["conn"].as_str().unwrap().ends_with(":22451#1") => {
                return Some(Line::MasterEnds);
            }
            _ => {}
        }
        let is_frame = frame.is_array() && line["signalr"] != "control";
        // Pings over SignalR come from the LanManager, at its own times.
        let is_timed = frame[0] == "?" || frame[0] == "!";
        if !is_frame || is_timed || is_update(&frame) {
            return None;
        }
        answer_at(&mut frame, port);
        match line["dir"].as_str().unwrap() {
            "master>lan" => Some(Line::Master(frame)),
            "lan>master" => Some(Line::LanManager(frame)),
            other => panic!("an unknown direction {other}"),
        }
    });
    lines.collect()
}

/// Puts a port that answers in the place of every recorded one.
fn answer_at(value: &mut Value, port: u16) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if ["tcpport", "httpport", "wsport"].contains(&name.as_str()) {
                    if member.is_number() {
                        *member = json!(port);
                    }
                } else {
                    answer_at(member, port);
                }
            }
        }
        Value::Array(members) => {
            for member in members {
                answer_at(member, port);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
