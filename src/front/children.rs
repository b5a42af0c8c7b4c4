//! The children's part of the front.

use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::frame::RemoteError;
use allexmaster_state::{Event, Incarnation, InstanceName};

use std::sync::Arc;

use super::input::{LineName, Output};
use super::machine::Front;
use crate::node::session::{self, News};
use crate::relay::{FromChild, ToChild};

impl Front {
    /// Sends what a child's session has to say, and tells what it has to tell.
    pub(super) fn settle_child(&mut self, now: u64, incarnation: Incarnation) {
        let Some(child) = self.children.get_mut(&incarnation) else {
            return;
        };
        let line = child.line.clone();
        let mut texts = Vec::new();
        while let Some(text) = child.session.poll_transmit() {
            texts.push(text);
        }
        let mut all_news = Vec::new();
        while let Some(news) = child.session.poll_news() {
            all_news.push(news);
        }
        match child.session.poll_timeout() {
            Some(at) => self.timeouts.insert(incarnation, at),
            None => self.timeouts.remove(&incarnation),
        };
        let closed = child.session.is_closed();
        for text in texts {
            self.send(now, &line, text);
        }
        for news in all_news {
            self.told_by_child(incarnation, news);
        }
        if closed {
            self.forget_child(now, incarnation, &line);
        }
    }

    fn told_by_child(&mut self, incarnation: Incarnation, news: News) {
        let Some(child) = self.children.get_mut(&incarnation) else {
            return;
        };
        let instance = child.instance.clone();
        let message = match news {
            News::Introduced { modulename } => {
                tracing::info!(service = %instance, module = %modulename, "its service is there");
                child.introduced = true;
                return self.outputs.push_back(Output::Introduced(incarnation));
            }
            News::Failed(reason) => {
                return self.tell(Event::ChildFailed {
                    incarnation,
                    reason: Arc::from(reason),
                });
            }
            News::Column { name, value } => {
                let pid = child.session.child();
                FromChild::Column {
                    instance,
                    pid,
                    name,
                    value,
                }
            }
            News::SubConnected {
                token,
                connection,
                outcome,
            } => FromChild::SubConnected {
                instance,
                token,
                connection,
                outcome,
            },
            News::Frame { connection, frame } => FromChild::Frame { connection, frame },
            News::SessionEnded(session) => FromChild::SessionEnded { session },
        };
        self.service.take_from_child(message);
    }

    /// A child's line has ended.
    pub(super) fn lose_child(&mut self, now: u64, incarnation: Incarnation, reason: CloseReason) {
        if let Some(child) = self.children.get_mut(&incarnation) {
            child.session.closed(reason);
            self.settle_child(now, incarnation);
        }
    }

    fn forget_child(&mut self, now: u64, incarnation: Incarnation, line: &LineName) {
        self.timeouts.remove(&incarnation);
        let Some(child) = self.children.remove(&incarnation) else {
            return;
        };
        if self.instances.get(&child.instance) == Some(&incarnation) {
            self.instances.remove(&child.instance);
        }
        let gone = Output::ChildGone(incarnation, child.identity);
        self.outputs.push_back(gone);
        self.lose_owner(now, line, CloseReason::ByUs);
        self.finish(line);
    }

    /// Hands a tool's wish to the child that it is for; where that is not there, the tool is refused.
    pub(super) fn hand_on(&mut self, now: u64, wish: ToChild) {
        match &wish {
            ToChild::SubConnect { instance, .. } | ToChild::Frame { instance, .. } => {
                let instance = instance.clone();
                let child = self.instances.get(&instance).copied();
                let session = child.and_then(|incarnation| {
                    let child = self.children.get_mut(&incarnation)?;
                    self.touched.insert(incarnation);
                    Some(&mut child.session)
                });
                match session {
                    Some(session) => session.obey(now, wish),
                    None => self.refuse(&instance, wish),
                }
            }
            ToChild::Gone { connection } => {
                for (incarnation, child) in &mut self.children {
                    let gone = ToChild::Gone {
                        connection: *connection,
                    };
                    child.session.obey(now, gone);
                    self.touched.insert(*incarnation);
                }
            }
        }
    }

    fn refuse(&mut self, instance: &InstanceName, wish: ToChild) {
        let text = format!("{instance} is not there");
        let error = RemoteError::new("NO_SUBSERVICE", text);
        if let Some(refusal) = session::refusal(instance, wish, error) {
            self.service.take_from_child(refusal);
        }
    }
}
