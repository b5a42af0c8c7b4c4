//! The LanManager: the dial that is under way, and the link that is open.

pub mod conversation;

use std::collections::VecDeque;
use std::sync::Arc;

use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::filter::Row;
use allexmaster_protocol::framing::web_socket::SEED_BYTES;
use allexmaster_protocol::framing::wire::Wire;
use allexmaster_protocol::mirror::MirrorChange;
use allexmaster_protocol::vocabulary::module;
use allexmaster_state::{Connection, Event, LanEffect};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::endpoint::{Endpoint, LanProtocol};
use crate::input::ConnectionName;
use crate::tables::TableChange;
use conversation::Conversation;

/// At most one dial or one link.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Lan {
    dialing: Option<Dialing>,
    link: Option<LanLink>,
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
            let closed = Event::LanClosed { connection, reason };
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
        prefix: &str,
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
            conversation: Conversation::new(now, connection, carrier, shown, prefix),
            own_row: own_row(endpoint),
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

    /// Collects what the conversation has to say.
    fn collect(&mut self) {
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
                    self.outputs.push_back(Output::Table(change));
                    if let Some(row) = link.own_row.as_ref().filter(|_| is_complete) {
                        let row = TableChange::Services(MirrorChange::Upserted(row.clone()));
                        self.outputs.push_back(Output::Table(row));
                    }
                }
            }
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
