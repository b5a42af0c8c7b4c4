//! Sessions that live elsewhere: the application carries their frames to and fro.
//!
//! A master's child serves sessions over its channel to the master; a tool that asks the master for
//! one gets it over the tool's connection. Here only the names of such sessions are known: what the
//! client says in one comes out as [`Event::Relayed`], what its server says goes in by
//! [`Server::forward`].

use serde_json::Value;

use super::Server;
use super::types::{ConnectionId, Event, PendingKind, Token};
use crate::frame::{ClientFrame, OutOfBand, ServerFrame, SessionId};

impl Server {
    /// Grants a sub-connection with a session that lives elsewhere: `answer` is what its server said,
    /// and goes to the client as it is. False when the client has gone meanwhile, the token is not
    /// that of a sub-connection, or there is a session of this name already: end the session.
    pub fn relay(&mut self, token: Token, session: SessionId, answer: Value) -> bool {
        let is_new = !self.sessions.contains_key(&session) && !self.relayed.contains_key(&session);
        let Some(pending) = self.pending.get(&token) else {
            return false;
        };
        let (connection, kind) = (pending.connection, pending.kind.clone());
        let is_sub_connection = match kind {
            PendingKind::SubConnect { session: _ } => true,
            PendingKind::Introduce | PendingKind::Call { session: _ } => false,
        };
        if !is_new || !is_sub_connection {
            return false;
        }
        let Some(known) = self.connections.get_mut(&connection) else {
            return false;
        };
        known.relayed.insert(session.clone());
        self.relayed.insert(session, connection);
        self.answer(token, Ok(answer));
        true
    }

    /// Sends a frame of a relayed session to its client. Connections that have ended are ignored.
    pub fn forward(&mut self, connection: ConnectionId, frame: ServerFrame) {
        if self.connections.contains_key(&connection) {
            self.send(connection, frame);
        }
    }

    /// A relayed session is over: its client is told, unless it was the one who ended it. Sessions
    /// that are not relayed are ignored.
    pub fn end_relay(&mut self, session: &SessionId) {
        let Some(connection) = self.relayed.remove(session) else {
            return;
        };
        if let Some(known) = self.connections.get_mut(&connection) {
            known.relayed.remove(session);
        }
        let frame = ServerFrame::OutOfBand {
            session: session.clone(),
            item: OutOfBand::Dead,
        };
        self.forward(connection, frame);
    }

    /// Hands a frame to the application where its session is a relayed one of this connection; gives
    /// it back where it is not.
    pub(super) fn hand_on(
        &mut self,
        connection: ConnectionId,
        session: &SessionId,
        frame: ClientFrame,
    ) -> Option<ClientFrame> {
        if self.relayed.get(session) != Some(&connection) {
            return Some(frame);
        }
        self.event(Event::Relayed {
            connection,
            session: session.clone(),
            frame,
        });
        None
    }
}
