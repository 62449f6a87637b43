//! The node's addresses on the links that a plan does not number: one for each link, so that a masqueraded source tells
//! through which the connection left.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use backend_api::Family;

use super::links::Prefixed;
use super::plan::{Placement, WorldPlan};
use super::sink;

/// The node's addresses on the link to the sink, and the sink's; the same for the overlay.
pub(super) const UPLINK: [[IpAddr; 2]; 2] = [pair([172, 29, 0, 2], [172, 29, 0, 1]), pair6([0xfd29, 2], [0xfd29, 1])];
pub(super) const OVERLAY: [[IpAddr; 2]; 2] = [pair([172, 30, 0, 2], [172, 30, 0, 1]), pair6([0xfd30, 2], [0xfd30, 1])];

/// Whether this kernel speaks a family at all; `ipv6.disable=1` takes IPv6 away.
pub(super) fn has_family(family: Family) -> bool {
    family == Family::V4 || Path::new("/proc/sys/net/ipv6").exists()
}

/// Those pairs that this kernel can have.
pub(super) fn known(pairs: &[[IpAddr; 2]; 2]) -> impl Iterator<Item = &[IpAddr; 2]> {
    pairs.iter().filter(|[address, _]| has_family(Family::of(*address)))
}

const fn pair(one: [u8; 4], other: [u8; 4]) -> [IpAddr; 2] {
    const fn v4([a, b, c, d]: [u8; 4]) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d))
    }
    [v4(one), v4(other)]
}

const fn pair6(one: [u16; 2], other: [u16; 2]) -> [IpAddr; 2] {
    const fn v6([a, b]: [u16; 2]) -> IpAddr {
        IpAddr::V6(std::net::Ipv6Addr::new(a, 0, 0, 0, 0, 0, 0, b))
    }
    [v6(one), v6(other)]
}

/// The node's addresses on the link to each place.
pub(super) fn towards(plan: &WorldPlan) -> BTreeMap<String, Vec<IpAddr>> {
    let pods = plan.pods.iter().enumerate().map(|(number, pod)| {
        let addresses = match pod.placement {
            Placement::Bridge => plan.node.bridge_addresses.clone(),
            Placement::Interface(_) => towards_pod(number),
            Placement::Remote => known(&OVERLAY).map(|[node, _remote]| *node).collect(),
        };
        (pod.name.clone(), addresses)
    });
    let hosts = plan.hosts.iter().map(|host| (host.name.clone(), plan.node.addresses.clone()));
    let sink = (sink::NAME.to_owned(), known(&UPLINK).map(|[node, _sink]| *node).collect());
    pods.chain(hosts).chain([sink]).collect()
}

/// The node's addresses on the interface of the pod of this number.
pub(super) fn towards_pod(number: usize) -> Vec<IpAddr> {
    let number = u8::try_from(number).expect("a world has few pods");
    let [v4, _] = pair([100, 64, number, 1], [0; 4]);
    let [v6, _] = pair6([0xfd64, u16::from(number) << 8 | 1], [0; 2]);
    [v4, v6].into_iter().filter(|address| has_family(Family::of(*address))).collect()
}

/// An address in a network of the usual size.
pub(super) fn networked(address: IpAddr) -> Prefixed {
    (address, if address.is_ipv4() { 24 } else { 64 })
}
