//! The local sockets: children and tools on this machine reach the master here.
//!
//! [`service`] knows what is asked and answered; [`sockets`] knows files and
//! permissions; this module is the task between them and the loop.

mod outage;
mod relays;
pub mod service;
pub mod sockets;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use allexmaster_protocol::carrier::{
    Delivery, Inbox as CarrierInbox, Incoming, Outgoing, length_prefixed,
};
use allexmaster_protocol::server::{ConnectionId, Peer};
use allexmaster_state::{Event, InstanceName, Reply, RequestId, ServiceRecord, State, StopSource};
use interprocess::local_socket::tokio::Stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::machine::EventInbox;
use crate::relay::{self, FromChild, ToChild};
use crate::status;
use crate::tables::TableChange;
use allexmaster_inspect::source::{Page, PageWish};
use allexmaster_journal::{Compaction, Wish};
use service::{Asked, Service};
use sockets::Accepted;

/// How many orders may wait for this driver: one or two per service, and one per local call.
pub const ORDERS_MOST: usize = 262_144;
/// How many texts of all local peers together may wait; then they wait.
const TEXTS_MOST: usize = 4_096;
/// How many accepted connections may wait to be taken in.
const ACCEPTED_MOST: usize = 256;

/// What this driver is told.
#[derive(Debug)]
pub enum Order {
    /// A child is to be seen.
    Publish(ServiceRecord),
    /// A child is not to be seen any more.
    Retract(InstanceName),
    /// A call is answered.
    Reply(RequestId, Reply),
}

/// The way in.
#[derive(Clone, Debug)]
pub struct Handle {
    orders: mpsc::Sender<Order>,
}

impl Handle {
    /// A way in, and its other end for [`run`].
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(ORDERS_MOST);
        (Self { orders }, receiver)
    }

    /// Gives an order from the loop's thread, which must not wait.
    pub fn order(&self, order: Order) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.orders.try_send(order) {
            warn!(
                most = ORDERS_MOST,
                "the local sockets are behind; an order was dropped"
            );
        }
    }
}

/// The driver.
pub struct Local {
    service: Service,
    inbox: EventInbox,
    connections: HashMap<ConnectionId, Outgoing>,
    texts: mpsc::Sender<Delivery>,
    clock: Instant,
    /// What is dialed first, for `status`.
    endpoint: String,
    /// Answers that needed a look at the state.
    looked: mpsc::Sender<(RequestId, Reply)>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Local")
            .field("connections", &self.connections.len())
            .finish()
    }
}

/// What the sockets offer beside the loop's orders.
#[derive(Debug)]
pub struct Sources {
    /// What changes in the LanManager's tables.
    pub tables: mpsc::Receiver<TableChange>,
    /// What children have for tools and for their rows.
    pub from_children: mpsc::Receiver<FromChild>,
    /// What tools want of children goes there.
    pub to_children: relay::Sender<ToChild>,
}

/// Serves the sockets until the orders end; then closes every connection in order.
pub async fn run(
    listeners: Vec<sockets::Listener>,
    inbox: EventInbox,
    prefix: String,
    endpoint: String,
    mut orders: mpsc::Receiver<Order>,
    sources: Sources,
) {
    let Sources {
        mut tables,
        mut from_children,
        to_children,
    } = sources;
    let (texts, mut deliveries) = mpsc::channel(TEXTS_MOST);
    let (accepted_sender, mut accepted) = mpsc::channel(ACCEPTED_MOST);
    let (looked, mut looks) = mpsc::channel(ACCEPTED_MOST);
    let acceptors: Vec<_> = listeners
        .into_iter()
        .map(|listener| tokio::spawn(listener.accept_all(accepted_sender.clone())))
        .collect();
    let mut local = Local {
        service: Service::new(prefix, to_children),
        inbox,
        connections: HashMap::new(),
        texts,
        clock: Instant::now(),
        endpoint,
        looked,
    };
    loop {
        let timeout = local.service.poll_timeout();
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => local.obey(order),
                None => break,
            },
            Some(change) = tables.recv() => local.service.follow(change),
            Some(message) = from_children.recv() => local.service.take_from_child(message),
            Some(accepted) = accepted.recv() => local.open(accepted),
            Some(delivery) = deliveries.recv() => local.take(delivery),
            Some((request, reply)) = looks.recv() => local.service.reply(request, reply),
            () = sleep_until(&local.clock, timeout) => {
                let now = local.now();
                local.service.handle_timeout(now);
            }
        }
        local.settle().await;
    }
    for acceptor in acceptors {
        acceptor.abort();
        // Dropping its listener removes the socket file.
        let _ = acceptor.await;
    }
    for outgoing in local.connections.values() {
        outgoing.close();
    }
}

async fn sleep_until(clock: &Instant, at: Option<u64>) {
    match at {
        Some(at) => {
            let now = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
            tokio::time::sleep(Duration::from_millis(at.saturating_sub(now))).await;
        }
        None => std::future::pending().await,
    }
}

