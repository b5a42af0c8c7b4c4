//! Names and identifiers: a type for each, so that none is taken for another.

use serde::{Deserialize, Serialize};

/// Longest name, in bytes. Names come from the network and are kept for ever in
/// the journal; AllexJS names have some tens of bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text has no bytes.
    #[error("a name must not be empty")]
    Empty,
    /// The text is longer than a name may be.
    #[error("a name of {0} bytes is too long, the limit is {MAX_NAME_BYTES}")]
    TooLong(usize),
}

macro_rules! names {
    ($($(#[$documentation:meta])* $name:ident;)+) => {$(
        $(#[$documentation])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes a text of 1 to [`MAX_NAME_BYTES`] bytes.
            ///
            /// # Errors
            /// [`NameError`] for an empty or too long text.
            pub fn parse(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                match text.len() {
                    0 => Err(NameError::Empty),
                    length if length > MAX_NAME_BYTES => Err(NameError::TooLong(length)),
                    _ => Ok(Self(text)),
                }
            }

            /// The name as text.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_and_endless_names_are_refused() {
        assert_eq!(InstanceName::parse(""), Err(NameError::Empty));
        let longest = "n".repeat(MAX_NAME_BYTES);
        assert!(InstanceName::parse(longest.clone()).is_ok());
        assert_eq!(
            InstanceName::parse(longest + "n"),
            Err(NameError::TooLong(MAX_NAME_BYTES + 1))
        );
    }
}
