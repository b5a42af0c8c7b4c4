//! The children of AllexJS that are spoken to, and the tools that wait for one.

pub mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::frame::RemoteError;
use allexmaster_state::{Identity, Incarnation, InstanceName, Pid};
use serde::{Deserialize, Serialize};

use crate::input::ConnectionName;
use crate::relay::{FromChild, ToChild};
use session::Session;

/// How many tools may wait for a session with a child that has not started yet; others are refused.
const MAX_EXPECTING: usize = 1_024;
/// How long each waits before it is refused. A child of AllexJS boots within a second, or within
/// several after failures.
const EXPECTING_TIMEOUT_MS: u64 = 30_000;

/// All children that are spoken to.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Children {
    all: BTreeMap<Incarnation, Child>,
    instances: BTreeMap<InstanceName, Incarnation>,
    /// Tools that want a session with a child that is not there yet, each with when it gives up.
    expecting: VecDeque<(u64, ToChild)>,
    /// When sessions have something to do; most never do.
    timeouts: BTreeMap<Incarnation, u64>,
    /// The sessions that may have something to say.
    #[serde(skip)]
    touched: BTreeSet<Incarnation>,
    #[serde(skip)]
    outputs: VecDeque<Output>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Child {
    connection: ConnectionName,
    instance: InstanceName,
    identity: Identity,
    session: Session,
    introduced: bool,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Output {
    Send(ConnectionName, String),
    ToTool(FromChild),
    /// The master has its session with the child: of which service and module.
    Introduced(Incarnation, InstanceName, String),
    /// It serves nobody. Why, for people.
    Failed(Incarnation, String),
    /// Nothing more will be said with it.
    Gone(Incarnation, Identity, ConnectionName),
}

impl Children {
    /// Begins to speak with a child. `master` is the process that it knows as its master.
    pub(crate) fn open(
        &mut self,
        now: u64,
        incarnation: Incarnation,
        child: (ConnectionName, InstanceName, Identity),
        kind: CarrierKind,
        master: Pid,
    ) {
        let (connection, instance, identity) = child;
        let session = Session::new(now, kind, master, identity.pid);
        self.instances.insert(instance.clone(), incarnation);
        let child = Child {
            connection,
            instance,
            identity,
            session,
            introduced: false,
        };
        self.all.insert(incarnation, child);
        self.touched.insert(incarnation);
    }

    /// The child's process, and whether the master has its session with it.
    pub(crate) fn get(&self, incarnation: Incarnation) -> Option<(Identity, bool)> {
        let child = self.all.get(&incarnation)?;
        Some((child.identity.clone(), child.introduced))
    }

    pub(crate) fn incarnations(&self) -> impl Iterator<Item = Incarnation> {
        self.all.keys().copied()
    }

    pub(crate) fn receive(&mut self, now: u64, incarnation: Incarnation, text: &str) {
        if let Some(child) = self.all.get_mut(&incarnation) {
            child.session.receive(now, text);
            self.touched.insert(incarnation);
        }
    }

    /// A sign of life that is no text.
    pub(crate) fn traffic(&mut self, now: u64, incarnation: Incarnation) {
        if let Some(child) = self.all.get_mut(&incarnation) {
            child.session.traffic(now);
        }
    }

    pub(crate) fn disconnected(&mut self, incarnation: Incarnation, reason: CloseReason) {
        if let Some(child) = self.all.get_mut(&incarnation) {
            child.session.closed(reason);
            self.touched.insert(incarnation);
        }
    }

    /// Hands a tool's request to the child that it is for. A session with one that is not there yet
    /// is waited for, within bounds; everything else is refused.
    pub(crate) fn request(&mut self, now: u64, request: ToChild) {
        match &request {
            ToChild::SubConnect { instance, .. } => {
                let instance = instance.clone();
                if self.is_introduced(&instance) {
                    self.hand_over(now, &instance, request);
                } else if self.expecting.len() < MAX_EXPECTING {
                    let until = now + EXPECTING_TIMEOUT_MS;
                    self.expecting.push_back((until, request));
                } else {
                    self.refuse(&instance, request);
                }
            }
            ToChild::Frame { instance, .. } => {
                let instance = instance.clone();
                self.hand_over(now, &instance, request);
            }
            ToChild::Gone { connection } => {
                let connection = *connection;
                let of_others = |(_, request): &(u64, ToChild)| request.connection() != connection;
                self.expecting.retain(of_others);
                for (incarnation, child) in &mut self.all {
                    child.session.request(now, ToChild::Gone { connection });
                    self.touched.insert(*incarnation);
                }
            }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        let sessions = self.timeouts.values().min().copied();
        let expecting = self.expecting.front().map(|(until, _)| *until);
        sessions.into_iter().chain(expecting).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: u64) {
        let is_over = |(until, _): &(u64, ToChild)| *until <= now;
        while self.expecting.front().is_some_and(is_over) {
            if let Some((_, request)) = self.expecting.pop_front()
                && let Some(instance) = request.instance().cloned()
            {
                self.refuse(&instance, request);
            }
        }
        let due = self.timeouts.iter().filter(|(_, at)| **at <= now);
        let due: Vec<Incarnation> = due.map(|(incarnation, _)| *incarnation).collect();
        for incarnation in due {
            if let Some(child) = self.all.get_mut(&incarnation) {
                child.session.handle_timeout(now);
                self.touched.insert(incarnation);
            }
        }
    }

    pub(crate) fn poll(&mut self, now: u64) -> Option<Output> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            let incarnation = self.touched.pop_first()?;
            self.collect(now, incarnation);
        }
    }

    /// Collects what a session has to say.
    fn collect(&mut self, now: u64, incarnation: Incarnation) {
        let Some(child) = self.all.get_mut(&incarnation) else {
            return;
        };
        while let Some(text) = child.session.poll_transmit() {
            let send = Output::Send(child.connection.clone(), text);
            self.outputs.push_back(send);
        }
        let mut is_new = false;
        while let Some(event) = child.session.poll_output() {
            let instance = child.instance.clone();
            is_new |= matches!(event, session::Output::Introduced { .. });
            self.outputs.push_back(match event {
                session::Output::Introduced { modulename } => {
                    child.introduced = true;
                    Output::Introduced(incarnation, instance, modulename)
                }
                session::Output::Failed(reason) => Output::Failed(incarnation, reason),
                session::Output::Column { name, value } => Output::ToTool(FromChild::Column {
                    instance,
                    pid: child.identity.pid,
                    name,
                    value,
                }),
                session::Output::SubConnected {
                    token,
                    connection,
                    outcome,
                } => Output::ToTool(FromChild::SubConnected {
                    instance,
                    token,
                    connection,
                    outcome,
                }),
                session::Output::Frame { connection, frame } => {
                    Output::ToTool(FromChild::Frame { connection, frame })
                }
                session::Output::SessionEnded(session) => {
                    Output::ToTool(FromChild::SessionEnded { session })
                }
            });
        }
        match child.session.poll_timeout() {
            Some(at) => self.timeouts.insert(incarnation, at),
            None => self.timeouts.remove(&incarnation),
        };
        if child.session.is_closed() {
            self.remove(incarnation);
        } else if is_new {
            let instance = child.instance.clone();
            self.connect_expecting(now, &instance);
        }
    }

    fn remove(&mut self, incarnation: Incarnation) {
        self.timeouts.remove(&incarnation);
        let Some(child) = self.all.remove(&incarnation) else {
            return;
        };
        if self.instances.get(&child.instance) == Some(&incarnation) {
            self.instances.remove(&child.instance);
        }
        let gone = Output::Gone(incarnation, child.identity, child.connection);
        self.outputs.push_back(gone);
    }

    fn is_introduced(&self, instance: &InstanceName) -> bool {
        let incarnation = self.instances.get(instance);
        let child = incarnation.and_then(|incarnation| self.all.get(incarnation));
        child.is_some_and(|child| child.introduced)
    }

    fn hand_over(&mut self, now: u64, instance: &InstanceName, request: ToChild) {
        let incarnation = self.instances.get(instance).copied();
        let known = incarnation.and_then(|known| Some((known, self.all.get_mut(&known)?)));
        match known {
            Some((incarnation, child)) => {
                self.touched.insert(incarnation);
                child.session.request(now, request);
            }
            None => self.refuse(instance, request),
        }
    }

    /// A child is there: those who have waited for it get their sessions.
    fn connect_expecting(&mut self, now: u64, instance: &InstanceName) {
        for (until, request) in std::mem::take(&mut self.expecting) {
            if request.instance() == Some(instance) {
                self.hand_over(now, instance, request);
            } else {
                self.expecting.push_back((until, request));
            }
        }
    }

    fn refuse(&mut self, instance: &InstanceName, request: ToChild) {
        let text = format!("{instance} is not there");
        let error = RemoteError::new("NO_SUBSERVICE", text);
        let refusal = session::refusal(instance, request, error);
        self.outputs.extend(refusal.map(Output::ToTool));
    }
}
