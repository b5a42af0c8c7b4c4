//! What the state itself has to do, when, and why.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::{InstanceName, Port, RequestId, Timestamp};

/// Why the state wants to be woken.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deadline {
    /// The LanManager is to be dialed again.
    Dial,
    /// A service has something to do; what, its own state tells: a backoff is
    /// over, a child took too long to be ready or to end, an announcement is to be
    /// tried again, or an ended service is to be forgotten.
    Service(InstanceName),
    /// A port has cooled down, or is to be tried again.
    PortUsable(Port),
    /// A local call has waited long enough for the LanManager.
    Request(RequestId),
    /// A stopping master has waited long enough for the LanManager.
    Farewell,
}

/// All deadlines, at most one for each reason.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(
    from = "Vec<(Timestamp, Deadline)>",
    into = "Vec<(Timestamp, Deadline)>"
)]
pub struct Deadlines {
    by_reason: BTreeMap<Deadline, Timestamp>,
    by_time: BTreeSet<(Timestamp, Deadline)>,
}

impl Deadlines {
    /// Sets, or moves, the deadline of a reason.
    pub(crate) fn set(&mut self, reason: Deadline, at: Timestamp) {
        self.clear(&reason);
        self.by_time.insert((at, reason.clone()));
        self.by_reason.insert(reason, at);
    }

    /// Takes a deadline back, if there is one.
    pub(crate) fn clear(&mut self, reason: &Deadline) {
        if let Some((reason, at)) = self.by_reason.remove_entry(reason) {
            self.by_time.remove(&(at, reason));
        }
    }

    /// The next one, with its reason.
    #[must_use]
    pub fn next(&self) -> Option<(Timestamp, &Deadline)> {
        self.by_time.first().map(|(at, reason)| (*at, reason))
    }

    /// When the deadline of a reason is, where there is one.
    #[must_use]
    pub fn of(&self, reason: &Deadline) -> Option<Timestamp> {
        self.by_reason.get(reason).copied()
    }

    /// All of them, the next one first.
    pub fn iter(&self) -> impl Iterator<Item = (Timestamp, &Deadline)> {
        self.by_time.iter().map(|(at, reason)| (*at, reason))
    }

    /// Takes the next one out, if its time has come.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Deadline> {
        if self.by_time.first()?.0 > now {
            return None;
        }
        let (_, reason) = self.by_time.pop_first()?;
        self.by_reason.remove(&reason);
        Some(reason)
    }
}

impl From<Vec<(Timestamp, Deadline)>> for Deadlines {
    fn from(list: Vec<(Timestamp, Deadline)>) -> Self {
        let mut deadlines = Self::default();
        for (at, reason) in list {
            deadlines.set(reason, at);
        }
        deadlines
    }
}

impl From<Deadlines> for Vec<(Timestamp, Deadline)> {
    fn from(deadlines: Deadlines) -> Self {
        deadlines.by_time.into_iter().collect()
    }
}
