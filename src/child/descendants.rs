//! What a child has left behind when its own process has ended: told, signalled, waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use allexmaster_keeper::os;
use allexmaster_state::{Descendant, Event, Identity, Incarnation, Outcome, Pid, Signal};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::end::ended;
use super::{Shared, open};
use crate::process::{FoundDescendant, find_descendants};
use crate::sink::EventSink;

/// So often, and with such pauses, it is looked again before anybody counts as left: most end with
/// their child, or a moment after it.
const SETTLING_LOOKS: u32 = 3;
const SETTLING_PAUSE: Duration = Duration::from_millis(30);
/// How long it is waited for the end of a process that got SIGKILL. One that lives then cannot be ended:
/// it belongs to another user, or is stuck in the kernel.
const KILLED_WITHIN: Duration = Duration::from_secs(2);
/// The most processes that one event names.
const MOST_NAMED: usize = 64;

/// The last look for descendants, and when it began: one look answers all who asked before it.
pub(super) type Look = Option<(Instant, Arc<Vec<FoundDescendant>>)>;

/// What a child has left, while it is seen off.
pub(super) struct Leaving {
    /// What the rules want to be done to it.
    pub(super) orders: watch::Receiver<Option<Signal>>,
    /// Whether those in the group were asked to end with the child.
    pub(super) group_told: bool,
}

impl<Sink: EventSink> Shared<Sink> {
    /// Reports who is left of a child whose process has ended, does to them what the rules want, and
    /// completes when nobody is left, or nobody who could be ended.
    pub(super) async fn see_off(
        &self,
        incarnation: Incarnation,
        child: &Identity,
        outcome: &Outcome,
        mut leaving: Leaving,
    ) {
        let mut looks = 0;
        let mut told: BTreeMap<Pid, Signal> = BTreeMap::new();
        let mut killed: BTreeSet<Pid> = BTreeSet::new();
        let mut given_up_at = None;
        let left = loop {
            let left = self.left_of(incarnation, child).await;
            if left.is_empty() {
                break left;
            }
            looks += 1;
            if looks < SETTLING_LOOKS {
                sleep(SETTLING_PAUSE).await;
                continue;
            }
            if looks == SETTLING_LOOKS {
                self.report_left(incarnation, child, outcome, &left).await;
            }
            let order = *leaving.orders.borrow_and_update();
            if order == Some(Signal::Kill) {
                let at = *given_up_at.get_or_insert_with(|| Instant::now() + KILLED_WITHIN);
                if at <= Instant::now() {
                    break left;
                }
            } else {
                given_up_at = None;
            }
            let mut ends = Vec::new();
            for one in &left {
                let pid = one.identity.pid;
                let Some(pidfd) = open(&self.options.boot, &one.identity).map(Arc::new) else {
                    continue;
                };
                let was_told = leaving.group_told && one.group == child.pid;
                let before = told.get(&pid).copied();
                let before = before.or(was_told.then_some(Signal::Terminate));
                if let Some(order) = order.filter(|order| before != Some(*order)) {
                    told.insert(pid, order);
                    if order == Signal::Kill {
                        killed.insert(pid);
                    }
                    if let Err(error) = os::signal_process(&pidfd, number(order)) {
                        tracing::warn!(%incarnation, %pid, %error, "a process that a child left behind cannot be signalled");
                    }
                }
                ends.push(pidfd);
            }
            if ends.is_empty() {
                // They have ended since, or the system has no descriptor for them now.
                sleep(SETTLING_PAUSE).await;
                continue;
            }
            let all_ended = async {
                for pidfd in &ends {
                    ended(pidfd).await;
                }
            };
            let given_up = async {
                match given_up_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = all_ended => {}
                () = given_up => {}
                // The sender is dropped after this has ended.
                _ = leaving.orders.changed() => {}
            }
        };
        if !killed.is_empty() || !left.is_empty() {
            let left: Vec<Pid> = left.iter().map(|one| one.identity.pid).collect();
            let killed: Vec<Pid> = killed
                .into_iter()
                .filter(|pid| !left.contains(pid))
                .collect();
            tracing::warn!(%incarnation, ?killed, ?left, "what a child had started did not end in time");
            let event = Event::DescendantsEnded {
                incarnation,
                killed: killed.into_iter().take(MOST_NAMED).collect(),
                left: left.into_iter().take(MOST_NAMED).collect(),
            };
            self.sink.send(event).await;
        }
    }

