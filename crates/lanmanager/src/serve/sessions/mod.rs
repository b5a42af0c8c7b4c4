//! Between the wire and the rules, without sockets: what masters ask becomes events,
//! what the rules decide becomes answers and rows.
//!
//! ```text
//!   server::Event ──► requests ──► rules::Event
//!   server calls  ◄── decisions ◄── rules::Effect
//! ```
//!
//! Here live the things that end with the process and so are no matter of the rules:
//! which session is below which root session, and which request waits for which
//! answer.

mod arguments;
mod decisions;
mod openings;
mod requests;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

use allexmaster_protocol::frame::{RemoteError, SessionId};
use allexmaster_protocol::server::{
    Event, Grant, Peer, Server, ServerOptions, ServiceId, SessionEnd, TableId, Token,
};
use allexmaster_protocol::state_stream::StateItem;
use allexmaster_protocol::vocabulary::{introduction, module, service};
use serde_json::{Map, Value, json};

use self::openings::{Openings, Waiting};
use self::tables::Tables;
use crate::rules::{self, Address, InstanceName, MasterId, MasterIdentity, RequestId};

const ROOT: ServiceId = ServiceId(0);
const NEEDS: ServiceId = ServiceId(1);
const SERVICES: ServiceId = ServiceId(2);
const NAT: ServiceId = ServiceId(3);
const ENGAGED_MODULES: ServiceId = ServiceId(4);
/// Services of open needs are numbered from here.
const FIRST_NEED: u64 = 16;

/// The subservices of the LanManager: name, number, and the module names by which
/// JavaScript clients choose their classes.
const SUBSERVICES: [(&str, ServiceId, &str); 4] = [
    (service::SERVICES, SERVICES, module::LAN_SERVICES),
    (service::NEEDS, NEEDS, module::NEEDS),
    (service::TRANSLATIONS, NAT, module::TRANSLATIONS),
    (
        service::ENGAGED_MODULES,
        ENGAGED_MODULES,
        module::ENGAGED_MODULES,
    ),
];

/// The roles that AllexJS knows here.
const ROLES: [&str; 2] = ["user", "service"];

/// What the program around has to do.
#[derive(Debug, PartialEq)]
pub enum Task {
    /// Hand an event to the rules.
    Event(rules::Event),
    /// Check ports and report the result to the rules.
    CheckPorts {
        check: rules::PortsCheck,
        address: IpAddr,
        /// The ports; one that answers is enough.
        ports: Vec<u16>,
    },
    /// Write the runtime needs and report it to the rules.
    WriteRuntimeNeeds {
        /// The revision to be reported, or a later one.
        revision: u64,
    },
}

/// All sessions of the LanManager, from texts of connections to events of the rules and back.
#[derive(Debug)]
pub struct Sessions {
    /// The server end of all connections.
    pub server: Server,
    tables: Tables,
    openings: Openings,
    sessions: HashMap<SessionId, Session>,
    requests: HashMap<RequestId, Request>,
    next_request: u64,
    identifier_prefix: String,
    tasks: VecDeque<Task>,
}

/// A request that the rules answer.
#[derive(Debug)]
enum Request {
    /// Somebody opens a root session.
    Introduction {
        token: Token,
        master: MasterId,
        address: Address,
        /// Whether it says who it is: such a master is one of ours.
        is_ours: bool,
    },
    /// A session calls a method.
    Call { token: Token, session: SessionId },
}

/// One session.
#[derive(Debug)]
struct Session {
    /// The master whose root session it is or is below of; none below a root session
    /// of the role `service`, which the rules do not know.
    master: Option<MasterId>,
    /// Whether the rules know it, and as what.
    known_as: KnownAs,
    requests: BTreeSet<RequestId>,
    /// Sub-connections that wait for a need to be opened.
    waiting: Vec<(InstanceName, Token)>,
}

/// What the rules know a session as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KnownAs {
    Nothing,
    Master,
    Bidder,
}

impl Sessions {
    /// No connections yet. `identifier_prefix` must be another one for each
    /// start: sessions are remembered by their identifiers over restarts.
    #[must_use]
    pub fn new(identifier_prefix: String) -> Self {
        let mut server = Server::new(ServerOptions {
            identifier_prefix: identifier_prefix.clone(),
        });
        let tables = Tables::add_to(&mut server);
        Self {
            server,
            tables,
            openings: Openings::starting_at(FIRST_NEED),
            sessions: HashMap::new(),
            requests: HashMap::new(),
            next_request: 1,
            identifier_prefix,
            tasks: VecDeque::new(),
        }
    }

