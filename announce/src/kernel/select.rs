//! On which interfaces an address is announced.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::links::Link;

/// Which interfaces are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Interfaces {
    /// Those that have an address of the same network.
    #[default]
    OnLink,
    /// These, by name, whatever their addresses are.
    Named(BTreeSet<String>),
}

impl Interfaces {
    pub(super) fn select(&self, address: IpAddr, link: &Link) -> bool {
        link.can_announce
            && match self {
                Self::OnLink => link.reaches(address),
                Self::Named(names) => names.contains(&link.name),
            }
    }
}

impl Link {
    /// Whether an address of the interface is of the same network.
    pub(super) fn reaches(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|(own, length)| match (own, address) {
            (IpAddr::V4(own), IpAddr::V4(address)) => {
                *length < 32 && same(own.to_bits().into(), address.to_bits().into(), 32, *length)
            }
            (IpAddr::V6(own), IpAddr::V6(address)) => {
                *length < 128 && !own.is_unicast_link_local() && same(own.to_bits(), address.to_bits(), 128, *length)
            }
            _ => false,
        })
    }
}

fn same(one: u128, other: u128, bits: u8, length: u8) -> bool {
    (one ^ other).checked_shr(u32::from(bits - length)).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_selected_by_its_network_or_its_name() {
        let cases = [
            (Interfaces::OnLink, vec!["192.168.67.8/24"], "192.168.67.240", true),
            (Interfaces::OnLink, vec!["192.168.68.8/24"], "192.168.67.240", false),
            (Interfaces::OnLink, vec!["192.168.68.8/22"], "192.168.67.240", false),
            (Interfaces::OnLink, vec!["192.168.66.8/22"], "192.168.67.240", true),
            (Interfaces::OnLink, vec!["192.168.67.240/32"], "192.168.67.240", false),
            (Interfaces::OnLink, vec!["10.0.0.1/0"], "192.168.67.240", true),
            (Interfaces::OnLink, vec!["192.168.67.8/24", "fd00::8/64"], "fd00::240", true),
            (Interfaces::OnLink, vec!["fe80::8/64"], "fe80::240", false),
            (Interfaces::OnLink, vec![], "192.168.67.240", false),
            (named("eth0"), vec![], "192.168.67.240", true),
            (named("eth1"), vec!["192.168.67.8/24"], "192.168.67.240", false),
        ];
        for (interfaces, addresses, address, expected) in cases {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(interfaces.select(address, &link(&addresses, true)), expected, "{interfaces:?} {addresses:?}");
            assert!(!interfaces.select(address, &link(&addresses, false)));
        }
    }

    fn named(name: &str) -> Interfaces {
        Interfaces::Named([name.to_owned()].into())
    }

    fn link(addresses: &[&str], can_announce: bool) -> Link {
        let addresses = addresses.iter().map(|text| text.split_once('/').unwrap());
        Link {
            name: "eth0".to_owned(),
            can_announce,
            addresses: addresses.map(|(address, length)| (address.parse().unwrap(), length.parse().unwrap())).collect(),
            ..Link::default()
        }
    }
}
