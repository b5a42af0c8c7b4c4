//! The services of open needs: their numbers, their sessions, and who waits for one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use allexmaster_protocol::frame::SessionId;
use allexmaster_protocol::server::{ServiceId, Token};
use serde_json::{Map, Value};

use crate::rules::{InstanceName, Opening};

/// A sub-connection to a need that is not open (yet): as in AllexJS it waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) token: Token,
    pub(super) session: SessionId,
    pub(super) identity: Map<String, Value>,
}

/// The open needs as services.
#[derive(Debug)]
pub(super) struct Openings {
    next: u64,
    by_name: HashMap<InstanceName, Open>,
    by_service: HashMap<ServiceId, InstanceName>,
    waiting: HashMap<InstanceName, BTreeMap<Token, Waiting>>,
}

#[derive(Debug)]
struct Open {
    opening: Opening,
    service: ServiceId,
    sessions: BTreeSet<SessionId>,
}

impl Openings {
    /// No need is open; services will be numbered from `first`.
    pub(super) fn starting_at(first: u64) -> Self {
        Self {
            next: first,
            by_name: HashMap::new(),
            by_service: HashMap::new(),
            waiting: HashMap::new(),
        }
    }

    /// A need is open: gives its service and those who waited for it.
    pub(super) fn open(&mut self, opening: Opening) -> (ServiceId, Vec<Waiting>) {
        let service = ServiceId(self.next);
        self.next += 1;
        let name = opening.name.clone();
        self.by_service.insert(service, name.clone());
        let waiting = self.waiting.remove(&name).unwrap_or_default();
        let open = Open {
            opening,
            service,
            sessions: BTreeSet::new(),
        };
        self.by_name.insert(name, open);
        (service, waiting.into_values().collect())
    }

    /// A need is no longer open: gives the sessions that end with it.
    pub(super) fn close(&mut self, opening: &Opening) -> BTreeSet<SessionId> {
        match self.by_name.get(&opening.name) {
            Some(open) if open.opening == *opening => {}
            Some(_) | None => return BTreeSet::new(),
        }
        let Some(open) = self.by_name.remove(&opening.name) else {
            return BTreeSet::new();
        };
        self.by_service.remove(&open.service);
        open.sessions
    }

    /// The service of an open need.
    pub(super) fn service(&self, name: &InstanceName) -> Option<ServiceId> {
        self.by_name.get(name).map(|open| open.service)
    }

    /// What a service is for, while it is.
    pub(super) fn opening(&self, service: ServiceId) -> Option<&Opening> {
        let name = self.by_service.get(&service)?;
        self.by_name.get(name).map(|open| &open.opening)
    }

    pub(super) fn add_session(&mut self, service: ServiceId, session: SessionId) {
        if let Some(open) = self.open_mut(service) {
            open.sessions.insert(session);
        }
    }

    pub(super) fn remove_session(&mut self, service: ServiceId, session: &SessionId) {
        if let Some(open) = self.open_mut(service) {
            open.sessions.remove(session);
        }
    }

    /// Lets a sub-connection wait until the need is open.
    pub(super) fn wait(&mut self, name: InstanceName, waiting: Waiting) {
        let of_name = self.waiting.entry(name).or_default();
        of_name.insert(waiting.token, waiting);
    }

    /// Forgets a sub-connection that waited, because its session ended.
    pub(super) fn stop_waiting(&mut self, name: &InstanceName, token: Token) {
        if let Some(of_name) = self.waiting.get_mut(name) {
            of_name.remove(&token);
            if of_name.is_empty() {
                self.waiting.remove(name);
            }
        }
    }

    /// Whether no sub-connection waits for a need.
    #[cfg(test)]
    pub(super) fn nobody_waits(&self) -> bool {
        self.waiting.is_empty()
    }

    fn open_mut(&mut self, service: ServiceId) -> Option<&mut Open> {
        let name = self.by_service.get(&service)?;
        self.by_name.get_mut(name)
    }
}
