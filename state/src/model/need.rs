//! A need: a service that the LanManager wants somebody to instantiate.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{InstanceName, ModuleName, Port};

/// The three protocols that a service of AllexJS listens for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Length-prefixed frames on a plain TCP connection.
    Tcp,
    /// HTTP (in AllexJS: SignalR).
    Http,
    /// WebSocket.
    Ws,
}

impl Protocol {
    /// All three, in the order in which the LanManager checks them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Http, Self::Ws];
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Ws => "ws",
        })
    }
}

/// One of something for each protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PerProtocol<T> {
    /// For TCP.
    pub tcp: T,
    /// For HTTP.
    pub http: T,
    /// For WebSocket.
    pub ws: T,
}

impl<T> PerProtocol<T> {
    /// The one of `protocol`.
    pub const fn get(&self, protocol: Protocol) -> &T {
        match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Http => &self.http,
            Protocol::Ws => &self.ws,
        }
    }

    /// The one of `protocol`, to be changed.
    pub const fn get_mut(&mut self, protocol: Protocol) -> &mut T {
        match protocol {
            Protocol::Tcp => &mut self.tcp,
            Protocol::Http => &mut self.http,
            Protocol::Ws => &mut self.ws,
        }
    }

    /// All three, in the order of [`Protocol::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Protocol, &T)> {
        Protocol::ALL
            .into_iter()
            .map(|protocol| (protocol, self.get(protocol)))
    }
}

/// A row of the LanManager's table `needs`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Need {
    /// The name that the service will have.
    pub instance: InstanceName,
    /// The program that it is.
    pub module: ModuleName,
    /// The address, or the network in CIDR notation, of the machines that may satisfy it; any where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Arc<str>>,
    /// Ports that the need prescribes, where it does.
    #[serde(default)]
    pub ports: PerProtocol<Option<Port>>,
    /// The row's other columns (`propertyhash`, `strategies`, `gate` and the like), handed
    /// to the child and back to the LanManager as they came: no rule looks at them.
    #[serde(default)]
    pub details: Map<String, Value>,
}

impl Need {
    /// Whether there must never be two of the service, not even while a machine is cut off.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.details.get("exclusive") == Some(&Value::Bool(true))
    }

    /// Whether a master that the LanManager sees under `own` may satisfy this need.
    #[must_use]
    pub fn is_for(&self, own: &str) -> bool {
        let Some(wanted) = self.address.as_deref() else {
            return true;
        };
        wanted.is_empty() || wanted == own || network_contains(wanted, own)
    }
}

/// Whether `network` (CIDR notation) contains `address`. False where either cannot be read.
fn network_contains(network: &str, address: &str) -> bool {
    let Some((base, bits)) = network.split_once('/') else {
        return false;
    };
    let (Ok(base), Ok(address), Ok(bits)) = (
        base.parse::<IpAddr>(),
        address.parse::<IpAddr>(),
        bits.parse::<u32>(),
    ) else {
        return false;
    };
    match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            base.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V6(base), IpAddr::V6(address)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            base.to_bits() & mask == address.to_bits() & mask
        }
        (IpAddr::V4(_) | IpAddr::V6(_), IpAddr::V4(_) | IpAddr::V6(_)) => false,
    }
}
