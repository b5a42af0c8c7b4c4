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
    /// A bid has only waited for long enough: other needs have their turn.
    Bids,
    /// A local call has waited long enough for the LanManager.
    Request(RequestId),
    /// A stopping master has waited long enough for the LanManager.
    #[serde(rename = "farewell")]
    Drain,
}

/// All deadlines, at most one for each reason.
///
/// The time of a service, or of a blocked port, stands in the service, or beside
/// the port: those who move it know it. Only that of the other reasons, of which
/// there are few, is looked up here.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(
    from = "Vec<(Timestamp, Deadline)>",
    into = "Vec<(Timestamp, Deadline)>"
)]
pub struct Deadlines {
    by_time: BTreeSet<(Timestamp, Deadline)>,
    looked_up: BTreeMap<Deadline, Timestamp>,
}

impl Deadline {
    /// Whether those who move it do not know when it was.
    const fn is_looked_up(&self) -> bool {
        match self {
            Self::Dial | Self::Bids | Self::Request(_) | Self::Drain => true,
            Self::Service(_) | Self::PortUsable(_) => false,
        }
    }
}

impl Deadlines {
    /// Sets, or moves, a deadline that is looked up.
    pub(crate) fn set(&mut self, reason: Deadline, at: Timestamp) {
        self.clear(&reason);
        self.by_time.insert((at, reason.clone()));
        self.looked_up.insert(reason, at);
    }

    /// When one that is looked up is, if there is one.
    pub(crate) fn get(&self, reason: &Deadline) -> Option<Timestamp> {
        self.looked_up.get(reason).copied()
    }

    /// Takes a deadline that is looked up back, if there is one.
    pub(crate) fn clear(&mut self, reason: &Deadline) {
        if let Some((reason, at)) = self.looked_up.remove_entry(reason) {
            self.by_time.remove(&(at, reason));
        }
    }

    /// Moves all deadlines that are looked up by so many milliseconds.
    pub(crate) fn postpone_looked_up(&mut self, by: u64) {
        for (reason, at) in self.looked_up.clone() {
            self.set(reason, at.plus(by));
        }
    }

    /// Moves the deadline of a service, or of a port, from the time that it had.
    pub(crate) fn shift(
        &mut self,
        reason: Deadline,
        before: Option<Timestamp>,
        after: Option<Timestamp>,
    ) {
        let mut entry = (Timestamp(0), reason);
        if let Some(at) = before {
            entry.0 = at;
            self.by_time.remove(&entry);
        }
        if let Some(at) = after {
            entry.0 = at;
            self.by_time.insert(entry);
        }
    }

    /// The next one, with its reason.
    #[must_use]
    pub fn next(&self) -> Option<(Timestamp, &Deadline)> {
        self.by_time.first().map(|(at, reason)| (*at, reason))
    }

    /// Whether this reason has a deadline at this time.
    #[must_use]
    pub fn has(&self, at: Timestamp, reason: Deadline) -> bool {
        self.by_time.contains(&(at, reason))
    }

    /// Whether the LanManager is to be dialed again at some time.
    #[must_use]
    pub(crate) fn has_dial(&self) -> bool {
        self.looked_up.contains_key(&Deadline::Dial)
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
        if reason.is_looked_up() {
            self.looked_up.remove(&reason);
        }
        Some(reason)
    }
}

impl From<Vec<(Timestamp, Deadline)>> for Deadlines {
    fn from(list: Vec<(Timestamp, Deadline)>) -> Self {
        let mut deadlines = Self::default();
        for (at, reason) in list {
            if reason.is_looked_up() {
                deadlines.set(reason, at);
            } else {
                deadlines.shift(reason, None, Some(at));
            }
        }
        deadlines
    }
}

impl From<Deadlines> for Vec<(Timestamp, Deadline)> {
    fn from(deadlines: Deadlines) -> Self {
        deadlines.by_time.into_iter().collect()
    }
}
