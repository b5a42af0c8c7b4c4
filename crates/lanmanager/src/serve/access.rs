//! Who gets in: this machine and the configured subnets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::files::Subnet;
use crate::rules::IpStrategy;

/// The one role that AllexJS configures for addresses.
const ROLE: &str = "user";

/// The addresses that are let in.
#[derive(Clone, Debug)]
pub(super) struct Access {
    subnets: Vec<IpNet>,
}

impl Access {
    /// This machine, and these.
    #[must_use]
    pub(super) fn new(subnets: Vec<IpNet>) -> Self {
        Self { subnets }
    }

    /// Whether a peer at this address, which reached us at `own`, is let in. An IPv4
    /// address that comes over an IPv6 socket (`::ffff:192.168.1.7`) counts as what it
    /// is. A connection from an address to itself does not leave the machine.
    pub(super) fn allows(&self, address: IpAddr, own: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_this_machine = address == IpAddr::V4(Ipv4Addr::LOCALHOST)
            || address == IpAddr::V6(Ipv6Addr::LOCALHOST)
            || address == own.to_canonical();
        is_this_machine || self.subnets.iter().any(|subnet| subnet.contains(&address))
    }
}

/// The list that AllexJS puts into each need: 127.0.0.1 and the configured subnets.
pub(super) fn ip_strategies(subnets: &[Subnet]) -> Vec<IpStrategy> {
    let loopback = std::iter::once("127.0.0.1/32".to_owned());
    let subnets = subnets.iter().map(Subnet::text);
    let entries = loopback.chain(subnets).map(|ip| IpStrategy {
        ip,
        role: ROLE.to_owned(),
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_and_subnets_get_in_however_they_are_written() {
        let access = Access::new(vec!["192.168.1.0/24".parse().unwrap()]);
        for allowed in [
            "127.0.0.1",
            "::1",
            "192.168.1.7",
            "::ffff:192.168.1.7",
            "::ffff:127.0.0.1",
            "10.0.0.5",
            "::ffff:10.0.0.5",
        ] {
            let own = "10.0.0.5".parse().unwrap();
            assert!(access.allows(allowed.parse().unwrap(), own), "{allowed}");
        }
        for forbidden in [
            "192.168.2.1",
            "8.8.8.8",
            "::2",
            "::ffff:8.8.8.8",
            "127.0.0.2",
        ] {
            let own = "127.0.0.1".parse().unwrap();
            assert!(
                !access.allows(forbidden.parse().unwrap(), own),
                "{forbidden}"
            );
        }
    }
}
