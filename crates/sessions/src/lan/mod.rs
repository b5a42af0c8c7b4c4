//! The LanManager: the dial that is under way, and the link that is open.

pub mod conversation;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::filter::Row;
use allexmaster_protocol::framing::web_socket::SEED_BYTES;
use allexmaster_protocol::framing::wire::Wire;
use allexmaster_protocol::mirror::MirrorChange;
use allexmaster_protocol::vocabulary::module;
use allexmaster_state::{
    Connection, Event, InstanceName, LanEffect, Listed, PerProtocol, Place, Port, ServiceRecord,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::endpoint::{Endpoint, LanProtocol};
use crate::input::ConnectionName;
use crate::rows::brief;
use crate::sessions::SessionsIdentity;
use crate::tables::TableChange;
use conversation::Conversation;

/// At most one dial or one link.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Lan {
    dialing: Option<Dialing>,
    link: Option<LanLink>,
    /// The services that run here, with their ports: looked for in the LanManager's list.
    own: BTreeMap<InstanceName, PerProtocol<Option<Port>>>,
    #[serde(skip)]
    outputs: VecDeque<Output>,
}

/// A dial that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dialing {
    /// The name that the link will have.
    pub connection: Connection,
    /// How many dials in a row have failed so far.
    pub failures: u32,
}

/// An open link.
#[derive(Debug, Serialize, Deserialize)]
struct LanLink {
    connection: Connection,
    name: ConnectionName,
    conversation: Conversation,
    /// The LanManager's own row, where tools can dial it as we did.
    own_row: Option<Row>,
    /// Its list of services is complete, and the rules have yet to hear what it has of ours.
    to_compare: bool,
    /// The places other than ours at which the rules know services of ours to be listed.
    elsewhere: BTreeMap<InstanceName, Arc<str>>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Output {
    Send(ConnectionName, String),
    Emit(Event),
    Table(TableChange),
    Warn(String),
    Dial,
    StopDialing,
    /// Nothing more will be said over this connection.
    Closed(ConnectionName),
}

impl Lan {
    /// The rules want a link. One that is open belongs to an earlier order.
    pub(crate) fn dial(&mut self, now: u64, connection: Connection, failures: u32) {
        self.disconnected(now, CloseReason::ByUs);
        self.dialing = Some(Dialing {
            connection,
            failures,
        });
        self.outputs.push_back(Output::Dial);
    }

    /// The rules do not want this link any more.
    pub(crate) fn hang_up(&mut self, now: u64, connection: Connection) {
        if self.is_dialing(connection) {
            self.dialing = None;
            self.outputs.push_back(Output::StopDialing);
        }
        let is_open = |link: &LanLink| link.connection == connection;
        if self.link.as_ref().is_some_and(is_open) {
            self.disconnected(now, CloseReason::ByUs);
        }
    }

    pub(crate) const fn dialing(&self) -> Option<Dialing> {
        self.dialing
    }

    pub(crate) fn is_dialing(&self, connection: Connection) -> bool {
        self.dialing
            .is_some_and(|dialing| dialing.connection == connection)
    }

    pub(crate) fn dial_failed(&mut self, connection: Connection, reason: &str) {
        if self.is_dialing(connection) {
            self.dialing = None;
            let reason = Arc::from(reason);
            let closed = Event::LanClosed {
                connection,
                reason,
                silent: 0,
            };
            self.outputs.push_back(Output::Emit(closed));
        }
    }

