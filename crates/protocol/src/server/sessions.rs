//! Sessions: reserved, claimed, ended.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::types::{ConnectionId, Event, Grant, ServiceId, SessionEnd, TableId, Timer, Token};
use super::{RESERVATION_MS, Server};
use crate::frame::{CallId, OutOfBand, QueryId, ServerFrame, SessionId};
use crate::state_stream::StateItem;
use crate::table::QueryNumber;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) connection: ConnectionId,
    pub(super) service: ServiceId,
    pub(super) modulename: String,
    pub(super) role: String,
    #[serde(with = "crate::json_text")]
    pub(super) name: Value,
    pub(super) table: Option<TableId>,
    pub(super) stage: Stage,
    pub(super) pending: BTreeSet<Token>,
    pub(super) queries: BTreeMap<QueryId, (QueryNumber, CallId)>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Granted to a sub-connection, not yet introduced; the state waits.
    Reserved { expires: u64, state: Vec<StateItem> },
    /// Introduced: state changes are sent as they come.
    Claimed,
}

impl Server {
    /// Tells a session a change of its state; if it is still reserved, when it is claimed. Unknown
    /// sessions are ignored.
    pub fn push_state(&mut self, session: &SessionId, item: StateItem) {
        let Some(known) = self.sessions.get_mut(session) else {
            return;
        };
        match &mut known.stage {
            Stage::Reserved { expires: _, state } => state.push(item),
            Stage::Claimed => {
                let connection = known.connection;
                self.send_state(connection, session, item);
            }
        }
    }

    /// Ends a session and tells its client. Unknown sessions are ignored.
    pub fn kill(&mut self, session: &SessionId) {
        if let Some(known) = self.sessions.get(session) {
            let connection = known.connection;
            self.send_death(connection, session);
            self.end_session(session, SessionEnd::Killed);
        }
    }

    /// Makes the session that an application has granted.
    pub(super) fn create_session(
        &mut self,
        connection: ConnectionId,
        grant: Grant,
        stage: Stage,
    ) -> SessionId {
        let session = SessionId::from(self.next_identifier());
        if let Stage::Reserved { expires, state: _ } = &stage {
            self.timers
                .insert((*expires, Timer::Reservation(session.clone())));
        }
        if let Some(known) = self.connections.get_mut(&connection) {
            known.sessions.insert(session.clone());
        }
        let created = Session {
            connection,
            service: grant.service,
            modulename: grant.modulename,
            role: grant.role,
            name: grant.name,
            table: grant.table,
            stage,
            pending: BTreeSet::new(),
            queries: BTreeMap::new(),
        };
        self.sessions.insert(session.clone(), created);
        session
    }

    /// Sends what a client gets on introduction: the state, then the answer.
    pub(super) fn begin_session(&mut self, session: &SessionId, id: &CallId) {
        let Some(known) = self.sessions.get_mut(session) else {
            return;
        };
        let connection = known.connection;
        let stage = std::mem::replace(&mut known.stage, Stage::Claimed);
        let description = json!({ "session": session.as_str(), "role": known.role, "modulename": known.modulename });
        if let Stage::Reserved { expires, state } = stage {
            self.timers
                .remove(&(expires, Timer::Reservation(session.clone())));
            for item in state {
                self.send_state(connection, session, item);
            }
        }
        self.send_result(connection, id.clone(), description);
    }

    /// The stage of a session that has been granted just now.
    pub(super) fn reserved(now: u64, grant: &mut Grant) -> Stage {
        let mut state = std::mem::take(&mut grant.state);
        state.push(StateItem::set("name", grant.name.clone()));
        Stage::Reserved {
            expires: now.saturating_add(RESERVATION_MS),
            state,
        }
    }

    pub(super) fn send_death(&mut self, connection: ConnectionId, session: &SessionId) {
        self.send(
            connection,
            ServerFrame::OutOfBand {
                session: session.clone(),
                item: OutOfBand::Dead,
            },
        );
    }

    pub(super) fn drop_reservation(&mut self, session: &SessionId) {
        let unclaimed = self
            .sessions
            .get(session)
            .is_some_and(|known| match known.stage {
                Stage::Reserved { .. } => true,
                Stage::Claimed => false,
            });
        if unclaimed {
            self.end_session(session, SessionEnd::ReservationExpired);
        }
    }

    /// Ends a session whose connection stays.
    pub(super) fn end_session(&mut self, session: &SessionId, reason: SessionEnd) {
        let Some(known) = self.sessions.get(session) else {
            return;
        };
        let tokens = known.pending.clone();
        if let Some(connection) = self.connections.get_mut(&known.connection) {
            connection.sessions.remove(session);
            connection.query_count = connection.query_count.saturating_sub(known.queries.len());
            for token in &tokens {
                connection.pending.remove(token);
            }
        }
        self.forget_session(session, reason);
    }

    /// Removes everything of a session but what its connection remembers of it.
    pub(super) fn forget_session(&mut self, session: &SessionId, reason: SessionEnd) {
        let Some(ended) = self.sessions.remove(session) else {
            return;
        };
        for token in &ended.pending {
            self.pending.remove(token);
        }
        if let Some(table) = ended.table {
            for (number, _) in ended.queries.values() {
                self.close_table_query(table, *number);
            }
        }
        if let Stage::Reserved { expires, state: _ } = ended.stage {
            self.timers
                .remove(&(expires, Timer::Reservation(session.clone())));
        }
        self.event(Event::SessionEnded {
            session: session.clone(),
            service: ended.service,
            connection: ended.connection,
            reason,
        });
    }

    fn send_state(&mut self, connection: ConnectionId, session: &SessionId, item: StateItem) {
        self.send(
            connection,
            ServerFrame::OutOfBand {
                session: session.clone(),
                item: OutOfBand::State(item),
            },
        );
    }
}
