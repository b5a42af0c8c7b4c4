//! What is said on the channel of a child of AllexJS, sans-IO: texts and requests in, texts and outputs out.
//!
//! ```text
//!   child ── child_init ──► introduce (session = our process number) ──► state, for ever
//!                              │
//!           a tool asks   ──► subConnect "." ──► a session of the child, carried for the tool
//! ```

use std::collections::{BTreeMap, VecDeque};

use allexmaster_protocol::client::{
    CallError, Client, ClientEvent, ClientOptions, Timeout, reserved_session,
};
use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::frame::{
    CallId, ClientFrame, OutOfBand, RemoteError, ServerFrame, SessionId,
};
use allexmaster_protocol::server::{ConnectionId, Token};
use allexmaster_protocol::state_stream::StateItem;
use allexmaster_state::{InstanceName, Pid};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::relay::{FromChild, ToChild};
use crate::rows::STATE_COLUMNS;

/// How long a child may take to answer the introduction after it said that it is there.
const INTRODUCTION_TIMEOUT_MS: u64 = 15_000;
/// How many sessions of a child are carried for tools at once.
const MAX_SESSIONS: usize = 1_024;
/// How many calls of tools may wait for a child's answer.
const MAX_CALLS: usize = 16_384;

/// What is to be done by others.
#[derive(Debug)]
pub enum Output {
    /// The master has its session: the service is there.
    Introduced {
        /// The module that it says it is.
        modulename: String,
    },
    /// It serves nobody. Told once.
    Failed(String),
    /// A state field that is a column of its row.
    Column {
        /// The column.
        name: String,
        /// What stands there now.
        value: Value,
    },
    /// The answer to a tool that wants a session.
    SubConnected {
        /// The call that waits.
        token: Token,
        /// Whose call it is.
        connection: ConnectionId,
        /// The session, and what the child said; or why there is none.
        outcome: Result<(SessionId, Value), RemoteError>,
    },
    /// A frame for a tool.
    Frame {
        /// Over which connection.
        connection: ConnectionId,
        /// What it says.
        frame: ServerFrame,
    },
    /// A session that was carried for a tool is over.
    SessionEnded(SessionId),
}

/// The conversation with one child. Times are milliseconds of a clock that does not go back.
#[derive(Debug, Serialize, Deserialize)]
pub struct Session {
    client: Client,
    kind: CarrierKind,
    child: Pid,
    /// The name of our session with it: our process number.
    own: SessionId,
    introduction: Option<CallId>,
    introduced: bool,
    failed: bool,
    /// The calls of tools that wait for a session of their own.
    asked: BTreeMap<CallId, (Token, ConnectionId)>,
    /// The sessions that are carried, each with the connection of its tool.
    carried: BTreeMap<SessionId, ConnectionId>,
    /// The calls that are carried, by the names that they have on this channel.
    calls: BTreeMap<CallId, (ConnectionId, CallId)>,
    counter: u64,
    #[serde(skip)]
    transmits: VecDeque<String>,
    #[serde(skip)]
    outputs: VecDeque<Output>,
}

impl Session {
    /// Begins on a channel that has just been opened. A child with a channel of Node's says when it
    /// is there; one that has opened a socket is there.
    #[must_use]
    pub fn new(now: u64, kind: CarrierKind, master: Pid, child: Pid) -> Self {
        let options = ClientOptions {
            carrier: kind,
            identifier_prefix: format!("{master}_{child}_"),
        };
        let mut session = Self {
            client: Client::new(now, options),
            kind,
            child,
            own: SessionId::from(master.to_string()),
            introduction: None,
            introduced: false,
            failed: false,
            asked: BTreeMap::new(),
            carried: BTreeMap::new(),
            calls: BTreeMap::new(),
            counter: 0,
            transmits: VecDeque::new(),
            outputs: VecDeque::new(),
        };
        if kind != CarrierKind::Ipc {
            session.introduce(now);
        }
        session
    }

    /// The child's process number.
    #[must_use]
    pub const fn child(&self) -> Pid {
        self.child
    }

