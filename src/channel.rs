//! What the driver of children tells other drivers: the way to talk to a child.
//!
//! They know nothing of one another; what stands here is all that is between them.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;

use allexmaster_state::{Identity, Incarnation, InstanceName};

/// The way to talk to a child that was just forked.
#[derive(Debug)]
pub struct Channel {
    /// Which child.
    pub incarnation: Incarnation,
    /// Which service.
    pub instance: InstanceName,
    /// The process.
    pub identity: Identity,
    /// How it is reached.
    pub end: ChannelEnd,
}

/// How a child is reached.
#[derive(Debug)]
pub enum ChannelEnd {
    /// By our end of the socket pair that it inherited: Node's IPC channel.
    Inherited(UnixStream),
    /// By the socket that it will open itself, `allexprocess.<pid>`.
    OwnSocket,
}

/// Whom the driver of children tells what is not for the rules. None may block.
pub struct Neighbours {
    /// A child is about to be forked that will inherit the other end of this channel.
    pub channel_made: Box<dyn Fn(Incarnation, BorrowedFd<'_>) + Send + Sync>,
    /// That child was not forked.
    pub channel_dropped: Box<dyn Fn(Incarnation) + Send + Sync>,
    /// A channel was opened.
    pub channel_opened: Box<dyn Fn(Channel) + Send + Sync>,
}

impl Default for Neighbours {
    /// Nobody.
    fn default() -> Self {
        Self {
            channel_made: Box::new(|_, _| {}),
            channel_dropped: Box::new(drop),
            channel_opened: Box::new(drop),
        }
    }
}

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Neighbours")
    }
}
