//! The connections of the master: to the LanManager, with the real conversation, and to local
//! callers. Lost with the master; where only the engine is lost they live on, and keep the promise:
//! everything that they tell is taken exactly once, and so is every effect toward them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_sessions::lan::conversation::{Conversation, Output};
use allexmaster_state::{Connection, Event, InstanceName, Pid, RequestId, SessionEffect, State};

use crate::agenda::Happening;
use crate::network::{End, LinkId, Packet};
use crate::world::World;

/// The connections.
#[derive(Debug, Default)]
pub(crate) struct Front {
    talk: Option<Talk>,
    dialing: Option<Connection>,
    /// What was told and is not durable yet.
    pub(crate) untaken: VecDeque<Event>,
    /// What the engine is taking: its first number, and which of it came from here.
    pub(crate) taking: (u64, Vec<bool>),
    /// The state before that, from which the effects can be derived again.
    pub(crate) before: State,
    /// How many effects of it were performed here.
    pub(crate) performed: usize,
    /// The local calls that wait.
    pub(crate) asked: BTreeSet<RequestId>,
    /// What local tools see.
    pub(crate) published: BTreeMap<InstanceName, Pid>,
    requests: u64,
}

#[derive(Debug)]
struct Talk {
    conversation: Conversation,
    link: LinkId,
}

impl Front {
    /// Of what the engine was taking, everything up to `last` is durable.
    pub(crate) fn taken(&mut self, last: u64) {
        let (first, ours) = (self.taking.0, std::mem::take(&mut self.taking.1));
        let durable = usize::try_from((last + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        for _ in ours.into_iter().take(durable).filter(|ours| *ours) {
            self.untaken.pop_front();
        }
    }

    /// When the conversation has something to do.
    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        self.talk.as_ref()?.conversation.poll_timeout()
    }
}

impl World {
    /// The connections tell something.
    pub(crate) fn front_says(&mut self, event: Event) {
        let Some(front) = &mut self.front else {
            return;
        };
        front.untaken.push_back(event.clone());
        self.hear(event, true);
    }

    /// A local call, with its number.
    pub(crate) fn ask(&mut self, call: impl FnOnce(RequestId) -> Event) {
        if self.engine.is_none() {
            return; // nobody accepts the connection
        }
        let Some(front) = &mut self.front else {
            return;
        };
        front.requests += 1;
        let request = RequestId(front.requests);
        front.asked.insert(request);
        self.front_says(call(request));
    }

    /// An effect toward the connections.
    pub(crate) fn perform_at_front(&mut self, effect: SessionEffect) {
        let Some(front) = &mut self.front else {
            return;
        };
        match effect {
            SessionEffect::Dial { connection, .. } => {
                front.dialing = Some(connection);
                let at = self.now + self.chance.between(1, 300);
                self.agenda.enter(at, Happening::Dialed { connection });
            }
            SessionEffect::HangUp { .. } => {
                front.dialing = None;
                if let Some(talk) = &mut front.talk {
                    talk.conversation.closed(self.now, CloseReason::ByUs);
                }
            }
            SessionEffect::Publish { record } => {
                let instance = record.need.instance.clone();
                front.published.insert(instance, record.pid);
            }
            SessionEffect::Retract { instance } => {
                front.published.remove(&instance);
            }
            SessionEffect::Reply { request, .. } => {
                let waits = front.asked.remove(&request);
                self.demand(waits, || format!("call {request} is answered twice"));
            }
            SessionEffect::Lan(effect) => {
                if let Some(talk) = &mut front.talk {
                    talk.conversation.perform(self.now, effect);
                }
            }
        }
        self.settle_front();
    }

    /// The conversation's time has come.
    pub(crate) fn front_timeout(&mut self) {
        if let Some(talk) = self.front.as_mut().and_then(|front| front.talk.as_mut()) {
            talk.conversation.handle_timeout(self.now);
        }
        self.settle_front();
    }

    /// Something arrives for the conversation.
    pub(crate) fn front_receives(&mut self, link: LinkId, packet: Packet) {
        let now = self.now;
        let talk = self.front.as_mut().and_then(|front| front.talk.as_mut());
        if let Some(talk) = talk.filter(|talk| talk.link == link) {
            match packet {
                Packet::Text(text) => talk.conversation.receive(now, &text),
                Packet::Closed => talk.conversation.closed(now, CloseReason::ByPeer),
            }
        }
        self.settle_front();
    }

    /// A dial is through, or failed.
    pub(crate) fn dialed(&mut self, connection: Connection) {
        let Some(front) = &mut self.front else {
            return;
        };
        if front.dialing != Some(connection) {
            return;
        }
        front.dialing = None;
        let is_cut = self.now < self.network.cut_until;
        let server = if is_cut { None } else { self.accept() };
        let Some(server) = server else {
            let reason = Arc::from("the LanManager cannot be reached");
            return self.front_says(Event::LanClosed { connection, reason });
        };
        let link = self.network.open(server);
        let conversation = Conversation::new(
            self.now,
            connection,
            CarrierKind::WebSocket,
            Arc::from("ws://127.0.0.1:23552"),
            "simulation_",
        );
        if let Some(front) = &mut self.front {
            front.talk = Some(Talk { conversation, link });
        }
        self.settle_front();
    }

    /// Sends what is to be sent, and tells what is to be told.
    fn settle_front(&mut self) {
        let Some(talk) = self.front.as_mut().and_then(|front| front.talk.as_mut()) else {
            return;
        };
        let link = talk.link;
        let texts: Vec<String> = std::iter::from_fn(|| talk.conversation.poll_transmit()).collect();
        let news: Vec<Output> = std::iter::from_fn(|| talk.conversation.poll_output()).collect();
        let is_closed = talk.conversation.is_closed();
        for text in texts {
            let delay = self.chance.between(0, 30);
            self.send(link, End::LanManager, delay, Packet::Text(text));
        }
        for one in news {
            match one {
                Output::Emit(event) => self.front_says(event),
                Output::Table(_) | Output::Warn(_) => {}
            }
        }
        if is_closed {
            self.hang_up(link, true);
            if let Some(front) = &mut self.front {
                front.talk = None;
            }
        }
    }

    /// The master's end of a link is closed; the other end hears of it, or finds out.
    pub(crate) fn hang_up(&mut self, link: LinkId, says_so: bool) {
        if says_so {
            let delay = self.chance.between(0, 30);
            self.send(link, End::LanManager, delay, Packet::Closed);
        }
        self.network.close(link, End::Master);
    }
}
