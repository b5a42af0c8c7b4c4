//! The LanManager of AllexJS: what a network needs, who runs it, and how masters come
//! to an agreement about it. A library and the program `allexlanmanager`.
//!
//! # Theory of operation
//!
//! ```text
//!   .allexlanmanager/         masters, tools (ws, SignalR, TCP)
//!   needs, subnets, …                 │ ▲
//!        │ files                      ▼ │
//!        └────────────►  serve: sockets, sessions, tables, port checks
//!                             │ events ▲ effects
//!                             ▼        │
//!                        journal ──► rules: State, step
//! ```
//!
//! All decisions are made in [`rules`]: events in, effects out. Each event is durable in
//! the journal before it is decided upon, so a LanManager that was killed at any
//! instruction restarts with the same needs and services. [`files`] reads and writes
//! the folder that the JavaScript LanManager also uses. [`serve`] performs the effects:
//! sockets, sessions, tables, port checks.
//!
//! Reading order: [`rules::Event`], [`rules::step`], [`rules::Effect`], [`files`],
//! [`serve`]. Where this crate stands: `docs/architecture.md`.
//!
//! # Differences from the JavaScript LanManager
//!
//! - A master that is gone is noticed, and its services become needs again after a time
//!   for a reconnect.
//! - A second client from an address does not take away the services of the first.
//! - A rejected bid does not block the need for others.
//! - A response must have the address and the process, and can only say where a service
//!   runs, not what it is.
//! - A connection from a forbidden address is closed after its first attempt.
//! - Names, needs and tables have limits ([`allexmaster_protocol::limits`]).

pub mod files;
pub mod rules;
pub mod serve;

pub use serve::{Door, LanManager, Options, Ports, RunError, Running, StartError};
