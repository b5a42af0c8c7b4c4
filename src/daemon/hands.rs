//! Each effect to the driver that performs it. One exhaustive match, one call an arm.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use allexmaster_journal::{CompactionEnd, Error, Outage, Performer, Recovery};
use allexmaster_state::{Effect, InstanceName, State, Timestamp};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::child::Children;
use crate::local::{self, Order};
use crate::machine::{EventInbox, Rules};
use crate::node::Nodes;
use crate::probe::Probe;
use crate::status;

/// The drivers, as the loop sees them. No call here waits.
pub(super) struct Hands {
    pub(super) lan: mpsc::Sender<Effect>,
    pub(super) local: local::Handle,
    pub(super) children: Children<EventInbox>,
    pub(super) nodes: Nodes<EventInbox>,
    pub(super) probe: Probe<EventInbox>,
    pub(super) troubles: Troubles,
    /// Set where the master is to end although the journal cannot be written.
    pub(super) leave: Arc<AtomicBool>,
    /// The last reason that was told why the journal cannot be written.
    pub(super) told_outage: Option<String>,
}

/// Tells people what went wrong with a service, once.
#[derive(Default)]
pub(super) struct Troubles {
    /// The services that something was done about since the loop last settled.
    touched: BTreeSet<InstanceName>,
    /// The time of the last trouble that was told, of each service that had one.
    told: BTreeMap<InstanceName, Timestamp>,
}

impl Troubles {
    fn touch(&mut self, instance: &InstanceName) {
        self.touched.insert(instance.clone());
    }

    fn tell(&mut self, state: &State) {
        for instance in std::mem::take(&mut self.touched) {
            match state.last_trouble(&instance) {
                Some((at, trouble)) if self.told.get(&instance) != Some(&at) => {
                    warn!(service = %instance, "{trouble}");
                    self.told.insert(instance, at);
                }
                Some(_) => {}
                None => {
                    self.told.remove(&instance);
                }
            }
        }
    }
}

impl Performer<Rules> for Hands {
    type Exit = ();

    fn perform(&mut self, effect: Effect) -> ControlFlow<()> {
        match effect {
            Effect::Abandon { ref instance, .. } | Effect::ReportDown { ref instance, .. } => {
                self.troubles.touch(instance);
                self.to_the_lan(effect);
            }
            Effect::Dial { .. }
            | Effect::Hang { .. }
            | Effect::Bid { .. }
            | Effect::Respond { .. }
            | Effect::ReportEngaged { .. }
            | Effect::AddNeed { .. }
            | Effect::RemoveNeed { .. } => self.to_the_lan(effect),
            Effect::ProbePorts { incarnation, ports } => self.probe.probe(incarnation, ports),
            Effect::Spawn(order) => {
                info!(
                    service = %order.need.instance, module = %order.need.module,
                    tcp = order.ports.tcp.0, http = order.ports.http.0, ws = order.ports.ws.0,
                    "starting"
                );
                self.children.spawn(order);
            }
            Effect::Adopt {
                incarnation,
                instance,
                identity,
            } => {
                info!(service = %instance, pid = identity.pid.0, "adopted");
                self.children.adopt(incarnation, instance, identity);
            }
            Effect::AwaitReady { incarnation, ports } => {
                let gone = self.children.gone(incarnation);
                match self.nodes.introduction(incarnation) {
                    Some((child, introduced)) => {
                        self.probe
                            .await_own(incarnation, ports, child, introduced, gone);
                    }
                    None => self.probe.await_ready(incarnation, ports, gone),
                }
            }
            Effect::Signal {
                incarnation,
                identity,
                signal,
            } => {
                self.children.signal(incarnation, identity, signal);
            }
            Effect::Publish { record } => {
                info!(
                    service = %record.need.instance, pid = record.pid.0, "its ports answer"
                );
                self.local.order(Order::Publish(record));
            }
            Effect::Retract { instance } => {
                self.troubles.touch(&instance);
                self.local.order(Order::Retract(instance));
            }
            Effect::Reply { request, reply } => self.local.order(Order::Reply(request, reply)),
            Effect::Exit => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn settled(&mut self, state: &State) {
        self.troubles.tell(state);
    }

    fn compacted(&mut self, end: &CompactionEnd) {
        match end {
            Ok(told) => info!(
                events = told.events(),
                through = told.through,
                freed_bytes = told.freed_bytes,
                kept_bytes = told.kept_bytes,
                "the journal was compacted"
            ),
            Err(error) => {
                warn!(%error, "the journal was not compacted, and keeps all of its history")
            }
        }
    }

    fn degraded(&mut self, outage: &Outage) -> ControlFlow<()> {
        if self.leave.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        if self.told_outage.as_ref() != Some(&outage.reason) {
            error!(
                reason = outage.reason,
                "the journal cannot be written: nothing new is started or stopped, the children \
                 stay, and all goes on by itself when it can be"
            );
            self.told_outage = Some(outage.reason.clone());
        }
        ControlFlow::Continue(())
    }

    fn recovered(&mut self, outage: &Outage, repairs: &[Recovery]) {
        self.told_outage = None;
        for recovery in repairs {
            warn!(%recovery, "the journal was repaired");
        }
        info!(
            since = status::time(Timestamp(outage.since)),
            failed_tries = outage.failed_tries,
            "the journal is written again, with all that waited"
        );
    }

    fn journal_failed(&mut self, error: &Error) {
        error!(%error, "the journal cannot be written: the master ends, the children stay");
    }
}

impl Hands {
    fn to_the_lan(&self, effect: Effect) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.lan.try_send(effect) {
            warn!(
                most = crate::lan::ORDERS_MOST,
                "the LanManager client is behind; an order was dropped"
            );
        }
    }
}
