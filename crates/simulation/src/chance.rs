//! Chance from a seed: the same on every machine and in every version of every library.

/// A stream of random numbers (SplitMix64, <https://prng.di.unimi.it/splitmix64.c>).
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    state: u64,
}

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Any number.
    pub(crate) const fn any(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `from..=to`.
    pub(crate) const fn between(&mut self, from: u64, to: u64) -> u64 {
        let span = to.saturating_sub(from).saturating_add(1);
        // A span of everything wraps to 0 only where it was `u64::MAX`, which nobody asks for.
        from + self.any() % span
    }

    /// The same, for lists.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let index = self.any() % (end.max(1) as u64);
        usize::try_from(index).unwrap_or(0)
    }

    /// True so many times in a thousand.
    pub(crate) const fn permille(&mut self, share: u64) -> bool {
        self.any() % 1_000 < share
    }

    /// One of these.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T], otherwise: T) -> T {
        let index = self.below(of.len());
        of.get(index).copied().unwrap_or(otherwise)
    }
}
