//! One connection to the LanManager, sans-IO: texts and effects in, texts and outputs out.
//!
//! ```text
//!   introduce ──► root session ──► subConnect services, nat, needs ──► query each
//!                                        │
//!                  for each need:        └─► subConnect NAME ─► bid ─► (child) ─► respond ─► die
//! ```
//!
//! It translates between the rules and the LanManager's protocol, and knows which call was made for
//! what. Whether and what to bid, start or report is decided by the rules. Its own rules are the
//! constants below: how long each answer may take, and when the tables are read again. They are
//! deadlines of this machine, so they are replayed with it; what they end in becomes an event.

mod answers;
mod events;
mod tables;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use allexmaster_protocol::client::{Client, ClientOptions, Timeout, address_credentials};
use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::filter::Row;
use allexmaster_protocol::frame::{CallId, SessionId, Target};
use allexmaster_protocol::mirror::Mirror;
use allexmaster_protocol::table::RowKey;
use allexmaster_protocol::vocabulary::{introduction, method, service};
use allexmaster_state::{
    Connection, Event, Incarnation, InstanceName, LanEffect, RequestId, ResponseAnswer,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::rows::row_from_record;
use crate::sessions::SessionsIdentity;
use crate::tables::TableChange;

/// How long the LanManager may take from the introduction to its list of needs.
pub const LISTING_TIMEOUT_MS: u64 = 20_000;
/// How long a bid may wait. While somebody else holds the need, the LanManager does not
/// answer; the rules then bid again later, and other needs get the place meanwhile.
pub const BID_TIMEOUT_MS: u64 = 60_000;
/// How long the LanManager may take to check the ports: three of them, a second each at most,
/// behind those of other masters.
pub const RESPONSE_TIMEOUT_MS: u64 = 30_000;
/// How long after the end of a need's session its approval may still come, since the LanManager does
/// not order the two. After that time the response counts as refused: the need went away.
pub const VERDICT_TIMEOUT_MS: u64 = 2_000;

/// When the tables are read a second time after the connection began, or as soon after that as the
/// needs are listed. A JavaScript LanManager does not send a row that it creates while it answers a
/// query, and the leftovers of an earlier master make it create rows just then.
pub const FIRST_READ_MS: u64 = 50;
/// When they are read a third time: by then each table was listed, and the LanManager has created
/// the needs of ours again that it had removed.
pub const SECOND_READ_MS: u64 = 2_000;
/// How often the tables are read after that. A row that is lost later is missed for so long at most.
pub const READ_INTERVAL_MS: u64 = 30_000;

/// What is to be done by others.
#[derive(Debug)]
pub enum Output {
    /// An event for the rules.
    Emit(Event),
    /// A change for those who keep a copy of the LanManager's tables.
    Table(TableChange),
    /// What people should know.
    Warn(String),
}

/// One connection. Times are milliseconds of a clock that does not go back.
#[derive(Debug, Serialize, Deserialize)]
pub struct Conversation {
    client: Client,
    connection: Connection,
    endpoint: Arc<str>,
    root: Option<SessionId>,
    address: Option<String>,
    /// How long the LanManager waits for a master that is gone, where it says that.
    grace: Option<u64>,
    /// When something of the LanManager arrived last.
    heard: u64,
    connected: bool,
    services: Followed,
    translations: Followed,
    needs: Followed,
    listed: bool,
    listing_until: u64,
    /// When the connection began.
    began: u64,
    /// When the tables are read again, beside what is followed.
    #[serde(rename = "look_at")]
    read_again_at: u64,
    /// The needs that the rules know to be unsatisfied.
    known: BTreeSet<InstanceName>,
    calls: BTreeMap<CallId, Purpose>,
    bids: BTreeMap<InstanceName, OpenBid>,
    bidders: BTreeMap<SessionId, InstanceName>,
    verdicts: VecDeque<Verdict>,
    #[serde(skip)]
    outputs: VecDeque<Output>,
}

/// A table that is followed.
#[derive(Debug, Serialize, Deserialize)]
struct Followed {
    table: Table,
    session: Option<SessionId>,
    asked: bool,
    mirror: Mirror,
}

impl Followed {
    fn new(table: Table, key: &[&str]) -> Self {
        Self {
            table,
            session: None,
            asked: false,
            mirror: Mirror::new(key.iter().copied()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Table {
    Services,
    Translations,
    Needs,
}

impl Table {
    /// Its name at the LanManager.
    const fn name(self) -> &'static str {
        match self {
            Self::Services => service::SERVICES,
            Self::Translations => service::TRANSLATIONS,
            Self::Needs => service::NEEDS,
        }
    }
}

/// What a call was made for.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Purpose {
    Introduce,
    Reach(Table),
    Claim(Table),
    Follow(Table),
    /// Reading a table a second time; stored under its former name.
    #[serde(rename = "Look")]
    ReadAgain(Table),
    ReachNeed {
        instance: InstanceName,
        bid: Incarnation,
    },
    ClaimNeed {
        instance: InstanceName,
        bid: Incarnation,
    },
    Bid {
        instance: InstanceName,
        bid: Incarnation,
    },
    Respond {
        instance: InstanceName,
        bid: Incarnation,
    },
    ReportDown(InstanceName),
    Relay(RequestId),
}

#[derive(Debug, Serialize, Deserialize)]
struct OpenBid {
    bid: Incarnation,
    address: Arc<str>,
    session: Option<SessionId>,
    ticket: Option<Value>,
    /// What was responded, to be recognised in the table of services.
    row: Option<Row>,
}

/// A response whose session ended before the answer: the table of services tells.
#[derive(Debug, Serialize, Deserialize)]
struct Verdict {
    until: u64,
    instance: InstanceName,
    bid: Incarnation,
    row: Row,
}

impl Conversation {
    /// Begins on a connection that has just been opened.
    #[must_use]
    pub fn new(
        now: u64,
        connection: Connection,
        carrier: CarrierKind,
        endpoint: Arc<str>,
        master: &SessionsIdentity,
    ) -> Self {
        let options = ClientOptions {
            carrier,
            identifier_prefix: format!("{}{connection}_", master.prefix),
        };
        let mut client = Client::new(now, options);
        let mut credentials = address_credentials("any_name", "user");
        credentials["ip"][introduction::MASTER] = json!(master.journal);
        let introduction = client.introduce(now, credentials);
        Self {
            client,
            connection,
            endpoint,
            root: None,
            address: None,
            grace: None,
            heard: now,
            connected: false,
            services: Followed::new(Table::Services, &["instancename"]),
            translations: Followed::new(Table::Translations, &["iaddress", "iport"]),
            needs: Followed::new(Table::Needs, &["instancename"]),
            listed: false,
            listing_until: now + LISTING_TIMEOUT_MS,
            began: now,
            read_again_at: now + FIRST_READ_MS,
            known: BTreeSet::new(),
            calls: BTreeMap::from([(introduction, Purpose::Introduce)]),
            bids: BTreeMap::new(),
            bidders: BTreeMap::new(),
            verdicts: VecDeque::new(),
            outputs: VecDeque::new(),
        }
    }

    /// The next text to send.
    pub fn poll_transmit(&mut self) -> Option<String> {
        self.client.poll_transmit()
    }

    /// The next thing to do for others.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Conversation::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let next = if self.listed {
            self.read_again_at
        } else {
            self.listing_until
        };
        let verdict = self.verdicts.front().map(|verdict| verdict.until);
        self.client
            .poll_timeout()
            .into_iter()
            .chain([next])
            .chain(verdict)
            .min()
    }

    /// Whether the connection is of no use any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Whether the LanManager has let us in and told its needs.
    pub(super) const fn is_connected(&self) -> bool {
        self.connected
    }

    /// The address that the LanManager sees us under.
    pub(super) fn address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    /// The row of a service in the LanManager's list.
    pub(super) fn listed(&self, instance: &InstanceName) -> Option<Row> {
        let key = RowKey::of_text(instance.as_str());
        self.services.mirror.get(&key)
    }

    /// Takes one text from the LanManager.
    pub fn receive(&mut self, now: u64, text: &str) {
        self.heard = now;
        self.client.receive(now, text);
        self.take_events(now);
    }

    /// A sign of life came that is no text.
    pub fn traffic(&mut self, now: u64) {
        self.heard = now;
        self.client.traffic(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: u64) {
        if !self.listed && now >= self.listing_until {
            let reason = format!(
                "it did not tell its needs within {} s",
                LISTING_TIMEOUT_MS / 1_000
            );
            self.client.closed(CloseReason::Handshake { reason });
        }
        while self
            .verdicts
            .front()
            .is_some_and(|verdict| verdict.until <= now)
        {
            if let Some(Verdict { instance, bid, .. }) = self.verdicts.pop_front() {
                let why = Arc::from("the need went away while its ports were being checked");
                let answer = ResponseAnswer::Refused(why);
                self.emit(Event::ResponseAnswered {
                    instance,
                    bid,
                    answer,
                });
            }
        }
        if self.listed && now >= self.read_again_at {
            self.read_tables_again(now);
        }
        self.client.handle_timeout(now);
        self.take_events(now);
    }

    /// The connection ended.
    pub fn closed(&mut self, now: u64, reason: CloseReason) {
        self.client.closed(reason);
        self.take_events(now);
    }

    /// Performs what the rules ask of the LanManager. What is for an earlier connection is ignored.
    pub fn perform(&mut self, now: u64, effect: LanEffect) {
        let connection = effect.connection();
        if self.client.is_closed() || connection.is_some_and(|other| other != self.connection) {
            return;
        }
        match effect {
            LanEffect::Bid {
                instance,
                bid,
                address,
                ..
            } => self.bid(now, instance, bid, address),
            LanEffect::Abandon { instance, bid } => self.abandon(now, &instance, bid),
            LanEffect::Respond { bid, record } => {
                self.respond(now, &record.need.instance, bid, row_from_record(&record));
            }
            LanEffect::ReportDown { instance, .. } => self.report_down(now, instance),
            LanEffect::ReportEngaged { module, .. } => {
                self.call_root(
                    now,
                    method::NOTIFY_MODULE_ENGAGED,
                    json!(module.as_str()),
                    None,
                );
            }
            LanEffect::AddNeed { request, need, .. } => {
                self.call_root(now, method::ADD_NEED, need, Some(Purpose::Relay(request)));
            }
            LanEffect::RemoveNeed {
                request, instance, ..
            } => {
                let name = json!(instance.as_str());
                self.call_root(
                    now,
                    method::REMOVE_NEED,
                    name,
                    Some(Purpose::Relay(request)),
                );
            }
        }
    }

    fn bid(&mut self, now: u64, instance: InstanceName, bid: Incarnation, address: Arc<str>) {
        let Some(session) = self.needs.session.clone() else {
            return;
        };
        let identity = json!({ "name": address });
        let timeout = Timeout::Answer(BID_TIMEOUT_MS);
        let call = self
            .client
            .sub_connect(now, &session, instance.as_str(), identity, timeout);
        self.calls.insert(
            call,
            Purpose::ReachNeed {
                instance: instance.clone(),
                bid,
            },
        );
        let open = OpenBid {
            bid,
            address,
            session: None,
            ticket: None,
            row: None,
        };
        self.bids.insert(instance, open);
    }

    fn abandon(&mut self, now: u64, instance: &InstanceName, bid: Incarnation) {
        if self.bids.get(instance).is_some_and(|open| open.bid == bid) {
            self.end_bid(now, instance);
        }
    }

    /// Ends a bid's session. One that is only reserved yet is ended when it is known.
    fn end_bid(&mut self, now: u64, instance: &InstanceName) {
        let Some(open) = self.bids.remove(instance) else {
            return;
        };
        if let Some(session) = open.session {
            self.bidders.remove(&session);
            self.client.die(now, &session);
        }
    }

    fn respond(&mut self, now: u64, instance: &InstanceName, bid: Incarnation, row: Row) {
        let Some(open) = self.bids.get_mut(instance).filter(|open| open.bid == bid) else {
            return;
        };
        let (Some(session), Some(ticket)) = (open.session.clone(), open.ticket.clone()) else {
            return;
        };
        open.row = Some(row.clone());
        let arguments = vec![ticket, Value::Object(row)];
        let timeout = Timeout::Answer(RESPONSE_TIMEOUT_MS);
        let call = self.client.call(
            now,
            &session,
            Target::Session,
            method::RESPOND,
            arguments,
            timeout,
        );
        self.calls.insert(
            call,
            Purpose::Respond {
                instance: instance.clone(),
                bid,
            },
        );
    }

    fn report_down(&mut self, now: u64, instance: InstanceName) {
        let name = json!(instance.as_str());
        self.call_root(
            now,
            method::NOTIFY_SERVICE_DOWN,
            name,
            Some(Purpose::ReportDown(instance)),
        );
    }

    fn call_root(&mut self, now: u64, method: &str, argument: Value, purpose: Option<Purpose>) {
        let Some(root) = self.root.clone() else {
            return;
        };
        let timeout = Timeout::default();
        let call = self
            .client
            .call(now, &root, Target::User, method, vec![argument], timeout);
        if let Some(purpose) = purpose {
            self.calls.insert(call, purpose);
        }
    }

    fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Emit(event));
    }
}
