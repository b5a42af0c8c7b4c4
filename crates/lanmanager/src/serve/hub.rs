//! The one task that all connections, decisions and checks meet in.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use allexmaster_journal::runner::{Refused, Stopped};
use allexmaster_journal::{
    self as journal, CompactionEnd, Inbox as JournalInbox, Outage, Performer, Recovery,
};
use allexmaster_protocol::close::CloseReason;
use allexmaster_protocol::framing::wire::WireItem;
use allexmaster_protocol::pump::{Delivery, Inbox, Outgoing};
use allexmaster_protocol::server::{ConnectionId, Output};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::check::Checker;
use super::guests::Guest;
use super::listen::Arrival;
use super::sessions::{Sessions, Task};
use crate::rules::Rules;
use crate::rules::{Effect, Event, State};

/// Most deliveries that are taken before what they caused is sent.
const MAX_DELIVERIES: usize = 256;

/// How long after its start the LanManager looks first whether all who stood at its
/// doors are in: a master that finds the doors closed tries again within 2.5 s.
const CATCH_UP_FIRST: Duration = Duration::from_secs(3);

/// When that counts as done, however busy the LanManager is.
const CATCH_UP_LAST: Duration = Duration::from_secs(120);

/// How long connections have to close when the LanManager ends.
const GOODBYE: Duration = Duration::from_millis(500);

/// How many deliveries of all connections together may wait for the hub. More would
/// only move the waiting from the sockets into memory.
pub(super) const DELIVERY_CAPACITY: usize = 1_024;

/// When so many events wait for the journal, which may be unwritable, nothing more is read
/// from connections.
const MAX_PENDING: usize = 8_192;

/// What the engine sends to the hub. The channel is unbounded, because the engine
/// must never wait; what is in it is bounded by what the hub has asked for.
pub(super) enum Decided {
    Effects(Vec<Effect>),
    JournalFailed,
}

/// Hands what was decided to the hub, one batch at a time.
pub(super) struct Courier {
    batch: Vec<Effect>,
    hub: mpsc::UnboundedSender<Decided>,
    /// Whether the LanManager has started: then it waits until the journal can be
    /// written again; one that starts ends instead.
    has_started: Arc<AtomicBool>,
    /// What was said of the outage last.
    reported_outage: Option<String>,
}

impl Courier {
    pub(super) fn new(hub: mpsc::UnboundedSender<Decided>, has_started: Arc<AtomicBool>) -> Self {
        Self {
            batch: Vec::new(),
            hub,
            has_started,
            reported_outage: None,
        }
    }
}

impl Performer<Rules> for Courier {
    type Exit = Infallible;

    fn perform(&mut self, effect: Effect) -> ControlFlow<Infallible> {
        self.batch.push(effect);
        ControlFlow::Continue(())
    }

