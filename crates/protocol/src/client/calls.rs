//! Making calls, and ending them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CALL_TIMEOUT_MS, CallError, Client, ClientEvent};
use crate::frame::{CallId, ClientFrame, SessionId, Target};
use crate::vocabulary::method;

/// How long a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Timeout {
    /// The answer has to come within this many milliseconds.
    Answer(u64),
    /// The first progress or the answer has to come within this many milliseconds; after the first
    /// progress the call stays open: a query.
    FirstSign(u64),
    /// The call stays open until its session or connection ends: a bid, a subconnection.
    Unlimited,
}

impl Default for Timeout {
    fn default() -> Self {
        Self::Answer(CALL_TIMEOUT_MS)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OpenCall {
    pub(super) number: u64,
    pub(super) kind: CallKind,
    pub(super) session: Option<SessionId>,
    pub(super) deadline: Option<u64>,
    /// Stored under its former name, which images of earlier builds have.
    #[serde(rename = "patience")]
    pub(super) timeout: Timeout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum CallKind {
    /// A new session, with credentials.
    Introduce,
    /// The claim of a reserved session.
    Claim,
    /// The confirmation that goes with a claim; its success is not told.
    Confirm,
    /// The end of a session, which may be told before the answer comes.
    Die,
    /// Everything else.
    Ordinary,
}

impl Client {
    /// Opens a new session. Ends in [`ClientEvent::Introduced`], or in [`ClientEvent::Answered`] with
    /// an error.
    pub fn introduce(&mut self, now: u64, credentials: Value) -> CallId {
        let id = self.open(now, CallKind::Introduce, None, Timeout::default());
        self.introductions.insert(self.counter, id.clone());
        self.transmit(ClientFrame::Introduce {
            id: id.clone(),
            session: None,
            credentials,
        });
        id
    }

    /// Introduces the master to a child over IPC: the session is known before (the pid of the parent
    /// as text), and needs no confirmation.
    pub fn introduce_known(&mut self, now: u64, session: &SessionId, timeout: Timeout) -> CallId {
        let id = self.open(now, CallKind::Claim, Some(session.clone()), timeout);
        self.transmit(ClientFrame::Introduce {
            id: id.clone(),
            session: Some(session.clone()),
            credentials: Value::Null,
        });
        id
    }

    /// Claims a reserved session (see [`reserved_session`](super::reserved_session)): introduces it
    /// and confirms the reservation behind, without waiting. Calls in it may follow at once. Ends as
    /// [`Client::introduce`] does; a refused confirmation ends the session.
    pub fn claim(&mut self, now: u64, session: &SessionId) -> CallId {
        let id = self.introduce_known(now, session, Timeout::default());
        let confirmation = self.open(
            now,
            CallKind::Confirm,
            Some(session.clone()),
            Timeout::default(),
        );
        self.transmit_call(
            confirmation,
            session,
            Target::Session,
            "confirmReservation",
            Vec::new(),
        );
        id
    }

    /// Calls a method of a session.
    pub fn call(
        &mut self,
        now: u64,
        session: &SessionId,
        target: Target,
        method: &str,
        arguments: Vec<Value>,
        timeout: Timeout,
    ) -> CallId {
        let kind = match (&target, method) {
            (Target::Session, "die") => CallKind::Die,
            (Target::Session | Target::User | Target::Sub(_), _) => CallKind::Ordinary,
        };
        let id = self.open(now, kind, Some(session.clone()), timeout);
        self.transmit_call(id.clone(), session, target, method, arguments);
        id
    }

    /// Asks for a session with a subservice. A server that does not have the subservice yet does not
    /// answer until it has.
    pub fn sub_connect(
        &mut self,
        now: u64,
        session: &SessionId,
        subservice: &str,
        identity: Value,
        timeout: Timeout,
    ) -> CallId {
        self.call(
            now,
            session,
            Target::Session,
            method::SUB_CONNECT,
            vec![Value::from(subservice), identity],
            timeout,
        )
    }

    /// Opens a query; its events are the progress of the call, for a [`Mirror`](crate::mirror::Mirror).
    pub fn query(&mut self, now: u64, session: &SessionId, query: Value) -> CallId {
        self.call(
            now,
            session,
            Target::Session,
            "query",
            vec![query],
            Timeout::FirstSign(CALL_TIMEOUT_MS),
        )
    }

    /// Closes a query by the identifier that its first event told.
    pub fn close_query(&mut self, now: u64, session: &SessionId, query: &str) -> CallId {
        self.call(
            now,
            session,
            Target::Session,
            "closeQuery",
            vec![Value::from(query)],
            Timeout::default(),
        )
    }

    /// Ends a session. Its open calls end with [`CallError::SessionEnded`].
    pub fn die(&mut self, now: u64, session: &SessionId) -> CallId {
        self.call(
            now,
            session,
            Target::Session,
            "die",
            Vec::new(),
            Timeout::default(),
        )
    }

    fn open(
        &mut self,
        now: u64,
        kind: CallKind,
        session: Option<SessionId>,
        timeout: Timeout,
    ) -> CallId {
        self.counter += 1;
        let id = CallId::from(format!(
            "{}{:06}",
            self.options.identifier_prefix, self.counter
        ));
        let deadline = match timeout {
            Timeout::Answer(milliseconds) | Timeout::FirstSign(milliseconds) => {
                Some(now.saturating_add(milliseconds))
            }
            Timeout::Unlimited => None,
        };
        if let Some(deadline) = deadline {
            self.timers.insert((deadline, id.clone()));
        }
        if let Some(session) = &session {
            self.calls_of_session
                .entry(session.clone())
                .or_default()
                .insert(id.clone());
        }
        self.calls.insert(
            id.clone(),
            OpenCall {
                number: self.counter,
                kind,
                session,
                deadline,
                timeout,
            },
        );
        id
    }

    fn transmit_call(
        &mut self,
        id: CallId,
        session: &SessionId,
        target: Target,
        method: &str,
        arguments: Vec<Value>,
    ) {
        let method = method.to_owned();
        self.transmit(ClientFrame::Call {
            id,
            session: session.clone(),
            target,
            method,
            arguments: Some(arguments),
        });
    }

    /// Sends the frame of a call that has just been opened; on a connection that has ended, the call
    /// ends too.
    fn transmit(&mut self, frame: ClientFrame) {
        let Some(reason) = self.closed.clone() else {
            self.transmits.push_back(frame.into_text());
            return;
        };
        match frame {
            ClientFrame::Introduce { id, .. } | ClientFrame::Call { id, .. } => {
                self.finish(&id, Err(CallError::ConnectionEnded(reason)));
            }
            ClientFrame::Ping { .. } | ClientFrame::Pong { .. } => {}
        }
    }

    /// A progress came: a query is no longer waited for.
    pub(super) fn note_progress(&mut self, call: &CallId) {
        let Some(open) = self.calls.get_mut(call) else {
            return;
        };
        match (open.timeout, open.deadline) {
            (Timeout::FirstSign(_), Some(deadline)) => {
                self.timers.remove(&(deadline, call.clone()));
                open.deadline = None;
            }
            (Timeout::Answer(_) | Timeout::FirstSign(_) | Timeout::Unlimited, _) => {}
        }
    }

    pub(super) fn give_up(&mut self, call: &CallId) {
        let milliseconds = match self.calls.get(call).map(|open| open.timeout) {
            Some(Timeout::Answer(milliseconds) | Timeout::FirstSign(milliseconds)) => milliseconds,
            Some(Timeout::Unlimited) | None => 0,
        };
        self.finish(call, Err(CallError::TimedOut { milliseconds }));
    }

    /// Removes an open call and gives what is known of it.
    pub(super) fn close_call(&mut self, call: &CallId) -> Option<OpenCall> {
        let open = self.calls.remove(call)?;
        self.introductions.remove(&open.number);
        if let Some(deadline) = open.deadline {
            self.timers.remove(&(deadline, call.clone()));
        }
        if let Some(session) = &open.session
            && let Some(calls) = self.calls_of_session.get_mut(session)
        {
            calls.remove(call);
            if calls.is_empty() {
                self.calls_of_session.remove(session);
            }
        }
        Some(open)
    }

    /// Ends a call and tells it. Unknown calls are ignored: they have been given up.
    pub(super) fn finish(&mut self, call: &CallId, outcome: Result<Value, CallError>) {
        let Some(open) = self.close_call(call) else {
            return;
        };
        match (open.kind, open.session, outcome) {
            (CallKind::Introduce | CallKind::Claim, session, Ok(answer)) => {
                self.introduced(call, session, &answer)
            }
            (CallKind::Confirm, _, Ok(_)) => {}
            (
                CallKind::Confirm,
                _,
                Err(CallError::ConnectionEnded(_) | CallError::SessionEnded),
            ) => {}
            (CallKind::Confirm, Some(session), Err(_)) => self.end_session(&session),
            (CallKind::Confirm, None, Err(_)) => {}
            // Whoever was faster: the session is dead, as was wanted.
            (CallKind::Die, session, Err(CallError::SessionEnded | CallError::SessionUnknown)) => {
                let outcome = Ok(Value::from("dead"));
                self.events.push_back(ClientEvent::Answered {
                    call: call.clone(),
                    session,
                    outcome,
                });
            }
            (
                CallKind::Introduce | CallKind::Claim | CallKind::Die | CallKind::Ordinary,
                session,
                outcome,
            ) => {
                self.events.push_back(ClientEvent::Answered {
                    call: call.clone(),
                    session,
                    outcome,
                });
            }
        }
    }

    /// Ends a session: its open calls first, then the session itself, if it was ever known.
    pub(super) fn end_session(&mut self, session: &SessionId) {
        let calls = self.calls_of_session.remove(session).unwrap_or_default();
        for call in calls {
            self.finish(&call, Err(CallError::SessionEnded));
        }
        self.early_items.retain(|(early, _)| early != session);
        if self.sessions.remove(session) {
            self.events.push_back(ClientEvent::SessionEnded {
                session: session.clone(),
            });
        }
    }
}

/// The members of an accepted introduction.
pub(super) fn introduction_of(answer: &Value) -> Option<super::Introduction> {
    Some(super::Introduction {
        session: SessionId::from(answer.get("session")?.as_str()?),
        role: answer.get("role")?.as_str()?.to_owned(),
        modulename: answer.get("modulename")?.as_str()?.to_owned(),
    })
}
