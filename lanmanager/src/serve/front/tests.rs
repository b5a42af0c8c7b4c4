//! The front with the rules behind it, and time that only passes when told to.

use std::net::{IpAddr, Ipv4Addr};

use allexmaster_journal::Stamp;
use allexmaster_protocol::close::CarrierKind;
use allexmaster_protocol::server::{ConnectionId, Output, Peer};
use serde_json::{Value, json};

use super::super::access::Access;
use super::{Front, Task};
use crate::rules::{self, Files, Need, Settings, State};

/// A LanManager without sockets, disk and clock.
struct Simulation {
    front: Front,
    state: State,
    sequence: u64,
    now: u64,
    sent: Vec<(ConnectionId, Value)>,
    closed: Vec<ConnectionId>,
}

impl Simulation {
    fn with_need(name: &str) -> Self {
        let mut simulation = Self {
            front: Front::new(Access::new(Vec::new()), "s".to_owned()),
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
            at: self.now,
            noise: 0,
        };
        let (state, effects) = rules::step(std::mem::take(&mut self.state), stamp, event);
        self.state = state;
        for effect in effects {
            self.front.perform(self.now, effect);
        }
    }

    /// Lets everything happen that can happen now; all ports answer.
    fn settle(&mut self) {
        loop {
            while let Some(output) = self.front.server.poll_output() {
                match output {
                    Output::Send { connection, text } => {
                        self.sent
                            .push((connection, serde_json::from_str(&text).unwrap()));
                    }
                    Output::Close { connection, .. } => self.closed.push(connection),
                    Output::Event(event) => self.front.handle(self.now, event),
                }
            }
            match self.front.poll_task() {
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
            let server = self.front.server.poll_timeout();
            let rules = self.state.next_deadline().map(|(at, _)| at);
            let next = server.into_iter().chain(rules).min();
            let Some(at) = next.filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            self.front.server.handle_timeout(self.now);
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
            .front
            .server
            .open(self.now, CarrierKind::WebSocket, peer);
        opened.unwrap()
    }

    fn ask(&mut self, connection: ConnectionId, request: &Value) -> Value {
        self.front
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
        .front
        .server
        .closed(master, allexmaster_protocol::close::CloseReason::ByPeer);
    simulation.settle();
    assert!(simulation.front.sessions.is_empty());
    assert!(simulation.front.requests.is_empty());
    assert!(simulation.front.openings.nobody_waits());
    assert_eq!(simulation.counts(), (1, 0));
}

#[test]
fn whoever_leaves_before_it_is_welcome_is_gone() {
    let mut simulation = Simulation::with_need("Time");
    let master = simulation.connect();
    let request = json!(["i", [null, {"ip": {"name": "x", "role": "user"}}]]);
    simulation
        .front
        .server
        .receive(0, master, &request.to_string());
    let Some(Output::Event(event)) = simulation.front.server.poll_output() else {
        panic!("an introduction is decided upon");
    };
    simulation.front.handle(0, event);
    simulation
        .front
        .server
        .closed(master, allexmaster_protocol::close::CloseReason::ByPeer);
    let before = simulation.state.clone();
    simulation.settle();
    assert_eq!(simulation.state, before);
    assert!(simulation.front.requests.is_empty());
}