    /// The LanManager was reached. Gives the framing; none where the connection is encrypted and its own pump does it.
    pub(crate) fn dialed(
        &mut self,
        now: u64,
        name: ConnectionName,
        (connection, endpoint): (Connection, &Endpoint),
        seed: [u8; SEED_BYTES],
        master: &SessionsIdentity,
    ) -> Option<Wire> {
        self.dialing = None;
        let (carrier, wire) = match endpoint.protocol {
            LanProtocol::Ws => (CarrierKind::WebSocket, Some(Wire::web_socket_client(seed))),
            LanProtocol::Wss => (CarrierKind::WebSocket, None),
            LanProtocol::SignalR => (CarrierKind::SignalR, Some(Wire::signalr_client(seed))),
        };
        let shown: Arc<str> = Arc::from(endpoint.to_string());
        self.link = Some(LanLink {
            connection,
            name,
            conversation: Conversation::new(now, connection, carrier, shown, master),
            own_row: own_row(endpoint),
            to_compare: false,
            elsewhere: BTreeMap::new(),
        });
        wire
    }

    pub(crate) fn receive(&mut self, now: u64, text: &str) {
        if let Some(link) = &mut self.link {
            link.conversation.receive(now, text);
        }
    }

    /// A sign of life that is no text.
    pub(crate) fn traffic(&mut self, now: u64) {
        if let Some(link) = &mut self.link {
            link.conversation.traffic(now);
        }
    }

    pub(crate) fn perform(&mut self, now: u64, effect: LanEffect) {
        if let Some(link) = &mut self.link {
            link.conversation.perform(now, effect);
        }
    }

