//! Taking what the server sends.

use std::collections::VecDeque;

use serde_json::Value;

use super::calls::introduction_of;
use super::{CallError, Client, ClientEvent, MAX_EARLY_ITEMS};
use crate::close::{CarrierKind, CloseReason};
use crate::frame::{CallId, ClientFrame, FrameError, OutOfBand, ServerFrame, SessionId};

impl Client {
    /// Takes one text from the server.
    pub fn receive(&mut self, now: u64, text: &str) {
        if self.closed.is_some() {
            return;
        }
        self.last_heard = now;
        match ServerFrame::from_text(text) {
            Ok(frame) => self.receive_frame(frame),
            // A child's program may send messages of its own over its IPC channel.
            Err(FrameError::Unrecognised { value: _ })
                if self.options.carrier == CarrierKind::Ipc => {}
            Err(error) => self.closed(CloseReason::Frame(error)),
        }
    }

    /// Notes a sign of life that carries no frame.
    pub fn traffic(&mut self, now: u64) {
        self.last_heard = now;
    }

    fn receive_frame(&mut self, frame: ServerFrame) {
        match frame {
            ServerFrame::Result { id, value } => self.finish(&id, Ok(value)),
            ServerFrame::Failure { id, error } => self.finish(&id, Err(CallError::Remote(error))),
            ServerFrame::Progress { id, data } => self.receive_progress(id, data),
            ServerFrame::OutOfBand { session, item } => self.receive_out_of_band(session, item),
            ServerFrame::Forget { request } => self.receive_forget(&request),
            ServerFrame::Ping { stamp } => self
                .transmits
                .push_back(ClientFrame::Pong { stamp }.into_text()),
            // Chunks are joined by the framing; one that arrives here belongs to no text.
            ServerFrame::Pong { stamp: _ } | ServerFrame::Chunk { .. } => {}
            ServerFrame::AuthenticationFailed { error: _ } => {
                if let Some(call) = self
                    .introductions
                    .first_key_value()
                    .map(|(_, call)| call.clone())
                {
                    self.finish(&call, Err(CallError::AuthenticationFailed));
                }
            }
            ServerFrame::ChildReady { process } => {
                self.events.push_back(ClientEvent::ChildReady { process })
            }
            ServerFrame::ChildFailed { error } => {
                self.events.push_back(ClientEvent::ChildFailed { error })
            }
        }
    }

    fn receive_progress(&mut self, call: CallId, data: Value) {
        self.note_progress(&call);
        if let Some(open) = self.calls.get(&call) {
            let session = open.session.clone();
            self.events.push_back(ClientEvent::Progress {
                call,
                session,
                data,
            });
        }
    }

    fn receive_out_of_band(&mut self, session: SessionId, item: OutOfBand) {
        if self.sessions.contains(&session) {
            self.tell(session, item);
            return;
        }
        if item == OutOfBand::Dead {
            self.end_session(&session);
            return;
        }
        if self.early_items.len() >= MAX_EARLY_ITEMS {
            self.early_items.pop_front();
        }
        self.early_items.push_back((session, item));
    }

    /// The server does not know the request, or its session.
    fn receive_forget(&mut self, request: &Value) {
        let session = request
            .get(1)
            .and_then(|pair| pair.get(0))
            .and_then(Value::as_str)
            .map(SessionId::from);
        if let Some(call) = request.get(0).and_then(Value::as_str).map(CallId::from) {
            self.finish(&call, Err(CallError::SessionUnknown));
        }
        if let Some(session) = session {
            self.end_session(&session);
        }
    }

    /// An introduction was answered. On sockets null means that the session is not known.
    pub(super) fn introduced(&mut self, call: &CallId, claimed: Option<SessionId>, answer: &Value) {
        let Some(introduction) = introduction_of(answer) else {
            let error = if answer.is_null() {
                CallError::SessionUnknown
            } else {
                CallError::UnexpectedAnswer
            };
            self.events.push_back(ClientEvent::Answered {
                call: call.clone(),
                session: claimed.clone(),
                outcome: Err(error),
            });
            if let Some(session) = claimed {
                self.end_session(&session);
            }
            return;
        };
        let session = introduction.session.clone();
        self.sessions.insert(session.clone());
        self.events.push_back(ClientEvent::Introduced {
            call: call.clone(),
            introduction,
        });
        let early = std::mem::take(&mut self.early_items);
        let (own, others): (VecDeque<_>, VecDeque<_>) =
            early.into_iter().partition(|(early, _)| *early == session);
        self.early_items = others;
        for (session, item) in own {
            self.tell(session, item);
        }
    }

    fn tell(&mut self, session: SessionId, item: OutOfBand) {
        match item {
            OutOfBand::State(item) => self.events.push_back(ClientEvent::State { session, item }),
            OutOfBand::Exclusivity(item) => self
                .events
                .push_back(ClientEvent::Exclusivity { session, item }),
            OutOfBand::Dead => self.end_session(&session),
            // Channels that are not known have no meaning for this program.
            OutOfBand::Other { .. } => {}
        }
    }
}
