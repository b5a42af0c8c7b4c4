//! Connections: opening, texts, keep-alive, closing.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::types::{ConnectionId, Event, Output, Peer, ServerFull, SessionEnd, Timer, Token};
use super::{MAX_CONNECTIONS, MAX_UNINTELLIGIBLE_TEXTS, PING_INTERVAL_MS, SILENCE_MS, Server};
use crate::close::{CarrierKind, CloseReason};
use crate::frame::{CallId, ClientFrame, FrameError, ServerFrame, SessionId};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Connection {
    pub(super) carrier: CarrierKind,
    pub(super) peer: Peer,
    pub(super) sessions: BTreeSet<SessionId>,
    pub(super) relayed: BTreeSet<SessionId>,
    pub(super) pending: BTreeSet<Token>,
    pub(super) query_count: usize,
    last_sign_of_life: u64,
    next_ping: u64,
    unintelligible_texts: u32,
}

impl Server {
    /// Takes a connection that a listener has accepted. `now` is in milliseconds, as everywhere.
    ///
    /// # Errors
    /// [`ServerFull`] at [`MAX_CONNECTIONS`]; close the socket.
    pub fn open(
        &mut self,
        now: u64,
        carrier: CarrierKind,
        peer: Peer,
    ) -> Result<ConnectionId, ServerFull> {
        if self.connections.len() >= MAX_CONNECTIONS {
            return Err(ServerFull {
                limit: MAX_CONNECTIONS,
            });
        }
        self.counter += 1;
        let connection = ConnectionId(self.counter);
        let opened = Connection {
            carrier,
            peer,
            sessions: BTreeSet::new(),
            relayed: BTreeSet::new(),
            pending: BTreeSet::new(),
            query_count: 0,
            last_sign_of_life: now,
            next_ping: now.saturating_add(PING_INTERVAL_MS),
            unintelligible_texts: 0,
        };
        if let Some(deadline) = opened.deadline() {
            self.timers
                .insert((deadline, Timer::Connection(connection)));
        }
        self.connections.insert(connection, opened);
        Ok(connection)
    }

    /// Takes one text from a peer. Unknown connections are ignored: they have just been closed.
    pub fn receive(&mut self, now: u64, connection: ConnectionId, text: &str) {
        let Some(known) = self.connections.get_mut(&connection) else {
            return;
        };
        known.hear(now, Heard::Text);
        match ClientFrame::from_text(text) {
            Ok(ClientFrame::Ping { stamp }) => {
                known.hear(now, Heard::Ping);
                self.send(connection, ServerFrame::Pong { stamp });
            }
            Ok(ClientFrame::Pong { stamp: _ }) => {}
            Ok(ClientFrame::Introduce {
                id,
                session,
                credentials,
            }) => {
                self.receive_introduction(connection, id, session, credentials);
            }
            Ok(ClientFrame::Call {
                id,
                session,
                target,
                method,
                arguments,
            }) => {
                self.receive_call(connection, id, session, target, method, arguments);
            }
            Err(error) => self.receive_unintelligible(connection, error),
        }
    }

    /// Notes a sign of life that carries no frame (a SignalR or WebSocket ping).
    pub fn traffic(&mut self, now: u64, connection: ConnectionId) {
        if let Some(known) = self.connections.get_mut(&connection) {
            known.hear(now, Heard::Text);
        }
    }

    /// Takes the news that a connection has ended. Unknown connections are ignored.
    pub fn closed(&mut self, connection: ConnectionId, reason: CloseReason) {
        let Some(known) = self.connections.remove(&connection) else {
            return;
        };
        for token in &known.pending {
            self.pending.remove(token);
        }
        for session in &known.relayed {
            self.relayed.remove(session);
        }
        for session in &known.sessions {
            self.forget_session(session, SessionEnd::ConnectionEnded);
        }
        self.event(Event::ConnectionEnded { connection, reason });
    }

    /// Closes a connection: what is left to send goes first, then [`Output::Close`].
    pub fn disconnect(&mut self, connection: ConnectionId, reason: CloseReason) {
        if self.connections.contains_key(&connection) {
            self.outputs.push_back(Output::Close {
                connection,
                reason: reason.clone(),
            });
            self.closed(connection, reason);
        }
    }

