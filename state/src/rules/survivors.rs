//! What a master finds of its children when it starts.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::service::Process;
use crate::step::Turn;
use crate::{ChildEffect, Ended, Identity, Incarnation, Outcome, Survivor};

/// The processes that bear the name of an attempt, and the ends that are not recorded yet.
pub(crate) struct Survivors {
    alive: BTreeMap<Incarnation, Vec<Identity>>,
    ended: BTreeMap<Incarnation, Outcome>,
}

impl Survivors {
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

    /// How the child of an attempt ended, where that is known.
    pub(crate) fn outcome(&mut self, incarnation: Incarnation) -> Option<Outcome> {
        self.ended.remove(&incarnation)
    }

    /// Like [`Self::outcome`], but a known end counts for more than a live match: a process still
    /// visible after its exit is an unreaped zombie, and others with its incarnation are not the
    /// child.
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

    /// Ends the processes of this journal that belong to no attempt: nothing else would.
    pub(crate) fn end_strays(self, turn: &mut Turn, grace: u64) {
        for (incarnation, strays) in self.alive {
            for identity in strays {
                turn.effect(ChildEffect::EndStray {
                    incarnation,
                    identity,
                    grace,
                });
            }
        }
    }
}
