//! The server end.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each kind of input is taken in one of two places"
)]

use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::filter::{Filter, Row};
use allexmaster_protocol::frame::{OutOfBand, RemoteError, ServerFrame, SessionId};
use allexmaster_protocol::server::{
    ConnectionId, Event, Grant, Output, Peer, Server, ServerOptions, ServiceId, TableId, Token,
};
use allexmaster_protocol::state_stream::StateItem;
use allexmaster_protocol::table::RowKey;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::copies;
use crate::decoders::{cases, values};
use crate::filters::{filters, rows};
use crate::tables::{description, keys};

/// What happens to a server. An [`Index`] picks among what there is then.
#[derive(Clone, Debug)]
enum Input {
    Open(CarrierKind),
    Introduce(Index),
    Claim(Index, Index),
    Call(Index, Index, &'static str, Value),
    Query(Index, Index, Filter, bool),
    CloseQuery(Index, Index, Index),
    Read(Index, Index, Filter),
    Text(Index, Value),
    Traffic(Index),
    Closed(Index),
    Disconnect(Index),
    Accept(Index, Value),
    Relay(Index, Value),
    Forward(Index, Value),
    EndRelay(Index),
    Answer(Index, Value),
    Refuse(Index),
    Kill(Index),
    PushState(Index, Value),
    PutRow(Index, Value, Row),
    UpdateRow(Index, Value, Row),
    RemoveRow(Index, Value),
    Wait(u64),
    Drain,
}

fn inputs() -> impl Strategy<Value = Input> {
    let at = any::<Index>;
    let carrier = prop::sample::select(vec![
        CarrierKind::Socket,
        CarrierKind::WebSocket,
        CarrierKind::SignalR,
        CarrierKind::Ipc,
    ]);
    let method = prop::sample::select(vec!["subConnect", "die", "bid", "confirmReservation"]);
    let from_peers = prop_oneof![
        2 => carrier.prop_map(Input::Open),
        4 => at().prop_map(Input::Introduce),
        2 => (at(), at()).prop_map(|(one, two)| Input::Claim(one, two)),
        6 => (at(), at(), method, values())
            .prop_map(|(one, two, method, value)| Input::Call(one, two, method, value)),
        6 => (at(), at(), filters(), any::<bool>())
            .prop_map(|(one, two, filter, narrow)| Input::Query(one, two, filter, narrow)),
        1 => (at(), at(), at()).prop_map(|(one, two, three)| Input::CloseQuery(one, two, three)),
        2 => (at(), at(), filters()).prop_map(|(one, two, filter)| Input::Read(one, two, filter)),
        1 => (at(), values()).prop_map(|(one, value)| Input::Text(one, value)),
        1 => at().prop_map(Input::Traffic),
        1 => at().prop_map(Input::Closed),
        1 => at().prop_map(Input::Disconnect),
    ];
    let from_application = prop_oneof![
        8 => (at(), values()).prop_map(|(one, value)| Input::Accept(one, value)),
        2 => (at(), values()).prop_map(|(one, value)| Input::Relay(one, value)),
        1 => (at(), values()).prop_map(|(one, value)| Input::Forward(one, value)),
        1 => at().prop_map(Input::EndRelay),
        2 => (at(), values()).prop_map(|(one, value)| Input::Answer(one, value)),
        1 => at().prop_map(Input::Refuse),
        1 => at().prop_map(Input::Kill),
        3 => (at(), values()).prop_map(|(one, value)| Input::PushState(one, value)),
        6 => (at(), keys(), rows()).prop_map(|(one, key, row)| Input::PutRow(one, key, row)),
        3 => (at(), keys(), rows()).prop_map(|(one, key, row)| Input::UpdateRow(one, key, row)),
        2 => (at(), keys()).prop_map(|(one, key)| Input::RemoveRow(one, key)),
        3 => (0_u64..12_000).prop_map(Input::Wait),
        20 => Just(Input::Drain),
    ];
    prop_oneof![from_peers, from_application]
}

/// A server with the names that it has given out.
struct World {
    server: Server,
    now: u64,
    tables: Vec<TableId>,
    names: Names,
}

#[derive(Clone)]
struct Names {
    connections: Vec<ConnectionId>,
    tokens: Vec<Token>,
    /// Those of sub-connections, which alone can be relayed.
    sub_connections: Vec<Token>,
    sessions: Vec<SessionId>,
    queries: Vec<String>,
}

fn pick<Of: Clone>(from: &[Of], index: Index) -> Option<Of> {
    (!from.is_empty()).then(|| index.get(from).clone())
}

impl World {
    fn new() -> Self {
        let options = ServerOptions {
            identifier_prefix: "s".to_owned(),
        };
        let mut server = Server::new(options);
        let tables = vec![
            server.add_table(description(&["k"])),
            server.add_table(description(&["k", "l"])),
        ];
        let connections = vec![
            server
                .open(0, CarrierKind::WebSocket, Peer::default())
                .unwrap(),
        ];
        let names = Names {
            connections,
            tokens: vec![],
            sub_connections: vec![],
            // One that nobody has given out.
            sessions: vec![SessionId::from("elsewhere")],
            queries: vec![],
        };
        let mut world = Self {
            server,
            now: 0,
            tables,
            names,
        };
        world.begin();
        world
    }

