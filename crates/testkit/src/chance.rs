//! Random choices from a seed: the same on every machine and in every version of every library.

use std::time::Duration;

/// A stream of random numbers (SplitMix64, <https://prng.di.unimi.it/splitmix64.c>).
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub const fn any(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `from..=to`.
    pub const fn between(&mut self, from: u64, to: u64) -> u64 {
        // Wraps to 0 for the span of all numbers, which is then one number short.
        let span = match to.saturating_sub(from).wrapping_add(1) {
            0 => u64::MAX,
            span => span,
        };
        from + self.any() % span
    }

    /// An index below `end`; 0 where `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        let index = self.any() % (end.max(1) as u64);
        usize::try_from(index).unwrap_or(0)
    }

    /// True so many times in a thousand.
    pub const fn permille(&mut self, share: u64) -> bool {
        self.any() % 1_000 < share
    }

    /// True once in so many times.
    pub const fn once_in(&mut self, times: u64) -> bool {
        self.any().is_multiple_of(times)
    }

    /// One of the list; `None` where it is empty.
    pub fn one_of<'list, T>(&mut self, list: &'list [T]) -> Option<&'list T> {
        let index = self.below(list.len());
        list.get(index)
    }

    /// One of the list; `otherwise` where it is empty.
    pub fn pick<T: Copy>(&mut self, list: &[T], otherwise: T) -> T {
        self.one_of(list).copied().unwrap_or(otherwise)
    }

    /// A time shorter than `longest`.
    pub fn time_below(&mut self, longest: Duration) -> Duration {
        let micros = u64::try_from(longest.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.any() % micros.max(1))
    }
}
