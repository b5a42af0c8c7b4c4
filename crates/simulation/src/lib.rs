//! A simulator: `allexmaster`, its LanManager, its children, its disk and its network, in one
//! process, from one seed.
//!
//! ```text
//!            ┌─────────── master ───────────┐                 ┌──── LanManager ────┐
//!  machine ◄─┤ drivers ◄─ step ◄─ journal   │    network      │ step ◄─ journal    │
//!  processes │               ▲              │   delay, cut,   │   ▲                │
//!  ports     │        conversation ─────────┼── break, lose ──┼─ front             │
//!            └──────────────────────────────┘                 └────────────────────┘
//!                 one agenda, one clock, one stream of chance
//! ```
//!
//! # Theory of operation
//!
//! Real are: the rules of both programs, the format of both journals on a disk that loses and tears
//! what is not durable, the conversation with the LanManager and the LanManager's front, text for
//! text. Simulated are: the disk, the network, the processes and ports of the machine, the clock,
//! and the loop around the rules, which can end between any two of its instructions.
//!
//! A run has three parts. First everything goes wrong: the engine, the master or the machine is lost
//! before and after each durable write and each effect; the LanManager is killed; connections stall,
//! break and lose what was under way; children crash, are slow, do not hear SIGTERM, or leave others
//! on their ports; the clock jumps; people add, remove, restart and stop. After every step the
//! invariants of the state hold, and at every fork nobody has the name or the ports. Then the faults
//! end, and every need that can be is satisfied exactly once, every process and port is accounted
//! for, and nothing changes any more. In the end a replay gives the live state, and the master stops
//! and leaves nothing.
//!
//! A seed decides everything, so a run that failed can be made again: see [`Failure::arguments`].

#![forbid(unsafe_code)]

mod run;

mod world;

mod plan;

mod faults;

mod crash;

mod engine;

mod front;

mod hands;

mod lan_manager;

mod machine;

mod network;

mod agenda;

mod promises;

mod failure;

mod digest;

use allexmaster_testkit::chance;

pub use crash::{Crashes, Loss};
pub use failure::{ExportError, Failure};
pub use plan::Length;
pub use run::{Report, run, sweep};
