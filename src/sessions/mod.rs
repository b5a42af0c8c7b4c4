//! The sessions at work: sockets, pumps, the log, and the way to the rules.
//!
//! ```text
//!  socket ──► pump ────┐                            ┌──► pump ──► socket
//!  journal ────────────┼──► log ──► Sessions ───────┼──► inbox of the rules
//!  clock ──────────────┘   (memfd)                  └──► dialer, status queries, the log for people
//! ```
//!
//! # Theory of operation
//!
//! [`Sessions`](allexmaster_sessions::Sessions) have no sockets, no clock and no chance: their inputs
//! decide their outputs, byte for byte. An input is logged first, in a file without a name that the
//! keeper holds open too (`session_log`); so when the engine is killed, the next one makes the same
//! sessions again and goes on in the middle of a frame. Each border is crossed exactly once:
//!
//! - *Socket to sessions*: bytes are peeked, logged, and only then taken out of the socket (`socket`).
//! - *Sessions to socket*: bytes go through a pipe; how full it is tells how far they came (`socket`).
//! - *Sessions to rules*: their events are numbered. Those that the journal does not have are handed
//!   over again.
//! - *Rules to sessions*: what a batch of the journal caused is one input, with the number of its last
//!   event. After a crash, the effects of later events are derived again by a replay of them.
//!
//! Status queries, and a dial that is under way, are simply begun again.

mod accept;
mod descriptors;
mod dialer;
mod log_events;
mod pump;
mod register;
mod reload;
mod resume;
mod runtime;
mod session_log;
mod socket;
mod status_queries;
mod upgrade;

pub use accept::listener_name;
pub use descriptors::{DescriptorStore, Inherited};
pub use reload::{Reload, Reloaded};
pub use resume::{Restored, restore};
pub use runtime::{Beginning, Runtime, RuntimeOptions, channel_name};
pub use session_log::{SessionLog, SessionLogError};
pub use status_queries::Compacted;
pub use upgrade::Upgraded;
