//! What must be done. Effects are plain data; they are not journaled, because the
//! state says what must be true: after a restart `Started` requests all of it again.

use std::net::IpAddr;

use serde::Serialize;

use super::event::PortsCheck;
use super::names::{InstanceName, ModuleName, Ticket};
use super::need::Row;
use super::state::{Opening, RequestId};

/// Something to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Effect {
    Reply {
        request: RequestId,
        reply: Reply,
    },
    /// Show a need in the `needs` table and let masters bid for it.
    NeedOpened {
        /// Which need, in which of its openings.
        opening: Opening,
        row: Row,
    },
    /// Show a need as satisfied, take it away, and end the sessions of all bidders.
    NeedSatisfied {
        /// Which need, in which of its openings.
        opening: Opening,
        /// Its last row.
        row: Row,
    },
    /// Take a need away unsatisfied, and end the sessions of all bidders.
    NeedClosed {
        /// Which need, in which of its openings.
        opening: Opening,
    },
    /// Show a service in the `services` table.
    ServiceUp {
        row: Row,
    },
    ServiceDown {
        name: InstanceName,
    },
    /// Show a row in the `nat` table.
    NatListed {
        row: Row,
    },
    /// Show a module in the `engaged_modules` table.
    ModuleListed {
        module: ModuleName,
    },
    /// Find out whether one of the ports answers, and report it.
    CheckPorts {
        check: PortsCheck,
        address: IpAddr,
        /// The ports; the first that answers is enough.
        ports: Vec<u16>,
    },
    /// Write the runtime needs of the state into their file, and report it.
    WriteRuntimeNeeds {
        /// The revision to be reported, or a later one.
        revision: u64,
    },
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Reply {
    /// The root session is known. A master that is gone has so many milliseconds for
    /// a reconnect until its services are needs again.
    Welcome {
        reconnect_grace: u64,
    },
    /// The bid is the active one: start the service and respond with the ticket.
    BidActive {
        ticket: Ticket,
    },
    /// The need is for other machines.
    BidRejected,
    /// The response is good; the service stands.
    Accepted {
        /// The ticket of the bid.
        ticket: Ticket,
    },
    Done,
    /// So many services were taken away.
    Count(usize),
    Module(ModuleName),
    Refused(Refusal),
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
pub enum Refusal {
    /// There is nothing (any more) to bid or respond for.
    #[error("this need is no longer open, or you have no active bid for it")]
    AlreadyDestroyed,
    /// Another bid is active, or the ticket belongs to another bid.
    #[error("this ticket does not belong to the active bid")]
    BiddingMismatch,
    #[error("your bid for this need already waits for its turn")]
    BidAlreadyWaiting,
    #[error("too many bids wait for this need; try again later")]
    TooManyBids,
    /// The ports of an earlier response are still being checked.
    #[error("an earlier response is still being checked; wait for its answer")]
    CheckUnderWay,
    #[error("a response must have \"ipaddress\" (an IP address), \"pid\" and usable ports")]
    IncompleteResponse,
    #[error("none of the ports could be reached; respond again when they listen")]
    NoPortsReachable,
    #[error("too many needs; remove some before adding others")]
    TooManyNeeds,
    #[error("too many engaged modules")]
    TooManyModules,
}

impl Refusal {
    /// The stable code that goes over the wire. `ALREADY_DESTROYED`,
    /// `BIDDING_MISMATCH` and `NO_PORTS_REACHABLE` are AllexJS's own.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::AlreadyDestroyed => "ALREADY_DESTROYED",
            Self::BiddingMismatch => "BIDDING_MISMATCH",
            Self::BidAlreadyWaiting => "BID_ALREADY_WAITING",
            Self::TooManyBids => "TOO_MANY_BIDS",
            Self::CheckUnderWay => "CHECK_UNDER_WAY",
            Self::IncompleteResponse => "INCOMPLETE_RESPONSE",
            Self::NoPortsReachable => "NO_PORTS_REACHABLE",
            Self::TooManyNeeds => "TOO_MANY_NEEDS",
            Self::TooManyModules => "TOO_MANY_MODULES",
        }
    }
}
