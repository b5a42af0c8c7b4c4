//! Time and randomness come in through one door, so that a simulation can hold it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Where the loop gets the two things that a pure machine must not fetch itself.
pub trait Clock {
    /// Milliseconds since the Unix epoch. May jump; the journal keeps recorded time from going back.
    fn now(&mut self) -> u64;
    /// Random bits, which are recorded with one event.
    fn noise(&mut self) -> u32;
}

/// The clock of the machine and the randomness of its kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&mut self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        since_epoch.map_or(0, |elapsed| {
            u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
        })
    }

    fn noise(&mut self) -> u32 {
        // Noise only spreads retries. Where the kernel has none, the nanoseconds will do.
        getrandom::u32().unwrap_or_else(|_| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
            since_epoch.map_or(0, |elapsed| elapsed.subsec_nanos())
        })
    }
}

/// Clocks can be lent.
impl<C: Clock + ?Sized> Clock for &mut C {
    fn now(&mut self) -> u64 {
        (**self).now()
    }

    fn noise(&mut self) -> u32 {
        (**self).noise()
    }
}
