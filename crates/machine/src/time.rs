//! Wall-clock and monotonic time as two types, both in milliseconds.

use core::fmt;

use serde::{Deserialize, Serialize};

/// A clock reading in milliseconds.
pub trait Time: Copy + Ord + Default + fmt::Debug + Send + 'static {
    /// The reading with this number of milliseconds.
    fn from_millis(millis: u64) -> Self;

    /// Milliseconds since the origin of the clock.
    fn millis(self) -> u64;
}

macro_rules! clock_reading {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// This time and so many milliseconds; stops at the largest value instead of wrapping.
            #[must_use]
            pub const fn plus(self, milliseconds: u64) -> Self {
                Self(self.0.saturating_add(milliseconds))
            }

            /// Milliseconds from `earlier` to this time; 0 where `earlier` is later.
            #[must_use]
            pub const fn since(self, earlier: Self) -> u64 {
                self.0.saturating_sub(earlier.0)
            }
        }

        impl Time for $name {
            fn from_millis(millis: u64) -> Self {
                Self(millis)
            }

            fn millis(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, formatter)
            }
        }
    };
}

clock_reading! {
    /// Wall-clock time: milliseconds since the Unix epoch. Comparable between hosts and runs.
    Wall
}

clock_reading! {
    /// Monotonic time: milliseconds since the host's boot. Meaningless on another host or after a reboot.
    Mono
}
