//! The memory of allexmaster: the event journal, and the loop that obeys it.
//!
//! # Theory of operation
//!
//! A program is a pure state machine ([`Machine`]) and hands that do what it decides ([`Performer`]).
//! Between them stands this crate, which keeps one promise: **nothing is done before the event that
//! caused it is on disk**. So the process can be killed at any instruction and come back with the
//! same state, because the state is nothing but the sum of the recorded events.
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
//! A record ([`record`]) carries its number, time, randomness, kind and event, and a checksum that is
//! chained to the record before. A [`Journal`] appends and verifies records in a [`store`]. [`JournaledMachine`]
//! adds the state; [`engine`] adds the loop.
//!
//! When a journal is opened, whatever verifies is used; whatever does not is set aside under a name,
//! and told as a [`Recovery`]. Nothing is repaired silently, and nothing deleted but by a
//! [`compaction`], which keeps the state that the deleted events led to.

// In reading order: what a program hands in, the loop, and what the loop stands on.
pub mod engine;

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
pub use engine::{Ended, Inbox, Mailbox, Performer, Refused, Stopped};
pub use error::Error;
pub use failpoint::{BadFailpoint, Failpoint, Point};
pub use journal::{Journal, MAX_BATCH, Options};
pub use journaled::{JournaledMachine, Opened, Visit, Watch};
pub use outage::Outage;
pub use reader::Position;
pub use records::{Recorded, Records};
pub use recovery::Recovery;
pub use restore::Restore;
