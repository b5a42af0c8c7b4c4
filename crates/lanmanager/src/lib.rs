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
//! [`rules`] decides, and nothing else does: what happened comes in as an event, what
//! must be done comes out as effects. Each event is durable in the journal before it
//! is decided upon, so a LanManager that was killed at any instruction comes back
//! with the same needs and services. [`files`] reads and writes the folder that the
//! JavaScript LanManager has, too. [`serve`] is the hands.
//!
//! Reading order: [`rules::Event`], [`rules::step`], [`rules::Effect`], [`files`],
//! [`serve`].
//!
//! # What it does other than the JavaScript LanManager
//!
//! It notices a master that is gone and makes its services needs again, after a time
//! for a reconnect; a second client from an address does not take away the services
//! of the first; a bid that was rejected does not block the need for others; a
//! response must say the address and the process, and can only say where a service
//! runs, not what it is; a forbidden address is cut off after its first attempt.

pub mod files;
pub mod rules;
pub mod serve;

pub use serve::{Door, LanManager, Options, Ports, RunError, Running, StartError};
