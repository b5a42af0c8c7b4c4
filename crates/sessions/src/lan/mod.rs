//! The LanManager's part of the front.

pub mod conversation;

use std::sync::Arc;

use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::filter::Row;
use allexmaster_protocol::framing::web_socket::SEED_BYTES;
use allexmaster_protocol::framing::wire::Wire;
use allexmaster_protocol::mirror::MirrorChange;
use allexmaster_state::{Connection, Event};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::connection::{Line, Owner};
use crate::input::{LineName, Output};
use crate::lan::conversation::{Conversation, News};
use crate::machine::{Dialing, Front};
use crate::tables::TableChange;
use crate::{Endpoint, LanProtocol};

/// The conversation with the LanManager, and what it is carried over.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Talk {
    connection: Connection,
    line: LineName,
    pub(super) conversation: Conversation,
    /// The LanManager's own row, where tools can dial it as we did.
    own_row: Option<Row>,
}

impl Talk {
    pub(super) fn poll_timeout(&self) -> Option<u64> {
        self.conversation.poll_timeout()
    }
}

impl Front {
    /// The rules want a connection.
    pub(super) fn dial(&mut self, now: u64, connection: Connection, failures: u32) {
        // Another one would be of an earlier wish.
        self.lose_lan(now, CloseReason::ByUs);
        self.dialing = Some(Dialing {
            connection,
            failures,
        });
        self.outputs.push_back(Output::Dial);
    }

    /// The rules want no connection any more.
    pub(super) fn hang_up(&mut self, now: u64, connection: Connection) {
        let is_dialed = |dialing: &Dialing| dialing.connection == connection;
        if self.dialing.as_ref().is_some_and(is_dialed) {
            self.dialing = None;
            self.outputs.push_back(Output::StopDialing);
        }
        let is_open = |talk: &Talk| talk.connection == connection;
        if self.lan.as_ref().is_some_and(is_open) {
            self.lose_lan(now, CloseReason::ByUs);
        }
    }

    pub(super) fn dial_failed(&mut self, connection: Connection, reason: &str) {
        let is_dialed = |dialing: &Dialing| dialing.connection == connection;
        if self.dialing.as_ref().is_some_and(is_dialed) {
            self.dialing = None;
            let reason = Arc::from(reason);
            self.tell(Event::LanClosed { connection, reason });
        }
    }

    pub(super) fn dialed(
        &mut self,
        now: u64,
        line: LineName,
        connection: Connection,
        endpoint: &Endpoint,
        seed: [u8; SEED_BYTES],
    ) {
        let is_wanted = |dialing: &Dialing| dialing.connection == connection;
        if !self.dialing.as_ref().is_some_and(is_wanted) {
            self.outputs.push_back(Output::Cut(line));
            return;
        }
        self.dialing = None;
        let (carrier, wire) = match endpoint.protocol {
            LanProtocol::Ws => (CarrierKind::WebSocket, Some(Wire::web_socket_client(seed))),
            LanProtocol::Wss => (CarrierKind::WebSocket, None),
            LanProtocol::SignalR => (CarrierKind::SignalR, Some(Wire::signalr_client(seed))),
        };
        let mut opened = Line::new(wire, Owner::Lan);
        // A handshake of SignalR is said before anything is sent.
        if opened.collect() {
            self.outputs.push_back(Output::Write(line.clone()));
        }
        self.lines.insert(line.clone(), opened);
        let name: Arc<str> = Arc::from(endpoint.to_string());
        let prefix = self.identity().prefix.clone();
        let conversation = Conversation::new(now, connection, carrier, name, &prefix);
        self.lan = Some(Talk {
            connection,
            line,
            conversation,
            own_row: own_row(endpoint),
        });
    }

    /// Sends what is to be said to the LanManager, and tells what it told; false where there was
    /// nothing.
    pub(super) fn settle_lan(&mut self, now: u64) -> bool {
        let Some(talk) = &mut self.lan else {
            return false;
        };
        let line = talk.line.clone();
        let own_row = talk.own_row.clone();
        let mut texts = Vec::new();
        while let Some(text) = talk.conversation.poll_transmit() {
            texts.push(text);
        }
        let mut all_news = Vec::new();
        while let Some(news) = talk.conversation.poll_news() {
            all_news.push(news);
        }
        let closed = talk.conversation.is_closed();
        let quiet = texts.is_empty() && all_news.is_empty() && !closed;
        for text in texts {
            self.send(now, &line, text);
        }
        for news in all_news {
            self.told_by_lan(news, own_row.as_ref());
        }
        if closed {
            self.forget_lan(now, &line);
        }
        !quiet
    }

    fn told_by_lan(&mut self, news: News, own_row: Option<&Row>) {
        match news {
            News::Event(event) => {
                let told = Box::new(event.clone());
                self.outputs.push_back(Output::Narrate(told));
                self.tell(event);
            }
            News::Table(change) => {
                let is_complete = change == TableChange::Services(MirrorChange::Complete);
                self.service.follow(change);
                // The LanManager does not list itself, and tools want to find it too.
                if let Some(row) = own_row.filter(|_| is_complete) {
                    let row = MirrorChange::Upserted(row.clone());
                    self.service.follow(TableChange::Services(row));
                }
            }
            News::Warning(text) => self.outputs.push_back(Output::Warn(text)),
        }
    }

    /// The connection ended.
    pub(super) fn lose_lan(&mut self, now: u64, reason: CloseReason) {
        if let Some(talk) = &mut self.lan {
            talk.conversation.closed(now, reason);
            self.settle_lan(now);
        }
    }

    fn forget_lan(&mut self, now: u64, line: &LineName) {
        self.lan = None;
        self.lose_owner(now, line, CloseReason::ByUs);
        self.finish(line);
        // Nobody knows any more what the LanManager's tables hold.
        self.service
            .follow(TableChange::Services(MirrorChange::Reset));
        self.service
            .follow(TableChange::Translations(MirrorChange::Reset));
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
        "modulename": "allex_lanmanagerservice",
        "propertyhash": {},
        "strategies": { "ip": [] },
        "ipaddress": endpoint.host,
        port: endpoint.port,
    });
    row.as_object().cloned()
}
