//! An entry of `subnets`: a network that may start and end services, so nothing is let in that was
//! hardly meant.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An example of the whole file.
pub const EXAMPLE: &str = r#"["192.168.1.0/24"]"#;

/// AllexJS's default. Its mask of 8 bits makes it 192.0.0.0/8; whoever chose it meant the 256
/// addresses that it names.
const DEFAULT_OF_JAVASCRIPT: &str = "192.168.1.0/8";
const MEANT_BY_JAVASCRIPT: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 1, 0), 24);

/// Addresses that no stranger in the Internet has: private (RFC 1918), of a provider's own network
/// (RFC 6598), of one cable (RFC 3927), of this machine.
const PRIVATE_V4: [Ipv4Net; 6] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
];
/// The same of IPv6: unique local, of one cable, of this machine.
const PRIVATE_V6: [Ipv6Net; 3] = [
    Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
    Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10),
    Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128),
];

/// A network, as written and as understood. A plain address is a network of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    written: String,
    network: IpNet,
}

impl Subnet {
    /// # Errors
    /// A sentence that says what is wrong.
    pub(super) fn parse(written: String) -> Result<Self, String> {
        let network = written.parse::<IpNet>().ok();
        let network = network.or_else(|| written.parse::<IpAddr>().ok().map(IpNet::from));
        let Some(network) = network else {
            return Err(format!("{written:?} is neither a network nor an address"));
        };
        let mut subnet = Self { written, network };
        if subnet.is_default_of_javascript() {
            subnet.network = MEANT_BY_JAVASCRIPT.into();
        }
        Ok(subnet)
    }

    /// # Errors
    /// A sentence that says which addresses the network has, and what was probably meant.
    pub(super) fn check_private(&self) -> Result<(), String> {
        if is_private(self.network) {
            return Ok(());
        }
        let Self { written, network } = self;
        let means = network.trunc();
        let meant = match probably_meant(*network) {
            Some(meant) => format!("\"{meant}\" was probably meant"),
            None => "name private networks only".to_owned(),
        };
        Err(format!(
            "\"{written}\" lets in {means}, which is not of private addresses only; {meant}, else set \
             \"publicsubnets\": true in boot"
        ))
    }

    /// As it stands in the file.
    #[must_use]
    pub fn written(&self) -> &str {
        &self.written
    }

    /// What it means, without host bits.
    #[must_use]
    pub fn network(&self) -> IpNet {
        self.network.trunc()
    }

    #[must_use]
    pub fn is_default_of_javascript(&self) -> bool {
        self.written == DEFAULT_OF_JAVASCRIPT
    }

    /// The text that goes to every master in the strategies of a need.
    #[must_use]
    pub fn text(&self) -> String {
        if self.is_default_of_javascript() {
            self.network.to_string()
        } else {
            self.written.clone()
        }
    }
}

fn is_private(network: IpNet) -> bool {
    match network {
        IpNet::V4(network) => PRIVATE_V4.iter().any(|private| private.contains(&network)),
        IpNet::V6(network) => PRIVATE_V6.iter().any(|private| private.contains(&network)),
    }
}

/// The largest private network whose address ends in zeros where its mask does: `192.168.1.0` for
/// 192.168.1.0/24.
fn probably_meant(network: IpNet) -> Option<IpNet> {
    let IpNet::V4(network) = network else {
        return None;
    };
    let zeros = network
        .addr()
        .octets()
        .iter()
        .rev()
        .take_while(|octet| **octet == 0)
        .count();
    let prefix = 8 * (4_u8.saturating_sub(u8::try_from(zeros).ok()?));
    let meant = IpNet::V4(Ipv4Net::new(network.addr(), prefix).ok()?);
    is_private(meant).then_some(meant)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(written: &str) -> Option<String> {
        let subnet = Subnet::parse(written.to_owned()).unwrap();
        subnet.check_private().err()
    }

    #[test]
    fn private_networks_and_addresses_are_let_in_as_written() {
        for written in [
            "192.168.1.0/24",
            "192.168.0.0/16",
            "192.168.1.7/24",
            "10.0.0.0/8",
            "10.0.0.7",
            "172.16.0.0/12",
            "127.0.0.0/8",
            "100.64.3.0/24",
            "fd00:1::/64",
            "fe80::1",
        ] {
            assert_eq!(refusal(written), None, "{written}");
            assert_eq!(Subnet::parse(written.to_owned()).unwrap().text(), written);
        }
    }

    #[test]
    fn wide_and_public_networks_are_refused_with_what_was_probably_meant() {
        for (written, meant) in [
            ("192.168.0.0/8", Some("192.168.0.0/16")),
            ("192.168.2.0/8", Some("192.168.2.0/24")),
            ("192.168.1.7/8", Some("192.168.1.7/32")),
            ("10.0.0.0/4", Some("10.0.0.0/8")),
            ("172.16.0.0/8", Some("172.16.0.0/16")),
            ("0.0.0.0/0", None),
            ("8.8.8.0/24", None),
            ("172.32.0.0/16", None),
            ("8.8.8.8", None),
            ("::/0", None),
            ("2001:db8::/32", None),
            ("::ffff:0:0/96", None),
        ] {
            let refusal = refusal(written).unwrap();
            match meant {
                Some(meant) => assert!(
                    refusal.contains(&format!("\"{meant}\" was probably meant")),
                    "{refusal}"
                ),
                None => assert!(!refusal.contains("probably"), "{refusal}"),
            }
        }
    }

    #[test]
    fn javascripts_default_means_the_network_that_it_names() {
        let subnet = Subnet::parse("192.168.1.0/8".to_owned()).unwrap();
        assert_eq!(subnet.check_private(), Ok(()));
        assert_eq!(subnet.text(), "192.168.1.0/24");
        let outside: IpAddr = "192.0.2.1".parse().unwrap();
        assert!(!subnet.network().contains(&outside));
    }
}
