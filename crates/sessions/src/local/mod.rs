//! Local peers: tools and children on this machine, over the master's sockets.

mod outage;
mod relays;
pub mod request;
pub mod service;
pub mod socket;
