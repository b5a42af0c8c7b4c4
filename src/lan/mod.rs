//! The LanManager client: dials, talks, hangs up. It reports, and never decides.
//!
//! [`conversation`] knows what is said on one connection, without sockets;
//! this module knows sockets, and nothing of what is said.

pub mod conversation;
pub mod dial;

use std::sync::Arc;
use std::time::{Duration, Instant};

use allexmaster_protocol::carrier::{Delivery, Inbox as CarrierInbox, Incoming, Outgoing};
use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::filter::Row;
use allexmaster_protocol::mirror::MirrorChange;
use allexmaster_state::{Connection, Effect, Event};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::config::{Endpoint, LanProtocol};
use crate::machine::EventInbox;
use crate::tables::{TableChange, TableSender};
use conversation::{Conversation, News};
use dial::Dialed;

/// How many orders may wait for this driver. The rules order a few per service at most, and
/// there are 65,536 services at most; the queue's memory is taken as it fills.
pub const ORDERS_MOST: usize = 262_144;
/// How many texts may wait between the socket and this driver; then the LanManager waits.
const TEXTS_MOST: usize = 1_024;

/// The driver.
pub struct Lan {
    /// What is dialed, in this order.
    pub endpoints: Vec<Endpoint>,
    /// Where events go.
    pub inbox: EventInbox,
    /// Who keeps copies of the LanManager's tables is told here.
    pub tables: TableSender,
    /// Begins every call's identifier.
    pub prefix: String,
}

impl std::fmt::Debug for Lan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Lan")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl Lan {
    /// Runs until the orders end.
    pub async fn run(self, mut orders: mpsc::Receiver<Effect>) {
        let clock = Instant::now();
        let mut last_refusal = String::new();
        while let Some(order) = orders.recv().await {
            // Whatever comes between two connections is late.
            if let Effect::Dial {
                connection,
                failures,
            } = order
            {
                if failures == 0 {
                    last_refusal.clear();
                }
                self.connect(&clock, connection, &mut orders, &mut last_refusal)
                    .await;
            }
        }
    }

    async fn connect(
        &self,
        clock: &Instant,
        connection: Connection,
        orders: &mut mpsc::Receiver<Effect>,
        last_refusal: &mut String,
    ) {
        let (inbox, deliveries) = CarrierInbox::alone(TEXTS_MOST);
        let dialed = tokio::select! {
            dialed = dial::dial_any(&self.endpoints, &inbox) => dialed,
            () = hung_up(orders, connection) => return,
        };
        match dialed {
            Ok(dialed) => {
                last_refusal.clear();
                drop(inbox);
                self.talk(clock, connection, dialed, deliveries, orders)
                    .await;
            }
            Err(reason) => {
                // One line for each new reason, not one for each attempt.
                if *last_refusal != reason {
                    warn!(
                        reason,
                        "the LanManager cannot be reached; trying again until it can"
                    );
                    last_refusal.clone_from(&reason);
                }
                let reason = Arc::from(reason);
                self.tell(Event::LanClosed { connection, reason }).await;
            }
        }
    }

    async fn talk(
        &self,
        clock: &Instant,
        connection: Connection,
        dialed: Dialed,
        mut deliveries: mpsc::Receiver<Delivery>,
        orders: &mut mpsc::Receiver<Effect>,
    ) {
        let Dialed { endpoint, outgoing } = dialed;
        let own_row = lan_manager_row(&endpoint);
        let carrier = dial::carrier(&endpoint);
        let endpoint: Arc<str> = Arc::from(endpoint.to_string());
        info!(%endpoint, "connected to the LanManager");
        let now = milliseconds(clock);
        let mut conversation = Conversation::new(now, connection, carrier, endpoint, &self.prefix);
        self.settle(&mut conversation, &outgoing, own_row.as_ref())
            .await;
        while !conversation.is_closed() {
            let timeout = conversation.poll_timeout();
            tokio::select! {
                delivery = deliveries.recv() => {
                    take(&mut conversation, milliseconds(clock), delivery);
                }
                order = orders.recv() => {
                    obey(&mut conversation, milliseconds(clock), connection, order);
                }
                () = sleep_until(clock, timeout) => {
                    conversation.handle_timeout(milliseconds(clock));
                }
            }
            self.settle(&mut conversation, &outgoing, own_row.as_ref())
                .await;
        }
        outgoing.close();
        // Nobody knows any more what the LanManager's tables hold.
        self.tables
            .tell(TableChange::Services(MirrorChange::Reset))
            .await;
        self.tables
            .tell(TableChange::Translations(MirrorChange::Reset))
            .await;
    }

    /// Sends what is to be sent, and tells what is to be told.
    async fn settle(
        &self,
        conversation: &mut Conversation,
        outgoing: &Outgoing,
        own_row: Option<&Row>,
    ) {
        while let Some(text) = conversation.poll_transmit() {
            // Where it cannot be sent the carrier ends, and says why.
            let _ = outgoing.send(text);
        }
        while let Some(news) = conversation.poll_news() {
            match news {
                News::Event(event) => {
                    narrate(&event);
                    self.tell(event).await;
                }
                News::Table(change) => {
                    let is_complete = change == TableChange::Services(MirrorChange::Complete);
                    self.tables.tell(change).await;
                    // The LanManager does not list itself, and tools want to find it too.
                    if let Some(row) = own_row.filter(|_| is_complete) {
                        let row = MirrorChange::Upserted(row.clone());
                        self.tables.tell(TableChange::Services(row)).await;
                    }
                }
                News::Warning(text) => warn!("{text}"),
            }
        }
    }

    async fn tell(&self, event: Event) {
        // Where the loop has ended, the program ends.
        let _ = self.inbox.send(event).await;
    }
}