    /// The link ends.
    pub(crate) fn disconnected(&mut self, now: u64, reason: CloseReason) {
        if let Some(link) = &mut self.link {
            link.conversation.closed(now, reason);
            self.collect();
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<u64> {
        self.link.as_ref()?.conversation.poll_timeout()
    }

    pub(crate) fn handle_timeout(&mut self, now: u64) {
        if let Some(link) = &mut self.link {
            link.conversation.handle_timeout(now);
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.collect();
        self.outputs.pop_front()
    }

    /// A service runs here now, on these ports.
    pub(crate) fn publish(&mut self, record: &ServiceRecord) {
        let name = record.need.instance.clone();
        self.own.insert(name, record.ports);
    }

    /// It does not any more.
    pub(crate) fn retract(&mut self, instance: &InstanceName) {
        self.own.remove(instance);
        if let Some(link) = &mut self.link {
            link.elsewhere.remove(instance);
        }
    }

    /// Collects what the conversation has to say.
    fn collect(&mut self) {
        let own = &self.own;
        let Some(link) = &mut self.link else {
            return;
        };
        while let Some(text) = link.conversation.poll_transmit() {
            let send = Output::Send(link.name.clone(), text);
            self.outputs.push_back(send);
        }
        while let Some(event) = link.conversation.poll_output() {
            match event {
                conversation::Output::Emit(event) => self.outputs.push_back(Output::Emit(event)),
                conversation::Output::Warn(text) => self.outputs.push_back(Output::Warn(text)),
                conversation::Output::Table(change) => {
                    // The LanManager does not list itself, and tools want to find it too.
                    let is_complete = change == TableChange::Services(MirrorChange::Complete);
                    link.to_compare |= is_complete;
                    let listed = link.listed_otherwise(own, &change);
                    self.outputs.extend(listed.map(Output::Emit));
                    self.outputs.push_back(Output::Table(change));
                    if let Some(row) = link.own_row.as_ref().filter(|_| is_complete) {
                        let row = TableChange::Services(MirrorChange::Upserted(row.clone()));
                        self.outputs.push_back(Output::Table(row));
                    }
                }
            }
        }
        if link.to_compare && link.conversation.is_connected() {
            link.to_compare = false;
            let events = link.listed_of_all(own);
            self.outputs.extend(events.into_iter().map(Output::Emit));
        }
        if link.conversation.is_closed() {
            let closed = Output::Closed(link.name.clone());
            self.link = None;
            // What its tables hold is unknown from now on.
            self.outputs.extend([
                closed,
                Output::Table(TableChange::Services(MirrorChange::Reset)),
                Output::Table(TableChange::Translations(MirrorChange::Reset)),
            ]);
        }
    }
}

/// So many services are told of in one event: well below what the journal takes in one record.
const MAX_LISTED: usize = 1_000;

impl LanLink {
    /// What the list, which is complete, has of all services that run here.
    fn listed_of_all(
        &mut self,
        own: &BTreeMap<InstanceName, PerProtocol<Option<Port>>>,
    ) -> Vec<Event> {
        self.elsewhere.clear();
        let mut listed = Vec::new();
        for (instance, ports) in own {
            let Some(row) = self.conversation.listed(instance) else {
                continue;
            };
            let place = self.place(&row, ports);
            if let Place::Elsewhere(by) = &place {
                self.elsewhere.insert(instance.clone(), Arc::clone(by));
            }
            listed.push(Listed {
                instance: instance.clone(),
                place,
            });
        }
        let parts = listed.chunks(MAX_LISTED);
        parts
            .map(|part| self.services_listed(part.to_vec()))
            .collect()
    }

    /// What is to be told of a change in the list: of a service that runs here, and of another place
    /// than the one that the rules know.
    fn listed_otherwise(
        &mut self,
        own: &BTreeMap<InstanceName, PerProtocol<Option<Port>>>,
        change: &TableChange,
    ) -> Option<Event> {
        if self.to_compare || !self.conversation.is_connected() {
            return None;
        }
        let TableChange::Services(change) = change else {
            return None;
        };
        let (MirrorChange::Upserted(row) | MirrorChange::Removed(row)) = change else {
            return None;
        };
        let name = row.get("instancename").and_then(Value::as_str)?;
        let (instance, ports) = own.get_key_value(name)?;
        let place = match change {
            MirrorChange::Upserted(row) => self.place(row, ports),
            MirrorChange::Removed(_) | MirrorChange::Reset | MirrorChange::Complete => {
                Place::Nowhere
            }
        };
        let known = match &place {
            Place::Elsewhere(by) => {
                let known = self.elsewhere.insert(instance.clone(), Arc::clone(by));
                known.as_ref() == Some(by)
            }
            // What becomes of our own rows is told by the answers to our bids.
            Place::Here | Place::Nowhere => self.elsewhere.remove(instance).is_none(),
        };
        let instance = instance.clone();
        (!known).then(|| self.services_listed(vec![Listed { instance, place }]))
    }

    const fn services_listed(&self, services: Vec<Listed>) -> Event {
        Event::ServicesListed {
            connection: self.connection,
            services,
        }
    }

    /// The place that a row names, for a service that runs here on these ports.
    fn place(&self, row: &Row, ports: &PerProtocol<Option<Port>>) -> Place {
        let port = |column: &str| {
            let port = row.get(column).and_then(Value::as_u64);
            let port = port.and_then(|port| u16::try_from(port).ok());
            port.filter(|port| *port != 0).map(Port)
        };
        let listed = PerProtocol {
            tcp: port("tcpport"),
            http: port("httpport"),
            ws: port("wsport"),
        };
        let address = row.get("ipaddress").and_then(Value::as_str);
        if address == self.conversation.address() && listed == *ports {
            return Place::Here;
        }
        let port = listed.iter().find_map(|(_, port)| *port);
        let address = address.unwrap_or("an unknown address");
        Place::Elsewhere(match port {
            Some(port) => brief(&format!("{address}:{port}")),
            None => brief(address),
        })
    }
}

/// The row of the LanManager itself, where a tool could dial it as we did.
fn own_row(endpoint: &Endpoint) -> Option<Row> {
    let port = match endpoint.protocol {
        LanProtocol::Ws => "wsport",
        LanProtocol::SignalR => "httpport",
        // Tools know no TLS.
        LanProtocol::Wss => return None,
    };
    let row = json!({
        "instancename": "LanManager",
        "modulename": module::LAN_MANAGER,
        "propertyhash": {},
        "strategies": { "ip": [] },
        "ipaddress": endpoint.host,
        port: endpoint.port,
    });
    row.as_object().cloned()
}