    /// The next text to send.
    pub fn poll_transmit(&mut self) -> Option<String> {
        self.client
            .poll_transmit()
            .or_else(|| self.transmits.pop_front())
    }

    /// The next thing to do for others.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Session::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.client.poll_timeout()
    }

    /// Whether the channel is of no use any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Takes one text of the child.
    pub fn receive(&mut self, now: u64, text: &str) {
        if self.carried.is_empty() && self.calls.is_empty() {
            self.client.receive(now, text);
        } else {
            match ServerFrame::from_text(text) {
                Ok(frame) => {
                    if self.carry_back(frame) {
                        self.client.traffic(now);
                    } else {
                        self.client.receive(now, text);
                    }
                }
                Err(_) => self.client.receive(now, text),
            }
        }
        self.take_events(now);
    }

    /// A sign of life came that is no text.
    pub fn traffic(&mut self, now: u64) {
        self.client.traffic(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: u64) {
        self.client.handle_timeout(now);
        self.take_events(now);
    }

    /// The channel ended.
    pub fn closed(&mut self, reason: CloseReason) {
        self.client.closed(reason);
        self.take_events(0);
    }

    /// Does what a tool wants.
    pub fn request(&mut self, now: u64, request: ToChild) {
        match request {
            ToChild::SubConnect {
                token,
                connection,
                identity,
                ..
            } => {
                self.sub_connect(now, token, connection, identity);
            }
            ToChild::Frame {
                instance,
                session,
                connection,
                frame,
            } => {
                let is_carried = self.carried.get(&session) == Some(&connection);
                let there_is_room = self.calls.len() < MAX_CALLS;
                match named_anew(frame, &self.next_name()) {
                    Some((frame, id, original)) if is_carried && there_is_room => {
                        self.calls.insert(id, (connection, original));
                        self.transmits.push_back(frame.into_text());
                    }
                    Some((frame, _, original)) => {
                        let error = RemoteError::new("TOO_MANY_CALLS", "the child is too busy");
                        let frame = with_name(frame, original);
                        let request = ToChild::Frame {
                            instance,
                            session,
                            connection,
                            frame,
                        };
                        self.refuse(request, error);
                    }
                    None => {}
                }
            }
            ToChild::Gone { connection } => self.forget(now, connection),
        }
    }

    fn sub_connect(
        &mut self,
        now: u64,
        token: Token,
        connection: ConnectionId,
        identity: Map<String, Value>,
    ) {
        if !self.introduced || self.carried.len() + self.asked.len() >= MAX_SESSIONS {
            let error = RemoteError::new("NO_SUBSERVICE", "the child takes no more sessions");
            self.outputs.push_back(Output::SubConnected {
                token,
                connection,
                outcome: Err(error),
            });
            return;
        }
        // Another user of the same service, as the JavaScript master asks for it.
        let identity = Value::Object(identity);
        let own = self.own.clone();
        let call = self
            .client
            .sub_connect(now, &own, ".", identity, Timeout::default());
        self.asked.insert(call, (token, connection));
    }

    fn refuse(&mut self, request: ToChild, error: RemoteError) {
        if let ToChild::Frame {
            connection, frame, ..
        } = request
            && let Some(frame) = failure(frame, error)
        {
            self.outputs.push_back(Output::Frame { connection, frame });
        }
    }

    fn next_name(&mut self) -> CallId {
        self.counter += 1;
        CallId::from(format!("carried_{}", self.counter))
    }

    /// Ends the sessions of a tool that has gone.
    fn forget(&mut self, now: u64, connection: ConnectionId) {
        let sessions: Vec<SessionId> = self
            .carried
            .iter()
            .filter(|(_, of)| **of == connection)
            .map(|(session, _)| session.clone())
            .collect();
        for session in sessions {
            self.carried.remove(&session);
            self.client.die(now, &session);
        }
        self.calls.retain(|_, (of, _)| *of != connection);
    }

    /// Carries a frame to the tool that it is for; false where it is for the master itself.
    fn carry_back(&mut self, frame: ServerFrame) -> bool {
        match frame {
            ServerFrame::Result { id, value } => match self.calls.remove(&id) {
                Some((connection, id)) => {
                    self.forward(connection, ServerFrame::Result { id, value })
                }
                None => false,
            },
            ServerFrame::Failure { id, error } => match self.calls.remove(&id) {
                Some((connection, id)) => {
                    self.forward(connection, ServerFrame::Failure { id, error })
                }
                None => false,
            },
            ServerFrame::Progress { id, data } => match self.calls.get(&id).cloned() {
                Some((connection, id)) => {
                    self.forward(connection, ServerFrame::Progress { id, data })
                }
                None => false,
            },
            ServerFrame::OutOfBand { session, item } => match self.carried.get(&session).copied() {
                Some(_) if item == OutOfBand::Dead => {
                    self.carried.remove(&session);
                    self.outputs.push_back(Output::SessionEnded(session));
                    true
                }
                Some(connection) => {
                    self.forward(connection, ServerFrame::OutOfBand { session, item })
                }
                None => false,
            },
            ServerFrame::Forget { request } => self.carry_forget(request),
            ServerFrame::Ping { .. }
            | ServerFrame::Pong { .. }
            | ServerFrame::Chunk { .. }
            | ServerFrame::AuthenticationFailed { .. }
            | ServerFrame::ChildReady { .. }
            | ServerFrame::ChildFailed { .. } => false,
        }
    }

    fn carry_forget(&mut self, mut request: Value) -> bool {
        let name = request.get(0).and_then(Value::as_str).map(CallId::from);
        let Some((connection, original)) = name.and_then(|name| self.calls.remove(&name)) else {
            return false;
        };
        if let Some(name) = request.get_mut(0) {
            *name = Value::from(original.as_str());
        }
        self.forward(connection, ServerFrame::Forget { request })
    }

    fn forward(&mut self, connection: ConnectionId, frame: ServerFrame) -> bool {
        self.outputs.push_back(Output::Frame { connection, frame });
        true
    }

    fn take_events(&mut self, now: u64) {
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::ChildReady { process } => self.child_is_there(now, process),
                ClientEvent::ChildFailed { error } => {
                    self.fail(format!("it reports: {error}"));
                }
                ClientEvent::Introduced { call, introduction } => {
                    if self.introduction.as_ref() == Some(&call) {
                        self.introduced = true;
                        let modulename = introduction.modulename;
                        self.outputs.push_back(Output::Introduced { modulename });
                    }
                }
                ClientEvent::Answered { call, outcome, .. } => self.answered(&call, outcome),
                ClientEvent::State { session, item } if session == self.own => self.state(item),
                ClientEvent::SessionEnded { session } if session == self.own => {
                    self.fail("its service has ended".to_owned());
                }
                ClientEvent::Closed { .. } => self.end_all(),
                ClientEvent::State { .. }
                | ClientEvent::SessionEnded { .. }
                | ClientEvent::Progress { .. }
                | ClientEvent::Exclusivity { .. } => {}
            }
        }
    }

    /// Another process's word (a child of the child has inherited the channel) does not count.
    fn child_is_there(&mut self, now: u64, process: u32) {
        if process == self.child.0 && self.introduction.is_none() {
            self.introduce(now);
        }
    }

    fn introduce(&mut self, now: u64) {
        let timeout = Timeout::Answer(INTRODUCTION_TIMEOUT_MS);
        let own = self.own.clone();
        self.introduction = Some(self.client.introduce_known(now, &own, timeout));
    }

    fn answered(&mut self, call: &CallId, outcome: Result<Value, CallError>) {
        if self.introduction.as_ref() == Some(call) {
            return match outcome {
                // The end of the process, or of the channel, is noticed elsewhere.
                Ok(_) | Err(CallError::ConnectionEnded(_)) => {}
                Err(error) => self.fail(format!("it does not let its master in: {error}")),
            };
        }
        let Some((token, connection)) = self.asked.remove(call) else {
            return;
        };
        let outcome = match outcome {
            Ok(answer) => match reserved_session(&answer) {
                Some(session) => {
                    self.carried.insert(session.clone(), connection);
                    Ok((session, answer))
                }
                None => Err(RemoteError::default()),
            },
            Err(CallError::Remote(error)) => Err(error),
            Err(error) => Err(RemoteError::new("NO_SUBSERVICE", error.to_string())),
        };
        self.outputs.push_back(Output::SubConnected {
            token,
            connection,
            outcome,
        });
    }

    /// A field of the state that is a column of the row goes there; all others are nobody's matter.
    fn state(&mut self, item: StateItem) {
        let (path, value) = match item {
            StateItem::Set { path, value } => (path, value),
            StateItem::Update { path, new, old: _ } => (path, new),
            StateItem::Remove { path, last: _ } => (path, Value::Null),
            StateItem::NewCollection { .. } | StateItem::RemoveCollection { .. } => return,
        };
        if let [name] = path.as_slice()
            && STATE_COLUMNS.contains(&name.as_str())
        {
            self.outputs.push_back(Output::Column {
                name: name.clone(),
                value,
            });
        }
    }

    fn fail(&mut self, reason: String) {
        if !self.failed {
            self.failed = true;
            self.outputs.push_back(Output::Failed(reason));
        }
    }

    fn end_all(&mut self) {
        let closing = self.kind != CarrierKind::Ipc && self.introduced;
        if closing {
            self.fail("it closed its connection to the master".to_owned());
        }
        for (session, _) in std::mem::take(&mut self.carried) {
            self.outputs.push_back(Output::SessionEnded(session));
        }
        for (_, (connection, id)) in std::mem::take(&mut self.calls) {
            let error = RemoteError::new("SERVICE_DOWN", "the service has ended");
            self.outputs.push_back(Output::Frame {
                connection,
                frame: ServerFrame::Failure { id, error },
            });
        }
    }
}

