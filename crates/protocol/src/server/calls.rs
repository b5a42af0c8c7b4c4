//! Calls: the methods that every session has are answered here, the others go to the application.

use serde_json::{Map, Value, json};

use super::Server;
use super::types::{ConnectionId, Event, PendingKind, SessionEnd};
use crate::frame::{CallId, ClientFrame, RemoteError, ServerFrame, SessionId, Target};
use crate::vocabulary::method;

impl Server {
    pub(super) fn receive_call(
        &mut self,
        connection: ConnectionId,
        id: CallId,
        session: SessionId,
        target: Target,
        method: String,
        arguments: Option<Vec<Value>>,
    ) {
        let own = self
            .sessions
            .get(&session)
            .is_some_and(|known| known.connection == connection);
        let addressed_to_sub = match &target {
            Target::User | Target::Session => false,
            Target::Sub(_) => true,
        };
        if !own || addressed_to_sub {
            let relayed_session = session.clone();
            let request = ClientFrame::Call {
                id,
                session,
                target,
                method,
                arguments,
            };
            if let Some(request) = self.hand_on(connection, &relayed_session, request) {
                self.send_forget(connection, request.into_value());
            }
            return;
        }
        let arguments = arguments.unwrap_or_default();
        let has_table = self
            .sessions
            .get(&session)
            .is_some_and(|known| known.table.is_some());
        match (&target, method.as_str()) {
            (Target::Session, method::SUB_CONNECT) => {
                self.sub_connect(connection, id, session, arguments)
            }
            (Target::Session, "confirmReservation") => {
                self.send_result(connection, id, Value::from("ok"));
            }
            (Target::Session, "die") => {
                self.send_death(connection, &session);
                self.send_result(connection, id, Value::from("dead"));
                self.end_session(&session, SessionEnd::Died);
            }
            (Target::Session, "query") if has_table => {
                self.open_query(connection, id, &session, arguments.first())
            }
            (Target::Session, "closeQuery") if has_table => {
                self.close_query(connection, id, &session, arguments.first());
            }
            (Target::Session, "query" | "closeQuery") => {
                self.refuse_method(connection, id, &method)
            }
            (Target::User, "read") if has_table => {
                self.read_table(connection, id, &session, arguments.first())
            }
            (Target::User | Target::Session | Target::Sub(_), _) => {
                self.ask_application(connection, id, session, target, method, arguments);
            }
        }
    }

    pub(super) fn refuse_method(&mut self, connection: ConnectionId, id: CallId, method: &str) {
        self.send(
            connection,
            ServerFrame::Failure {
                id,
                error: RemoteError::method_does_not_exist(method),
            },
        );
    }

    fn ask_application(
        &mut self,
        connection: ConnectionId,
        id: CallId,
        session: SessionId,
        target: Target,
        method: String,
        arguments: Vec<Value>,
    ) {
        let Some(token) = self.suspend(
            connection,
            id,
            PendingKind::Call {
                session: session.clone(),
            },
        ) else {
            return;
        };
        let Some(known) = self.sessions.get(&session) else {
            return;
        };
        let (service, role, name) = (known.service, known.role.clone(), known.name.clone());
        self.event(Event::Call {
            token,
            session,
            service,
            target,
            role,
            name,
            method,
            arguments,
        });
    }

    fn sub_connect(
        &mut self,
        connection: ConnectionId,
        id: CallId,
        session: SessionId,
        arguments: Vec<Value>,
    ) {
        let mut arguments = arguments.into_iter();
        let (subservice, identity) = match (arguments.next(), arguments.next()) {
            (Some(Value::String(subservice)), Some(Value::Object(identity))) => {
                (subservice, identity)
            }
            (Some(Value::String(subservice)), None | Some(Value::Null)) => (subservice, Map::new()),
            (Some(Value::String(_)), Some(_)) => {
                let error =
                    RemoteError::wrong_argument("User identity:  is not of a type(s) object");
                self.send(connection, ServerFrame::Failure { id, error });
                return;
            }
            (_, _) => {
                let error =
                    RemoteError::wrong_argument("Subservice name:  is not of a type(s) string");
                self.send(connection, ServerFrame::Failure { id, error });
                return;
            }
        };
        let kind = PendingKind::SubConnect {
            session: session.clone(),
        };
        let Some(token) = self.suspend(connection, id, kind) else {
            return;
        };
        let Some(known) = self.sessions.get(&session) else {
            return;
        };
        let identity = completed(identity, &known.role, &known.name);
        let service = known.service;
        self.event(Event::SubConnect {
            token,
            session,
            service,
            subservice,
            identity,
        });
    }
}

/// The identity with the role and the name of the asking session where it has none of its own.
fn completed(mut identity: Map<String, Value>, role: &str, name: &Value) -> Map<String, Value> {
    for (member, default) in [("role", json!(role)), ("name", name.clone())] {
        if identity.get(member).is_none_or(Value::is_null) {
            identity.insert(member.to_owned(), default);
        }
    }
    identity
}
