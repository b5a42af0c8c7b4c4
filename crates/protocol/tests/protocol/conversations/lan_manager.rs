//! As much of a LanManager and a master as the recordings ask for.

use std::collections::{BTreeMap, BTreeSet};

use allexmaster_protocol::filter::{Filter, Row};
use allexmaster_protocol::frame::{RemoteError, SessionId};
use allexmaster_protocol::server::{Event, Grant, Server, ServiceId, TableId, Token};
use allexmaster_protocol::state_stream::StateItem;
use allexmaster_protocol::table::{RowKey, TableDescription};
use serde_json::{Map, Value, json};

/// What answers the events of the server.
pub(super) trait Application {
    fn decide(&mut self, server: &mut Server, event: Event);
}

const ROOT: ServiceId = ServiceId(0);
const NEEDS: ServiceId = ServiceId(1);
const NEED: ServiceId = ServiceId(2);

/// One need, bid for by whom it may concern.
pub(super) struct LanManager {
    needs: TableId,
    need: Row,
    tickets: BTreeMap<SessionId, String>,
    need_sessions: BTreeSet<SessionId>,
}

impl LanManager {
    pub(super) fn new(server: &mut Server, need: Row) -> Self {
        let needs = server.add_table(table_of("user", &need));
        server.put_row(needs, need.clone());
        Self {
            needs,
            need,
            tickets: BTreeMap::new(),
            need_sessions: BTreeSet::new(),
        }
    }

    fn introduce(&self, server: &mut Server, token: Token, credentials: &Map<String, Value>) {
        let Some(strategy) = credentials.get("ip") else {
            server.refuse(token, RemoteError::default());
            return;
        };
        let role = strategy["role"].as_str().unwrap();
        let parts = ["services", "needs", "nat", "engaged_modules"];
        let (names, name): (Vec<String>, _) = match role {
            "user" => (
                parts.map(|part| format!("have{part}")).into(),
                json!("127.0.0.1"),
            ),
            _ => {
                let all = ["storage", "services", "needs", "nat", "engaged_modules"];
                (
                    all.iter()
                        .flat_map(|part| [format!("have{part}_usersink"), format!("have{part}")])
                        .collect(),
                    strategy["name"].clone(),
                )
            }
        };
        let state = names
            .iter()
            .map(|name| StateItem::set(name, json!(true)))
            .collect();
        server.accept(
            0,
            token,
            grant(ROOT, "allex_lanmanagerservice", role, name, state, None),
        );
    }

    fn sub_connect(
        &mut self,
        server: &mut Server,
        token: Token,
        subservice: &str,
        identity: &Map<String, Value>,
    ) {
        let (role, name) = (identity["role"].as_str().unwrap(), identity["name"].clone());
        match (subservice, role) {
            ("needs", "user") => {
                let modulename = "allex_remoteserviceneedingservice";
                server.accept(
                    0,
                    token,
                    grant(NEEDS, modulename, role, name, vec![], Some(self.needs)),
                );
            }
            ("needs", _) => server.refuse(token, RemoteError::default()),
            ("Time", _) => {
                let granted = grant(NEED, "allex_serviceneedservice", role, name, vec![], None);
                self.need_sessions.extend(server.accept(0, token, granted));
            }
            // A subservice that does not exist is waited for.
            (_, _) => {}
        }
    }

    fn call(
        &mut self,
        server: &mut Server,
        token: Token,
        session: &SessionId,
        method: &str,
        arguments: &[Value],
    ) {
        let outcome = match method {
            "bid" if self.tickets.is_empty() => {
                let ticket = format!("ticket of {session}");
                self.tickets.insert(session.clone(), ticket.clone());
                Ok(json!({"bid": ticket, "c": true}))
            }
            // The second bidder waits.
            "bid" => return,
            "respond" => match self.tickets.get(session) {
                None => Err(RemoteError::already_destroyed()),
                Some(_) if arguments[1]["wsport"].is_null() => {
                    Err(RemoteError::no_ports_reachable())
                }
                Some(ticket) => {
                    let answer = json!({"a": ticket});
                    server.answer(token, Ok(answer));
                    self.satisfy(server, arguments[1].as_object().unwrap());
                    return;
                }
            },
            "notifyServiceDown" => match &arguments.first() {
                Some(Value::String(name)) if name == "Time" => {
                    server.answer(token, Ok(json!(1)));
                    server.put_row(self.needs, self.need.clone());
                    return;
                }
                Some(Value::Object(_)) => Err(RemoteError::wrong_argument(
                    "Service instancename:  is not of a type(s) string",
                )),
                Some(_) | None => Ok(json!(0)),
            },
            "addNeed" if arguments[0]["instancename"].is_null() => {
                Err(RemoteError::need_not_defined())
            }
            "deleteMyNeeds" => Err(RemoteError::method_not_executable(method)),
            _ => Err(RemoteError::method_does_not_exist(method)),
        };
        server.answer(token, outcome);
    }

