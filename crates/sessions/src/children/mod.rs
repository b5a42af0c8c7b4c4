//! The children's part of the front.

pub mod session;

use std::sync::Arc;

use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::frame::RemoteError;
use allexmaster_state::{Event, Incarnation, InstanceName};

use crate::input::{LineName, Output};
use crate::machine::Front;
use crate::relay::{FromChild, ToChild};
use session::News;

/// How many tools may wait for sessions with children that are not there yet.
const EXPECTING_MOST: usize = 1_024;
/// How long each does: a child of AllexJS boots in a second, and after a failure or two in some.
const EXPECTING_PATIENCE_MS: u64 = 30_000;

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
            self.told_by_child(now, incarnation, news);
        }
        if closed {
            self.forget_child(now, incarnation, &line);
        }
    }

    fn told_by_child(&mut self, now: u64, incarnation: Incarnation, news: News) {
        let Some(child) = self.children.get_mut(&incarnation) else {
            return;
        };
        let instance = child.instance.clone();
        let message = match news {
            News::Introduced { modulename } => {
                child.introduced = true;
                let introduced = Output::Introduced(incarnation, instance.clone(), modulename);
                self.outputs.push_back(introduced);
                return self.connect_expecting(now, &instance);
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

    /// Hands a tool's wish to the child that it is for. A session with one that is not there yet is
    /// waited for, within bounds; everything else is refused.
    pub(super) fn hand_on(&mut self, now: u64, wish: ToChild) {
        match &wish {
            ToChild::SubConnect { instance, .. } => {
                let instance = instance.clone();
                if self.is_introduced(&instance) {
                    self.give(now, &instance, wish);
                } else if self.expecting.len() < EXPECTING_MOST {
                    let until = now + EXPECTING_PATIENCE_MS;
                    self.expecting.push_back((until, wish));
                } else {
                    self.refuse(&instance, wish);
                }
            }
            ToChild::Frame { instance, .. } => {
                let instance = instance.clone();
                self.give(now, &instance, wish);
            }
            ToChild::Gone { connection } => {
                let connection = *connection;
                self.expecting
                    .retain(|(_, wish)| wish.connection() != connection);
                for (incarnation, child) in &mut self.children {
                    child.session.obey(now, ToChild::Gone { connection });
                    self.touched.insert(*incarnation);
                }
            }
        }
    }

    fn is_introduced(&self, instance: &InstanceName) -> bool {
        let child = self.instances.get(instance);
        child.is_some_and(|child| {
            self.children
                .get(child)
                .is_some_and(|child| child.introduced)
        })
    }

    fn give(&mut self, now: u64, instance: &InstanceName, wish: ToChild) {
        let child = self.instances.get(instance).copied();
        let known = child.and_then(|child| Some((child, self.children.get_mut(&child)?)));
        match known {
            Some((incarnation, child)) => {
                self.touched.insert(incarnation);
                child.session.obey(now, wish);
            }
            None => self.refuse(instance, wish),
        }
    }

    /// A child is there: those who have waited for it get their sessions.
    fn connect_expecting(&mut self, now: u64, instance: &InstanceName) {
        let all = std::mem::take(&mut self.expecting);
        for (until, wish) in all {
            if wish.instance() == Some(instance) {
                self.give(now, instance, wish);
            } else {
                self.expecting.push_back((until, wish));
            }
        }
    }

    /// Whoever has waited for a child long enough is refused.
    pub(super) fn give_up(&mut self, now: u64) {
        while self
            .expecting
            .front()
            .is_some_and(|(until, _)| *until <= now)
        {
            if let Some((_, wish)) = self.expecting.pop_front()
                && let Some(instance) = wish.instance().cloned()
            {
                self.refuse(&instance, wish);
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
