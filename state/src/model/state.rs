//! All that the master knows.

use alloc::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    BootId, Deadline, Deadlines, Haste, Installs, JournalId, Lan, LanRequest, ModuleName, Pid,
    Ports, RequestId, Services, Settings, Shutdown, Timestamp,
};

/// The state of the master. Only [`crate::step()`] makes a new one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct State {
    /// When the last event happened.
    pub now: Timestamp,
    /// The configuration, as far as decisions depend on it.
    pub settings: Settings,
    /// The present run of the master; absent in an empty journal.
    pub master: Option<Master>,
    /// The connection to the LanManager.
    pub lan: Lan,
    /// The services.
    pub services: Services,
    /// The ports.
    pub ports: Ports,
    /// What is to be done later.
    pub deadlines: Deadlines,
    /// The local calls that wait for the LanManager.
    pub requests: BTreeMap<RequestId, LanRequest>,
    /// The modules that are in use on this machine.
    pub engaged: BTreeSet<ModuleName>,
    #[serde(default, skip_serializing_if = "Installs::is_empty")]
    pub installs: Installs,
    /// Whether the master is stopping.
    pub shutdown: Shutdown,
    #[serde(default, skip_serializing_if = "Haste::is_none")]
    pub haste: Haste,
}

/// One run of the master.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Master {
    /// The journal that it reads: part of every child's name.
    pub journal: JournalId,
    pub boot: BootId,
    /// Its process number.
    pub pid: Pid,
    /// Since when it runs.
    pub started: Timestamp,
}

impl Master {
    /// Whether both are the same run.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (&self.journal, &self.boot, self.pid) == (&other.journal, &other.boot, other.pid)
    }
}

impl State {
    /// When the state has something to do by itself, and why: the loop sleeps
    /// until then and feeds [`crate::Event::DeadlineReached`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<(Timestamp, &Deadline)> {
        self.deadlines.next()
    }
}
