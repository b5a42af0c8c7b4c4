//! What the local sockets offer, sans-IO: three services with a table each.
//!
//! | socket | module name | table |
//! |---|---|---|
//! | `allexmachinemanager` | `allex_masterservice` | the children of this master |
//! | `availablelanservices` | `allex_availablelanservicesservice` | a copy of the LanManager's services |
//! | `nat` | `allex_natservice` | a copy of the LanManager's address translations |
//!
//! The names, columns and methods are those of the JavaScript master; `status`,
//! `needs`, `stop`, `hold`, `start` and `restart` are ours, for the command line.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::frame::{RemoteError, SessionId, Target};
use allexmaster_protocol::mirror::MirrorChange;
use allexmaster_protocol::server::{
    self, ConnectionId, Grant, Peer, Server, ServerFull, ServerOptions, ServiceId, TableId, Token,
};
use allexmaster_protocol::table::{RowKey, TableDescription};
use allexmaster_protocol::vocabulary::module;
use allexmaster_state::{InstanceName, Pid, Reply, RequestId, Sender, ServiceRecord};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::relays::Relays;
use super::requests::{LocalRequest, name_in};
use super::socket::Socket;
use crate::relay::{FromChild, ToChild};
use crate::rows::row_from_record;
use crate::tables::TableChange;

/// What is to be done.
#[derive(Debug)]
pub enum Output {
    /// Send a text.
    Send {
        /// To whom.
        connection: ConnectionId,
        /// One frame.
        text: String,
    },
    /// Cut a peer off.
    Close {
        /// Whom.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
    /// A tool wants something of a child.
    ToChild(ToChild),
    /// Somebody asks; [`Service::reply`] answers.
    Asked {
        /// The name of the call.
        request: RequestId,
        /// For what.
        asked: LocalRequest,
        /// Who asks, where the kernel could tell.
        sender: Option<Sender>,
    },
}

/// The three services.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Service {
    server: Server,
    children: TableId,
    services: TableId,
    translations: TableId,
    relays: Relays,
    /// The columns that children have filled, each with its process.
    columns: BTreeMap<InstanceName, (Pid, Map<String, Value>)>,
    waiting: BTreeMap<RequestId, Token>,
    /// Those of the waiting calls that are answered with true whatever becomes of them: AllexJS
    /// answers `kill` so.
    #[serde(default)]
    always_true: BTreeSet<RequestId>,
    requests: u64,
    asked: VecDeque<(RequestId, LocalRequest, Option<Sender>)>,
}

const CHILD_FIELDS: [&str; 16] = [
    "instancename",
    "modulename",
    "propertyhash",
    "strategies",
    "closed",
    "tcpport",
    "tcpoptions",
    "httpport",
    "httpoptions",
    "wsport",
    "wsoptions",
    "pid",
    "debug",
    "debug_brk",
    "prof",
    "gate",
];
const SERVICE_FIELDS: [&str; 12] = [
    "instancename",
    "modulename",
    "propertyhash",
    "strategies",
    "ipaddress",
    "tcpport",
    "httpport",
    "wsport",
    "debug",
    "debug_brk",
    "prof",
    "gate",
];
const TRANSLATION_FIELDS: [&str; 4] = ["iaddress", "iport", "eaddress", "eport"];

impl Service {
    /// Without peers, and with empty tables. The prefix begins every session's name.
    #[must_use]
    pub fn new(prefix: String) -> Self {
        let mut server = Server::new(ServerOptions {
            identifier_prefix: prefix,
        });
        let children = server.add_table(table(&["instancename"], &CHILD_FIELDS));
        let services = server.add_table(table(&["instancename"], &SERVICE_FIELDS));
        let translations = server.add_table(table(&["iaddress", "iport"], &TRANSLATION_FIELDS));
        Self {
            server,
            children,
            services,
            translations,
            relays: Relays::default(),
            columns: BTreeMap::new(),
            waiting: BTreeMap::new(),
            always_true: BTreeSet::new(),
            requests: 0,
            asked: VecDeque::new(),
        }
    }

    /// Takes a connection in.
    ///
    /// # Errors
    ///
    /// There are too many.
    pub fn open(&mut self, now: u64, peer: Peer) -> Result<ConnectionId, ServerFull> {
        self.server.open(now, CarrierKind::Socket, peer)
    }

    /// Takes one text.
    pub fn receive(&mut self, now: u64, connection: ConnectionId, text: &str) {
        self.server.receive(now, connection, text);
    }

    /// Takes a sign of life.
    pub fn traffic(&mut self, now: u64, connection: ConnectionId) {
        self.server.traffic(now, connection);
    }

