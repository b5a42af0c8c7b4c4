//! Names and identifiers: a type for each, so that none is taken for another.

use allexmaster_protocol::limits::{NameError, check_name};
use serde::{Deserialize, Serialize};

macro_rules! names {
    ($($(#[$documentation:meta])* $name:ident;)+) => {$(
        $(#[$documentation])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes a name, see [`check_name`].
            ///
            /// # Errors
            /// [`NameError`] for a text that is no name.
            pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                check_name(&text)?;
                Ok(Self(text))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    )+};
}

names! {
    /// What a need and the service that satisfies it are called; unique.
    InstanceName;
    /// The program that a need asks for.
    ModuleName;
    /// A session on the service of one open need, as the server calls it.
    SessionId;
    /// One root session of a master, unique over all runs of the LanManager.
    MasterId;
    /// The identifier of a master's journal: the same after every restart of it, and
    /// another one for each master, also behind one address.
    MasterIdentity;
    /// The address a master connects from, without port and without `::ffff:`.
    Address;
    /// What a bidder shows when it responds.
    Ticket;
}

impl Ticket {
    /// The ticket of a bid: made of the sequence number of the event that made the
    /// bid active, so that a replay makes the same one.
    pub(super) fn from_sequence(sequence: u64) -> Self {
        Self(format!("bid-{sequence}"))
    }
}
