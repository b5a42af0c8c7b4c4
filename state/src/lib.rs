//! The rules of `allexmaster`, a pure decider: events in, effects out.
//!
//! ```text
//!                 ┌──────────────────────────────┐
//!  Recorded ────► │ step(State, Recorded)        │ ────► State
//!  (event, time,  │ one exhaustive match,        │
//!   entropy)      │ one topic module per arm     │ ────► Vec<Effect>
//!                 └──────────────────────────────┘
//! ```
//!
//! # Theory of operation
//!
//! Everything that happens to a master is a list of [`Event`]s. [`step()`] takes the state
//! and the next event and returns the new state and the [`Effect`]s that the
//! drivers have to perform. It is total (a refused request is an effect that
//! replies with a [`Rejection`]), deterministic (time and randomness come in
//! with the event) and silent (no clock, no input or output, no logging).
//!
//! Every service has two sides, each an enum that holds only what is true in
//! it: its [`Activity`] (the process: waiting, probing ports, spawning,
//! starting, up, stopping, backing off, failed) and its [`Claim`] (the
//! LanManager: bidding, held, responding, approved). Deadlines are not
//! effects: they are part of the state, each with its reason
//! ([`State::next_deadline`]).
//!
//! Effects are not stored. After a restart [`Event::MasterStarted`] makes `step`
//! request everything that must be true; after a restart of the engine alone,
//! whose connections live on, only what the children need.
//!
//! This crate is `no_std`: reading a clock in it does not compile, and its
//! `clippy.toml` bans randomness and hash-ordered collections.
//!
//! # Reading order
//!
//! `model/` has what is true, `rules/` what changes it.
//!
//! 1. [`Event`], [`step()`], [`Effect`]: everything that can happen, be decided and be done.
//! 2. [`State`], [`Service`] with its [`Activity`] and [`Claim`], [`Ports`], [`Deadline`].
//! 3. One topic each: `needs`, `claim`, `child`, `ending`, `restart`, `lan`, `requests`, `shutdown`.
//! 4. Starts: `boot`, `survivors`, `resume`.
//! 5. `check` (invariants), `status` and `difference` (for people).
//!
//! Where this crate stands, and where to add an event or an effect: `docs/architecture.md`.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod model;
mod rules;

use model::{
    check, deadline, difference, effect, event, id, need, ports, rejection, restart, service,
    services, settings, state, status,
};
use rules::{
    boot, child, claim, clock, ending, install, lan, machine, needs, requests, resume, shutdown,
    step, survivors,
};

pub use allexmaster_machine::Wall as Timestamp;
pub use check::Broken;
pub use claim::Claim;
pub use deadline::{Deadline, Deadlines};
pub use difference::{Change, Style};
pub use effect::{
    ChildEffect, Effect, LanEffect, ServiceRecord, SessionEffect, Signal, SpawnOrder,
};
pub use event::{
    BidAnswer, Descendant, Ended, Event, LanAnswer, Listed, MissingPackage, Outcome, Place,
    Recorded, ResponseAnswer, Sender, StopSource, Survivor,
};
pub use id::{
    BootId, Connection, Identity, Incarnation, InstanceName, JournalId, ModuleName, Pid, Port,
    RequestId, UnreadableIncarnation,
};
pub use install::{Install, Installs, PackagePatterns, is_package_name};
pub use lan::{Lan, MAX_ENGAGED_MODULES};
pub use machine::Rules;
pub use need::{Need, PerProtocol, Protocol};
pub use ports::{Holder, Ports};
pub use rejection::{Rejection, Reply};
pub use requests::LanRequest;
pub use restart::{Decision, RestartPolicy};
pub use service::{
    Activity, End, Failure, History, Hold, Lacking, Next, Process, Service, StopReason, Wait,
};
pub use services::Services;
pub use settings::{CommandHash, Launcher, OnDuplicate, Settings};
pub use shutdown::{Haste, Shutdown};
pub use state::{Master, State};
pub use status::{LanStatus, ServiceState, ServiceStatus, SupersededStatus};
pub use step::step;

/// The version of the meaning of [`step()`]. A checkpoint that another version
/// made is thrown away and rebuilt from the events.
///
/// Raise it with every change that makes the same events lead to another state.
///
/// * 1: the first.
/// * 2: launchers of whole domains; children that live but serve nobody.
/// * 3: a bid that comes to nothing is no failure of the service, nor is an end that nobody saw.
/// * 4: a child counts as forked when it is, not when it is ordered.
/// * 5: a master whose connections outlived it goes on where it was.
/// * 6: a child that ends right after the master's start has ended with the master before.
/// * 7: a freed port is free in every range that has it; at a return, an end that can be told counts
///   for more than a process that is still to be seen.
/// * 8: up to 10,000 modules are listed as in use, not 1,024.
/// * 9: npm's installations are part of the state.
/// * 10: a stop is urgent where that is said, not where it is asked for twice; a response whose
///   connection ends may have been approved; the last ends of children are part of the state; strays
///   have a grace; a child has ended when those that it started have; no bid without a free port, and
///   in an order of each master's own, where the settings say so.
pub const STEP_VERSION: u32 = 10;
