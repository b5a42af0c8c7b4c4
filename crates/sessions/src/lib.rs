//! Every conversation of the master, with local peers, with children, and with the LanManager, as one
//! machine without sockets, clock or chance: inputs in, outputs out.
//!
//! ```text
//!  socket ──► runtime ──┐                   ┌──► service        local peers, tables
//!  journal ─────────────┼──► log ──► machine┼──► session        one for each child
//!  clock ───────────────┘                   └──► conversation   the LanManager
//!                                              │
//!  socket ◄── runtime ◄─────── outputs ◄───────┴──► events for the rules
//! ```
//!
//! # Theory of operation
//!
//! The same inputs at the same times make the same outputs, byte for byte. The runtime logs every
//! input before the machine takes it; so when the engine is killed, the next one makes the same
//! machine again from the log and continues in the middle of a frame. Events for the rules are
//! numbered in an outbox and leave it only when the rules' journal has them.

mod children;
mod connections;
mod endpoint;
mod input;
pub mod lan;
pub mod local;
mod machine;
mod outbox;
mod relay;
pub mod rows;
mod sessions;
mod tables;
pub mod transfer;

pub use children::session as child;
pub use connections::Progress;
pub use endpoint::{Endpoint, LanProtocol};
pub use input::{ChildWire, ConnectionName, Input, Item, Mark, Output};
pub use lan::Dialing;
pub use local::requests::{CompactionRequest, LocalRequest, PageRequest};
pub use local::socket::Socket;
pub use machine::SESSIONS_VERSION;
pub use outbox::{OutboxAck, ReplayedEffects};
pub use relay::FromChild;
pub use sessions::{Sessions, SessionsIdentity};
pub use tables::TableChange;
