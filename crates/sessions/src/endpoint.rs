//! Where a LanManager is dialed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a LanManager listens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// What is spoken there.
    pub protocol: LanProtocol,
    /// The host name or address; an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// What a LanManager is spoken to in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum LanProtocol {
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// SignalR over HTTP.
    SignalR,
}

impl LanProtocol {
    /// The first part of a URL.
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::SignalR => "http",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.protocol.scheme();
        if self.host.contains(':') {
            write!(formatter, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}