    /// A session with a query, a relayed one, and one that is reserved.
    fn begin(&mut self) {
        let say = |world: &mut Self, frame: Value| {
            let connection = world.names.connections[0];
            world.server.receive(0, connection, &frame.to_string());
            world.take(&Input::Drain);
            world.names.tokens.last().copied()
        };
        let token = say(self, json!(["m0", [null, {}]])).unwrap();
        let session = self.server.accept(0, token, self.grant(&json!(1))).unwrap();
        let call = |method: &str, argument: Value| {
            json!(["m1", [session.as_str(), null], ["!", [method, [argument]]]])
        };
        say(self, call("query", json!({"continuous": true})));
        let token = say(self, call("subConnect", json!("part"))).unwrap();
        let relayed = SessionId::from("relayed");
        assert!(self.server.relay(token, relayed.clone(), json!({})));
        let token = say(self, call("subConnect", json!("part"))).unwrap();
        let reserved = self.server.accept(0, token, self.grant(&json!(2))).unwrap();
        self.take(&Input::Drain);
        self.names.sessions.extend([session, relayed, reserved]);
    }

    fn with(&self, server: Server) -> Self {
        Self {
            server,
            now: self.now,
            tables: self.tables.clone(),
            names: self.names.clone(),
        }
    }

    fn grant(&self, value: &Value) -> Grant {
        Grant {
            service: ServiceId(7),
            modulename: "allex_testservice".to_owned(),
            role: "user".to_owned(),
            name: value.clone(),
            state: vec![StateItem::set("b", value.clone())],
            table: value
                .is_array()
                .then_some(self.tables[0])
                .or(Some(self.tables[1])),
        }
    }

    fn take(&mut self, input: &Input) -> Vec<Output> {
        self.take_from_peers(input);
        self.take_from_application(input);
        if !matches!(input, Input::Drain) {
            return vec![];
        }
        let outputs: Vec<Output> = std::iter::from_fn(|| self.server.poll_output()).collect();
        outputs.iter().for_each(|output| self.learn(output));
        outputs
    }

    fn say(&mut self, connection: Index, frame: &Value) {
        if let Some(connection) = pick(&self.names.connections, connection) {
            self.server
                .receive(self.now, connection, &frame.to_string());
        }
    }

    fn call(
        &mut self,
        connection: Index,
        session: Index,
        target: &str,
        method: &str,
        arguments: Value,
    ) {
        let session = pick(&self.names.sessions, session).unwrap();
        let frame = json!([
            "m1",
            [session.as_str(), null],
            [target, [method, arguments]]
        ]);
        self.say(connection, &frame);
    }

    fn take_from_peers(&mut self, input: &Input) {
        match input.clone() {
            Input::Open(carrier) => {
                let opened = self.server.open(self.now, carrier, Peer::default());
                self.names.connections.push(opened.unwrap());
            }
            Input::Introduce(connection) => {
                self.say(connection, &json!(["m0", [null, {"ip": {"role": "user"}}]]));
            }
            Input::Claim(connection, session) => {
                let session = pick(&self.names.sessions, session).unwrap();
                self.say(connection, &json!(["m2", [session.as_str(), null]]));
            }
            Input::Call(connection, session, method, value) => {
                let arguments = json!(["part", {"role": value}, value]);
                self.call(connection, session, "!", method, arguments);
            }
            Input::Query(connection, session, filter, narrow) => {
                let mut query = json!({"continuous": true, "filter": filter.to_value()});
                if narrow {
                    query["visiblefields"] = json!(["k", "a"]);
                }
                self.call(connection, session, "!", "query", json!([query]));
            }
            Input::CloseQuery(connection, session, query) => {
                let query = pick(&self.names.queries, query);
                self.call(connection, session, "!", "closeQuery", json!([query]));
            }
            Input::Read(connection, session, filter) => {
                let query = json!([{"filter": filter.to_value()}]);
                self.call(connection, session, ".", "read", query);
            }
            Input::Text(connection, value) => self.say(connection, &value),
            Input::Traffic(connection) => {
                let connection = pick(&self.names.connections, connection).unwrap();
                self.server.traffic(self.now, connection);
            }
            Input::Closed(connection) => {
                let connection = pick(&self.names.connections, connection).unwrap();
                self.server.closed(connection, CloseReason::ByPeer);
            }
            Input::Disconnect(connection) => {
                let connection = pick(&self.names.connections, connection).unwrap();
                self.server.disconnect(connection, CloseReason::ByUs);
            }
            _ => {}
        }
    }

