//! What the LanManager says by itself: sessions, state, the end.

use std::sync::Arc;

use allexmaster_protocol::client::{ClientEvent, Timeout};
use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::frame::{CallId, SessionId, Target};
use allexmaster_protocol::state_stream::StateItem;
use allexmaster_protocol::vocabulary::{introduction, method};
use allexmaster_state::{Event, Incarnation, InstanceName};
use serde_json::{Value, json};

use super::{BID_TIMEOUT_MS, Conversation, Purpose, Table};
use crate::rows::brief;

impl Conversation {
    pub(super) fn take_events(&mut self, now: u64) {
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::Introduced { call, introduction } => {
                    self.introduced(now, &call, introduction.session);
                }
                ClientEvent::Answered {
                    call,
                    session: _,
                    outcome,
                } => {
                    if let Some(purpose) = self.calls.remove(&call) {
                        self.answered(now, purpose, outcome);
                    }
                }
                ClientEvent::Progress {
                    call,
                    session: _,
                    data,
                } => {
                    if let Some(Purpose::ReadAgain(table)) = self.calls.get(&call) {
                        self.row_read_again(*table, &data);
                    } else if let Some(Purpose::Follow(table)) = self.calls.get(&call) {
                        self.followed(*table, data);
                    }
                }
                ClientEvent::State { session, item } => self.state(now, &session, &item),
                ClientEvent::SessionEnded { session } => self.session_ended(&session),
                ClientEvent::Closed { reason } => {
                    let connection = self.connection;
                    let reason = brief(&reason.to_string());
                    let silent = if self.connected {
                        now.saturating_sub(self.heard)
                    } else {
                        0
                    };
                    self.emit(Event::LanClosed {
                        connection,
                        reason,
                        silent,
                    });
                }
                ClientEvent::Exclusivity { .. }
                | ClientEvent::ChildReady { .. }
                | ClientEvent::ChildFailed { .. } => {}
            }
        }
    }

    pub(super) fn introduced(&mut self, now: u64, call: &CallId, session: SessionId) {
        match self.calls.remove(call) {
            Some(Purpose::Introduce) => self.root = Some(session),
            Some(Purpose::Claim(table)) => {
                self.followed_table(table).session = Some(session.clone());
                // The whole table: what is satisfied leaves it.
                let query = match table {
                    Table::Needs => json!({ "continuous": true, "filter": "*" }),
                    Table::Services | Table::Translations => json!({ "continuous": true }),
                };
                let call = self.client.query(now, &session, query);
                self.calls.insert(call, Purpose::Follow(table));
            }
            Some(Purpose::ClaimNeed { instance, bid }) => {
                self.need_session(now, instance, bid, session);
            }
            Some(
                Purpose::Reach(_)
                | Purpose::Follow(_)
                | Purpose::ReadAgain(_)
                | Purpose::ReachNeed { .. }
                | Purpose::Bid { .. }
                | Purpose::Respond { .. }
                | Purpose::ReportDown(_)
                | Purpose::Relay(_),
            )
            | None => {}
        }
    }

    pub(super) fn need_session(
        &mut self,
        now: u64,
        instance: InstanceName,
        bid: Incarnation,
        session: SessionId,
    ) {
        let Some(open) = self.bids.get_mut(&instance).filter(|open| open.bid == bid) else {
            self.client.die(now, &session); // given up meanwhile
            return;
        };
        open.session = Some(session.clone());
        self.bidders.insert(session.clone(), instance.clone());
        let offer = vec![json!({ "ipaddress": open.address })];
        let timeout = Timeout::Answer(BID_TIMEOUT_MS);
        let call = self
            .client
            .call(now, &session, Target::Session, method::BID, offer, timeout);
        self.calls.insert(call, Purpose::Bid { instance, bid });
    }

    /// The root session's state: our address, and which tables there are.
    pub(super) fn state(&mut self, now: u64, session: &SessionId, item: &StateItem) {
        if self.root.as_ref() != Some(session) {
            return;
        }
        let (path, value) = match item {
            StateItem::Set { path, value } => (path, value),
            StateItem::Update { path, new, .. } => (path, new),
            StateItem::Remove { .. }
            | StateItem::NewCollection { .. }
            | StateItem::RemoveCollection { .. } => return,
        };
        let [name] = path.as_slice() else { return };
        if name == "name" {
            self.address = value.as_str().map(str::to_owned);
            self.announce_connection();
        }
        if name == introduction::ABOUT {
            let grace = value.get(introduction::RECONNECT_GRACE);
            self.grace = grace.and_then(Value::as_u64);
        }
        for table in [Table::Services, Table::Translations, Table::Needs] {
            let followed = self.followed_table(table);
            let flag = format!("have{}", table.name());
            if *name == flag && *value == json!(true) && !followed.asked {
                followed.asked = true;
                self.reach(now, session, table);
            }
        }
    }

    pub(super) fn reach(&mut self, now: u64, root: &SessionId, table: Table) {
        let name = table.name();
        let identity = json!({ "role": "user" });
        let call = self
            .client
            .sub_connect(now, root, name, identity, Timeout::default());
        self.calls.insert(call, Purpose::Reach(table));
    }

    /// We are in when the LanManager has said who we are and can be bid to.
    pub(super) fn announce_connection(&mut self) {
        let (Some(address), Some(_)) = (&self.address, &self.needs.session) else {
            return;
        };
        if self.connected {
            return;
        }
        self.connected = true;
        let address = Arc::from(address.as_str());
        let endpoint = Arc::clone(&self.endpoint);
        self.emit(Event::LanConnected {
            connection: self.connection,
            endpoint,
            address,
            grace: self.grace,
        });
    }

    pub(super) fn session_ended(&mut self, session: &SessionId) {
        if let Some(instance) = self.bidders.remove(session) {
            // Its open call has been answered with an error, and that was told.
            self.bids.remove(&instance);
            return;
        }
        let followed = [&self.services, &self.translations, &self.needs];
        let lost = followed
            .iter()
            .find(|followed| followed.session.as_ref() == Some(session));
        let what = match lost {
            Some(followed) => followed.table.name(),
            None if self.root.as_ref() == Some(session) => "root",
            None => return,
        };
        let reason = format!("it ended our session of {what}");
        self.client.closed(CloseReason::Handshake { reason });
    }
}