    fn satisfy(&mut self, server: &mut Server, descriptor: &Row) {
        let key = RowKey::of_text("Time");
        server.update_row(self.needs, &key, descriptor.clone());
        server.remove_row(self.needs, &key);
        for session in std::mem::take(&mut self.need_sessions) {
            server.kill(&session);
        }
    }
}

impl Application for LanManager {
    fn decide(&mut self, server: &mut Server, event: Event) {
        match event {
            Event::Introduce {
                token, credentials, ..
            } => self.introduce(server, token, &credentials),
            Event::SubConnect {
                token,
                subservice,
                identity,
                ..
            } => self.sub_connect(server, token, &subservice, &identity),
            Event::Call {
                token,
                session,
                method,
                arguments,
                ..
            } => self.call(server, token, &session, &method, &arguments),
            Event::Relayed { .. } | Event::SessionEnded { .. } | Event::ConnectionEnded { .. } => {}
        }
    }
}

/// The sockets of a master: everybody on the machine may look up a service, and hand in needs.
pub(super) struct Master {
    modulename: &'static str,
    table: TableId,
}

impl Master {
    pub(super) fn new(server: &mut Server, modulename: &'static str, row: Option<Row>) -> Self {
        let table = server.add_table(row.as_ref().map_or_else(
            || table_of("service", &Row::new()),
            |row| table_of("service", row),
        ));
        if let Some(row) = row {
            server.put_row(table, row);
        }
        Self { modulename, table }
    }
}

impl Application for Master {
    fn decide(&mut self, server: &mut Server, event: Event) {
        match event {
            Event::Introduce {
                token, credentials, ..
            } => {
                let strategy = &credentials["samemachineprocess"];
                let role = strategy["role"].as_str().unwrap();
                let granted = grant(
                    ROOT,
                    self.modulename,
                    role,
                    strategy["pid"].clone(),
                    vec![],
                    Some(self.table),
                );
                server.accept(0, token, granted).unwrap();
            }
            Event::Call { token, method, .. } if method == "addNeed" || method == "removeNeed" => {
                server.answer(token, Ok(json!(true)))
            }
            Event::SubConnect { .. } | Event::Call { .. } => {
                panic!("the recordings do not ask this: {event:?}")
            }
            Event::Relayed { .. } | Event::SessionEnded { .. } | Event::ConnectionEnded { .. } => {}
        }
    }
}

fn grant(
    service: ServiceId,
    modulename: &str,
    role: &str,
    name: Value,
    state: Vec<StateItem>,
    table: Option<TableId>,
) -> Grant {
    Grant {
        service,
        modulename: modulename.to_owned(),
        role: role.to_owned(),
        name,
        state,
        table,
    }
}

/// A table keyed by name, in which a role sees the fields of this row.
fn table_of(role: &str, row: &Row) -> TableDescription {
    let unsatisfied = json!({"op": "not", "filter": {"op": "and", "filters": [
        {"op": "exists", "field": "pid"}, {"op": "exists", "field": "ipaddress"},
        {"op": "or", "filters": [{"op": "exists", "field": "tcpport"}, {"op": "exists", "field": "httpport"}, {"op": "exists", "field": "wsport"}]},
    ]}});
    TableDescription {
        key: vec!["instancename".to_owned()],
        visible_fields: BTreeMap::from([(role.to_owned(), row.keys().cloned().collect())]),
        sparse_fields: std::collections::BTreeSet::new(),
        named_filters: BTreeMap::from([(
            "unsatisfied".to_owned(),
            Filter::from_value(&unsatisfied).unwrap(),
        )]),
    }
}