    async fn report_left(
        &self,
        incarnation: Incarnation,
        child: &Identity,
        outcome: &Outcome,
        left: &[FoundDescendant],
    ) {
        let named = left.iter().take(MOST_NAMED);
        let left = named.map(|one| Descendant {
            identity: one.identity.clone(),
            in_group: one.group == child.pid,
            listens: os::listens_on(one.identity.pid.0)
                .iter()
                .map(|address| Arc::from(address.to_string()))
                .collect(),
        });
        let event = Event::DescendantsLeft {
            incarnation,
            outcome: outcome.clone(),
            left: left.collect(),
        };
        self.sink.send(event).await;
    }

    /// Who of a child's descendants lives.
    async fn left_of(&self, incarnation: Incarnation, child: &Identity) -> Vec<FoundDescendant> {
        let found = self.look().await;
        let left = found
            .iter()
            .filter(|one| one.descends_from(incarnation, child.pid));
        left.cloned().collect()
    }

    /// The children whose own processes live.
    fn living(&self) -> BTreeSet<Pid> {
        let all = self.watched();
        let living = all.values().filter(|child| child.leaving.is_none());
        living.map(|child| child.identity.pid).collect()
    }

    /// A look for descendants that begins after this call.
    async fn look(&self) -> Arc<Vec<FoundDescendant>> {
        let asked = Instant::now();
        let mut last = self.look.lock().await;
        if let Some((begun, found)) = &*last
            && *begun >= asked
        {
            return Arc::clone(found);
        }
        let begun = Instant::now();
        let known = self.living();
        let options = &self.options;
        let (journal, boot) = (options.master.journal.clone(), options.boot.clone());
        let keeper = options.keeper.as_ref().filter(|keeper| !keeper.is_gone());
        let keeper = keeper
            .filter(|_| {
                !self
                    .has_strangers
                    .load(std::sync::atomic::Ordering::Relaxed)
            })
            .map(|keeper| Pid(keeper.keeper()));
        let looking = self
            .runtime
            .spawn_blocking(move || find_descendants(&journal, &boot, keeper, &known));
        let found = match looking.await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(%error, "nobody can tell what children have left behind");
                Vec::new()
            }
            // The runtime ends.
            Err(_) => Vec::new(),
        };
        let found = Arc::new(found);
        *last = Some((begun, Arc::clone(&found)));
        found
    }

    /// Ends a process that no child is responsible for.
    pub(super) async fn end_stray(&self, identity: Identity, grace: Duration) {
        let Some(pidfd) = open(&self.options.boot, &identity).map(Arc::new) else {
            return;
        };
        let pid = identity.pid;
        tracing::info!(%pid, "ending what a child of an earlier run has left behind");
        for (signal, patience) in [(Signal::Terminate, grace), (Signal::Kill, KILLED_WITHIN)] {
            if let Err(error) = os::signal_process(&pidfd, number(signal)) {
                tracing::warn!(%pid, %error, "what a child of an earlier run has left behind cannot be ended");
                return;
            }
            if tokio::time::timeout(patience, ended(&pidfd)).await.is_ok() {
                return;
            }
        }
    }
}

const fn number(signal: Signal) -> os::Signal {
    match signal {
        Signal::Terminate => os::Signal::TERM,
        Signal::Kill => os::Signal::KILL,
    }
}
