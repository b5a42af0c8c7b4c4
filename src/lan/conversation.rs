//! One connection to the LanManager, sans-IO: texts and commands in, texts and news out.
//!
//! ```text
//!   introduce ──► root session ──► subConnect services, nat, needs ──► query each
//!                                        │
//!                  for each need:        └─► subConnect NAME ─► bid ─► (child) ─► respond ─► die
//! ```
//!
//! It translates, and remembers which call was made for what; it decides nothing.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use allexmaster_protocol::client::{
    CallError, Client, ClientEvent, ClientOptions, Patience, address_credentials, reserved_session,
};
use allexmaster_protocol::close::{CarrierKind, CloseReason};
use allexmaster_protocol::filter::Row;
use allexmaster_protocol::frame::{CallId, SessionId, Target};
use allexmaster_protocol::mirror::{Mirror, MirrorChange};
use allexmaster_protocol::state_stream::StateItem;
use allexmaster_protocol::table::RowKey;
use allexmaster_state::{
    BidAnswer, Connection, Effect, Event, Incarnation, InstanceName, LanAnswer, RequestId,
    ResponseAnswer,
};
use serde_json::{Value, json};

use crate::rows::{need_from_row, row_from_record};
use crate::tables::TableChange;

/// How long the LanManager may take from the introduction to its list of needs.
pub const LISTING_PATIENCE_MS: u64 = 20_000;
/// How long a bid may wait. While somebody else holds the need, the LanManager does not
/// answer; the rules then bid again later, and other needs get the place meanwhile.
pub const BID_PATIENCE_MS: u64 = 60_000;
/// How long the LanManager may take to check the ports: three of them, a second each at most,
/// behind those of other masters.
pub const RESPONSE_PATIENCE_MS: u64 = 30_000;
/// How long an approval may hide behind the end of the need's session: the two are not ordered.
pub const VERDICT_PATIENCE_MS: u64 = 2_000;

/// What the master's other parts are told.
#[derive(Debug)]
pub enum News {
    /// Something for the rules.
    Event(Event),
    /// Something for those who keep a copy of the LanManager's tables.
    Table(TableChange),
    /// Something that people should know.
    Warning(String),
}

/// One connection. Times are milliseconds of a clock that does not go back.
#[derive(Debug)]
pub struct Conversation {
    client: Client,
    connection: Connection,
    endpoint: Arc<str>,
    root: Option<SessionId>,
    address: Option<String>,
    connected: bool,
    services: Followed,
    translations: Followed,
    needs: Followed,
    listed: bool,
    listing_until: u64,
    /// The needs that the rules know to be unsatisfied.
    known: BTreeSet<InstanceName>,
    calls: HashMap<CallId, Purpose>,
    bids: HashMap<InstanceName, OpenBid>,
    bidders: HashMap<SessionId, InstanceName>,
    verdicts: VecDeque<Verdict>,
    news: VecDeque<News>,
}

/// A table that is followed.
#[derive(Debug)]
struct Followed {
    name: &'static str,
    session: Option<SessionId>,
    asked: bool,
    mirror: Mirror,
}

impl Followed {
    fn new(name: &'static str, key: &[&str]) -> Self {
        Self {
            name,
            session: None,
            asked: false,
            mirror: Mirror::new(key.iter().copied()),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Services,
    Translations,
    Needs,
}

/// What a call was made for.
#[derive(Clone, Debug)]
enum Purpose {
    Introduce,
    Reach(Table),
    Claim(Table),
    Follow(Table),
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

#[derive(Debug)]
struct OpenBid {
    bid: Incarnation,
    address: Arc<str>,
    session: Option<SessionId>,
    ticket: Option<Value>,
    /// What was responded, to be recognised in the table of services.
    row: Option<Row>,
}

/// A response whose session ended before the answer: the table of services tells.
#[derive(Debug)]
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
        prefix: &str,
    ) -> Self {
        let options = ClientOptions {
            carrier,
            identifier_prefix: format!("{prefix}{connection}_"),
        };
        let mut client = Client::new(now, options);
        let introduction = client.introduce(now, address_credentials("any_name", "user"));
        Self {
            client,
            connection,
            endpoint,
            root: None,
            address: None,
            connected: false,
            services: Followed::new("services", &["instancename"]),
            translations: Followed::new("nat", &["iaddress", "iport"]),
            needs: Followed::new("needs", &["instancename"]),
            listed: false,
            listing_until: now + LISTING_PATIENCE_MS,
            known: BTreeSet::new(),
            calls: HashMap::from([(introduction, Purpose::Introduce)]),
            bids: HashMap::new(),
            bidders: HashMap::new(),
            verdicts: VecDeque::new(),
            news: VecDeque::new(),
        }
    }

    /// The next text to send.
    pub fn poll_transmit(&mut self) -> Option<String> {
        self.client.poll_transmit()
    }

    /// The next thing to tell.
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// When [`Conversation::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let listing = (!self.listed).then_some(self.listing_until);
        let verdict = self.verdicts.front().map(|verdict| verdict.until);
        self.client
            .poll_timeout()
            .into_iter()
            .chain(listing)
            .chain(verdict)
            .min()
    }