    /// What is to be done next, beside what the server wants sent.
    pub fn poll_task(&mut self) -> Option<Task> {
        self.tasks.pop_front()
    }

    /// Handles the outputs of the protocol server.
    pub fn handle(&mut self, now: u64, event: Event) {
        match event {
            Event::Introduce {
                token,
                connection: _,
                peer,
                credentials,
            } => self.introduce(now, token, &peer, &credentials),
            Event::SubConnect {
                token,
                session,
                service,
                subservice,
                identity,
            } => self.sub_connect(now, token, session, (service, &subservice), identity),
            Event::Call {
                token,
                session,
                service,
                target,
                role,
                name: _,
                method,
                arguments,
            } => {
                let caller = requests::Caller {
                    token,
                    session,
                    service,
                    target,
                    role,
                };
                self.call(caller, &method, arguments);
            }
            Event::SessionEnded {
                session,
                service,
                connection: _,
                reason,
            } => self.session_ended(&session, service, reason),
            // Every session of a LanManager is its own.
            Event::Relayed { .. } => {}
            Event::ConnectionEnded { connection, reason } => {
                tracing::debug!(connection = connection.0, %reason, "connection ended");
            }
        }
    }

    /// Gives a session of the role that somebody asks for; the doors have checked his
    /// address. A request without a usable strategy is answered as in AllexJS and may be
    /// repeated.
    fn introduce(&mut self, now: u64, token: Token, peer: &Peer, credentials: &Map<String, Value>) {
        let Some(address) = peer.address else {
            return self.server.refuse(token, RemoteError::default());
        };
        let strategy = credentials.get("ip").and_then(Value::as_object);
        match strategy.and_then(|data| data.get("role")?.as_str()) {
            Some("user") => {
                let identity = strategy.and_then(|data| data.get(introduction::MASTER)?.as_str());
                let identity = identity.and_then(|text| MasterIdentity::parse(text).ok());
                self.ask_for_welcome(token, address, identity);
            }
            Some("service") => {
                let name = strategy.and_then(|data| data.get("name").cloned());
                let grant = root_grant("service", name.unwrap_or(Value::Null), None);
                if let Some(session) = self.server.accept(now, token, grant) {
                    self.remember(session, None, KnownAs::Nothing);
                }
            }
            Some(_) | None => self.server.refuse(token, RemoteError::default()),
        }
    }

    /// Tells the rules of a root session; it is given when they know it.
    fn ask_for_welcome(&mut self, token: Token, address: IpAddr, identity: Option<MasterIdentity>) {
        let address = address.to_canonical().to_string();
        let request = self.next_request();
        let identifier = format!("{}m{}", self.identifier_prefix, request.0);
        let (Ok(master), Ok(address)) = (MasterId::parse(identifier), Address::parse(address))
        else {
            return self.server.refuse(token, RemoteError::default());
        };
        let introduction = Request::Introduction {
            token,
            master: master.clone(),
            address: address.clone(),
            is_ours: identity.is_some(),
        };
        self.requests.insert(request, introduction);
        self.tasks
            .push_back(Task::Event(rules::Event::MasterConnected {
                request,
                master,
                address,
                identity,
            }));
    }

    /// Gives a root session that the rules know. Whoever asked may be gone.
    fn welcome(
        &mut self,
        now: u64,
        token: Token,
        (master, address): (MasterId, &Address),
        reconnect_grace: Option<u64>,
    ) {
        let name = Value::from(address.as_str());
        let grant = root_grant("user", name, reconnect_grace);
        match self.server.accept(now, token, grant) {
            Some(session) => {
                tracing::info!(%master, %address, "a master is connected");
                self.remember(session, Some(master), KnownAs::Master);
            }
            None => {
                let gone = rules::Event::MasterGone { master };
                self.tasks.push_back(Task::Event(gone));
            }
        }
    }

    fn next_request(&mut self) -> RequestId {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        request
    }

