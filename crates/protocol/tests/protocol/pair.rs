//! A server that grants every session and keeps every call, with one connection and all that it said.

use std::collections::BTreeMap;

use allexmaster_protocol::client::{Client, ClientOptions};
use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::server::{
    ConnectionId, Event, Grant, Output, Peer, Server, ServerOptions, ServiceId, TableId, Token,
};
use allexmaster_protocol::table::TableDescription;
use serde_json::{Value, json};

/// The introduction of a new session.
pub(crate) const INTRODUCTION: &str = r#"["m1",[null,{"ip":{"name":"x","role":"user"}}]]"#;

/// The server, its connection, and what came out.
pub(crate) struct Pair {
    pub(crate) server: Server,
    pub(crate) connection: ConnectionId,
    pub(crate) table: TableId,
    pub(crate) said: Vec<String>,
    pub(crate) events: Vec<Event>,
    pub(crate) closed: Option<CloseReason>,
}

impl Pair {
    pub(crate) fn new(carrier: CarrierKind) -> Self {
        let mut server = Server::new(ServerOptions {
            identifier_prefix: "s".to_owned(),
        });
        let table = server.add_table(TableDescription {
            key: vec!["k".to_owned()],
            visible_fields: BTreeMap::from([(
                "user".to_owned(),
                vec!["k".to_owned(), "a".to_owned()],
            )]),
            named_filters: BTreeMap::new(),
            sparse_fields: std::collections::BTreeSet::new(),
        });
        let connection = server.open(0, carrier, Peer::default()).unwrap();
        Self {
            server,
            connection,
            table,
            said: vec![],
            events: vec![],
            closed: None,
        }
    }

    pub(crate) fn grant(&self) -> Grant {
        Grant {
            service: ServiceId(7),
            modulename: "allex_testservice".to_owned(),
            role: "user".to_owned(),
            name: json!("x"),
            state: vec![],
            table: Some(self.table),
        }
    }

    pub(crate) fn receive(&mut self, now: u64, text: &str) {
        self.server.receive(now, self.connection, text);
        self.settle(now);
    }

    pub(crate) fn wait_until(&mut self, now: u64) {
        while let Some(deadline) = self
            .server
            .poll_timeout()
            .filter(|deadline| *deadline <= now)
        {
            self.server.handle_timeout(deadline);
            self.settle(deadline);
        }
    }

    /// Grants sessions, keeps calls, until there is nothing left to do.
    pub(crate) fn settle(&mut self, now: u64) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Send { text, .. } => self.said.push(text),
                Output::Close { reason, .. } => self.closed = Some(reason),
                Output::Event(event) => {
                    if let Event::Introduce { token, .. } | Event::SubConnect { token, .. } = &event
                    {
                        self.server.accept(now, *token, self.grant());
                    }
                    self.events.push(event);
                }
            }
        }
    }

    pub(crate) fn introduce(&mut self) -> String {
        self.receive(0, INTRODUCTION);
        let answer: Value = serde_json::from_str(self.said.last().unwrap()).unwrap();
        answer[2]["session"].as_str().unwrap().to_owned()
    }

    pub(crate) fn reserve(&mut self, now: u64, session: &str) -> String {
        self.receive(
            now,
            &json!(["m2", [session, null], ["!", ["subConnect", ["part", {}]]]]).to_string(),
        );
        let answer: Value = serde_json::from_str(self.said.last().unwrap()).unwrap();
        answer[2]["introduce"]["session"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub(crate) fn last_token(&self) -> Token {
        let Some(Event::Call { token, .. }) = self.events.last() else {
            panic!("not a call: {:?}", self.events.last());
        };
        *token
    }
}

/// A client at time 0.
pub(crate) fn client(carrier: CarrierKind) -> Client {
    Client::new(
        0,
        ClientOptions {
            carrier,
            identifier_prefix: "m".to_owned(),
        },
    )
}
