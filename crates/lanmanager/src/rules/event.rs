//! What can happen. Events are facts, and the content of the journal: a published
//! format. Pings, queries and refused introductions are not among them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::names::{
    Address, InstanceName, MasterId, MasterIdentity, ModuleName, SessionId, Ticket,
};
use super::need::{Descriptor, Need, Row};
use super::state::{Opening, RequestId};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// A part of what the files say was read: large files come in several parts, and
    /// count when `Started` follows.
    FilesRead {
        /// Whether this is the first part of this start.
        first: bool,
        files: Files,
    },
    /// The LanManager started. Whoever was connected before is gone; what the tables
    /// must show is requested again.
    Started {
        /// What the files and the command line say about how to work.
        settings: Settings,
    },
    /// Somebody opens a root session of role `user`.
    MasterConnected {
        /// Who waits for the answer.
        request: RequestId,
        master: MasterId,
        /// Where it comes from.
        address: Address,
        /// Which master it is; absent for masters that do not say it, as those of
        /// JavaScript.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        identity: Option<MasterIdentity>,
    },
    /// A root session ended: its connection closed, fell silent, or it died.
    MasterGone { master: MasterId },
    /// Somebody asked for a need.
    NeedAdded {
        /// Who waits for the answer.
        request: RequestId,
        need: Need,
    },
    /// Somebody wants a need no more.
    NeedRemoved {
        /// Who waits for the answer.
        request: RequestId,
        name: InstanceName,
    },
    /// A bidder offers to start what an open need asks for.
    BidPlaced {
        /// Who waits for the answer.
        request: RequestId,
        /// Which need, in which of its openings.
        opening: Opening,
        /// The bidder's session on that need.
        bidder: SessionId,
        /// The address that it offers, if any.
        offered: Option<String>,
        /// The root session above it; absent where there is none, and in events of
        /// before it was recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        master: Option<MasterId>,
    },
    BidderGone {
        /// Which need, in which of its openings.
        opening: Opening,
        /// The bidder's session on that need.
        bidder: SessionId,
    },
    /// A bidder says that the service runs.
    Responded {
        /// Who waits for the answer.
        request: RequestId,
        /// Which need, in which of its openings.
        opening: Opening,
        /// The bidder's session on that need.
        bidder: SessionId,
        /// The root session above it, which will own the service.
        master: MasterId,
        /// What the bid was answered with.
        ticket: Ticket,
        /// Where the service runs; nothing where the response does not say it.
        descriptor: Option<Descriptor>,
    },
    /// A port check that was asked for is done.
    PortsChecked {
        check: PortsCheck,
        /// Whether one of the ports answered.
        reachable: bool,
    },
    /// A master reports that a service is down.
    ServiceDownReported {
        /// Who waits for the answer.
        request: RequestId,
        name: InstanceName,
        /// Who reports it; absent in events of before it was recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reporter: Option<MasterId>,
    },
    /// A master reports that a module is in use.
    ModuleEngaged {
        /// Who waits for the answer.
        request: RequestId,
        module: ModuleName,
    },
    /// The file of the runtime needs holds what it held at this revision.
    RuntimeNeedsWritten {
        /// The revision that was written.
        revision: u64,
    },
    /// The time of the earliest deadline has come.
    DeadlineReached,
    /// Everybody who stood at the doors after the start has been let in and heard.
    CaughtUp,
}

/// Names one port check: an answer to an earlier one means nothing any more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortsCheck {
    /// The need whose bidder responded.
    pub opening: Opening,
    /// The sequence number of that response.
    pub response: u64,
}

/// How to work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Who may connect; goes into the strategies of every need as well.
    pub ip_strategies: Vec<IpStrategy>,
    /// How long a master that is gone has for a reconnect until its services
    /// become needs, in milliseconds.
    pub reconnect_grace: u64,
    /// The edition of the rules that the run follows, so that a journal of an earlier
    /// one is replayed as it was lived. 1: the grace of those who were connected before
    /// the start begins with `CaughtUp`, removals of needs outlast the run, and a master
    /// that is back with another address is asked first. 0: it
    /// begins with the start, and the files bring removed needs back.
    #[serde(default, skip_serializing_if = "is_first")]
    pub edition: u32,
}

/// The present edition of the rules.
pub const EDITION: u32 = 1;

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_first(edition: &u32) -> bool {
    *edition == 0
}

/// Addresses that are let in, and as what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpStrategy {
    /// An address or a network in CIDR notation.
    pub ip: String,
    /// The role, `user` for all that AllexJS configures.
    pub role: String,
}

impl IpStrategy {
    /// The entry as it stands in a need's `strategies.ip`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"ip": self.ip, "role": self.role})
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Files {
    /// `needs`.
    pub needs: Vec<Need>,
    /// `needs.overlay`.
    pub overlay: Vec<Need>,
    /// `needs.runtime`.
    pub runtime: Vec<Need>,
    /// `nat`.
    pub nat: Vec<Row>,
}

/// How many bytes of needs one event of [`Files::into_parts`] holds, if it has more
/// than one of them. Well below what the journal takes in one record.
const PART_BYTES: usize = 256 * 1024;

impl Files {
    /// The files in parts that are small enough for an event; at least one.
    #[must_use]
    pub fn into_parts(self) -> Vec<Self> {
        let Self {
            needs,
            overlay,
            runtime,
            nat,
        } = self;
        let entries = (needs.into_iter().map(Entry::Need))
            .chain(overlay.into_iter().map(Entry::Overlay))
            .chain(runtime.into_iter().map(Entry::Runtime))
            .chain(nat.into_iter().map(Entry::Nat));
        let mut parts = vec![Self::default()];
        let mut size = 0;
        for entry in entries {
            let bytes = entry.size();
            if size > 0 && size + bytes > PART_BYTES {
                parts.push(Self::default());
                size = 0;
            }
            size += bytes;
            if let Some(part) = parts.last_mut() {
                part.push(entry);
            }
        }
        parts
    }

    /// Adds another part.
    pub(super) fn extend(&mut self, part: Self) {
        self.needs.extend(part.needs);
        self.overlay.extend(part.overlay);
        self.runtime.extend(part.runtime);
        self.nat.extend(part.nat);
    }

    fn push(&mut self, entry: Entry) {
        match entry {
            Entry::Need(need) => self.needs.push(need),
            Entry::Overlay(need) => self.overlay.push(need),
            Entry::Runtime(need) => self.runtime.push(need),
            Entry::Nat(row) => self.nat.push(row),
        }
    }
}

/// One entry of one file.
enum Entry {
    Need(Need),
    Overlay(Need),
    Runtime(Need),
    Nat(Row),
}

impl Entry {
    fn size(&self) -> usize {
        let row = match self {
            Self::Need(need) | Self::Overlay(need) | Self::Runtime(need) => need.fields(),
            Self::Nat(row) => row,
        };
        serde_json::to_vec(row).map_or(PART_BYTES, |bytes| bytes.len())
    }
}
