//! Where time and entropy come from: one trait, so that a simulation can replace both.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use allexmaster_machine::Wall;

/// The source of the time and entropy of a stamp.
pub trait Clock<T = Wall> {
    /// The time. The journal keeps recorded time from going back.
    fn now(&mut self) -> T;
    /// Random bits, which are recorded with one event.
    fn entropy(&mut self) -> u32;
    /// Makes sure that no time before this one is given: where the journal ends.
    fn not_before(&mut self, at: T) {
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

/// The least difference that counts as a jump, in milliseconds. What a time server corrects is less,
/// and no deadline needs to be moved for it.
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
        SystemClock.now().0
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
    fn now(&mut self) -> Wall {
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
            return Wall(wall);
        }
        if expected - wall >= JUMP_LEAST && !self.is_ahead {
            self.is_ahead = true;
            self.back = Some(expected - wall);
        }
        let slowed = self.now.saturating_add(lived - lived / CATCH_UP_PART);
        self.now = slowed.max(wall);
        Wall(self.now)
    }

    fn entropy(&mut self) -> u32 {
        SystemClock.entropy()
    }

    fn not_before(&mut self, at: Wall) {
        self.now = self.now.max(at.0);
    }

    fn jump(&mut self) -> Option<Jump> {
        let forward = std::mem::take(&mut self.forward);
        if forward > 0 {
            return Some(Jump::Forward(forward));
        }
        self.back.take().map(Jump::Back)
    }
}

/// One reading of a clock, for all events of a batch, so that none of them has a time after a jump that
/// the machine has no event for yet.
pub(crate) struct Moment<'clock, T> {
    pub(crate) now: T,
    pub(crate) clock: &'clock mut dyn Clock<T>,
}

impl<T: Copy> Clock<T> for Moment<'_, T> {
    fn now(&mut self) -> T {
        self.now
    }

    fn entropy(&mut self) -> u32 {
        self.clock.entropy()
    }
}

/// The clock of the machine and the randomness of its kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&mut self) -> Wall {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        Wall(since_epoch.map_or(0, |elapsed| {
            u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
        }))
    }

    fn entropy(&mut self) -> u32 {
        // Entropy only spreads retries. Where the kernel has none, the nanoseconds will do.
        getrandom::u32().unwrap_or_else(|_| {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
            since_epoch.map_or(0, |elapsed| elapsed.subsec_nanos())
        })
    }
}

impl<T, C: Clock<T> + ?Sized> Clock<T> for &mut C {
    fn now(&mut self) -> T {
        (**self).now()
    }

    fn entropy(&mut self) -> u32 {
        (**self).entropy()
    }

    fn not_before(&mut self, at: T) {
        (**self).not_before(at);
    }

    fn jump(&mut self) -> Option<Jump> {
        (**self).jump()
    }
}
