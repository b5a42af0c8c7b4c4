//! The local sockets: children and tools on this machine reach the master here.
//!
//! [`service`] knows what is [`asked`] and answered, without sockets; [`sockets`] knows files and
//! permissions. The front joins them.

pub mod asked;
mod outage;
mod relays;
pub mod service;
pub mod sockets;
