//! How a command ended.

/// What the exit code will say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Done,
    /// The command did its work and has reported a problem.
    Found,
}

impl Answer {
    pub(super) const fn of(healthy: bool) -> Self {
        if healthy { Self::Done } else { Self::Found }
    }
}
