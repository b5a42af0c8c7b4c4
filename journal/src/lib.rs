//! The event journal, and the loop around a machine.
//!
//! # Theory of operation
//!
//! A program is a pure state machine ([`Machine`]) and a [`Performer`] of what it decides. This crate
//! stands between them and keeps one promise: **nothing is done before the event that caused it is on
//! disk**. So the process can be killed at any instruction and come back with the same state, because
//! the state follows from the recorded events alone.
//!
//! ```text
//!            ┌────────────────────── event loop ──────────────────────┐
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
//! A record ([`record`]) has a sequence number, time, entropy, kind and event, and a checksum that is
//! chained to the record before. A [`Journal`] appends and verifies records in a [`store`].
//! [`JournaledMachine`] adds the state. [`EventLoop`] adds deadlines, effects and outages; [`runner`]
//! gives it a thread and an [`Inbox`].
//!
//! When a journal is opened, whatever verifies is used; the rest is set aside under a name and
//! reported as a [`Recovery`]. A damaged sealed file is a [`Hole`]: a state is kept after each sealed
//! file, and the replay goes on from there. Nothing is repaired silently, and only a [`compaction`] deletes
//! anything: it keeps the state that the deleted events led to.

pub mod base;
mod checkpoint;
pub mod clock;
pub mod compaction;
pub mod error;
pub mod event_loop;
pub mod failpoint;
pub mod header;
mod hole;
mod inbox;
pub mod journal;
pub mod journaled;
mod outage;
mod reader;
pub mod record;
mod records;
pub mod recovery;
pub mod restore;
pub mod runner;
pub mod store;

pub use allexmaster_machine::{Machine, Mono, Stamp, Time, Wall};
pub use base::Base;
pub use clock::{Clock, Jump, MachineTime, SteadyClock, SystemClock, TimeSource};
pub use compaction::{Bounds, Compaction, CompactionEnd, CompactionRequest};
pub use error::Error;
pub use event_loop::{EventLoop, Performer};
pub use failpoint::{BadFailpoint, Failpoint, Point};
pub use hole::{Hole, Span, Survey};
pub use journal::{Journal, MAX_BATCH, Options, Passage};
pub use journaled::{JournaledMachine, Opened, Visit, Watch};
pub use outage::{Outage, OutageBoard};
pub use reader::Position;
pub use records::{Recorded, Records};
pub use recovery::Recovery;
pub use restore::Restore;
pub use runner::{Ended, Inbox, Mailbox, Refused, Stopped};