/// What a tool is told whose request reached no child; none where it waits for nothing.
#[must_use]
pub fn refusal(instance: &InstanceName, request: ToChild, error: RemoteError) -> Option<FromChild> {
    match request {
        ToChild::SubConnect {
            token, connection, ..
        } => {
            let (instance, outcome) = (instance.clone(), Err(error));
            Some(FromChild::SubConnected {
                instance,
                token,
                connection,
                outcome,
            })
        }
        ToChild::Frame {
            connection, frame, ..
        } => {
            let frame = failure(frame, error)?;
            Some(FromChild::Frame { connection, frame })
        }
        ToChild::Gone { .. } => None,
    }
}

fn failure(frame: ClientFrame, error: RemoteError) -> Option<ServerFrame> {
    match frame {
        ClientFrame::Introduce { id, .. } | ClientFrame::Call { id, .. } => {
            Some(ServerFrame::Failure { id, error })
        }
        ClientFrame::Ping { .. } | ClientFrame::Pong { .. } => None,
    }
}

/// A frame under a new name, with that and the one that it had; none for frames without one.
fn named_anew(frame: ClientFrame, name: &CallId) -> Option<(ClientFrame, CallId, CallId)> {
    let original = match &frame {
        ClientFrame::Introduce { id, .. } | ClientFrame::Call { id, .. } => id.clone(),
        ClientFrame::Ping { .. } | ClientFrame::Pong { .. } => return None,
    };
    Some((with_name(frame, name.clone()), name.clone(), original))
}

fn with_name(frame: ClientFrame, name: CallId) -> ClientFrame {
    match frame {
        ClientFrame::Introduce {
            id: _,
            session,
            credentials,
        } => ClientFrame::Introduce {
            id: name,
            session,
            credentials,
        },
        ClientFrame::Call {
            id: _,
            session,
            target,
            method,
            arguments,
        } => ClientFrame::Call {
            id: name,
            session,
            target,
            method,
            arguments,
        },
        ClientFrame::Ping { stamp } => ClientFrame::Ping { stamp },
        ClientFrame::Pong { stamp } => ClientFrame::Pong { stamp },
    }
}
