//! The LanManager: how it is dialed.

pub mod dial;
