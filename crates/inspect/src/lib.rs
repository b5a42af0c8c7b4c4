//! The journal as a tool: read, replayed, explained and drawn.
//!
//! ```text
//!  folder ──┐                  ┌─► log, show       what happened, and what it changed
//!  export ──┼─► Source ─► Past ┼─► why             the chain of causes
//!  master ──┘  (verified   │   ├─► replay, explorer  the state at any point
//!   (pages)     records)   │   ├─► timeline        lanes on a page
//!                          │   └─► export          for another machine
//!                          └── step, as in the running master
//! ```
//!
//! # Theory of operation
//!
//! The journal has every input of the master, and `step` is a pure function. So every past state and
//! decision can be computed again: [`replay::Past`] steps over the records of a [`source::Source`] and
//! keeps a state every so many events ([`frames`]), from which any other is near.
//!
//! Nothing here but `compact` writes into a journal, takes its lock, or performs an effect. The journal of
//! a running master is asked of it page by page, or read from a copy of its files.
//!
//! # Reading order
//!
//! 1. [`source`]: records from a folder, an export or a running master; [`replay`]: their states.
//! 2. [`words`], [`subject`], [`failure`]: events and effects as sentences, and what they are about.
//! 3. [`why`], [`timeline`], [`transcript`], [`compare`], [`redact`]: the questions, one module each.
//! 4. [`explorer`]: the states in a terminal.
//! 5. [`command`]: the command line.
//!
//! `docs/journal.md` shows the commands; `docs/architecture.md` has the place of this crate.

#![forbid(unsafe_code)]

pub mod command;
pub mod compare;
pub mod error;
pub mod explorer;
pub mod failure;
pub mod filter;
pub mod frames;
pub mod redact;
pub mod replay;
pub mod screen;
pub mod source;
pub mod subject;
pub mod time;
pub mod timeline;
pub mod transcript;
pub mod why;
pub mod words;
