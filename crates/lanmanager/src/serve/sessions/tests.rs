//! The sessions with the real rules and a clock that the test moves.

use std::net::{IpAddr, Ipv4Addr};

use allexmaster_machine::{Stamp, Wall};
use allexmaster_protocol::close::CarrierKind;
use allexmaster_protocol::server::{ConnectionId, Output, Peer};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Sessions, Task};
use crate::rules::{self, Files, Need, Settings, State};

/// A LanManager without sockets, disk and clock.
struct Simulation {
    sessions: Sessions,
    state: State,
    sequence: u64,
    now: u64,
    sent: Vec<(ConnectionId, Value)>,
    closed: Vec<ConnectionId>,
}

impl Simulation {
    fn with_need(name: &str) -> Self {
        let mut simulation = Self {
            sessions: Sessions::new("s".to_owned()),
            state: State::default(),
            sequence: 0,
            now: 0,
            sent: Vec::new(),
            closed: Vec::new(),
        };
        let need = Need::from_json(json!({"instancename": name, "modulename": "m"})).unwrap();
        let needs = vec![need];
        let files = Files {
            needs,
            ..Files::default()
        };
        let settings = Settings {
            ip_strategies: Vec::new(),
            reconnect_grace: 3_000,
            edition: 0,
        };
        simulation.event(rules::Event::FilesRead { first: true, files });
        simulation.event(rules::Event::Started { settings });
        simulation.settle();
        simulation
    }

    fn event(&mut self, event: rules::Event) {
        self.sequence += 1;
        let stamp = Stamp {
            sequence: self.sequence,
            at: Wall(self.now),
            entropy: 0,
        };
        let (state, effects) = rules::step(std::mem::take(&mut self.state), stamp, event);
        self.state = state;
        for effect in effects {
            self.sessions.perform(self.now, effect);
        }
    }

    /// Lets everything happen that can happen now; all ports answer.
    fn settle(&mut self) {
        loop {
            while let Some(output) = self.sessions.server.poll_output() {
                match output {
                    Output::Send { connection, text } => {
                        self.sent
                            .push((connection, serde_json::from_str(&text).unwrap()));
                    }
                    Output::Close { connection, .. } => self.closed.push(connection),
                    Output::Event(event) => self.sessions.handle(self.now, event),
                }
            }
            match self.sessions.poll_task() {
                None => return,
                Some(Task::Event(event)) => self.event(event),
                Some(Task::CheckPorts { check, .. }) => self.event(rules::Event::PortsChecked {
                    check,
                    reachable: true,
                }),
                Some(Task::WriteRuntimeNeeds { revision }) => {
                    self.event(rules::Event::RuntimeNeedsWritten { revision });
                }
            }
        }
    }

    /// Lets time pass, from deadline to deadline.
    fn pass(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        loop {
            let server = self.sessions.server.poll_timeout();
            let rules = self.state.next_deadline().map(|(at, _)| at.0);
            let next = server.into_iter().chain(rules).min();
            let Some(at) = next.filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            self.sessions.server.handle_timeout(self.now);
            if rules.is_some_and(|at| at <= self.now) {
                self.event(rules::Event::DeadlineReached);
            }
            self.settle();
        }
    }

    fn connect(&mut self) -> ConnectionId {
        let peer = Peer {
            address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            ..Peer::default()
        };
        let opened = self
            .sessions
            .server
            .open(self.now, CarrierKind::WebSocket, peer);
        opened.unwrap()
    }

    fn ask(&mut self, connection: ConnectionId, request: &Value) -> Value {
        self.sessions
            .server
            .receive(self.now, connection, &request.to_string());
        self.settle();
        let mut answers = self.sent.iter().rev();
        let answer = answers.find(|(to, frame)| *to == connection && frame[1] == request[0]);
        answer.map_or(Value::Null, |(_, frame)| frame[2].clone())
    }

    fn introduce(&mut self, connection: ConnectionId) -> Value {
        let request = json!(["i", [null, {"ip": {"name": "x", "role": "user"}}]]);
        self.ask(connection, &request)["session"].clone()
    }

    fn sub_connect(&mut self, connection: ConnectionId, session: &Value, name: &str) -> Value {
        let call = json!(["!", ["subConnect", [name, {"role": "user"}]]]);
        let answer = self.ask(connection, &json!(["s", [session, null], call]));
        let session = answer["introduce"]["session"].clone();
        self.ask(connection, &json!(["c", [session, null]]));
        session
    }

