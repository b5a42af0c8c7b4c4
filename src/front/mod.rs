//! The front: every conversation of the master, with local peers, with children, and with the
//! LanManager. A killed engine does not end any of them.
//!
//! ```text
//!  socket ──► carry ──┐                    ┌──► service        local peers, tables
//!  journal ───────────┼──► log ──► machine ┼──► session        one for each child
//!  clock ─────────────┘   (memory)         └──► conversation   the LanManager
//!                                             │
//!  socket ◄── carry ◄───────── outputs ◄──────┴──► events for the rules
//! ```
//!
//! # Theory of operation
//!
//! The machine has no sockets, no clock and no chance in it: what goes in decides what comes out, byte
//! for byte. What goes in is logged first, in memory that a keeper holds open too (`memory`); so when
//! the engine is killed, the next one makes the same machine again and goes on in the middle of a
//! frame. Each border is crossed exactly once:
//!
//! - *Socket to front*: bytes are peeked, logged, and only then taken out of the socket (`kept`).
//! - *Front to socket*: bytes go through a pipe, whose filling tells how far they came (`kept`).
//! - *Front to rules*: the events that the front tells are counted. Those that the journal does not
//!   have are told again ([`Event::originates_in_sessions`](allexmaster_state::Event::originates_in_sessions)).
//! - *Rules to front*: what a batch of the journal caused is one input, with the number of its last
//!   event. After a crash, what later events caused is derived again by a replay of them.
//!
//! Questions about the state, and a dial that is under way, are simply begun again.

mod accept;
mod carry;
mod dialer;
mod driver;
mod kept;
mod lines;
mod looks;
mod memory;
mod narrate;
mod resume;
mod store;
mod upgrade;

pub use accept::listener_name;
pub use driver::{Beginning, Driver, FrontOptions, channel_name};
pub use looks::Compacted;
pub use memory::{FRONT_VERSION, Memory, MemoryError};
pub use resume::{Restored, restore};
pub use store::{Inherited, Store};
pub use upgrade::Upgraded;