    fn settled(&mut self, _state: &State) {
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            // The hub ends before the engine; what it would have done does not matter.
            drop(self.hub.send(Decided::Effects(batch)));
        }
    }

    fn degraded(&mut self, outage: &Outage) -> ControlFlow<()> {
        if !self.has_started.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        if self.reported_outage.as_ref() != Some(&outage.reason) {
            tracing::error!(
                reason = outage.reason,
                "the journal cannot be written: nothing is decided or answered until it can be; \
                 services that run go on"
            );
            self.reported_outage = Some(outage.reason.clone());
        }
        ControlFlow::Continue(())
    }

    fn recovered(&mut self, outage: &Outage, repairs: &[Recovery]) {
        self.reported_outage = None;
        for recovery in repairs {
            tracing::warn!(%recovery, "the journal was repaired");
        }
        tracing::info!(
            waited = outage.waiting,
            "the journal can be written again; all that waited is recorded"
        );
    }

    fn compacted(&mut self, end: &CompactionEnd) {
        match end {
            Ok(told) => tracing::info!(
                events = told.events(),
                through = told.through,
                freed_bytes = told.freed_bytes,
                kept_bytes = told.kept_bytes,
                "the journal was compacted"
            ),
            Err(error) => {
                tracing::warn!(%error, "the journal was not compacted, and keeps all of its history");
            }
        }
    }

    fn journal_failed(&mut self, error: &journal::Error) {
        tracing::error!(%error, "the journal cannot be written; nothing more is decided");
        drop(self.hub.send(Decided::JournalFailed));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HubEnd {
    Asked,
    /// The rules cannot go on, because the journal failed.
    JournalFailed,
}

/// The ends that the hub holds.
pub(super) struct Hub {
    pub(super) sessions: Sessions,
    pub(super) inbox: JournalInbox<Rules>,
    pub(super) decided: mpsc::UnboundedReceiver<Decided>,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
    pub(super) runtime_revision: watch::Sender<u64>,
    pub(super) checker: Checker,
    open: HashMap<ConnectionId, Open>,
    /// What the journal has no room for yet.
    pending: VecDeque<Event>,
    checks: JoinSet<Event>,
    began: Instant,
    /// Whether the rules were told that everybody is in.
    caught_up: bool,
}

impl Hub {
    pub(super) fn new(
        sessions: Sessions,
        inbox: JournalInbox<Rules>,
        decided: mpsc::UnboundedReceiver<Decided>,
        arrivals: mpsc::Receiver<Arrival>,
        runtime_revision: watch::Sender<u64>,
    ) -> Self {
        Self {
            sessions,
            inbox,
            decided,
            arrivals,
            runtime_revision,
            checker: Checker::new(),
            open: HashMap::new(),
            pending: VecDeque::new(),
            checks: JoinSet::new(),
            began: Instant::now(),
            caught_up: false,
        }
    }

    /// Runs until it is asked to end, or all handles are dropped.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) -> HubEnd {
        let (sender, mut deliveries) = mpsc::channel(DELIVERY_CAPACITY);
        let mut batch = Vec::with_capacity(MAX_DELIVERIES);
        let end = loop {
            if self.has_caught_up(&deliveries) {
                self.caught_up = true;
                self.pending.push_back(Event::CaughtUp);
            }
            if self.settle().is_break() {
                break HubEnd::JournalFailed;
            }
            let timeout = self.sessions.server.poll_timeout();
            let timeout = timeout.map(|at| self.began + Duration::from_millis(at));
            let catch_up = self.began + CATCH_UP_FIRST;
            let catch_up = (catch_up > Instant::now()).then_some(catch_up);
            let timeout = timeout.into_iter().chain(catch_up).min();
            tokio::select! {
                _ = &mut stop => break HubEnd::Asked,
                sent = hand_in(&self.inbox, self.pending.front()) => {
                    if sent.is_err() {
                        break HubEnd::JournalFailed;
                    }
                    self.pending.pop_front();
                }
                _ = deliveries.recv_many(&mut batch, MAX_DELIVERIES),
                    if self.pending.len() < MAX_PENDING =>
                {
                    batch.drain(..).for_each(|delivery| self.deliver(delivery));
                }
                Some(decided) = self.decided.recv() => match decided {
                    Decided::Effects(effects) => self.perform(effects),
                    Decided::JournalFailed => break HubEnd::JournalFailed,
                },
                Some(arrival) = self.arrivals.recv() => self.welcome(arrival, &sender),
                Some(checked) = self.checks.join_next() => {
                    self.pending.extend(checked);
                }
                () = sleep_until(timeout) => self.sessions.server.handle_timeout(self.now()),
            }
        };
        self.checks.shutdown().await;
        self.say_goodbye(deliveries).await;
        end
    }

    /// Whether all who stood at the doors are in and heard, for the first time: nothing
    /// waits for the hub any more.
    fn has_caught_up(&self, deliveries: &mpsc::Receiver<Delivery>) -> bool {
        let age = self.began.elapsed();
        let is_idle = deliveries.is_empty() && self.arrivals.is_empty() && self.decided.is_empty();
        !self.caught_up && age >= CATCH_UP_FIRST && (is_idle || age >= CATCH_UP_LAST)
    }

    /// Milliseconds since the hub began.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn welcome(&mut self, arrival: Arrival, deliveries: &mpsc::Sender<Delivery>) {
        let Arrival {
            door,
            peer,
            guest,
            opened,
        } = arrival;
        let address = guest.address;
        match self.sessions.server.open(self.now(), door.carrier(), peer) {
            Ok(connection) => {
                let inbox = Inbox {
                    connection: connection.0,
                    sender: deliveries.clone(),
                };
                tracing::debug!(connection = connection.0, %address, "connection opened");
                let outgoing = opened.start(inbox);
                self.open.insert(connection, Open { outgoing, guest });
            }
            Err(error) => {
                if guest.may_tell() {
                    tracing::warn!(%address, %error, "a peer was turned away");
                }
            }
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let connection = ConnectionId(delivery.connection);
        let now = self.now();
        match delivery.item {
            WireItem::Text(text) => self.sessions.server.receive(now, connection, &text),
            WireItem::Alive => self.sessions.server.traffic(now, connection),
            WireItem::Closed(reason) => {
                // What the hub closed itself was told already.
                if let Some(open) = self.open.remove(&connection) {
                    open.log_cut(connection, &reason);
                    self.sessions.server.closed(connection, reason);
                }
            }
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        let now = self.now();
        for effect in effects {
            self.sessions.perform(now, effect);
        }
    }

    /// Does everything that follows from what came in: events of the server become
    /// tasks, texts go out, tasks begin.
    fn settle(&mut self) -> ControlFlow<()> {
        let now = self.now();
        loop {
            while let Some(output) = self.sessions.server.poll_output() {
                match output {
                    Output::Send { connection, text } => self.send(connection, &text),
                    Output::Close { connection, reason } => {
                        if let Some(open) = self.open.remove(&connection) {
                            open.log_cut(connection, &reason);
                            open.outgoing.close();
                        }
                    }
                    Output::Event(event) => self.sessions.handle(now, event),
                }
            }
            let Some(task) = self.sessions.poll_task() else {
                break;
            };
            match task {
                Task::Event(event) => self.pending.push_back(event),
                Task::WriteRuntimeNeeds { revision } => {
                    self.runtime_revision.send_replace(revision);
                }
                Task::CheckPorts {
                    check,
                    address,
                    ports,
                } => {
                    let checker = self.checker.clone();
                    self.checks.spawn(async move {
                        let reachable = checker.any_reachable(address, &ports).await;
                        Event::PortsChecked { check, reachable }
                    });
                }
            }
        }
        while let Some(event) = self.pending.pop_front() {
            match self.inbox.try_send(event) {
                Ok(()) => {}
                Err(Refused::Full(event)) => {
                    self.pending.push_front(event);
                    break;
                }
                Err(Refused::Stopped(_)) => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(())
    }

    fn send(&mut self, connection: ConnectionId, text: &str) {
        if let Some(open) = self.open.get(&connection)
            && let Err(reason @ CloseReason::SlowPeer { .. }) = open.outgoing.send(text)
        {
            // Every other end is delivered. This one too, but until then the server would go on.
            open.log_cut(connection, &reason);
            self.open.remove(&connection);
            self.sessions.server.closed(connection, reason);
        }
    }

    /// Closes all connections and gives them a moment to say so to their peers.
    async fn say_goodbye(mut self, mut deliveries: mpsc::Receiver<Delivery>) {
        self.arrivals.close();
        self.open.values().for_each(|open| open.outgoing.close());
        let all_closed = async {
            while !self.open.is_empty() {
                let Some(delivery) = deliveries.recv().await else {
                    return;
                };
                if let WireItem::Closed(_) = delivery.item {
                    self.open.remove(&ConnectionId(delivery.connection));
                }
            }
        };
        // Whoever does not close by then is cut when the runtime drops it.
        drop(tokio::time::timeout(GOODBYE, all_closed).await);
    }
}

/// Hands the first of the events that wait to the journal, when it has room; never done
/// where none waits.
async fn hand_in(inbox: &JournalInbox<Rules>, event: Option<&Event>) -> Result<(), Stopped> {
    match event {
        Some(event) => inbox.send(event.clone()).await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// A connection, and the place that it takes.
struct Open {
    outgoing: Outgoing,
    guest: Guest,
}

impl Open {
    /// One line for each connection that ends: quiet where the peer just left, or was told
    /// of often.
    fn log_cut(&self, connection: ConnectionId, reason: &CloseReason) {
        let (connection, address) = (connection.0, self.guest.address);
        if reason.is_orderly() || !self.guest.may_tell() {
            tracing::debug!(connection, %address, %reason, "connection closed");
        } else {
            tracing::warn!(connection, %address, %reason, "a peer was cut off");
        }
    }
}