    /// A master that runs the need.
    fn satisfy(&mut self, connection: ConnectionId, name: &str) {
        let root = self.introduce(connection);
        let needs = self.sub_connect(connection, &root, "needs");
        let need = self.sub_connect(connection, &needs, name);
        let bid = json!(["!", ["bid", [{"ipaddress": "127.0.0.1"}]]]);
        let ticket = self.ask(connection, &json!(["b", [need, null], bid]))["bid"].clone();
        let place = json!({"ipaddress": "127.0.0.1", "pid": 1, "wsport": 1});
        let respond = json!(["!", ["respond", [ticket, place]]]);
        let answer = self.ask(connection, &json!(["r", [need, null], respond]));
        assert_eq!(answer, json!({"a": ticket}));
    }

    /// How many needs are open and how many services stand.
    fn counts(&self) -> (usize, usize) {
        self.state.counts()
    }
}

/// What a peer may do, with sessions by their place among those ever given out.
#[derive(Clone, Debug)]
enum Act {
    Connect,
    Close(usize),
    Pass(u64),
    Introduce(usize, Value),
    Claim(usize, usize),
    Call(usize, usize, &'static str, &'static str, Value),
    Text(usize, String),
}

fn values() -> impl Strategy<Value = Value> {
    let place = json!({"ipaddress": "127.0.0.1", "pid": 1, "wsport": 1});
    let need = |name: &str, port: u16| json!({"instancename": name, "httpport": port});
    prop::sample::select(vec![
        json!(null),
        json!(7),
        json!(""),
        json!("Time"),
        json!("Web"),
        json!("needs"),
        json!("services"),
        json!("."),
        json!("bid-4"),
        json!("bid-5"),
        json!("bid-6"),
        json!([]),
        json!({}),
        json!({"role": "user"}),
        json!({"role": 1}),
        json!({"ipaddress": "127.0.0.1"}),
        json!({"continuous": true}),
        json!({"filter": "unsatisfied", "continuous": true}),
        json!({"filter": {"op": "nonsense"}}),
        place,
        need("Web", 1),
        need("Web", 2),
        need("Time", 1),
    ])
}

fn acts() -> impl Strategy<Value = Act> {
    let connection = || 0..4_usize;
    let methods = prop::sample::select(vec![
        "subConnect",
        "subConnect",
        "bid",
        "bid",
        "respond",
        "respond",
        "die",
        "query",
        "closeQuery",
        "read",
        "addNeed",
        "addNeed",
        "removeNeed",
        "notifyServiceDown",
        "notifyModuleEngaged",
        "create",
        "nonsense",
    ]);
    let target = prop::sample::select(vec!["!", "!", "!", ".", ".", "sub"]);
    let arguments = prop::collection::vec(values(), 0..3).prop_map(Value::Array);
    prop_oneof![
        1 => Just(Act::Connect),
        1 => connection().prop_map(Act::Close),
        1 => (0..9_000_u64).prop_map(Act::Pass),
        2 => (connection(), prop::sample::select(vec!["user", "user", "service", "other"]))
            .prop_map(|(connection, role)| Act::Introduce(connection, json!({"ip": {"name": "x", "role": role}}))),
        4 => (connection(), 0..40_usize).prop_map(|(connection, session)| Act::Claim(connection, session)),
        16 => (connection(), 0..40_usize, target, methods, arguments)
            .prop_map(|(connection, session, target, method, arguments)| Act::Call(connection, session, target, method, arguments)),
        1 => (connection(), "[\\[\\]{}\",:a-z0-9!?.]{0,24}").prop_map(|(connection, text)| Act::Text(connection, text)),
    ]
}

impl Simulation {
    fn act(&mut self, connections: &mut Vec<ConnectionId>, act: Act) {
        let connection = |place: usize| connections[place % connections.len()];
        let request = match act {
            Act::Connect => return connections.push(self.connect()),
            Act::Pass(milliseconds) => return self.pass(milliseconds),
            Act::Close(place) => {
                let reason = allexmaster_protocol::close::CloseReason::ByPeer;
                self.sessions.server.closed(connection(place), reason);
                return self.settle();
            }
            Act::Introduce(place, credentials) => {
                (place, json!(["a", [null, credentials]]).to_string())
            }
            Act::Claim(place, session) => (
                place,
                json!(["a", [self.session(session), null]]).to_string(),
            ),
            Act::Call(place, session, target, method, arguments) => {
                let frame = json!([
                    "a",
                    [self.session(session), null],
                    [target, [method, arguments]]
                ]);
                (place, frame.to_string())
            }
            Act::Text(place, text) => (place, text),
        };
        let (place, text) = request;
        self.sessions
            .server
            .receive(self.now, connection(place), &text);
        self.settle();
    }

