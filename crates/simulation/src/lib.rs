//! `allexmaster` on one to three machines, its LanManager, its children, disks and network, in one
//! process, from one seed.
//!
//! ```text
//!        ┌──────────────── master ────────────────┐                ┌────── LanManager ──────┐
//!  tools ┤ sessions ◄──► rules ◄── journal ◄ disk │   network      │ rules ◄── journal      │
//!   and  │    ▲  log                              │  delay, cut,   │   ▲                    │
//!  child-├────┴─ transfer ─ pipe ─ sockets ───────┼─ break, lose, ─┼─ sessions              │
//!  ren   └────────────────────────────────────────┘  half-open     └────────────────────────┘
//!                    one agenda, one clock, one stream of chance
//! ```
//!
//! # Theory of operation
//!
//! Real are: the rules of both programs, the format of both journals on a disk that loses and tears
//! what is not durable, the sessions of the master and their log, the steps that move bytes between
//! sockets, log and sessions, the LanManager's sessions, and the bytes on each connection. Simulated
//! are: the disk, the network and the kernel's sockets and pipes, the processes and ports of each
//! machine, the clock, and the order in which an engine does its work, which can end between any two
//! steps. The loop around the rules is the real one, with its outages; what it wants performed is performed
//! one thing after the other.
//!
//! A run has three parts. First everything goes wrong: the engine, the master or the machine is lost
//! before and after each durable write, each effect, each input of the sessions and each step of a
//! transfer; the LanManager is killed; connections stall, break, lose what was under way and stay half
//! open; bytes come one at a time; children crash, are slow, do not react to SIGTERM, or leave others on
//! their ports; the clock jumps; people add, remove, restart and stop. After every step the invariants
//! of the state hold, at every fork nobody on that machine has the name or the ports, and everybody who
//! is spoken to receives frames that make sense and one answer to each call. Then the faults end, and
//! every need that can be is satisfied exactly once in the network, every process and port is accounted
//! for, and nothing changes any more. In the end a replay gives the live state, and the masters stop and
//! leave nothing.
//!
//! A seed decides everything, so a run that failed can be made again: see [`Failure::arguments`].

#![forbid(unsafe_code)]

mod agenda;
mod children;
mod crash;
mod digest;
mod env;
mod failure;
mod faults;
mod lan_manager;
mod machine;
mod master;
mod network;
mod plan;
mod promises;
mod run;
mod session_log;
mod sessions;
mod tools;
mod world;

pub use crash::{Crashes, Loss};
pub use failure::{ExportError, Failure};
pub use plan::Length;
pub use run::{Report, run, sweep};
