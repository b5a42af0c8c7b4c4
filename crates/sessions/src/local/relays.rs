//! Sessions of tools with children, carried through the master; and the columns that children fill.

use std::collections::{BTreeMap, VecDeque};

use allexmaster_protocol::frame::{ClientFrame, SessionId};
use allexmaster_protocol::server::{ConnectionId, Server, Token};
use allexmaster_state::{InstanceName, Pid};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::relay::{FromChild, ToChild};

/// What is carried.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Relays {
    sessions: BTreeMap<SessionId, InstanceName>,
    /// What tools want of children, until it is polled.
    #[serde(skip)]
    requests: VecDeque<ToChild>,
}

impl Relays {
    /// The next thing that a tool wants of a child.
    pub(super) fn poll(&mut self) -> Option<ToChild> {
        self.requests.pop_front()
    }

    /// A tool wants a session with a child.
    pub(super) fn sub_connect(
        &mut self,
        token: Token,
        connection: ConnectionId,
        instance: InstanceName,
        identity: Map<String, Value>,
    ) {
        self.requests.push_back(ToChild::SubConnect {
            instance,
            token,
            connection,
            identity,
        });
    }

    /// A tool says something in its session with a child.
    pub(super) fn carry(
        &mut self,
        connection: ConnectionId,
        session: SessionId,
        frame: ClientFrame,
    ) {
        let Some(instance) = self.sessions.get(&session).cloned() else {
            return;
        };
        self.requests.push_back(ToChild::Frame {
            instance,
            session,
            connection,
            frame,
        });
    }

    /// A connection ended, and with it the sessions that were carried over it.
    pub(super) fn closed(&mut self, connection: ConnectionId) {
        self.requests.push_back(ToChild::Gone { connection });
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
                        self.closed(connection);
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
}
