//! Introductions: new sessions, and claims of reserved ones.

use serde_json::{Value, json};

use super::types::{ConnectionId, Event, Pending, PendingKind};
use super::{MAX_OPEN_CALLS_PER_CONNECTION, MAX_SESSIONS_PER_CONNECTION, Server};
use crate::close::CloseReason;
use crate::frame::{CallId, ClientFrame, SessionId};

impl Server {
    pub(super) fn receive_introduction(
        &mut self,
        connection: ConnectionId,
        id: CallId,
        session: Option<SessionId>,
        credentials: Value,
    ) {
        match (session, credentials) {
            (Some(session), credentials) => self.claim(connection, id, session, credentials),
            (None, Value::Object(credentials)) => {
                let Some(token) = self.suspend(connection, id, PendingKind::Introduce) else {
                    return;
                };
                let Some(known) = self.connections.get(&connection) else {
                    return;
                };
                let peer = known.peer.clone();
                self.event(Event::Introduce {
                    token,
                    connection,
                    peer,
                    credentials,
                });
            }
            (None, credentials) => {
                self.send_forget(connection, json!([id.as_str(), [null, credentials]]))
            }
        }
    }

    /// Remembers a request that waits for the application; none when the peer went too far and its
    /// connection has been cut.
    pub(super) fn suspend(
        &mut self,
        connection: ConnectionId,
        id: CallId,
        kind: PendingKind,
    ) -> Option<super::Token> {
        let token = self.next_token();
        let known = self.connections.get_mut(&connection)?;
        let opens_session = match kind {
            PendingKind::Introduce | PendingKind::SubConnect { .. } => true,
            PendingKind::Call { .. } => false,
        };
        if opens_session
            && known.sessions.len() + known.relayed.len() >= MAX_SESSIONS_PER_CONNECTION
        {
            self.disconnect(
                connection,
                CloseReason::TooManySessions {
                    limit: MAX_SESSIONS_PER_CONNECTION,
                },
            );
            return None;
        }
        if known.pending.len() >= MAX_OPEN_CALLS_PER_CONNECTION {
            self.disconnect(
                connection,
                CloseReason::TooManyCalls {
                    limit: MAX_OPEN_CALLS_PER_CONNECTION,
                },
            );
            return None;
        }
        known.pending.insert(token);
        if let Some(session) = kind
            .session()
            .and_then(|session| self.sessions.get_mut(session))
        {
            session.pending.insert(token);
        }
        self.pending.insert(
            token,
            Pending {
                connection,
                id,
                kind,
            },
        );
        Some(token)
    }

    /// A session may be claimed on its own connection only, and claimed again: the answer is the same.
    fn claim(
        &mut self,
        connection: ConnectionId,
        id: CallId,
        session: SessionId,
        credentials: Value,
    ) {
        let claimable = self
            .sessions
            .get(&session)
            .is_some_and(|known| known.connection == connection);
        if !claimable {
            let frame = ClientFrame::Introduce {
                id: id.clone(),
                session: Some(session.clone()),
                credentials: credentials.clone(),
            };
            if self.hand_on(connection, &session, frame).is_none() {
                return;
            }
            self.send_forget(
                connection,
                json!([id.as_str(), [session.as_str(), credentials]]),
            );
            return;
        }
        self.begin_session(&session, &id);
    }
}
