//! The keeper as the sessions see it: it holds their descriptors open while no engine runs.

use std::collections::BTreeMap;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

/// Keeps descriptors under names. What was kept stays kept when this process is killed right after.
pub trait DescriptorStore: Send + Sync {
    /// Whether it still keeps anything.
    fn is_there(&self) -> bool;

    /// Keeps further descriptors under a name.
    fn keep(&self, name: &str, descriptors: &[BorrowedFd<'_>]);

    /// Keeps a listening socket under a name, and accepts on it. What is accepted is kept too, under
    /// that name, a point, and a number that is never used again; and handed to
    /// [`Runtime::take_in`](super::Runtime::take_in).
    fn accept(&self, name: &str, listener: BorrowedFd<'_>);

    /// Has the next engine be this program.
    ///
    /// # Errors
    /// Why not, for people.
    fn next_engine(&self, program: &Path) -> Result<(), String>;

    /// Forgets all descriptors of a name.
    fn forget(&self, name: &str);
}

/// What was given back: all descriptors of a name in the order in which they were kept.
pub type Inherited = BTreeMap<String, Vec<OwnedFd>>;

/// Begins the names of logs; the generation follows.
pub(super) const LOG: &str = "log.";

/// The generation of a log; none where the name is no log's.
pub(super) fn generation_of(name: &str) -> Option<u64> {
    name.strip_prefix(LOG)?.parse().ok()
}

/// Begins the names of listeners; the number of the socket follows.
pub(super) const LISTENER: &str = "listen.";
/// Begins the names of children's channels; the incarnation follows.
pub(super) const CHANNEL: &str = "child.";
/// Begins the names of connections to the LanManager; the dial follows.
pub(super) const LAN: &str = "lan.";
