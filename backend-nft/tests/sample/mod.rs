//! States to program.
#![allow(dead_code, reason = "not every test file programs every state")]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use backend_api::*;

/// A node that tells pods by source, with listed node port addresses in both families.
pub(crate) fn node() -> NodeNetwork {
    let source = |range: &str| LocalTraffic::Source(range.parse().unwrap());
    let these = |address: &str| NodePortAddresses::These(BTreeSet::from([address.parse().unwrap()]));
    NodeNetwork {
        local_traffic: PerFamily { v4: source("10.244.0.0/16"), v6: source("fd00:244::/48") },
        node_ports: PerFamily { v4: these("192.168.67.8"), v6: these("fd00:67::8") },
        addresses: ["192.168.67.8", "fd00:67::8"].map(|address| address.parse().unwrap()).into(),
        service_cidrs: ["10.96.0.0/12", "fd00:60::/112"].map(|range| range.parse().unwrap()).into(),
        masquerade_all: false,
        offload: None,
    }
}

/// `count` services of one TCP port with a cluster address each, three endpoints, the first of them on this node.
pub(crate) fn plain(count: u32) -> Vec<Service> {
    (0..count).map(|n| plain_service(n, &[1, 2, 3])).collect()
}

/// The `n`th of such services, with these endpoints.
pub(crate) fn plain_service(n: u32, endpoints: &[u8]) -> Service {
    let address = IpAddr::from(Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 96, 0, 1)) + n));
    let endpoint = |host: &u8| {
        let at = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(10, 244, 0, 0)) + (n % 8192) * 8 + u32::from(*host));
        Endpoint::elsewhere(EndpointAddress::new(at.into(), 8080))
    };
    let port = ServicePort {
        frontends: vec![Frontend {
            masquerade: Masquerade::UnlessPod,
            ..Frontend::cluster_ip(address, Protocol::Tcp, 80)
        }],
        endpoints: endpoints.iter().map(endpoint).collect(),
        ..ServicePort::new(Family::V4, Protocol::Tcp)
    };
    Service::new(ServiceName::new("default", &format!("service-{n}")), vec![port])
}

/// A few services that use every feature, in both families.
pub(crate) fn everything() -> ServiceState {
    let mut state = ServiceState::new(node());
    for family in Family::ALL {
        for service in features(family) {
            state.upsert(service).unwrap();
        }
    }
    state
}

fn features(family: Family) -> Vec<Service> {
    let name = |text: &str| ServiceName::new("default", &format!("{text}-{}", family.bits()));
    let port = ServicePort::new;
    let split = Route::Split { inside: Answer::Balance(Pool::Cluster), outside: Answer::Balance(Pool::Local) };
    let web = ServicePort {
        frontends: vec![
            Frontend {
                masquerade: Masquerade::UnlessPod,
                ..Frontend::cluster_ip(ip(family, 96, 1), Protocol::Tcp, 80)
            },
            Frontend { masquerade: Masquerade::Always, ..Frontend::node_port(family, Protocol::Tcp, 30080) },
            Frontend {
                masquerade: Masquerade::Always,
                source_ranges: SourceRanges::Only(vec![range(family, 67), Cidr::host(ip(family, 67, 9))]),
                ..Frontend::external(ip(family, 240, 1), Protocol::Tcp, 80)
            },
        ],
        endpoints: vec![endpoint(family, 1, 1), Endpoint { weight: 2, ..endpoint(family, 2, 1) }],
        ..port(family, Protocol::Tcp)
    };
    let local = ServicePort {
        frontends: vec![
            Frontend {
                route: split,
                masquerade: Masquerade::FromNode,
                ..Frontend::node_port(family, Protocol::Udp, 30053)
            },
            Frontend {
                route: split,
                masquerade: Masquerade::FromNode,
                ..Frontend::external(ip(family, 240, 2), Protocol::Udp, 53)
            },
        ],
        endpoints: vec![Endpoint { pools: Pools::BOTH, ..endpoint(family, 1, 2) }, endpoint(family, 2, 2)],
        ..port(family, Protocol::Udp)
    };
    let sticky = ServicePort {
        affinity: Affinity::ClientIp { timeout: NonZeroU32::new(10800).unwrap() },
        frontends: vec![
            Frontend { masquerade: Masquerade::Always, ..Frontend::cluster_ip(ip(family, 96, 3), Protocol::Tcp, 443) },
            Frontend {
                route: split,
                masquerade: Masquerade::FromNode,
                ..Frontend::node_port(family, Protocol::Tcp, 30443)
            },
        ],
        endpoints: vec![Endpoint { pools: Pools::BOTH, ..endpoint(family, 1, 3) }, endpoint(family, 2, 3)],
        ..port(family, Protocol::Tcp)
    };
    let empty = ServicePort {
        frontends: vec![
            Frontend {
                masquerade: Masquerade::UnlessPod,
                ..Frontend::cluster_ip(ip(family, 96, 4), Protocol::Sctp, 9)
            },
            Frontend {
                route: Route::Everyone(Answer::Drop),
                ..Frontend::external(ip(family, 240, 4), Protocol::Sctp, 9)
            },
        ],
        ..port(family, Protocol::Sctp)
    };
    [("web", web), ("local", local), ("sticky", sticky), ("empty", empty)]
        .map(|(text, port)| Service::new(name(text), vec![port]))
        .into()
}

fn ip(family: Family, net: u16, host: u16) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(10, net as u8, 0, host as u8).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, host).into(),
    }
}

fn range(family: Family, net: u16) -> Cidr {
    Cidr::new(ip(family, net, 0), family.bits() / 4 * 3).unwrap()
}

/// The `host`th pod on node `node`; node 1 is this one.
fn endpoint(family: Family, node: u16, host: u16) -> Endpoint {
    let address = EndpointAddress::new(ip(family, 243 + node, host), 8080);
    if node == 1 { Endpoint::here(address) } else { Endpoint::elsewhere(address) }
}
