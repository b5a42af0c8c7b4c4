//! What a master finds of its children when it starts.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::service::Process;
use crate::step::Turn;
use crate::{ChildEffect, Ended, Identity, Incarnation, Outcome, Signal, Survivor};

/// The processes that bear a name of ours, and the ends that nobody has heard of yet.
pub(crate) struct Found {
    alive: BTreeMap<Incarnation, Vec<Identity>>,
    ended: BTreeMap<Incarnation, Outcome>,
}

impl Found {
    /// What was found, by attempt.
    pub(crate) fn new(survivors: Vec<Survivor>, ended: Vec<Ended>) -> Self {
        let mut alive: BTreeMap<Incarnation, Vec<Identity>> = BTreeMap::new();
        for found in survivors {
            let bearers = alive.entry(found.incarnation).or_default();
            bearers.push(found.identity);
        }
        let ended = ended
            .into_iter()
            .map(|end| (end.incarnation, end.outcome))
            .collect();
        Self { alive, ended }
    }

    /// The child of an attempt, among the processes that bear its name (its own children
    /// inherit that): the one that was recorded, or else the first that started. Where it
    /// lives, the others are its own business.
    pub(crate) fn child(
        &mut self,
        incarnation: Incarnation,
        recorded: Option<&Process>,
    ) -> Option<Identity> {
        let bearers = self.alive.get(&incarnation)?;
        let child = match recorded {
            Some(process) => bearers.iter().find(|found| **found == process.identity),
            None => bearers
                .iter()
                .min_by_key(|found| (found.started, found.pid)),
        }
        .cloned()?;
        self.alive.remove(&incarnation);
        Some(child)
    }

    /// How the child of an attempt ended, where that can be told.
    pub(crate) fn outcome(&mut self, incarnation: Incarnation) -> Option<Outcome> {
        self.ended.remove(&incarnation)
    }

    /// The same where an end that can be told counts for more than a process that is still to be
    /// seen: what of an ended child is seen is no more than what nobody has reaped yet, and others
    /// that bear its name are not the child.
    pub(crate) fn ended(
        &mut self,
        incarnation: Incarnation,
        recorded: Option<&Process>,
    ) -> Option<Outcome> {
        let outcome = self.outcome(incarnation)?;
        if let (Some(process), Some(bearers)) = (recorded, self.alive.get_mut(&incarnation)) {
            bearers.retain(|found| *found != process.identity);
        }
        Some(outcome)
    }

    /// Ends the processes of this journal that it does not know of (any more): nobody else
    /// ever would.
    pub(crate) fn end_strays(self, turn: &mut Turn) {
        for (incarnation, strays) in self.alive {
            for identity in strays {
                turn.effect(ChildEffect::Signal {
                    incarnation,
                    identity,
                    signal: Signal::Kill,
                });
            }
        }
    }
}
