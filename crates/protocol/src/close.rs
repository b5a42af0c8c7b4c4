//! Why a connection ends, one list for sessions, framings and the pump.

use std::io;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::frame::FrameError;
use crate::framing::FramingError;

/// What carries a connection: it decides who pings whom, and how a request that is not
/// understood is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CarrierKind {
    /// A Unix or TCP socket with length prefixes: the one who dials pings, and only pings count.
    Socket,
    /// A plain WebSocket: the one who dials pings, and everything counts.
    WebSocket,
    /// SignalR: the one who accepts pings.
    SignalR,
    /// The IPC channel of a child: no pings.
    Ipc,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Error, Serialize, Deserialize)]
pub enum CloseReason {
    /// The peer closed it in an orderly way.
    #[error("the peer closed the connection")]
    ByPeer,
    /// This side closed it.
    #[error("this side closed the connection")]
    ByUs,
    /// The peer gave no sign of life for 20 seconds.
    #[error("the peer was silent for {seconds} seconds")]
    Silent {
        /// How long.
        seconds: u64,
    },
    /// The peer stopped in the middle of a message.
    #[error("the peer closed the connection in the middle of a message")]
    HalfMessage,
    /// The bytes cannot be taken apart.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// The texts are not frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer opens more sessions than one connection may have.
    #[error("the peer opened more than {limit} sessions on one connection")]
    TooManySessions {
        /// The bound.
        limit: usize,
    },
    /// The peer has more unanswered calls than one connection may have.
    #[error("the peer left more than {limit} calls open on one connection")]
    TooManyCalls {
        /// The bound.
        limit: usize,
    },
    /// The peer has more open queries than one connection may have.
    #[error("the peer left more than {limit} queries open on one connection")]
    TooManyQueries {
        /// The bound.
        limit: usize,
    },
    /// The peer does not read what it is sent.
    #[error("the peer does not read: {queued} bytes wait for it, more than the {limit} allowed")]
    SlowPeer {
        /// What waits.
        queued: usize,
        /// The bound.
        limit: usize,
    },
    /// The connection could not be opened.
    #[error("the peer did not complete the handshake: {reason}")]
    Handshake {
        /// What went wrong.
        reason: String,
    },
    /// The configuration names another peer now.
    #[error("the configuration names another LanManager")]
    Reconfigured,
    /// The operating system reports an error.
    #[error("the connection failed: {reason}")]
    Io {
        /// What it reports.
        reason: String,
    },
}

impl CloseReason {
    /// The reason behind an error of a socket. A peer that was killed resets the connection: to this
    /// side it has closed it.
    #[must_use]
    pub fn from_io(error: &io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        if matches!(
            error.kind(),
            BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
        ) {
            Self::ByPeer
        } else {
            Self::Io {
                reason: error.to_string(),
            }
        }
    }

    /// Whether one side simply closed; every other reason is a fault worth a warning.
    #[must_use]
    pub fn is_orderly(&self) -> bool {
        matches!(self, Self::ByPeer | Self::ByUs)
    }
}