    /// Gives a session on a subservice, on the same service, or on an open need. What
    /// does not exist is waited for, as in AllexJS.
    fn sub_connect(
        &mut self,
        now: u64,
        token: Token,
        session: SessionId,
        (service, subservice): (ServiceId, &str),
        identity: Map<String, Value>,
    ) {
        let found = SUBSERVICES
            .iter()
            .find(|(name, _, _)| service == ROOT && *name == subservice);
        if let Some((_, found, _)) = found {
            return self.grant(now, token, &session, *found, identity);
        }
        if subservice == "." {
            return self.grant(now, token, &session, service, identity);
        }
        if service != NEEDS {
            return;
        }
        let Ok(name) = InstanceName::parse(subservice) else {
            return self.server.refuse(token, RemoteError::default());
        };
        if let Some(open) = self.openings.service(&name) {
            return self.grant(now, token, &session, open, identity);
        }
        if let Some(known) = self.sessions.get_mut(&session) {
            known.waiting.push((name.clone(), token));
            let waiting = Waiting {
                token,
                session,
                identity,
            };
            self.openings.wait(name, waiting);
        }
    }

    fn grant(
        &mut self,
        now: u64,
        token: Token,
        parent: &SessionId,
        service: ServiceId,
        mut identity: Map<String, Value>,
    ) {
        let role = identity.get("role").and_then(Value::as_str);
        let role = ROLES.into_iter().find(|known| role == Some(*known));
        let Some(role) = role else {
            return self.server.refuse(token, RemoteError::default());
        };
        let name = identity.remove("name").unwrap_or(Value::Null);
        let subservice = SUBSERVICES.iter().find(|(_, number, _)| *number == service);
        let grant = match subservice {
            None if service == ROOT => root_grant(role, name, None),
            None => plain_grant(service, module::NEED, role, name, None),
            Some((_, _, module)) => {
                plain_grant(service, module, role, name, self.table_of(service))
            }
        };
        let master = self
            .sessions
            .get(parent)
            .and_then(|known| known.master.clone());
        if let Some(session) = self.server.accept(now, token, grant) {
            self.openings.add_session(service, session.clone());
            self.remember(session, master, KnownAs::Nothing);
        }
    }

    fn table_of(&self, service: ServiceId) -> Option<TableId> {
        match service {
            NEEDS => Some(self.tables.needs),
            SERVICES => Some(self.tables.services),
            NAT => Some(self.tables.nat),
            ENGAGED_MODULES => Some(self.tables.engaged_modules),
            _ => None,
        }
    }

    fn remember(&mut self, session: SessionId, master: Option<MasterId>, known_as: KnownAs) {
        let known = Session {
            master,
            known_as,
            requests: BTreeSet::new(),
            waiting: Vec::new(),
        };
        self.sessions.insert(session, known);
    }

    /// Forgets a session, and informs the rules if they knew it.
    fn session_ended(&mut self, session: &SessionId, service: ServiceId, reason: SessionEnd) {
        let Some(known) = self.sessions.remove(session) else {
            return;
        };
        for request in &known.requests {
            self.requests.remove(request);
        }
        for (name, token) in &known.waiting {
            self.openings.stop_waiting(name, *token);
        }
        let event = match known.known_as {
            KnownAs::Nothing => None,
            KnownAs::Master => known.master.map(|master| {
                tracing::info!(%master, ?reason, "a master is gone");
                rules::Event::MasterGone { master }
            }),
            KnownAs::Bidder => self.openings.opening(service).and_then(|opening| {
                let bidder = rules::SessionId::parse(session.as_str()).ok()?;
                let opening = opening.clone();
                Some(rules::Event::BidderGone { opening, bidder })
            }),
        };
        self.openings.remove_session(service, session);
        self.tasks.extend(event.map(Task::Event));
    }
}

/// A session on the LanManager itself: its state says which subservices there are, and,
/// for masters of ours, how long one that is gone has for a reconnect.
fn root_grant(role: &str, name: Value, reconnect_grace: Option<u64>) -> Grant {
    let order = ["services", "needs", "nat", "engaged_modules"];
    let have = order.map(|name| StateItem::set(&format!("have{name}"), Value::Bool(true)));
    let about = reconnect_grace.map(|grace| {
        let about = json!({
            "version": env!("CARGO_PKG_VERSION"),
            introduction::RECONNECT_GRACE: grace,
        });
        StateItem::set(introduction::ABOUT, about)
    });
    Grant {
        state: about.into_iter().chain(have).collect(),
        ..plain_grant(ROOT, module::LAN_MANAGER, role, name, None)
    }
}

fn plain_grant(
    service: ServiceId,
    modulename: &str,
    role: &str,
    name: Value,
    table: Option<TableId>,
) -> Grant {
    Grant {
        service,
        modulename: modulename.to_owned(),
        role: role.to_owned(),
        name,
        state: Vec::new(),
        table,
    }
}