    /// Whether the connection is of no use any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Takes one text from the LanManager.
    pub fn receive(&mut self, now: u64, text: &str) {
        self.client.receive(now, text);
        self.take_events(now);
    }

    /// The carrier saw a sign of life that is no text.
    pub fn traffic(&mut self, now: u64) {
        self.client.traffic(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: u64) {
        if !self.listed && now >= self.listing_until {
            let reason = format!(
                "it did not tell its needs within {} s",
                LISTING_PATIENCE_MS / 1_000
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
                self.tell(Event::ResponseAnswered {
                    instance,
                    bid,
                    answer,
                });
            }
        }
        self.client.handle_timeout(now);
        self.take_events(now);
    }

    /// The connection ended.
    pub fn closed(&mut self, now: u64, reason: CloseReason) {
        self.client.closed(reason);
        self.take_events(now);
    }

    /// Does what the rules want of the LanManager. Effects that are not for it, or not for this
    /// connection, are ignored: they are late.
    pub fn perform(&mut self, now: u64, effect: Effect) {
        if self.client.is_closed() {
            return;
        }
        match effect {
            Effect::Bid {
                connection,
                instance,
                bid,
                address,
            } if connection == self.connection => {
                self.bid(now, instance, bid, address);
            }
            Effect::Abandon { instance, bid } => self.abandon(now, &instance, bid),
            Effect::Respond { bid, record } => {
                self.respond(now, &record.need.instance, bid, row_from_record(&record));
            }
            Effect::ReportDown {
                connection,
                instance,
            } if connection == self.connection => {
                self.report_down(now, instance);
            }
            Effect::ReportEngaged { connection, module } if connection == self.connection => {
                self.call_root(now, "notifyModuleEngaged", json!(module.as_str()), None);
            }
            Effect::AddNeed {
                connection,
                request,
                need,
            } if connection == self.connection => {
                self.call_root(now, "addNeed", need, Some(Purpose::Relay(request)));
            }
            Effect::RemoveNeed {
                connection,
                request,
                instance,
            } if connection == self.connection => {
                let name = json!(instance.as_str());
                self.call_root(now, "removeNeed", name, Some(Purpose::Relay(request)));
            }
            Effect::Bid { .. }
            | Effect::ReportDown { .. }
            | Effect::ReportEngaged { .. }
            | Effect::AddNeed { .. }
            | Effect::RemoveNeed { .. }
            | Effect::Dial { .. }
            | Effect::Hang { .. }
            | Effect::ProbePorts { .. }
            | Effect::Spawn(_)
            | Effect::Adopt { .. }
            | Effect::AwaitReady { .. }
            | Effect::Signal { .. }
            | Effect::Publish { .. }
            | Effect::Retract { .. }
            | Effect::Reply { .. }
            | Effect::Exit => {}
        }
    }

    fn bid(&mut self, now: u64, instance: InstanceName, bid: Incarnation, address: Arc<str>) {
        let Some(session) = self.needs.session.clone() else {
            return;
        };
        let identity = json!({ "name": address });
        let patience = Patience::Answer(BID_PATIENCE_MS);
        let call = self
            .client
            .sub_connect(now, &session, instance.as_str(), identity, patience);
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
        let patience = Patience::Answer(RESPONSE_PATIENCE_MS);
        let call = self.client.call(
            now,
            &session,
            Target::Session,
            "respond",
            arguments,
            patience,
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
            "notifyServiceDown",
            name,
            Some(Purpose::ReportDown(instance)),
        );
    }

    fn call_root(&mut self, now: u64, method: &str, argument: Value, purpose: Option<Purpose>) {
        let Some(root) = self.root.clone() else {
            return;
        };
        let patience = Patience::default();
        let call = self
            .client
            .call(now, &root, Target::User, method, vec![argument], patience);
        if let Some(purpose) = purpose {
            self.calls.insert(call, purpose);
        }
    }

    fn tell(&mut self, event: Event) {
        self.news.push_back(News::Event(event));
    }

    fn take_events(&mut self, now: u64) {
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
                    if let Some(Purpose::Follow(table)) = self.calls.get(&call) {
                        self.followed(*table, data);
                    }
                }
                ClientEvent::State { session, item } => self.state(now, &session, &item),
                ClientEvent::SessionEnded { session } => self.session_ended(&session),
                ClientEvent::Closed { reason } => {
                    let connection = self.connection;
                    let reason = Arc::from(reason.to_string());
                    self.tell(Event::LanClosed { connection, reason });
                }
                ClientEvent::Exclusivity { .. }
                | ClientEvent::ChildReady { .. }
                | ClientEvent::ChildFailed { .. } => {}
            }
        }
    }

    fn introduced(&mut self, now: u64, call: &CallId, session: SessionId) {
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
                | Purpose::ReachNeed { .. }
                | Purpose::Bid { .. }
                | Purpose::Respond { .. }
                | Purpose::ReportDown(_)
                | Purpose::Relay(_),
            )
            | None => {}
        }
    }

    fn need_session(
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
        let patience = Patience::Answer(BID_PATIENCE_MS);
        let call = self
            .client
            .call(now, &session, Target::Session, "bid", offer, patience);
        self.calls.insert(call, Purpose::Bid { instance, bid });
    }

    fn followed_table(&mut self, table: Table) -> &mut Followed {
        match table {
            Table::Services => &mut self.services,
            Table::Translations => &mut self.translations,
            Table::Needs => &mut self.needs,
        }
    }

    /// The root session's state: our address, and which tables there are.
    fn state(&mut self, now: u64, session: &SessionId, item: &StateItem) {
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
        for table in [Table::Services, Table::Translations, Table::Needs] {
            let followed = self.followed_table(table);
            let flag = format!("have{}", followed.name);
            if *name == flag && *value == json!(true) && !followed.asked {
                followed.asked = true;
                self.reach(now, session, table);
            }
        }
    }

    fn reach(&mut self, now: u64, root: &SessionId, table: Table) {
        let name = self.followed_table(table).name;
        let identity = json!({ "role": "user" });
        let call = self
            .client
            .sub_connect(now, root, name, identity, Patience::default());
        self.calls.insert(call, Purpose::Reach(table));
    }

    /// We are in when the LanManager has said who we are and can be bid to.
    fn announce_connection(&mut self) {
        let (Some(address), Some(_)) = (&self.address, &self.needs.session) else {
            return;
        };
        if self.connected {
            return;
        }
        self.connected = true;
        let address = Arc::from(address.as_str());
        let endpoint = Arc::clone(&self.endpoint);
        self.tell(Event::LanConnected {
            connection: self.connection,
            endpoint,
            address,
        });
    }

    fn session_ended(&mut self, session: &SessionId) {
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
            Some(followed) => followed.name,
            None if self.root.as_ref() == Some(session) => "root",
            None => return,
        };
        let reason = format!("it ended our session of {what}");
        self.client.closed(CloseReason::Handshake { reason });
    }

    fn answered(&mut self, now: u64, purpose: Purpose, outcome: Result<Value, CallError>) {
        match purpose {
            Purpose::Introduce => self.fail("did not let us in", outcome.err()),
            Purpose::Reach(table) | Purpose::Claim(table) | Purpose::Follow(table) => {
                self.table_answered(now, table, outcome);
            }
            Purpose::ReachNeed { instance, bid } | Purpose::ClaimNeed { instance, bid } => {
                self.need_reached(now, instance, bid, outcome);
            }
            Purpose::Bid { instance, bid } => self.bid_answered(instance, bid, outcome),
            Purpose::Respond { instance, bid } => {
                self.response_answered(now, instance, bid, outcome);
            }
            Purpose::ReportDown(instance) => self.down_answered(now, instance, outcome),
            Purpose::Relay(request) => self.relayed(request, outcome),
        }
    }

    fn fail(&mut self, what: &str, error: Option<CallError>) {
        let reason = match error {
            Some(CallError::ConnectionEnded(_)) => return,
            Some(error) => format!("it {what}: {error}"),
            None => format!("it {what}"),
        };
        self.client.closed(CloseReason::Handshake { reason });
    }

    fn table_answered(&mut self, now: u64, table: Table, outcome: Result<Value, CallError>) {
        let reserved = outcome.as_ref().ok().and_then(reserved_session);
        match reserved {
            Some(session) => {
                let call = self.client.claim(now, &session);
                self.calls.insert(call, Purpose::Claim(table));
            }
            None => {
                let name = self.followed_table(table).name;
                self.fail(&format!("does not let us follow its {name}"), outcome.err());
            }
        }
    }

    fn need_reached(
        &mut self,
        now: u64,
        instance: InstanceName,
        bid: Incarnation,
        outcome: Result<Value, CallError>,
    ) {
        match (outcome.as_ref().ok().and_then(reserved_session), outcome) {
            (Some(session), _) => {
                let call = self.client.claim(now, &session);
                self.calls
                    .insert(call, Purpose::ClaimNeed { instance, bid });
            }
            (None, Ok(_)) => self.bid_failed(instance, bid, "the need went away"),
            (None, Err(error)) => self.bid_failed(instance, bid, &error.to_string()),
        }
    }

    fn bid_failed(&mut self, instance: InstanceName, bid: Incarnation, why: &str) {
        let why = Arc::from(format!("the bid came to nothing: {why}"));
        self.tell(Event::BidAnswered {
            instance,
            bid,
            answer: BidAnswer::Failed(why),
        });
    }

    fn bid_answered(
        &mut self,
        instance: InstanceName,
        bid: Incarnation,
        outcome: Result<Value, CallError>,
    ) {
        let value = match outcome {
            Ok(value) => value,
            Err(error) => return self.bid_failed(instance, bid, &error.to_string()),
        };
        let answer = if let Some(ticket) = value.get("bid") {
            if let Some(open) = self.bids.get_mut(&instance).filter(|open| open.bid == bid) {
                open.ticket = Some(ticket.clone());
            }
            BidAnswer::Challenged
        } else if value.get("rejected").is_some() {
            BidAnswer::Rejected
        } else if value.get("a").is_some() {
            BidAnswer::Failed(Arc::from("somebody else has satisfied the need"))
        } else {
            BidAnswer::Failed(Arc::from(
                "the LanManager answered the bid in an unknown way",
            ))
        };
        self.tell(Event::BidAnswered {
            instance,
            bid,
            answer,
        });
    }

    fn response_answered(
        &mut self,
        now: u64,
        instance: InstanceName,
        bid: Incarnation,
        outcome: Result<Value, CallError>,
    ) {
        let answer = match outcome {
            Ok(value) if value.get("a").is_some() => {
                self.end_bid(now, &instance);
                ResponseAnswer::Approved
            }
            Ok(_) => {
                ResponseAnswer::Refused(Arc::from("the LanManager answered in an unknown way"))
            }
            Err(CallError::Remote(error))
                if error.code.as_deref() == Some("NO_PORTS_REACHABLE") =>
            {
                ResponseAnswer::Unreachable
            }
            Err(CallError::Remote(error)) => ResponseAnswer::Refused(Arc::from(error.to_string())),
            Err(CallError::SessionEnded | CallError::SessionUnknown) => {
                return self.await_verdict(now, instance, bid);
            }
            Err(
                error @ (CallError::TimedOut { .. }
                | CallError::AuthenticationFailed
                | CallError::UnexpectedAnswer
                | CallError::ConnectionEnded(_)),
            ) => ResponseAnswer::Failed(Arc::from(error.to_string())),
        };
        self.tell(Event::ResponseAnswered {
            instance,
            bid,
            answer,
        });
    }

    /// The need's session ended without an answer: an approval ends it too.
    fn await_verdict(&mut self, now: u64, instance: InstanceName, bid: Incarnation) {
        let row = self.bids.get(&instance).filter(|open| open.bid == bid);
        let Some(row) = row.and_then(|open| open.row.clone()) else {
            return;
        };
        let until = now + VERDICT_PATIENCE_MS;
        self.verdicts.push_back(Verdict {
            until,
            instance,
            bid,
            row,
        });
        self.look_for_verdicts();
    }

    fn look_for_verdicts(&mut self) {
        let mut open = std::mem::take(&mut self.verdicts);
        open.retain(|verdict| {
            let key = RowKey::of_text(verdict.instance.as_str());
            let listed = self.services.mirror.get(&key);
            let approved = listed.is_some_and(|row| is_ours(row, &verdict.row));
            if approved {
                let (instance, bid) = (verdict.instance.clone(), verdict.bid);
                let answer = ResponseAnswer::Approved;
                self.news.push_back(News::Event(Event::ResponseAnswered {
                    instance,
                    bid,
                    answer,
                }));
            }
            !approved
        });
        self.verdicts = open;
    }

    fn down_answered(
        &mut self,
        now: u64,
        instance: InstanceName,
        outcome: Result<Value, CallError>,
    ) {
        match outcome {
            // Not heard: told again.
            Err(CallError::TimedOut { .. }) => return self.report_down(now, instance),
            Err(CallError::ConnectionEnded(_)) => return,
            Err(error) => {
                self.news.push_back(News::Warning(format!(
                    "the LanManager refused to hear that {instance} is down: {error}"
                )));
            }
            Ok(_) => {}
        }
        let connection = self.connection;
        self.tell(Event::ServiceDownAcknowledged {
            connection,
            instance,
        });
    }

    fn relayed(&mut self, request: RequestId, outcome: Result<Value, CallError>) {
        let answer = match outcome {
            Ok(value) => LanAnswer::Done(value),
            Err(CallError::Remote(error)) => LanAnswer::Refused {
                message: Arc::from(error.to_string()),
                code: error.code.map(Arc::from),
            },
            // The rules know how long the caller waits.
            Err(_) => return,
        };
        self.tell(Event::LanCallAnswered { request, answer });
    }

    fn followed(&mut self, table: Table, data: Value) {
        let changes = match self.followed_table(table).mirror.apply(data) {
            Ok(changes) => changes,
            Err(error) => {
                let name = self.followed_table(table).name;
                return self.fail(
                    &format!("told of its {name} what makes no sense: {error}"),
                    None,
                );
            }
        };
        for change in changes {
            match table {
                Table::Services => self
                    .news
                    .push_back(News::Table(TableChange::Services(change))),
                Table::Translations => {
                    self.news
                        .push_back(News::Table(TableChange::Translations(change)));
                }
                Table::Needs => self.need_changed(change),
            }
        }
        if table == Table::Services && !self.verdicts.is_empty() {
            self.look_for_verdicts();
        }
    }

    fn need_changed(&mut self, change: MirrorChange) {
        let connection = self.connection;
        match change {
            MirrorChange::Reset => self.listed = false,
            MirrorChange::Complete => self.list_needs(),
            // Before the list is complete it is told as a whole. A change of a known need is
            // its satisfaction, column by column: its removal follows.
            MirrorChange::Upserted(row) if self.listed => {
                if let Some(need) = self.readable(&row)
                    && self.known.insert(need.instance.clone())
                {
                    self.tell(Event::NeedAppeared {
                        connection,
                        need: Arc::new(need),
                    });
                }
            }
            MirrorChange::Removed(row) if self.listed => {
                let Some(name) = row.get("instancename").and_then(Value::as_str) else {
                    return;
                };
                let instance = InstanceName::from(name);
                if self.known.remove(&instance) {
                    self.tell(Event::NeedWithdrawn {
                        connection,
                        instance,
                    });
                }
            }
            MirrorChange::Upserted(_) | MirrorChange::Removed(_) => {}
        }
    }

    fn list_needs(&mut self) {
        self.listed = true;
        let rows: Vec<Row> = self.needs.mirror.rows().cloned().collect();
        let needs: Vec<_> = rows
            .iter()
            .filter_map(|row| self.readable(row))
            .map(Arc::new)
            .collect();
        self.known = needs.iter().map(|need| need.instance.clone()).collect();
        self.announce_connection();
        self.tell(Event::NeedsListed {
            connection: self.connection,
            needs,
        });
    }

    fn readable(&mut self, row: &Row) -> Option<allexmaster_state::Need> {
        match need_from_row(row) {
            Ok(need) => Some(need),
            Err(error) => {
                let row = Value::Object(row.clone()).to_string();
                let shown: String = row.chars().take(200).collect();
                self.news.push_back(News::Warning(format!(
                    "the LanManager has a need that nobody can satisfy, because {error}: {shown}"
                )));
                None
            }
        }
    }
}

/// Whether a row of the LanManager's services is the one that we responded with.
fn is_ours(row: &Row, responded: &Row) -> bool {
    ["instancename", "ipaddress", "tcpport", "httpport", "wsport"]
        .iter()
        .all(|column| row.get(*column) == responded.get(*column))
}
