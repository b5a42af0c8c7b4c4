//! THE HANDS of `allexmaster`: the loop, the drivers, the local sockets, the command line.
//!
//! ```text
//!  sessions ─────┐   ┌───────────┐   ┌──────┐   ┌───────┐ ┌─► child   spawn, signal, adopt
//!  child ─────┼──►│  journal  │──►│ step │──►│ hands │─┼─► probe   are ports free, do they answer
//!  probe ─────┤   └───────────┘   └──────┘   └───────┘ ├─► sessions   local peers, children, the LanManager
//!  (signals) ─┘    durable         pure                └─► (exit)
//! ```
//!
//! # Theory of operation
//!
//! Each driver knows one part of the world and nothing of the others. It reports
//! what happened as events into the loop's inbox, and does what the rules order as
//! effects; both are plain data. The loop itself stands in `allexmaster-journal`,
//! the decisions in `allexmaster-state`.
//!
//! All conversations are one of these parts: the [`sessions`] joins what [`local`], [`node`] and [`lan`]
//! know without sockets. A [keeper](allexmaster_keeper), another process, holds their sockets, so that they outlive this one.

// In reading order.
pub mod channel;
pub mod child;
pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod exit_code;
pub mod install;
pub mod lan;
pub mod launch;
pub mod local;
pub mod logs;
pub mod machine;
pub mod node;
pub mod probe;
pub mod process;
pub mod sample;
pub mod sessions;
pub mod sink;
pub mod status;
pub mod telemetry;