    fn take_from_application(&mut self, input: &Input) {
        match input.clone() {
            Input::Accept(token, value) => {
                if let Some(token) = pick(&self.names.tokens, token) {
                    let grant = self.grant(&value);
                    let session = self.server.accept(self.now, token, grant);
                    self.names.sessions.extend(session);
                }
            }
            Input::Relay(token, value) => {
                if let Some(token) = pick(&self.names.sub_connections, token) {
                    let session = SessionId::from(format!("r{}", self.names.sessions.len()));
                    if self.server.relay(token, session.clone(), value) {
                        self.names.sessions.push(session);
                    }
                }
            }
            Input::Forward(connection, value) => {
                let connection = pick(&self.names.connections, connection).unwrap();
                let item = OutOfBand::Exclusivity(value);
                let session = SessionId::from("x");
                let frame = ServerFrame::OutOfBand { session, item };
                self.server.forward(connection, frame);
            }
            Input::EndRelay(session) => {
                let session = pick(&self.names.sessions, session).unwrap();
                self.server.end_relay(&session);
            }
            Input::Answer(token, value) => {
                if let Some(token) = pick(&self.names.tokens, token) {
                    self.server.answer(token, Ok(value));
                }
            }
            Input::Refuse(token) => {
                if let Some(token) = pick(&self.names.tokens, token) {
                    self.server.refuse(token, RemoteError::already_destroyed());
                }
            }
            Input::Kill(session) => {
                let session = pick(&self.names.sessions, session).unwrap();
                self.server.kill(&session);
            }
            Input::PushState(session, value) => {
                let session = pick(&self.names.sessions, session).unwrap();
                self.server.push_state(&session, StateItem::set("a", value));
            }
            Input::PutRow(table, key, mut row) => {
                row.insert("k".to_owned(), key);
                self.server.put_row(*table.get(&self.tables), row);
            }
            Input::UpdateRow(table, key, fields) => {
                let key = RowKey::of_values([&key]);
                self.server
                    .update_row(*table.get(&self.tables), &key, fields);
            }
            Input::RemoveRow(table, key) => {
                let key = RowKey::of_values([&key]);
                self.server.remove_row(*table.get(&self.tables), &key);
            }
            Input::Wait(milliseconds) => {
                self.now += milliseconds;
                self.server.handle_timeout(self.now);
            }
            _ => {}
        }
    }

    fn learn(&mut self, output: &Output) {
        if let Output::Event(Event::SubConnect { token, .. }) = output {
            self.names.sub_connections.push(*token);
        }
        match output {
            Output::Event(
                Event::Introduce { token, .. }
                | Event::SubConnect { token, .. }
                | Event::Call { token, .. },
            ) => self.names.tokens.push(*token),
            Output::Send { text, .. } => {
                let frame: Value = serde_json::from_str(text).unwrap();
                if frame[2][0] == "i" {
                    let query = frame[2][1].as_str().unwrap().to_owned();
                    self.names.queries.push(query);
                }
            }
            Output::Event(_) | Output::Close { .. } => {}
        }
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_server_goes_on_from_its_image_as_if_nothing_had_happened(
        before in prop::collection::vec(inputs(), 0..120),
        after in prop::collection::vec(inputs(), 1..60),
    ) {
        let mut world = World::new();
        for input in &before {
            world.take(input);
        }
        let mut twins = copies(&world.server).map(|server| world.with(server));
        for input in after.iter().chain([&Input::Drain]) {
            let expected = world.take(input);
            for twin in &mut twins {
                prop_assert_eq!(&twin.take(input), &expected);
                prop_assert_eq!(twin.server.poll_timeout(), world.server.poll_timeout());
            }
        }
        let image = serde_json::to_string(&world.server).unwrap();
        for twin in &twins {
            prop_assert_eq!(&serde_json::to_string(&twin.server).unwrap(), &image);
        }
    }
}

/// The deepest text that a reader takes, in the places of an image where a peer can put it.
#[test]
fn what_a_peer_nests_as_deeply_as_it_may_is_written_and_read() {
    let mut world = World::new();
    let connection = world.names.connections[0];
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let introduction = format!(r#"["m0",[null,{{"ip":{deep}}}]]"#);
    world.server.receive(0, connection, &introduction);
    let [mut copy, _] = copies(&world.server);
    assert_eq!(copy.poll_output(), world.server.poll_output());
}
