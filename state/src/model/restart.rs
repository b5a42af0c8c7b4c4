//! How often, and how soon, a child is started again: arithmetic only.

use serde::{Deserialize, Serialize};

/// The restart policy. Times are milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// The first pause; doubled with each failure in a row.
    pub delay: u64,
    /// The longest pause.
    pub delay_most: u64,
    /// A child that was up for so long has no failures in a row behind it.
    pub stable_after: u64,
    /// After so many failures in a row the service is given up until somebody
    /// asks for it (`restart`) or the need appears anew. 0: never given up.
    pub attempts: u32,
    /// How far a pause may be off, up or down, in thousandths of it: so that
    /// services that failed together do not come back together.
    pub jitter: u16,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            delay: 500,
            delay_most: 60_000,
            stable_after: 10_000,
            attempts: 0,
            jitter: 200,
        }
    }
}

/// What the policy says after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Start it again after so many milliseconds (0: at once).
    After(u64),
    /// Enough is enough.
    GiveUp,
}

impl RestartPolicy {
    /// Decides after the `failures`-th failure in a row. A service that was
    /// `approved` before its first failure is started again at once: most deaths
    /// are single ones, and each pause is one in which nobody is served.
    #[must_use]
    pub fn decide(&self, failures: u32, approved: bool, entropy: u32) -> Decision {
        if self.attempts > 0 && failures > self.attempts {
            return Decision::GiveUp;
        }
        let free = u32::from(approved);
        if failures <= free {
            return Decision::After(0);
        }
        let doublings = (failures - free - 1).min(32);
        let pause = self
            .delay
            .saturating_mul(1 << doublings)
            .min(self.delay_most);
        Decision::After(self.with_jitter(pause, entropy))
    }

    fn with_jitter(&self, pause: u64, entropy: u32) -> u64 {
        let span = pause.saturating_mul(u64::from(self.jitter.min(1_000))) / 1_000;
        let share = span.saturating_mul(2).saturating_mul(u64::from(entropy)) / u64::from(u32::MAX);
        pause.saturating_sub(span).saturating_add(share)
    }
}
