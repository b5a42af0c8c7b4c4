//! How a command ended.

/// What the exit code will say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All is well.
    Done,
    /// The command did its work, and what it found is not well: it was told.
    Found,
}

impl Answer {
    pub(super) const fn of(healthy: bool) -> Self {
        if healthy { Self::Done } else { Self::Found }
    }
}
