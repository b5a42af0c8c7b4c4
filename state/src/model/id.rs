//! A type for every name and number, so that no two can be mixed up.

use alloc::string::String;
use alloc::sync::Arc;
use core::borrow::Borrow;
use core::fmt;
use core::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! name {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

macro_rules! number {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}", self.0)
            }
        }
    };
}

name! {
    /// The name under which a service is known in the LAN (AllexJS: `instancename`).
    InstanceName
}
name! {
    /// The program of a service (AllexJS: `modulename`), with its domain: `exec:web`, `sample:clock`.
    /// The services of AllexJS itself have none: `allex_timeservice`.
    ModuleName
}

impl ModuleName {
    /// What stands before the first colon; empty where there is none.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.split_once(':').map_or("", |(domain, _)| domain)
    }

    /// What stands behind the first colon; all of it where there is none.
    #[must_use]
    pub fn without_domain(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(_, name)| name)
    }
}
name! {
    /// What the kernel calls this run of the machine (`/proc/sys/kernel/random/boot_id`).
    BootId
}
name! {
    /// The identity of a journal: a UUID, made when the journal was created.
    JournalId
}
number! {
    /// A process number of the operating system.
    Pid(u32)
}
number! {
    /// A TCP port number.
    Port(u16)
}
number! {
    /// A call that somebody local waits for. Unique within one run of the master.
    RequestId(u64)
}
number! {
    /// One connection to the LanManager, from the dial to the close. Named by the
    /// sequence number of the event that caused the dial, so never used twice.
    Connection(u64)
}

/// One attempt: of a child to live, or of a bid to win. Named by the sequence
/// number of the event that caused it, and by its place among those that the
/// same event caused; so no two attempts in the life of a journal are the same,
/// and a replay makes the same ones. Written `918`, or `918.2` for the third.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation {
    /// The sequence number of the event.
    pub sequence: u64,
    /// The place among the attempts that this event caused, from 0.
    pub index: u32,
}

impl fmt::Display for Incarnation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            0 => write!(formatter, "{}", self.sequence),
            index => write!(formatter, "{}.{index}", self.sequence),
        }
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A text that is not an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadableIncarnation;

impl fmt::Display for UnreadableIncarnation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not an incarnation (expected a number such as 918 or 918.2)")
    }
}

impl core::error::Error for UnreadableIncarnation {}

impl FromStr for Incarnation {
    type Err = UnreadableIncarnation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (sequence, index) = text.split_once('.').unwrap_or((text, "0"));
        Ok(Self {
            sequence: sequence.parse().map_err(|_| UnreadableIncarnation)?,
            index: index.parse().map_err(|_| UnreadableIncarnation)?,
        })
    }
}

impl Serialize for Incarnation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Incarnation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// What tells one process from every other that ever had its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The run of the machine that the process belongs to.
    pub boot: BootId,
    /// The process number.
    pub pid: Pid,
    /// When it started, in clock ticks since the machine booted (field 22 of `/proc/PID/stat`).
    pub started: u64,
}
