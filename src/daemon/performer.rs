//! The one place where effects are routed to the drivers that perform them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use allexmaster_journal::{CompactionEnd, Error, Jump, Outage, Performer, Recovery, Stamp};
use allexmaster_state::{
    ChildEffect, Effect, Event, Incarnation, InstanceName, LanEffect, Port, SessionEffect, State,
    Timestamp,
};
use tracing::{error, info, warn};

use crate::child::Children;
use crate::install::Installer;
use crate::machine::EventInbox;
use crate::probe::Probe;
use crate::sessions::Runtime;
use crate::status;
use allexmaster_sessions::OutboxAck;
use allexmaster_state::Rules;

/// The drivers, as the loop sees them. No call here waits.
pub(super) struct EffectPerformer {
    pub(super) sessions: Runtime,
    pub(super) for_sessions: ForSessions,
    pub(super) children: Children<EventInbox>,
    pub(super) probe: Probe<EventInbox>,
    pub(super) installer: Installer<EventInbox>,
    pub(super) failures: FailureLog,
    /// Set where the master is to end although the journal cannot be written.
    pub(super) leave: Arc<AtomicBool>,
    /// Whether it was logged that the children are killed.
    pub(super) urgency_reported: bool,
    /// The last logged reason why the journal cannot be written.
    pub(super) reported_outage: Option<String>,
}

/// What a batch of events caused for the sessions: they get all of it at once.
pub(super) struct ForSessions {
    ack: OutboxAck,
    effects: Vec<SessionEffect>,
}

impl ForSessions {
    /// Nothing yet; the sessions have what the events up to here caused.
    pub(super) const fn after(ack: OutboxAck) -> Self {
        Self {
            ack,
            effects: Vec::new(),
        }
    }
}

/// Logs each failure of a service once.
#[derive(Default)]
pub(super) struct FailureLog {
    /// Services touched since the loop last settled.
    touched: BTreeSet<InstanceName>,
    /// When the last failure that was logged happened, by service.
    reported: BTreeMap<InstanceName, Timestamp>,
}

impl FailureLog {
    fn touch(&mut self, instance: &InstanceName) {
        self.touched.insert(instance.clone());
    }

    fn report(&mut self, state: &State) {
        for instance in std::mem::take(&mut self.touched) {
            match state.last_failure(&instance) {
                Some((at, failure)) if self.reported.get(&instance) != Some(&at) => {
                    warn!(service = %instance, "{failure}");
                    self.reported.insert(instance, at);
                }
                Some(_) => {}
                None => {
                    self.reported.remove(&instance);
                }
            }
        }
    }
}

impl Performer<Rules> for EffectPerformer {
    type Exit = ();

    fn recorded(&mut self, stamp: Stamp, event: &Event) {
        self.for_sessions.ack.record(stamp.sequence, event);
        if matches!(event, Event::SettingsLoaded { .. }) {
            self.sessions.settings_recorded();
        }
    }

    fn perform(&mut self, effect: Effect) -> ControlFlow<()> {
        match effect {
            Effect::Child(effect) => self.perform_child(effect),
            Effect::Session(effect) => {
                self.note(&effect);
                self.for_sessions.effects.push(effect);
            }
            Effect::Install { package } => self.installer.install(package),
            Effect::Exit => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn settled(&mut self, state: &State) {
        self.hand_over_to_sessions();
        self.failures.report(state);
        if state.haste.urgent && !self.urgency_reported {
            self.urgency_reported = true;
            warn!("the stop is urgent: what has not ended is killed");
        }
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

    fn clock_jumped(&mut self, jump: Jump) {
        match jump {
            Jump::Forward(by) => warn!(
                milliseconds = by,
                "the clock was set forward, or the machine slept: all deadlines move with it"
            ),
            Jump::Back(by) => warn!(
                milliseconds = by,
                "the clock was set back: the times that are recorded do not follow, and pass a \
                 little slower until it has caught up"
            ),
        }
    }

    fn degraded(&mut self, outage: &Outage) -> ControlFlow<()> {
        if self.leave.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        if self.reported_outage.as_ref() != Some(&outage.reason) {
            error!(
                reason = outage.reason,
                "the journal cannot be written: nothing new is started or stopped, the children \
                 stay, and all goes on by itself when it can be"
            );
            self.reported_outage = Some(outage.reason.clone());
        }
        self.sessions.journal_is_out(Some(outage.clone()));
        ControlFlow::Continue(())
    }

    fn recovered(&mut self, outage: &Outage, repairs: &[Recovery]) {
        self.reported_outage = None;
        self.sessions.journal_is_out(None);
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

impl EffectPerformer {
    fn perform_child(&mut self, effect: ChildEffect) {
        match effect {
            ChildEffect::ProbePorts { incarnation, ports } => self.probe.probe(incarnation, ports),
            ChildEffect::AwaitFree { ports } => self.probe.await_free(ports),
            ChildEffect::Spawn(order) => {
                info!(
                    service = %order.need.instance, module = %order.need.module,
                    tcp = order.ports.tcp.map(|port| port.0),
                    http = order.ports.http.map(|port| port.0),
                    ws = order.ports.ws.map(|port| port.0),
                    "starting"
                );
                self.children.spawn(order);
            }
            ChildEffect::Adopt {
                incarnation,
                instance,
                identity,
            } => {
                info!(service = %instance, pid = identity.pid.0, "adopted");
                self.sessions.adopted(incarnation, &instance, &identity);
                self.children.adopt(incarnation, instance, identity);
            }
            ChildEffect::AwaitReady { incarnation, ports } => self.await_ready(incarnation, ports),
            ChildEffect::Reap { incarnation } => self.children.reap(incarnation),
            ChildEffect::Signal {
                incarnation,
                identity,
                signal,
            } => self.children.signal(incarnation, identity, signal),
            ChildEffect::EndStray {
                identity, grace, ..
            } => {
                let grace = Duration::from_millis(grace);
                self.children.end_stray(identity, grace);
            }
        }
    }

    /// Notes what people should read about in the log.
    fn note(&mut self, effect: &SessionEffect) {
        if let SessionEffect::Publish { record } = effect {
            info!(service = %record.need.instance, pid = record.pid.0, "its ports answer");
        }
        // A service whose bid, row or report changes may have a failure to be logged.
        if let SessionEffect::Retract { instance }
        | SessionEffect::Lan(
            LanEffect::Abandon { instance, .. } | LanEffect::ReportDown { instance, .. },
        ) = effect
        {
            self.failures.touch(instance);
        }
    }

    fn await_ready(&self, incarnation: Incarnation, ports: Vec<Port>) {
        let gone = self.children.gone(incarnation);
        match self.sessions.introduction(incarnation) {
            Some((child, introduced)) => {
                self.probe
                    .await_own(incarnation, ports, child, introduced, gone);
            }
            None => self.probe.await_ready(incarnation, ports, gone),
        }
    }

    fn hand_over_to_sessions(&mut self) {
        let effects = std::mem::take(&mut self.for_sessions.effects);
        self.sessions.journaled(self.for_sessions.ack, effects);
    }
}