/// The row of the LanManager itself, where a tool could dial it as we did.
fn lan_manager_row(endpoint: &Endpoint) -> Option<Row> {
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

fn milliseconds(clock: &Instant) -> u64 {
    u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX)
}

async fn sleep_until(clock: &Instant, at: Option<u64>) {
    match at {
        Some(at) => {
            let wait = at.saturating_sub(milliseconds(clock));
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        None => std::future::pending().await,
    }
}

/// Waits, while dialing, for the order to leave it.
async fn hung_up(orders: &mut mpsc::Receiver<Effect>, connection: Connection) {
    loop {
        match orders.recv().await {
            Some(Effect::Hang { connection: ended }) if ended == connection => return,
            None => return,
            Some(_) => {}
        }
    }
}

fn take(conversation: &mut Conversation, now: u64, delivery: Option<Delivery>) {
    match delivery.map(|delivery| delivery.incoming) {
        Some(Incoming::Text(text)) => conversation.receive(now, &text),
        Some(Incoming::Alive) => conversation.traffic(now),
        Some(Incoming::Closed(reason)) => conversation.closed(now, reason),
        None => conversation.closed(now, CloseReason::ByPeer),
    }
}

fn obey(conversation: &mut Conversation, now: u64, connection: Connection, order: Option<Effect>) {
    match order {
        Some(Effect::Hang { connection: ended }) if ended == connection => {
            conversation.closed(now, CloseReason::ByUs);
        }
        Some(order) => conversation.perform(now, order),
        None => conversation.closed(now, CloseReason::ByUs),
    }
}

/// What people want to read of the LanManager's words.
fn narrate(event: &Event) {
    use allexmaster_state::{BidAnswer, ResponseAnswer};
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "only what people want to read"
    )]
    match event {
        Event::LanConnected { address, .. } => {
            info!(%address, "the LanManager lets us in");
        }
        Event::LanClosed { reason, .. } => info!(%reason, "no connection to the LanManager"),
        Event::NeedsListed { .. } => info!("the LanManager has told its needs"),
        Event::NeedAppeared { need, .. } => {
            info!(service = %need.instance, module = %need.module, "needed");
        }
        Event::BidAnswered {
            instance,
            answer: BidAnswer::Rejected,
            ..
        } => {
            info!(service = %instance, "the LanManager rejected the bid");
        }
        Event::BidAnswered {
            instance,
            answer: BidAnswer::Failed(reason),
            ..
        } => {
            warn!(service = %instance, %reason, "bid failed");
        }
        Event::ResponseAnswered {
            instance, answer, ..
        } => match answer {
            ResponseAnswer::Approved => info!(service = %instance, "approved"),
            ResponseAnswer::Unreachable => {
                warn!(service = %instance, "the LanManager reached none of its ports");
            }
            ResponseAnswer::Refused(reason) => warn!(service = %instance, %reason, "refused"),
            ResponseAnswer::Failed(reason) => {
                warn!(service = %instance, %reason, "no answer from the LanManager");
            }
        },
        _ => {}
    }
}
