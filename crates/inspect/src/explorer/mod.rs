//! The time machine: the life of a machine in the terminal, forwards and backwards.
//!
//! ```text
//!  index (a thread reads the whole journal once) ──► Index ──┐
//!  keys ──► App (where we are, what is looked for) ──────────┼─► draw
//!  Past (any state, from the nearest kept one) ──────────────┘
//! ```
//!
//! Nobody waits for the reading: where no state is near yet, [`Shown`] has the event alone (the last one
//! with the state after it, which the checkpoint knows), and the rest once the thread came by.

mod app;
mod draw;
mod index;
mod keys;
mod shown;
mod terminal;

pub use app::{App, Status};
pub use draw::draw;
pub use index::{Fact, Index, Indexing};
pub use keys::key;
pub use shown::{Cause, Shown};
pub use terminal::run;