    /// The connection that a session is on.
    #[must_use]
    pub fn connection_of(&self, session: &SessionId) -> Option<ConnectionId> {
        self.sessions.get(session).map(|known| known.connection)
    }

    /// The peer of a connection.
    #[must_use]
    pub fn peer(&self, connection: ConnectionId) -> Option<&Peer> {
        self.connections.get(&connection).map(|known| &known.peer)
    }

    pub(super) fn send(&mut self, connection: ConnectionId, frame: ServerFrame) {
        self.send_text(connection, frame.into_text());
    }

    pub(super) fn send_result(&mut self, connection: ConnectionId, id: CallId, value: Value) {
        self.send(connection, ServerFrame::Result { id, value });
    }

    pub(super) fn send_text(&mut self, connection: ConnectionId, text: String) {
        self.outputs.push_back(Output::Send { connection, text });
    }

    /// Answers a request that names no session of this connection: with the whole request, except on
    /// sockets, where JavaScript answers null.
    pub(super) fn send_forget(&mut self, connection: ConnectionId, request: Value) {
        let Some(known) = self.connections.get(&connection) else {
            return;
        };
        let text = match known.carrier {
            CarrierKind::WebSocket | CarrierKind::SignalR => {
                ServerFrame::Forget { request }.into_text()
            }
            CarrierKind::Socket | CarrierKind::Ipc => {
                json!(["r", request.get(0), null]).to_string()
            }
        };
        self.send_text(connection, text);
    }

    pub(super) fn check_connection(&mut self, now: u64, connection: ConnectionId) {
        let Some(known) = self.connections.get_mut(&connection) else {
            return;
        };
        if now >= known.last_sign_of_life.saturating_add(SILENCE_MS) {
            self.disconnect(
                connection,
                CloseReason::Silent {
                    seconds: SILENCE_MS / 1_000,
                },
            );
            return;
        }
        let ping_due = known.carrier == CarrierKind::SignalR && now >= known.next_ping;
        if ping_due {
            known.next_ping = now.saturating_add(PING_INTERVAL_MS);
        }
        if let Some(deadline) = known.deadline() {
            self.timers
                .insert((deadline, Timer::Connection(connection)));
        }
        if ping_due {
            // Zero would not count as a ping in JavaScript.
            self.send(
                connection,
                ServerFrame::Ping {
                    stamp: Value::from(now.max(1)),
                },
            );
        }
    }

    fn receive_unintelligible(&mut self, connection: ConnectionId, error: FrameError) {
        let Some(known) = self.connections.get_mut(&connection) else {
            return;
        };
        known.unintelligible_texts += 1;
        let tolerated = match known.carrier {
            CarrierKind::WebSocket | CarrierKind::SignalR => {
                known.unintelligible_texts <= MAX_UNINTELLIGIBLE_TEXTS
            }
            CarrierKind::Socket | CarrierKind::Ipc => false,
        };
        match error {
            error if !tolerated => self.disconnect(connection, CloseReason::Frame(error)),
            FrameError::Unrecognised { value } => self.send_forget(connection, value),
            FrameError::NotJson { reason: _ } => {}
        }
    }
}

/// What was heard of a peer.
#[derive(Clone, Copy)]
enum Heard {
    Text,
    Ping,
}

impl Connection {
    fn hear(&mut self, now: u64, heard: Heard) {
        let counts = match (self.carrier, heard) {
            // On sockets only pings count, as in JavaScript: a peer whose loop hangs is found.
            (CarrierKind::Socket, Heard::Text) => false,
            (CarrierKind::Socket, Heard::Ping)
            | (CarrierKind::WebSocket | CarrierKind::SignalR | CarrierKind::Ipc, _) => true,
        };
        if counts {
            self.last_sign_of_life = now;
        }
    }

    /// When this connection has to be looked at again.
    fn deadline(&self) -> Option<u64> {
        let silent = self.last_sign_of_life.saturating_add(SILENCE_MS);
        match self.carrier {
            CarrierKind::Socket | CarrierKind::WebSocket => Some(silent),
            CarrierKind::SignalR => Some(silent.min(self.next_ping)),
            CarrierKind::Ipc => None,
        }
    }
}