impl Local {
    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Publish(record) => self.service.publish(&record),
            Order::Retract(instance) => self.service.retract(&instance),
            Order::Reply(request, reply) => self.service.reply(request, reply),
        }
    }

    fn open(&mut self, accepted: Accepted<Stream>) {
        let Accepted {
            socket,
            process,
            user,
            stream,
        } = accepted;
        let now = self.now();
        let peer = Peer {
            listener: socket.number(),
            process,
            user,
            ..Peer::default()
        };
        match self.service.open(now, peer) {
            Ok(connection) => {
                let inbox = CarrierInbox {
                    connection: connection.0,
                    sender: self.texts.clone(),
                };
                self.connections
                    .insert(connection, length_prefixed::start(stream, inbox));
            }
            Err(error) => warn!(%error, "a local connection was refused"),
        }
    }

    fn take(&mut self, delivery: Delivery) {
        let (now, connection) = (self.now(), ConnectionId(delivery.connection));
        match delivery.incoming {
            Incoming::Text(text) => self.service.receive(now, connection, &text),
            Incoming::Alive => self.service.traffic(now, connection),
            Incoming::Closed(reason) => {
                self.connections.remove(&connection);
                debug!(connection = connection.0, %reason, "a local connection ended");
                self.service.closed(connection, reason);
            }
        }
    }

    async fn settle(&mut self) {
        let now = self.now();
        while let Some(done) = self.service.poll(now) {
            match done {
                service::Output::Send { connection, text } => {
                    if let Some(outgoing) = self.connections.get(&connection) {
                        // Where it cannot be sent the carrier ends, and says why.
                        let _ = outgoing.send(text);
                    }
                }
                service::Output::Close { connection, reason } => {
                    warn!(connection = connection.0, %reason, "a local peer was cut off");
                    if let Some(outgoing) = self.connections.remove(&connection) {
                        outgoing.close();
                    }
                }
                service::Output::Asked { request, asked } => self.ask(request, asked).await,
            }
        }
    }

    /// Questions about the state are answered from it; all else is an event.
    async fn ask(&mut self, request: RequestId, asked: Asked) {
        let outage = self.inbox.outage();
        if let Some(outage) = &outage
            && let Some(refusal) = asked.refused_in(outage)
        {
            return self.service.refuse(&request, refusal);
        }
        let event = match asked {
            Asked::Status => {
                let endpoint = self.endpoint.clone();
                return self.look(request, move |state| {
                    json(&status::status(state, &endpoint, outage.as_ref()))
                });
            }
            Asked::Journal(wish) => return self.read(request, wish),
            Asked::Compact(wish) => return self.compact(request, wish),
            Asked::Needs => return self.look(request, |state| json(&status::needs(state))),
            Asked::Stop => Event::StopRequested {
                request: Some(request),
                source: StopSource::Operator,
            },
            Asked::Restart(instance) => Event::RestartRequested { request, instance },
            Asked::Kill(instance) => Event::RestartRequested { request, instance },
            Asked::AddNeed(need) => Event::AddNeedRequested { request, need },
            Asked::RemoveNeed(instance) => Event::RemoveNeedRequested { request, instance },
            Asked::ModuleEngaged(module) => Event::ModuleEngaged { module },
        };
        if outage.is_none() {
            // Where the loop has ended, the program ends.
            let _ = self.inbox.send(event).await;
        } else if self.inbox.try_send(event).is_err() {
            // To wait for room would keep everybody else here waiting until the disk works.
            warn!("too much waits for the journal: a call of a child was dropped");
        }
    }

    /// A page of the journal, read by the loop, which is its only user.
    fn read(&self, request: RequestId, wish: PageWish) {
        let (inbox, looked) = (self.inbox.clone(), self.looked.clone());
        tokio::spawn(async move {
            let page = inbox.read(move |journal| Page::read(journal, wish));
            if let Ok(page) = page.await {
                let _ = looked.send((request, Reply::Done(json(&page)))).await;
            }
        });
    }

    /// A compaction, which goes on beside the loop.
    fn compact(&self, request: RequestId, wish: Wish) {
        let (inbox, looked) = (self.inbox.clone(), self.looked.clone());
        tokio::spawn(async move {
            let begun = inbox.read(move |journal| journal.compact_in_background(wish));
            let Ok(answer) = begun.await else {
                return;
            };
            let answer = match answer.await {
                Ok(Ok(told)) => Compacted::Done(told),
                Ok(Err(error)) => Compacted::Refused(error.to_string()),
                Err(_) => Compacted::Refused("the master has stopped meanwhile".to_owned()),
            };
            let _ = looked.send((request, Reply::Done(json(&answer)))).await;
        });
    }

    fn look(&self, request: RequestId, read: impl FnOnce(&State) -> Value + Send + 'static) {
        let (inbox, looked) = (self.inbox.clone(), self.looked.clone());
        tokio::spawn(async move {
            if let Ok(value) = inbox.look(read).await {
                let _ = looked.send((request, Reply::Done(value))).await;
            }
        });
    }
}

/// What became of the wish to compact the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compacted {
    /// It was done, or would be.
    Done(Compaction),
    /// Why it was not.
    Refused(String),
}

/// A document as JSON. Texts and numbers always have a JSON form.
fn json(document: &impl Serialize) -> Value {
    serde_json::to_value(document).unwrap_or_default()
}