    /// A connection ended.
    pub fn closed(&mut self, connection: ConnectionId, reason: CloseReason) {
        self.server.closed(connection, reason);
    }

    /// When [`Service::handle_timeout`] is due, in milliseconds.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.server.poll_timeout()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: u64) {
        self.server.handle_timeout(now);
    }

    /// Shows a child.
    pub fn publish(&mut self, record: &ServiceRecord) {
        let mut row = row_from_record(record);
        row.remove("ipaddress");
        if let Some((pid, columns)) = self.columns.get(&record.need.instance)
            && *pid == record.pid
        {
            row.extend(columns.clone());
        }
        self.server.put_row(self.children, row);
    }

    /// Hides a child.
    pub fn retract(&mut self, instance: &InstanceName) {
        self.columns.remove(instance);
        self.server
            .remove_row(self.children, &RowKey::of_text(instance.as_str()));
    }

    /// Takes what a child has for tools, or for its own row.
    pub fn take_from_child(&mut self, message: FromChild) {
        let column = self.relays.take(&mut self.server, message);
        let Some((instance, pid, name, value)) = column else {
            return;
        };
        let key = RowKey::of_text(instance.as_str());
        let row = self
            .server
            .table(self.children)
            .and_then(|table| table.get(&key));
        if let Some(mut row) = row.filter(|row| row.get("pid") == Some(&json!(pid.0))) {
            row.insert(name.clone(), value.clone());
            self.server.put_row(self.children, row);
        }
        let known = self
            .columns
            .entry(instance)
            .or_insert_with(|| (pid, Map::new()));
        if known.0 != pid {
            *known = (pid, Map::new());
        }
        known.1.insert(name, value);
    }

    /// Follows the LanManager's tables.
    pub fn follow(&mut self, change: TableChange) {
        match change {
            TableChange::Services(change) => self.change(self.services, change),
            TableChange::Translations(change) => self.change(self.translations, change),
        }
    }

    fn change(&mut self, table: TableId, change: MirrorChange) {
        match change {
            MirrorChange::Reset => {
                let Some(known) = self.server.table(table) else {
                    return;
                };
                let keys: Vec<RowKey> = known.rows().map(|row| known.key_of(&row)).collect();
                for key in keys {
                    self.server.remove_row(table, &key);
                }
            }
            MirrorChange::Complete => {}
            MirrorChange::Upserted(row) => self.server.put_row(table, row),
            MirrorChange::Removed(row) => {
                let key = self.server.table(table).map(|known| known.key_of(&row));
                if let Some(key) = key {
                    self.server.remove_row(table, &key);
                }
            }
        }
    }

    /// Answers a call. One whose caller has gone is forgotten.
    pub fn reply(&mut self, request: RequestId, reply: Reply) {
        let Some(token) = self.waiting.remove(&request) else {
            return;
        };
        let outcome = match reply {
            _ if self.always_true.remove(&request) => Ok(json!(true)),
            Reply::Done(value) => Ok(value),
            Reply::Rejected(rejection) => {
                Err(RemoteError::new(rejection.code(), rejection.message()))
            }
        };
        self.server.answer(token, outcome);
    }

    /// Refuses a call. One whose caller has gone is forgotten.
    pub fn refuse(&mut self, request: &RequestId, error: RemoteError) {
        self.always_true.remove(request);
        if let Some(token) = self.waiting.remove(request) {
            self.server.refuse(token, error);
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self, now: u64) -> Option<Output> {
        loop {
            if let Some((request, asked, sender)) = self.asked.pop_front() {
                return Some(Output::Asked {
                    request,
                    asked,
                    sender,
                });
            }
            if let Some(request) = self.relays.poll() {
                return Some(Output::ToChild(request));
            }
            match self.server.poll_output()? {
                server::Output::Send { connection, text } => {
                    return Some(Output::Send { connection, text });
                }
                server::Output::Close { connection, reason } => {
                    return Some(Output::Close { connection, reason });
                }
                server::Output::Event(event) => self.decide(now, event),
            }
        }
    }

    fn decide(&mut self, now: u64, event: server::Event) {
        match event {
            server::Event::Introduce {
                token,
                connection: _,
                peer,
                credentials,
            } => match self.grant(&peer, &credentials) {
                Ok(grant) => {
                    self.server.accept(now, token, grant);
                }
                Err(error) => self.server.refuse(token, error),
            },
            // A subservice of the master is a child; its session is carried to and fro.
            server::Event::SubConnect {
                token,
                session,
                service,
                subservice,
                identity,
            } => self.sub_connect(token, &session, service, subservice, identity),
            server::Event::Relayed {
                connection,
                session,
                frame,
            } => {
                self.relays.carry(connection, session, frame);
            }
            server::Event::Call {
                token,
                session,
                service,
                target: Target::User,
                method,
                arguments,
                ..
            } if service == ServiceId(u64::from(Socket::MachineManager.number())) => {
                let sender = self.sender(&session);
                self.call(token, &method, arguments, sender);
            }
            server::Event::Call { token, method, .. } => {
                self.server
                    .refuse(token, RemoteError::method_does_not_exist(&method));
            }
            server::Event::SessionEnded { .. } => {}
            server::Event::ConnectionEnded { connection, .. } => {
                self.relays.closed(connection);
                let server = &self.server;
                self.waiting.retain(|_, token| server.is_pending(*token));
                let waiting = &self.waiting;
                self.always_true
                    .retain(|request| waiting.contains_key(request));
            }
        }
    }

    /// Who may have a session, and which. Only the user that runs the master gets this
    /// far: the socket belongs to that user alone, and the kernel was asked who connects.
    fn grant(&self, peer: &Peer, credentials: &Map<String, Value>) -> Result<Grant, RemoteError> {
        let claimed = credentials
            .get("samemachineprocess")
            .and_then(Value::as_object);
        let claimed = claimed.ok_or_else(RemoteError::default)?;
        let pid = claimed.get("pid").and_then(Value::as_u64);
        if let (Some(pid), Some(actual)) = (pid, peer.process)
            && pid != u64::from(actual)
        {
            let text = format!("you are process {actual}, not {pid}");
            return Err(RemoteError::new("NOT_THAT_PROCESS", text));
        }
        let role = claimed
            .get("role")
            .and_then(Value::as_str)
            .unwrap_or("user");
        let name = claimed.get("name").filter(|name| !name.is_null()).cloned();
        let socket = Socket::from_number(peer.listener).ok_or_else(RemoteError::default)?;
        let (modulename, table) = match socket {
            Socket::MachineManager => (module::MASTER, self.children),
            Socket::LanServices => (module::LAN_SERVICES, self.services),
            Socket::Translations => (module::TRANSLATIONS, self.translations),
        };
        Ok(Grant {
            service: ServiceId(u64::from(peer.listener)),
            modulename: modulename.to_owned(),
            role: role.to_owned(),
            name: name.unwrap_or_else(|| json!(pid)),
            state: Vec::new(),
            table: Some(table),
        })
    }

    fn sub_connect(
        &mut self,
        token: Token,
        session: &SessionId,
        service: ServiceId,
        subservice: String,
        identity: Map<String, Value>,
    ) {
        let connection = self.server.connection_of(session);
        match (connection, name_in(&json!(subservice))) {
            (Some(connection), Ok(_))
                if service == ServiceId(u64::from(Socket::MachineManager.number())) =>
            {
                let instance = InstanceName::from(subservice);
                self.relays
                    .sub_connect(token, connection, instance, identity);
            }
            (Some(_) | None, _) => {
                let text = format!("there is no subservice {subservice}");
                let error = RemoteError::new("NO_SUBSERVICE", text);
                self.server.refuse(token, error);
            }
        }
    }

    /// Who is at the other end of a session, as the kernel says.
    fn sender(&self, session: &SessionId) -> Option<Sender> {
        let connection = self.server.connection_of(session)?;
        let peer = self.server.peer(connection)?;
        Some(Sender {
            uid: peer.user?,
            name: peer.user_name.as_deref().map(Arc::from),
            pid: Pid(peer.process?),
        })
    }

    fn call(&mut self, token: Token, method: &str, arguments: Vec<Value>, sender: Option<Sender>) {
        let asked = LocalRequest::parse(method, arguments);
        match asked {
            Ok(asked) => {
                self.requests += 1;
                let request = RequestId(self.requests);
                if matches!(asked, LocalRequest::Kill(_)) {
                    self.always_true.insert(request);
                }
                self.waiting.insert(request, token);
                self.asked.push_back((request, asked, sender));
            }
            Err(error) => self.server.refuse(token, error),
        }
    }
}

fn table(key: &[&str], fields: &[&str]) -> TableDescription {
    let fields: Vec<String> = fields.iter().map(|&field| field.to_owned()).collect();
    TableDescription {
        key: key.iter().map(|&field| field.to_owned()).collect(),
        visible_fields: BTreeMap::from([
            ("service".to_owned(), fields.clone()),
            ("user".to_owned(), fields),
        ]),
        named_filters: BTreeMap::new(),
        sparse_fields: std::collections::BTreeSet::new(),
    }
}
