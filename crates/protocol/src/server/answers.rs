//! What the application decides.

use serde_json::{Value, json};

use super::Server;
use super::types::{Grant, Pending, PendingKind, Token};
use crate::frame::{RemoteError, ServerFrame, SessionId};

impl Server {
    /// Grants an introduction or a sub-connection and gives the session. An introduction is answered
    /// with the state and the session; a sub-connection with a reservation, which the client has to
    /// claim within [`RESERVATION_MS`](super::RESERVATION_MS). None when the client has gone
    /// meanwhile, or the token is not one of these two.
    pub fn accept(&mut self, now: u64, token: Token, mut grant: Grant) -> Option<SessionId> {
        let pending = self.resume(token)?;
        let stage = Self::reserved(now, &mut grant);
        match pending.kind {
            PendingKind::Introduce => {
                let session = self.create_session(pending.connection, grant, stage);
                self.begin_session(&session, &pending.id);
                Some(session)
            }
            PendingKind::SubConnect { session: _ } => {
                let (modulename, role) = (grant.modulename.clone(), grant.role.clone());
                let session = self.create_session(pending.connection, grant, stage);
                let value = json!({
                    "introduce": { "session": session.as_str(), "modulename": modulename, "role": role },
                });
                self.send_result(pending.connection, pending.id, value);
                Some(session)
            }
            PendingKind::Call { session: _ } => {
                // Only an introduction or a sub-connection can be granted; the caller shall not wait.
                let error = RemoteError::default();
                self.send(
                    pending.connection,
                    ServerFrame::Failure {
                        id: pending.id,
                        error,
                    },
                );
                None
            }
        }
    }

    /// Refuses an introduction (`{"err":…}`, which carries no request id, as in JavaScript), a
    /// sub-connection or a call (`["e",…]`). Stale tokens are ignored.
    pub fn refuse(&mut self, token: Token, error: RemoteError) {
        let Some(pending) = self.resume(token) else {
            return;
        };
        let frame = match pending.kind {
            PendingKind::Introduce => ServerFrame::AuthenticationFailed { error },
            PendingKind::SubConnect { .. } | PendingKind::Call { .. } => ServerFrame::Failure {
                id: pending.id,
                error,
            },
        };
        self.send(pending.connection, frame);
    }

    /// Answers a call. Stale tokens are ignored.
    pub fn answer(&mut self, token: Token, outcome: Result<Value, RemoteError>) {
        let value = match outcome {
            Ok(value) => value,
            Err(error) => {
                self.refuse(token, error);
                return;
            }
        };
        let Some(pending) = self.resume(token) else {
            return;
        };
        self.send_result(pending.connection, pending.id, value);
    }

    /// Whether a request still waits for its answer.
    #[must_use]
    pub fn is_pending(&self, token: Token) -> bool {
        self.pending.contains_key(&token)
    }

    fn resume(&mut self, token: Token) -> Option<Pending> {
        let pending = self.pending.remove(&token)?;
        if let Some(connection) = self.connections.get_mut(&pending.connection) {
            connection.pending.remove(&token);
        }
        if let Some(session) = pending
            .kind
            .session()
            .and_then(|session| self.sessions.get_mut(session))
        {
            session.pending.remove(&token);
        }
        Some(pending)
    }
}
