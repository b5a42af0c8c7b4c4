//! AllexJS on the wire: frames, sessions, state and data streams, both ends.
//!
//! # Theory of operation
//!
//! ```text
//!            bytes              texts             frames            events, requests
//!  socket ──────────► framing ─────────► frame ─────────► client ──────────────────► application
//!         ◄──────────         ◄─────────       ◄───────── server ◄──────────────────
//!            (carrier: the only module with sockets,        │
//!             behind the feature "tokio")                   ├─ table, filter   rows to queries
//!                                                           ├─ mirror          events to rows
//!                                                           └─ state_stream    items to a tree
//! ```
//!
//! There is one message language, small JSON arrays called frames ([`frame`]), over several carriers
//! that differ only in how they cut a byte stream into JSON texts ([`framing`]). A *session* is an
//! identifier that the server gives out when somebody introduces himself; calls are made in a session,
//! state and data flow back in its name, and many sessions share a connection. A session of a service
//! leads to sessions of its subservices by *reservation*: the parent session asks, the server reserves,
//! the client claims.
//!
//! Everything but `carrier` is pure: bytes, texts and the time come in as arguments, and what is to
//! be sent or known is fetched. Nothing here blocks, sleeps, reads a clock, or panics on any input, and
//! everything that a peer can make grow has a limit with a name.

pub mod frame;

pub mod framing;

pub mod state_stream;

pub mod filter;

pub mod table;

pub mod mirror;

pub mod close;

pub mod client;

pub mod server;

#[cfg(feature = "tokio")]
pub mod carrier;
