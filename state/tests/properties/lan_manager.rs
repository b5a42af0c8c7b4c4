//! The LanManager of the simulated world.

use std::collections::BTreeMap;
use std::sync::Arc;

use allexmaster_state::{
    BidAnswer, Connection, Event, Incarnation, InstanceName, ModuleName, Need, PerProtocol, Pid,
    ResponseAnswer,
};

/// Its tables, and what it is about to tell.
#[derive(Default)]
pub(crate) struct LanManager {
    pub(crate) session: Option<Connection>,
    /// Every configured need.
    pub(crate) needs: BTreeMap<InstanceName, Arc<Need>>,
    /// The table of services: who satisfies which need.
    pub(crate) services: BTreeMap<InstanceName, (ModuleName, Pid)>,
    bids: BTreeMap<InstanceName, Incarnation>,
}

/// How it treats a bid or a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mood {
    Fair,
    Dismissive,
    /// It acts, but its answer is lost.
    Mumbling,
    /// It neither acts nor answers.
    Deaf,
}

impl LanManager {
    /// Lets a master in. A new root session deletes all rows of its address.
    pub(crate) fn admit(&mut self, connection: Connection) -> Vec<Event> {
        self.session = Some(connection);
        self.services.clear();
        self.bids.clear();
        vec![
            Event::LanConnected {
                connection,
                endpoint: Arc::from("ws://127.0.0.1:23552"),
                address: Arc::from("10.0.0.1"),
                grace: connection.0.is_multiple_of(2).then_some(20_000),
            },
            Event::NeedsListed {
                connection,
                needs: self.needs.values().cloned().collect(),
            },
        ]
    }

    /// The connection breaks.
    pub(crate) fn lose(&mut self) -> Option<Event> {
        self.bids.clear();
        let connection = self.session.take()?;
        let reason = Arc::from("reset by peer");
        Some(Event::LanClosed {
            connection,
            reason,
            silent: 0,
        })
    }

    pub(crate) fn configure(&mut self, need: Arc<Need>) -> Vec<Event> {
        let instance = need.instance.clone();
        self.needs.insert(instance.clone(), Arc::clone(&need));
        if self.services.contains_key(&instance) {
            return Vec::new();
        }
        self.session
            .map(|connection| Event::NeedAppeared { connection, need })
            .into_iter()
            .collect()
    }

    /// No need prescribes a port any more.
    pub(crate) fn prescribe_nothing(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for (_, mut need) in self.needs.clone() {
            Arc::make_mut(&mut need).ports = PerProtocol::default();
            events.extend(self.configure(need));
        }
        events
    }

    pub(crate) fn forget(&mut self, instance: &InstanceName) -> Vec<Event> {
        let existed = self.needs.remove(instance).is_some();
        let Some(connection) = self.session else {
            return Vec::new();
        };
        if !existed || self.services.contains_key(instance) {
            return Vec::new();
        }
        let mut events = vec![Event::NeedWithdrawn {
            connection,
            instance: instance.clone(),
        }];
        if let Some(bid) = self.bids.remove(instance) {
            events.push(Event::BidAnswered {
                instance: instance.clone(),
                bid,
                answer: BidAnswer::Failed(Arc::from("the need went away")),
            });
        }
        events
    }

    pub(crate) fn bid(
        &mut self,
        connection: Connection,
        instance: InstanceName,
        bid: Incarnation,
        mood: Mood,
    ) -> Vec<Event> {
        if self.session != Some(connection) {
            return Vec::new();
        }
        let biddable = self.needs.contains_key(&instance) && !self.services.contains_key(&instance);
        let answer = match mood {
            Mood::Fair | Mood::Mumbling if biddable => {
                assert!(
                    !self.bids.contains_key(&instance),
                    "two open bids for {instance}"
                );
                self.bids.insert(instance.clone(), bid);
                BidAnswer::Challenged
            }
            Mood::Dismissive => BidAnswer::Rejected,
            Mood::Fair | Mood::Mumbling | Mood::Deaf => BidAnswer::Failed(Arc::from("timeout")),
        };
        vec![Event::BidAnswered {
            instance,
            bid,
            answer,
        }]
    }

    pub(crate) fn abandon(&mut self, instance: &InstanceName, bid: Incarnation) {
        if self.bids.get(instance) == Some(&bid) {
            self.bids.remove(instance);
        }
    }

    /// Checks the ports of a service and lists it.
    pub(crate) fn respond(
        &mut self,
        bid: Incarnation,
        need: &Need,
        pid: Pid,
        reachable: bool,
        mood: Mood,
    ) -> Vec<Event> {
        let instance = need.instance.clone();
        let Some(connection) = self.session else {
            return Vec::new();
        };
        if self.bids.get(&instance) != Some(&bid) {
            let answer = ResponseAnswer::Failed(Arc::from("the need went away"));
            return vec![Event::ResponseAnswered {
                instance,
                bid,
                answer,
            }];
        }
        let answer = match mood {
            Mood::Dismissive => ResponseAnswer::Refused(Arc::from("NOT_ACCEPTED")),
            Mood::Deaf => ResponseAnswer::Failed(Arc::from("timeout")),
            Mood::Fair | Mood::Mumbling if !reachable => ResponseAnswer::Unreachable,
            Mood::Fair => ResponseAnswer::Approved,
            Mood::Mumbling => ResponseAnswer::Failed(Arc::from("timeout")),
        };
        let mut events = Vec::new();
        if reachable && matches!(mood, Mood::Fair | Mood::Mumbling) {
            self.bids.remove(&instance);
            let row = (need.module.clone(), pid);
            self.services.insert(instance.clone(), row);
            events.push(Event::NeedWithdrawn {
                connection,
                instance: instance.clone(),
            });
        }
        let answer = Event::ResponseAnswered {
            instance,
            bid,
            answer,
        };
        events.insert(
            usize::from(pid.0.is_multiple_of(2)).min(events.len()),
            answer,
        );
        events
    }

    /// Hears that a service is down.
    pub(crate) fn hear_down(
        &mut self,
        connection: Connection,
        instance: InstanceName,
    ) -> Vec<Event> {
        if self.session != Some(connection) {
            return Vec::new();
        }
        let mut events = Vec::new();
        let listed = self.services.remove(&instance).is_some();
        if let Some(need) = self.needs.get(&instance).filter(|_| listed) {
            let need = Arc::clone(need);
            events.push(Event::NeedAppeared { connection, need });
        }
        let acknowledged = Event::ServiceDownAcknowledged {
            connection,
            instance,
        };
        events.insert(
            usize::from(connection.0.is_multiple_of(2)).min(events.len()),
            acknowledged,
        );
        events
    }
}
