//! Local peers: tools and children on this machine, over the master's sockets.

mod outage;
mod relays;
pub mod requests;
pub mod service;
pub mod socket;

use std::collections::BTreeMap;
use std::path::PathBuf;

use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::server::{ConnectionId, Peer, ServerFull};
use allexmaster_state::{Event, Reply, RequestId, Sender};
use serde::{Deserialize, Serialize};

use crate::input::ConnectionName;
use crate::relay::ToChild;
use requests::LocalRequest;
use service::Service;

/// All local peers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Local {
    pub(crate) service: Service,
    names: BTreeMap<ConnectionId, ConnectionName>,
    /// The questions about the state that are not answered.
    queries: BTreeMap<RequestId, LocalRequest>,
    /// The program that the engine is being replaced by, and who asked.
    upgrading: Option<(RequestId, PathBuf)>,
    /// Why the journal cannot be written, while it cannot.
    outage: Option<String>,
}

/// What is to be done.
pub(crate) enum Output {
    Send(ConnectionName, String),
    /// Cut a peer off.
    Close(ConnectionName, CloseReason),
    /// A tool wants something of a child.
    ToChild(ToChild),
    /// A request that the rules decide.
    Emit(Event),
    /// A question about the state: [`Local::answer`] answers.
    Query(RequestId, LocalRequest),
}

impl Local {
    /// Without peers. The prefix begins every session's name.
    pub(crate) fn new(prefix: String) -> Self {
        Self {
            service: Service::new(prefix),
            ..Self::default()
        }
    }

    /// Takes a peer in.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn open(
        &mut self,
        now: u64,
        name: ConnectionName,
        peer: Peer,
    ) -> Result<ConnectionId, ServerFull> {
        let connection = self.service.open(now, peer)?;
        self.names.insert(connection, name);
        Ok(connection)
    }

    pub(crate) fn disconnected(&mut self, connection: ConnectionId, reason: CloseReason) {
        self.names.remove(&connection);
        self.service.closed(connection, reason);
    }

    /// Answers a question about the state.
    pub(crate) fn answer(&mut self, request: RequestId, reply: Reply) {
        self.queries.remove(&request);
        self.upgrading = None;
        self.service.reply(request, reply);
    }

    /// The engine is about to be replaced: the next one answers.
    pub(crate) fn upgrade(&mut self, request: RequestId, program: PathBuf) {
        self.upgrading = Some((request, program));
    }

    pub(crate) fn upgrading(&self) -> Option<(RequestId, PathBuf)> {
        self.upgrading.clone()
    }

    /// From now on the journal cannot be written, or can be again.
    pub(crate) fn journal_is_out(&mut self, outage: Option<String>) {
        self.outage = outage;
    }

    /// The questions about the state that are not answered; an upgrade is answered elsewhere.
    pub(crate) fn queries(&self) -> impl Iterator<Item = (&RequestId, &LocalRequest)> {
        let upgrading = self.upgrading.as_ref().map(|(request, _)| request);
        let queries = self.queries.iter();
        queries.filter(move |(request, _)| Some(*request) != upgrading)
    }

    pub(crate) fn poll(&mut self, now: u64) -> Option<Output> {
        loop {
            let output = match self.service.poll(now)? {
                service::Output::Send { connection, text } => {
                    let name = self.names.get(&connection).cloned();
                    name.map(|name| Output::Send(name, text))
                }
                service::Output::Close { connection, reason } => {
                    let name = self.names.remove(&connection);
                    name.map(|name| Output::Close(name, reason))
                }
                service::Output::ToChild(request) => Some(Output::ToChild(request)),
                service::Output::Asked {
                    request,
                    asked,
                    sender,
                } => self.asked(request, asked, sender),
            };
            if output.is_some() {
                return output;
            }
        }
    }

    fn asked(
        &mut self,
        request: RequestId,
        asked: LocalRequest,
        sender: Option<Sender>,
    ) -> Option<Output> {
        let outage = self.outage.as_ref();
        if let Some(refusal) = outage.and_then(|outage| asked.refused_in(outage)) {
            self.service.refuse(&request, refusal);
            return None;
        }
        Some(match asked.into_event(request, sender) {
            Ok(event) => Output::Emit(event),
            Err(query) => {
                self.queries.insert(request, query.clone());
                Output::Query(request, query)
            }
        })
    }
}
