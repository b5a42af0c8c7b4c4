//! The event journal, and the loop around a machine that it records.
//!
//! # Theory of operation
//!
//! A program is a pure state machine ([`Machine`]) and code that performs its effects ([`Performer`]).
//! This crate connects the two and keeps one promise: **no effect is performed before the event that
//! caused it is on disk**. So the process can be killed at any instruction and restart with the same
//! state, because the state is the sum of the recorded events.
//!
//! ```text
//!            ┌──────────────────────── engine ────────────────────────┐
//!            │                                                        │
//!  Inbox ───►│ receive ──► append ──► sync ──► step ──► perform ──► settled
//!            │    ▲           │         │        │                    │
//!            └────┼───────────┼─────────┼────────┼────────────────────┘
//!            next_deadline    ▼         ▼        ▼
//!                           Store: written    State ──► checkpoint
//!                                  durable
//!                                     │ every 2048 batches
//!                                     ▼
//!                           sealed history, compressed, never changed
//! ```
//!
//! A record ([`record`]) carries its number, time, entropy, kind and event, and a checksum that is
//! chained to the record before. A [`Journal`] appends and verifies records in a [`store`]. [`JournaledMachine`]
//! adds the state; [`engine`] adds the loop.
//!
//! Opening a journal uses every record that verifies and sets the others aside under a name, with a
//! [`Recovery`] that says so. Nothing is repaired silently, and nothing is deleted except by a
//! [`compaction`], which keeps the state that the deleted events led to.
//!
//! # Reading order
//!
//! 1. [`engine`]: the loop. [`JournaledMachine`]: the state and the records together.
//! 2. [`mod@journal`]: appending and reading. [`record`], [`header`]: the formats, with their changelogs.
//! 3. [`store`]: sled, sealed files, and what is done about their faults.
//! 4. [`recovery`], [`compaction`], [`base`], [`restore`]: damage, old history, copies.
//!
//! Where this crate stands: `docs/architecture.md`.

pub mod event_loop;

pub mod runner;

mod inbox;

mod outage;

pub mod journaled;

pub mod journal;

mod records;

mod reader;

pub mod record;

mod checkpoint;

pub mod base;

pub mod header;

pub mod compaction;

pub mod restore;

pub mod store;

pub mod recovery;

pub mod error;

pub mod clock;

pub mod failpoint;

pub use allexmaster_machine::{Machine, Mono, Stamp, Time, Wall};
pub use base::Base;
pub use clock::{Clock, Jump, MachineTime, SteadyClock, SystemClock, TimeSource};
pub use compaction::{Bounds, Compaction, CompactionEnd, CompactionRequest};
pub use error::Error;
pub use event_loop::{EventLoop, Performer};
pub use failpoint::{BadFailpoint, Failpoint, Point};
pub use journal::{Journal, MAX_BATCH, Options};
pub use journaled::{JournaledMachine, Opened, Visit, Watch};
pub use outage::{Outage, OutageBoard};
pub use reader::Position;
pub use records::{Recorded, Records};
pub use recovery::Recovery;
pub use restore::Restore;
pub use runner::{Ended, Inbox, Mailbox, Refused, Stopped};
