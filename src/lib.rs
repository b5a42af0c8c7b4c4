//! The program `allexmaster`: the drivers around the rules, and the command line.
//!
//! ```text
//!  sessions ──┐   ┌───────────┐   ┌──────┐   ┌────────┐ ┌─► child      spawn, signal, adopt
//!  child ─────┼──►│  journal  │──►│ step │──►│ daemon │─┼─► probe      are ports free, do they answer
//!  probe ─────┤   └───────────┘   └──────┘   └────────┘ ├─► sessions   local peers, children, the LanManager
//!  (signals) ─┘    durable         pure                 └─► (exit)
//! ```
//!
//! # Theory of operation
//!
//! A driver performs effects of one kind and reports what happens as events into the loop's inbox; both
//! are plain data. Drivers do not know one another. The loop is in `allexmaster-journal`, the decisions
//! are in `allexmaster-state`, the conversations in `allexmaster-sessions`; their sockets are held by
//! another process, the [keeper](allexmaster_keeper), so that they outlive this one.
//!
//! # Reading order
//!
//! 1. [`daemon`]: one run, and the routing of effects.
//! 2. [`child`] with [`process`] and [`launch`]; [`probe`]; [`logs`]; [`install`].
//! 3. [`sessions`]: sockets, the log, resuming; [`lan`], [`local`], [`node`]: how sockets come to be.
//! 4. [`config`]; [`cli`] with [`client`] and [`status`].
//!
//! The map of all crates: `docs/architecture.md`.

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
