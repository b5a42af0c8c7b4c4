//! Time and randomness come in through one door, so that a simulation can hold it.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where the loop gets the two things that a pure machine must not fetch itself.
pub trait Clock {
    /// Milliseconds since the Unix epoch. The journal keeps recorded time from going back.
    fn now(&mut self) -> u64;
    /// Random bits, which are recorded with one event.
    fn noise(&mut self) -> u32;
    /// Makes sure that no time before this one is given: where the journal ends.
    fn not_before(&mut self, at: u64) {
        let _ = at;
    }
    /// What the clock did that time does not do, since this was asked for the last time.
    fn jump(&mut self) -> Option<Jump> {
        None
    }
}

/// A clock that was set, or that went on while the machine slept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    /// Forward by so many milliseconds. The time that is given has jumped along.
    Forward(u64),
    /// Back by so many milliseconds. The time that is given has not.
    Back(u64),
}

/// From so many milliseconds on a jump is one. What a time server corrects is less, and no deadline
/// needs to be moved by it.
const JUMP_LEAST: u64 = 1_000;

/// Where the given time is ahead of the machine's, this part of the passing time is left out until
/// both agree again. So a timeout is late by a tenth at most.
const CATCH_UP_PART: u64 = 10;

/// Where a [`SteadyClock`] gets its times from.
pub trait TimeSource {
    /// Milliseconds since the Unix epoch, as the machine believes. Jumps.
    fn wall(&mut self) -> u64;
    /// Milliseconds since any moment, that only ever pass. May stand still while the machine sleeps.
    fn passed(&mut self) -> u64;
}

/// The times of this machine.
#[derive(Clone, Copy, Debug)]
pub struct MachineTime {
    began: Instant,
}

impl Default for MachineTime {
    fn default() -> Self {
        Self {
            began: Instant::now(),
        }
    }
}

impl TimeSource for MachineTime {
    fn wall(&mut self) -> u64 {
        SystemClock.now()
    }

    fn passed(&mut self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A clock that never goes back and always goes on, whatever is done to the machine's.
///
/// It passes as time does. Where the machine's clock is set back, it does not follow but goes a
/// little slower until both agree; where it is set forward, or the machine slept, it follows and says
/// so ([`Clock::jump`]).
#[derive(Clone, Debug)]
pub struct SteadyClock<S = MachineTime> {
    source: S,
    now: u64,
    passed: u64,
    forward: u64,
    back: Option<u64>,
    /// The jump back that was told last is not over.
    is_ahead: bool,
}

impl<S: TimeSource> SteadyClock<S> {
    /// A clock that shows what the machine's does.
    pub fn new(mut source: S) -> Self {
        Self {
            now: source.wall(),
            passed: source.passed(),
            source,
            forward: 0,
            back: None,
            is_ahead: false,
        }
    }
}

impl<S: TimeSource> Clock for SteadyClock<S> {
    fn now(&mut self) -> u64 {
        let (wall, passed) = (self.source.wall(), self.source.passed());
        let lived = passed.saturating_sub(self.passed);
        self.passed = passed;
        let expected = self.now.saturating_add(lived);
        if wall >= expected {
            if wall - expected >= JUMP_LEAST {
                self.forward = self.forward.saturating_add(wall - expected);
            }
            self.is_ahead = false;
            self.now = wall;
            return wall;
        }
        if expected - wall >= JUMP_LEAST && !self.is_ahead {
            self.is_ahead = true;
            self.back = Some(expected - wall);
        }
        let slowed = self.now.saturating_add(lived - lived / CATCH_UP_PART);
        self.now = slowed.max(wall);
        self.now
    }

    fn noise(&mut self) -> u32 {
        SystemClock.noise()
    }

    fn not_before(&mut self, at: u64) {
        self.now = self.now.max(at);
    }

    fn jump(&mut self) -> Option<Jump> {
        let forward = std::mem::take(&mut self.forward);
        if forward > 0 {
            return Some(Jump::Forward(forward));
        }
        self.back.take().map(Jump::Back)
    }
}

/// One moment of a clock, for all events of a batch: so that none of them sees a jump that the
/// machine was not told of.
pub(crate) struct Moment<'clock> {
    pub(crate) now: u64,
    pub(crate) clock: &'clock mut dyn Clock,
}

impl Clock for Moment<'_> {
    fn now(&mut self) -> u64 {
        self.now
    }

    fn noise(&mut self) -> u32 {
        self.clock.noise()
    }
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

    fn not_before(&mut self, at: u64) {
        (**self).not_before(at);
    }

    fn jump(&mut self) -> Option<Jump> {
        (**self).jump()
    }
}
