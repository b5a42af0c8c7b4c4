//! Who gets in: loopback and the configured subnets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::rules::IpStrategy;

/// The one role that AllexJS configures for addresses.
const ROLE: &str = "user";

/// The addresses that are let in.
#[derive(Clone, Debug)]
pub struct Access {
    subnets: Vec<IpNet>,
}

impl Access {
    /// Loopback, and these.
    #[must_use]
    pub fn new(subnets: Vec<IpNet>) -> Self {
        Self { subnets }
    }

    /// Whether an address is let in. An IPv4 address that comes over an IPv6 socket
    /// (`::ffff:192.168.1.7`) counts as what it is.
    pub(super) fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let loopback = address == IpAddr::V4(Ipv4Addr::LOCALHOST)
            || address == IpAddr::V6(Ipv6Addr::LOCALHOST);
        loopback || self.subnets.iter().any(|subnet| subnet.contains(&address))
    }
}

/// The list that AllexJS puts into each need: 127.0.0.1 and the configured subnets.
pub(super) fn ip_strategies(subnets: &[String]) -> Vec<IpStrategy> {
    let loopback = std::iter::once("127.0.0.1/32");
    let subnets = subnets.iter().map(String::as_str);
    let entries = loopback.chain(subnets).map(|ip| IpStrategy {
        ip: ip.to_owned(),
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
        ] {
            assert!(access.allows(allowed.parse().unwrap()), "{allowed}");
        }
        for forbidden in [
            "192.168.2.1",
            "8.8.8.8",
            "::2",
            "::ffff:8.8.8.8",
            "127.0.0.2",
        ] {
            assert!(!access.allows(forbidden.parse().unwrap()), "{forbidden}");
        }
    }
}