    /// A session that was given out, or none.
    fn session(&self, place: usize) -> Value {
        let given = self.sent.iter().filter_map(|(_, frame)| {
            let answer = frame.get(2)?;
            let session = answer
                .get("session")
                .or_else(|| answer.get("introduce")?.get("session"));
            session.cloned()
        });
        let given: Vec<_> = given.collect();
        if given.is_empty() {
            return Value::Null;
        }
        given[given.len() - 1 - place % given.len()].clone()
    }

    fn assert_consistent(&self) {
        self.state.check().unwrap();
        let (open, services) = self.counts();
        let rows = |table| self.sessions.server.table(table).unwrap().len();
        assert_eq!(rows(self.sessions.tables.needs), open);
        assert_eq!(rows(self.sessions.tables.services), services);
        assert_eq!(
            self.sessions.sessions.len(),
            self.sessions.server.session_count()
        );
        assert!(self.sessions.requests.len() <= self.sessions.sessions.len() * 4);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_peers_do_front_server_and_rules_agree(acts in prop::collection::vec(acts(), 0..150)) {
        let mut simulation = Simulation::with_need("Time");
        let mut connections = vec![simulation.connect(), simulation.connect()];
        for act in acts {
            simulation.act(&mut connections, act);
            simulation.assert_consistent();
        }
        for connection in connections {
            simulation.act(&mut vec![connection], Act::Close(0));
        }
        simulation.pass(60_000);
        simulation.assert_consistent();
        prop_assert_eq!(simulation.counts().1, 0);
        prop_assert!(simulation.sessions.requests.is_empty());
        prop_assert!(simulation.sessions.openings.nobody_waits());
    }
}

#[test]
fn a_silent_master_is_gone_after_twenty_seconds_and_the_grace() {
    let mut simulation = Simulation::with_need("Time");
    let master = simulation.connect();
    simulation.satisfy(master, "Time");
    simulation.pass(19_999);
    assert!(simulation.closed.is_empty());
    simulation.pass(1);
    assert_eq!(simulation.closed, [master]);
    simulation.pass(2_999);
    assert_eq!(simulation.counts(), (0, 1));
    simulation.pass(1);
    assert_eq!(simulation.counts(), (1, 0));
}

#[test]
fn a_master_that_pings_keeps_its_services() {
    let mut simulation = Simulation::with_need("Time");
    let master = simulation.connect();
    simulation.satisfy(master, "Time");
    for _ in 0..10 {
        simulation.pass(10_000);
        simulation.ask(master, &json!(["?", 1]));
    }
    assert_eq!(simulation.counts(), (0, 1));
}

#[test]
fn a_bidder_whose_session_ends_leaves_nothing_behind() {
    let mut simulation = Simulation::with_need("Time");
    let master = simulation.connect();
    let root = simulation.introduce(master);
    let needs = simulation.sub_connect(master, &root, "needs");
    let need = simulation.sub_connect(master, &needs, "Time");
    let bid = json!(["!", ["bid", [{}]]]);
    simulation.ask(master, &json!(["b", [need, null], bid]));
    simulation.ask(
        master,
        &json!(["w", [needs, null], ["!", ["subConnect", ["Later", {}]]]]),
    );
    simulation
        .sessions
        .server
        .closed(master, allexmaster_protocol::close::CloseReason::ByPeer);
    simulation.settle();
    assert!(simulation.sessions.sessions.is_empty());
    assert!(simulation.sessions.requests.is_empty());
    assert!(simulation.sessions.openings.nobody_waits());
    assert_eq!(simulation.counts(), (1, 0));
}

#[test]
fn whoever_leaves_before_it_is_welcome_is_gone() {
    let mut simulation = Simulation::with_need("Time");
    let master = simulation.connect();
    let request = json!(["i", [null, {"ip": {"name": "x", "role": "user"}}]]);
    simulation
        .sessions
        .server
        .receive(0, master, &request.to_string());
    let Some(Output::Event(event)) = simulation.sessions.server.poll_output() else {
        panic!("an introduction is decided upon");
    };
    simulation.sessions.handle(0, event);
    simulation
        .sessions
        .server
        .closed(master, allexmaster_protocol::close::CloseReason::ByPeer);
    let before = simulation.state.clone();
    simulation.settle();
    assert_eq!(simulation.state, before);
    assert!(simulation.sessions.requests.is_empty());
}
