//! From the LanManager to the local sockets: what changed in the LanManager's tables.
//!
//! The rules take no part in it: no decision depends on these tables.

use allexmaster_protocol::mirror::MirrorChange;

/// A change.
#[derive(Clone, Debug, PartialEq)]
pub enum TableChange {
    /// In the table of services.
    Services(MirrorChange),
    /// In the table of address translations (`nat`).
    Translations(MirrorChange),
}
