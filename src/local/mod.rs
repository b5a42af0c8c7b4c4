//! The local sockets: children and tools on this machine reach the master here.

pub mod dial;
pub mod sockets;
