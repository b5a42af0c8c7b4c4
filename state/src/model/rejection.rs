//! The answers to local calls, and why one was refused.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::InstanceName;

/// The answer to a local call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// Done (or under way), with this result.
    Done(Value),
    /// Refused.
    Rejected(Rejection),
}

/// Why a call was refused. The codes are stable: programs may look at them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rejection {
    /// There is no service of this name.
    UnknownInstance(InstanceName),
    /// The master is stopping.
    Stopping,
    /// The LanManager is away, and has not come back in time.
    LanAway,
    /// The LanManager did not answer in time.
    LanSilent,
    /// So many calls wait already.
    TooManyRequests,
    /// The LanManager refused, in its own words.
    Lan {
        /// Its code, where it gave one.
        code: Option<Arc<str>>,
        /// Its message.
        message: Arc<str>,
    },
}

impl Rejection {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::UnknownInstance(_) => "UNKNOWN_INSTANCE",
            Self::Stopping => "STOPPING",
            Self::LanAway => "LANMANAGER_AWAY",
            Self::LanSilent => "LANMANAGER_SILENT",
            Self::TooManyRequests => "TOO_MANY_REQUESTS",
            Self::Lan {
                code: Some(code), ..
            } => code,
            Self::Lan { code: None, .. } => "LANMANAGER_REFUSED",
        }
    }

    /// The whole refusal as text.
    #[must_use]
    pub fn message(&self) -> String {
        alloc::format!("{self}")
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownInstance(instance) => write!(
                formatter,
                "there is no service named {instance} here; `allexmaster status` lists them"
            ),
            Self::Stopping => formatter.write_str("the master is stopping"),
            Self::LanAway => formatter
                .write_str("the LanManager is away; the call was not delivered, try again later"),
            Self::LanSilent => formatter.write_str(
                "the LanManager did not answer in time; whether it acted on the call is unknown",
            ),
            Self::TooManyRequests => {
                formatter.write_str("too many calls wait for the LanManager; try again later")
            }
            Self::Lan { message, .. } => write!(formatter, "the LanManager refused: {message}"),
        }
    }
}
