//! The rules: what happened goes in, what must be done comes out.
//!
//! Nothing here reads a clock, a file or a socket. [`step()`] takes the state and
//! one event and gives the new state and the effects; the journal makes the event
//! durable before that, `serve` performs the effects after it.
//!
//! ```text
//!   configured ──► open need ──bid──► preparing ──respond──► checking ──reachable──► service
//!                     ▲  ▲                ▲                     │                      │
//!                     │  └── bidder gone ─┴──── unreachable ────┘                      │
//!                     └── reported down, master gone for too long, master is back ─────┘
//! ```
//!
//! A configured need is either open (a master must start it) or a service
//! (a master runs it), never both and never neither. An open need has at most one
//! active bid; later bids wait unanswered.

mod bidding;
mod effect;
mod event;
mod invariants;
mod layers;
mod machine;
mod masters;
mod names;
mod need;
mod needs;
mod state;
mod step;
mod view;

pub use effect::{Effect, Refusal, Reply};
pub use event::{EDITION, Event, Files, IpStrategy, PortsCheck, Settings};
pub use invariants::Broken;
pub use layers::{Remark, merge_layers, remarks};
pub use machine::Rules;
pub use names::{Address, InstanceName, MasterId, MasterIdentity, ModuleName, SessionId, Ticket};
pub use need::{Descriptor, DescriptorError, Endpoint, Need, NeedError, Row};
pub use state::{DeadlineReason, Opening, RequestId, State};
pub use step::{kind, step};
pub use view::{MasterView, NeedView, ServiceView};

#[cfg(test)]
mod laws;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod transcript;
