//! Our client against recorded servers.

use std::collections::{BTreeMap, BTreeSet};

use allexmaster_protocol::client::{Client, ClientEvent, ClientOptions, Timeout};
use allexmaster_protocol::close::CarrierKind;
use allexmaster_protocol::frame::{CallId, ClientFrame, SessionId};
use allexmaster_protocol::mirror::Mirror;
use serde_json::{Value, json};

use super::Bindings;
use crate::frames::assert_snapshot;
use crate::transcript::{Line, Recorded, lines_of};

#[test]
fn our_client_says_what_the_recorded_master_said_and_follows_the_recorded_lan_manager() {
    let lines: Vec<Line> = lines_of("lan-ws-needs-and-restarts.jsonl")
        .into_iter()
        .filter(|line| line.connection == "master->lan:23451#1")
        .collect();
    let mut player = Player::new(CarrierKind::WebSocket);
    player.play(&lines);
    assert_eq!(player.answered.len(), player.expected_answers);
    assert_eq!(player.answered.len(), 25);
    let forgotten = player
        .answered
        .values()
        .filter(|answer| answer.get("error").is_some())
        .count();
    assert_eq!(forgotten, 0);
    assert_snapshot("conversation_mirrors", player.mirrors());
}

#[test]
fn our_client_speaks_to_a_recorded_child_over_its_ipc_channel() {
    let lines: Vec<Line> = lines_of("child-ipc-master-side.jsonl")
        .into_iter()
        .filter(|line| line.connection == "ipc:15929")
        .collect();
    let mut player = Player::new(CarrierKind::Ipc);
    player.play(&lines);
    assert_eq!(player.ready, [15_929]);
    assert_eq!(player.sessions, BTreeSet::from([SessionId::from("15847")]));
    assert!(player.state_items > 3, "the state of the child is followed");
}

struct Player {
    client: Client,
    bindings: Bindings,
    sessions: BTreeSet<SessionId>,
    mirrors: BTreeMap<CallId, Mirror>,
    answered: BTreeMap<CallId, Value>,
    expected_answers: usize,
    ready: Vec<u32>,
    state_items: usize,
}

impl Player {
    fn new(carrier: CarrierKind) -> Self {
        Self {
            client: Client::new(
                0,
                ClientOptions {
                    carrier,
                    identifier_prefix: "m".to_owned(),
                },
            ),
            bindings: Bindings::default(),
            sessions: BTreeSet::new(),
            mirrors: BTreeMap::new(),
            answered: BTreeMap::new(),
            expected_answers: 0,
            ready: Vec::new(),
            state_items: 0,
        }
    }

    fn play(&mut self, lines: &[Line]) {
        for line in lines {
            match &line.recorded {
                Recorded::Client(frame) => self.say(line, frame),
                Recorded::Server(frame) => {
                    // Confirmations are not told to the application.
                    let final_answer =
                        frame[0] == "r" && frame[2] != "ok" || frame[0] == "e" || frame[0] == "f";
                    self.expected_answers += usize::from(final_answer);
                    self.client
                        .receive(0, &self.bindings.translate(frame).to_string());
                    self.follow();
                }
                Recorded::SignalRFromClient(_)
                | Recorded::SignalRFromServer(_)
                | Recorded::Beside(_) => {}
            }
        }
    }

    /// Does what the recorded client did, and compares what goes out.
    fn say(&mut self, line: &Line, frame: &Value) {
        let place = format!("{}:{}", line.file, line.number);
        match ClientFrame::from_value(frame.clone()).unwrap() {
            ClientFrame::Introduce {
                session: None,
                credentials,
                ..
            } => {
                self.client.introduce(0, credentials);
            }
            ClientFrame::Introduce {
                session: Some(session),
                ..
            } if line.connection.starts_with("ipc") => {
                self.client.introduce_known(0, &session, Timeout::default());
            }
            ClientFrame::Introduce {
                session: Some(session),
                ..
            } => {
                self.client.claim(0, &session);
            }
            // A claim has already said it.
            ClientFrame::Call { method, .. } if method == "confirmReservation" => {}
            ClientFrame::Call {
                session,
                method,
                arguments,
                ..
            } if method == "query" => {
                let call = self
                    .client
                    .query(0, &session, arguments.unwrap()[0].clone());
                self.mirrors
                    .insert(call, Mirror::new(["instancename", "iaddress", "iport"]));
            }
            ClientFrame::Call {
                session,
                target,
                method,
                arguments,
                ..
            } => {
                self.client.call(
                    0,
                    &session,
                    target,
                    &method,
                    arguments.unwrap(),
                    Timeout::Unlimited,
                );
            }
            ClientFrame::Ping { stamp: _ } | ClientFrame::Pong { stamp: _ } => return,
        }
        if frame[2][1][0] == "confirmReservation" {
            // It went out with its claim; bind its identifier now.
            let ours = self.confirmations(frame);
            assert!(ours, "{place}");
            return;
        }
        let ours: Value = serde_json::from_str(&self.client.poll_transmit().unwrap()).unwrap();
        assert!(self.bindings.unify(&frame[0], &ours[0]), "{place}");
        assert_eq!(ours, self.bindings.translate(frame), "{place}");
    }

    fn confirmations(&mut self, frame: &Value) -> bool {
        let ours: Value = serde_json::from_str(&self.client.poll_transmit().unwrap()).unwrap();
        self.bindings.unify(&frame[0], &ours[0]) && ours == self.bindings.translate(frame)
    }

    fn follow(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::Introduced { call, introduction } => {
                    assert!(
                        self.sessions.insert(introduction.session.clone()),
                        "a session begins once"
                    );
                    self.answered.insert(call, json!("introduced"));
                }
                ClientEvent::Answered { call, outcome, .. } => {
                    let answer =
                        outcome.unwrap_or_else(|error| json!({ "error": error.to_string() }));
                    assert!(
                        self.answered.insert(call, answer).is_none(),
                        "a call is answered once"
                    );
                }
                ClientEvent::Progress { call, data, .. } => {
                    self.mirrors.get_mut(&call).unwrap().apply(data).unwrap();
                }
                ClientEvent::State { session, .. } => {
                    assert!(
                        self.sessions.contains(&session),
                        "state comes after its session"
                    );
                    self.state_items += 1;
                }
                ClientEvent::SessionEnded { session } => assert!(self.sessions.remove(&session)),
                ClientEvent::ChildReady { process } => self.ready.push(process),
                ClientEvent::Exclusivity { .. }
                | ClientEvent::ChildFailed { .. }
                | ClientEvent::Closed { .. } => {
                    panic!("the recording has nothing of this: {event:?}");
                }
            }
        }
    }

    fn mirrors(&self) -> String {
        let tables: Vec<Value> = self
            .mirrors
            .values()
            .map(|mirror| mirror.rows().map(Value::Object).collect())
            .collect();
        serde_json::to_string_pretty(&tables).unwrap()
    }
}
