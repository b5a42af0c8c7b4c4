//! The keeper of `allexmaster`: the process that outlives the engine, both ends of the link between the
//! two, the start of programs, and every call to the operating system.
//!
//! ```text
//!            keeper ◄────── link ──────► (engine: the program allexmaster)
//!              │                            │
//!              └──────────► spawn ◄─────────┤
//!                             ▼             ▼
//!                      os ── linux ── syscalls (the only unsafe code)
//! ```
//!
//! - [`keeper`]: what the keeper process does.
//! - [`link`]: the engine's end of the connection to it.
//! - [`spawn`]: starts a program with chosen descriptors, as a child of this process or of its parent.
//! - [`os`]: what the rest of the program asks of the operating system.
//!
//! The crate knows nothing of AllexJS, of the journal or of the rules.

pub mod keeper;
pub mod link;
pub mod os;
pub mod spawn;

/// The exit code of a program that failed.
const FAILURE: u8 = 1;
