//! THE EYES of `allexmaster`: a journal is read, replayed, explained and drawn.
//!
//! ```text
//!  folder ──┐                  ┌─► log, show       what happened, and what it changed
//!  export ──┼─► Source ─► Past ┼─► why             the chain of causes
//!  master ──┘  (verified   │   ├─► replay, explorer  the state at any point
//!   (pages)     records)   │   ├─► timeline        lanes on a page
//!                          │   └─► export          for somebody else
//!                          └── step, again, as in life
//! ```
//!
//! # Theory of operation
//!
//! The journal has every input of the master's life, and `step` is a pure function. So whatever the
//! master ever knew or decided can be had again: [`replay::Past`] steps over the records of a
//! [`source::Source`] and keeps a state every so many events, from which any other is near.
//!
//! Nothing here writes into a journal, takes its lock, or performs an effect. A journal that a master
//! is writing is read from a copy of what is new, or asked of the master page by page.

#![forbid(unsafe_code)]

// In reading order.
/// States on the way, so that a jump starts from the nearest one.
pub mod frames;
pub mod source;

pub mod replay;

pub mod subject;

pub mod words;

pub mod failure;

pub mod difference;

pub mod filter;

pub mod why;

pub mod timeline;

pub mod transcript;

pub mod compare;

pub mod redact;

pub mod time;

pub mod screen;

pub mod explorer;

pub mod command;

pub mod error;
