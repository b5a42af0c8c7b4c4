//! All that the LanManager knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use allexmaster_machine::Wall;
use serde::{Deserialize, Serialize};

use super::event::{Files, Settings};
use super::names::{
    Address, InstanceName, MasterId, MasterIdentity, ModuleName, SessionId, Ticket,
};
use super::need::{Descriptor, Need, Row};

/// The state that events change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub(super) settings: Settings,
    /// What was read of the files for a start that has not come yet.
    pub(super) read: Files,
    /// What is wanted, all layers merged.
    pub(super) configured: BTreeMap<InstanceName, Need>,
    /// The configured needs without a service.
    pub(super) open: BTreeMap<InstanceName, OpenNeed>,
    pub(super) services: BTreeMap<InstanceName, Service>,
    /// Root sessions: the connected ones, and those gone ones that own services.
    pub(super) masters: BTreeMap<MasterId, Master>,
    /// Index: the gone masters of an address.
    pub(super) gone: BTreeMap<Address, BTreeSet<MasterId>>,
    /// Index: when the services of gone masters become needs, and until when masters
    /// that are back are asked first.
    pub(super) deadlines: BTreeSet<(Wall, MasterId)>,
    /// Whether those who were connected before the start may still stand at the
    /// doors: no grace ends before that is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) catching_up: bool,
    pub(super) nat: Vec<Row>,
    pub(super) engaged: BTreeSet<ModuleName>,
    pub(super) runtime_file: RuntimeFile,
    /// The needs of the files at the last start, with the digests of their entries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) in_files: BTreeMap<InstanceName, u64>,
    /// Those of them that were removed since, with the digests of the entries that do
    /// not count.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) removed: BTreeMap<InstanceName, u64>,
}

/// A need that masters may bid for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct OpenNeed {
    /// Sequence number of the event that opened it.
    pub(super) since: u64,
    pub(super) active: Option<Bid>,
    pub(super) waiting: VecDeque<Waiting>,
    /// The master that ran it before and is back: its bid wins, and the others wait
    /// for as long as it is asked first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kept_for: Option<MasterId>,
}

/// The one bid that counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Bid {
    pub(super) bidder: SessionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) master: Option<MasterId>,
    pub(super) ticket: Ticket,
    pub(super) progress: Progress,
}

/// How far the active bid is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Progress {
    /// The bidder starts the service.
    Preparing,
    /// The bidder responded; its ports are being checked.
    Checking {
        /// Sequence number of the response.
        response: u64,
        request: RequestId,
        master: MasterId,
        descriptor: Descriptor,
    },
}

/// A bid that is answered when it is its turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) bidder: SessionId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) master: Option<MasterId>,
    pub(super) request: RequestId,
}

/// A satisfied need.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Service {
    pub(super) row: Row,
    pub(super) owner: MasterId,
}

/// A root session of role `user`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Master {
    pub(super) address: Address,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) identity: Option<MasterIdentity>,
    pub(super) presence: Presence,
    pub(super) services: BTreeSet<InstanceName>,
}

/// Whether a master is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Presence {
    Connected,
    /// It is there, and what it ran before it was away is needed: until then the
    /// others' bids for that wait for its own.
    AskedFirst {
        until: Wall,
    },
    /// Its services become needs then, in milliseconds since the epoch.
    Gone {
        until: Wall,
    },
}

/// What is known of the file `needs.runtime`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RuntimeFile {
    /// Counts the changes that the file must show.
    pub(super) revision: u64,
    /// The revision that the file is known to show.
    pub(super) written: u64,
}

/// One opening of a need. A need that comes back after it was satisfied or removed
/// has another one, so that a late bid or check for the old one is recognised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Opening {
    pub name: InstanceName,
    /// Sequence number of the event that opened it.
    pub since: u64,
}

impl fmt::Display for Opening {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.name, self.since)
    }
}

/// Names a request of this run that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// What happens at a deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadlineReason {
    /// The services of a master that did not come back become needs.
    ReconnectGraceEnds { master: MasterId, address: Address },
    /// A master that is back has been asked first for long enough.
    OthersMayBid { master: MasterId, address: Address },
}

impl Presence {
    pub(super) const fn is_connected(self) -> bool {
        !matches!(self, Self::Gone { .. })
    }

    /// When it changes by itself.
    pub(super) const fn until(self) -> Option<Wall> {
        match self {
            Self::Connected => None,
            Self::AskedFirst { until } | Self::Gone { until } => Some(until),
        }
    }
}

impl State {
    /// The earliest deadline, in milliseconds since the epoch, and its reason.
    #[must_use]
    pub fn next_deadline(&self) -> Option<(Wall, DeadlineReason)> {
        let (at, id) = self.deadlines.first().filter(|_| !self.catching_up)?;
        let master = self.masters.get(id)?;
        let (id, address) = (id.clone(), master.address.clone());
        let reason = if master.presence.is_connected() {
            DeadlineReason::OthersMayBid {
                master: id,
                address,
            }
        } else {
            DeadlineReason::ReconnectGraceEnds {
                master: id,
                address,
            }
        };
        Some((*at, reason))
    }

    /// The revision of the runtime needs, and the needs: what the file
    /// `needs.runtime` must hold. As in AllexJS these are all configured needs.
    #[must_use]
    pub fn runtime_needs(&self) -> (u64, Vec<Row>) {
        let rows = self.configured.values();
        let rows = rows.map(|need| need.fields().clone()).collect();
        (self.runtime_file.revision, rows)
    }

    /// The services that stand, as rows of their table.
    pub fn services(&self) -> impl Iterator<Item = (&InstanceName, &Row)> {
        let services = self.services.iter();
        services.map(|(name, service)| (name, &service.row))
    }

    /// The needs that stand in the files and were removed at run time.
    pub fn removed(&self) -> impl Iterator<Item = &InstanceName> {
        self.removed.keys()
    }

    /// How many needs are open and how many services stand.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.open.len(), self.services.len())
    }
}
