//! Sessions of tools with children, carried through the master; and the columns that children fill.

use std::collections::HashMap;

use allexmaster_protocol::frame::{ClientFrame, RemoteError, SessionId};
use allexmaster_protocol::server::{ConnectionId, Server, Token};
use allexmaster_state::{InstanceName, Pid};
use serde_json::{Map, Value};

use crate::relay::{self, FromChild, ToChild};

/// What is carried.
#[derive(Debug)]
pub(super) struct Relays {
    to_children: relay::Sender<ToChild>,
    sessions: HashMap<SessionId, InstanceName>,
}

impl Relays {
    pub(super) fn new(to_children: relay::Sender<ToChild>) -> Self {
        Self {
            to_children,
            sessions: HashMap::new(),
        }
    }

    /// A tool wants a session with a child.
    pub(super) fn sub_connect(
        &self,
        server: &mut Server,
        token: Token,
        connection: ConnectionId,
        instance: InstanceName,
        identity: Map<String, Value>,
    ) {
        let wish = ToChild::SubConnect {
            instance,
            token,
            connection,
            identity,
        };
        if self.to_children.send(wish).is_err() {
            server.refuse(token, busy());
        }
    }

    /// A tool says something in its session with a child.
    pub(super) fn carry(
        &self,
        server: &mut Server,
        connection: ConnectionId,
        session: SessionId,
        frame: ClientFrame,
    ) {
        let Some(instance) = self.sessions.get(&session).cloned() else {
            return;
        };
        let wish = ToChild::Frame {
            instance,
            session: session.clone(),
            connection,
            frame,
        };
        if self.to_children.send(wish).is_err() {
            // Its calls would never be answered: it may begin anew.
            server.end_relay(&session);
            self.tell_gone(connection);
        }
    }

    /// A connection ended, and with it the sessions that were carried over it.
    pub(super) fn closed(&self, connection: ConnectionId) {
        self.tell_gone(connection);
    }

    /// Takes what a child has for a tool; gives back what is for a row.
    pub(super) fn take(
        &mut self,
        server: &mut Server,
        message: FromChild,
    ) -> Option<(InstanceName, Pid, String, Value)> {
        match message {
            FromChild::Column {
                instance,
                pid,
                name,
                value,
            } => return Some((instance, pid, name, value)),
            FromChild::SubConnected {
                instance,
                token,
                connection,
                outcome,
            } => match outcome {
                Ok((session, answer)) => {
                    if server.relay(token, session.clone(), answer) {
                        self.sessions.insert(session, instance);
                    } else {
                        self.tell_gone(connection);
                    }
                }
                Err(error) => server.refuse(token, error),
            },
            FromChild::Frame { connection, frame } => server.forward(connection, frame),
            FromChild::SessionEnded { session } => {
                self.sessions.remove(&session);
                server.end_relay(&session);
            }
        }
        None
    }

    /// Where it does not arrive, the child keeps a few sessions until it ends.
    fn tell_gone(&self, connection: ConnectionId) {
        if self.to_children.send(ToChild::Gone { connection }).is_err() {
            tracing::warn!("the children are behind; some sessions of tools stay open");
        }
    }
}

fn busy() -> RemoteError {
    RemoteError::new("TOO_MANY_CALLS", "the master is too busy; try again later")
}
