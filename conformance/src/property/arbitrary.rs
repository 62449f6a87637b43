//! States and packets at random.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::num::NonZeroU32;

use backend_api::{
    Affinity, Age, Answer, Cidr, Endpoint, EndpointAddress, Family, Frontend, FrontendKey, FrontendKind, LocalTraffic,
    Masquerade, NodeNetwork, NodePortAddresses, PerFamily, Pool, Pools, Protocol, Route, Service, ServiceName,
    ServicePort, SourceRanges,
};
use proptest::bool::weighted;
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

/// A node, and what happens to its services.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) node: NodeNetwork,
    pub(super) stages: Vec<Stage>,
}

/// Services from some moment on, and packets to try then.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) services: Vec<Service>,
    /// Whether another process takes over before the packets come.
    pub(super) restarted: bool,
    pub(super) packets: Vec<Attempt>,
}

/// A client and what it dials.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) from: Client,
    aim: Aim,
}

/// What is dialled.
#[derive(Clone, Debug)]
enum Aim {
    /// A frontend that some service claims; a node port on one of the node's addresses.
    Frontend(Index, usize),
    /// Anything of the pools.
    Anything(Dialled),
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialled {
    pub(super) address: IpAddr,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

/// Somewhere to dial from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    /// Its place in the world.
    pub(super) place: &'static str,
    /// The interface of the node that its packets enter through; none for the node itself.
    pub(super) enters: Option<&'static str>,
    /// Its addresses.
    pub(super) v4: &'static str,
    pub(super) v6: &'static str,
}

pub(super) const CLIENTS: [Client; 7] = [
    client("mytools", Some("cni0"), "10.244.2.3", "fd00:10:244:2::3"),
    client("nginx-node2", Some("cni0"), "10.244.2.2", "fd00:10:244:2::2"),
    client("routed-pod", Some("cali0"), "10.244.2.9", "fd00:10:244:2::9"),
    client("whoami-node1", Some("overlay"), "10.244.1.5", "fd00:10:244:1::5"),
    client("outsider", Some("eth0"), "192.168.67.100", "fd00:192:168:67::100"),
    client("node2", None, "192.168.67.10", "fd00:192:168:67::10"),
    client("node2", None, "10.244.2.1", "fd00:10:244:2::1"),
];

/// Pods that may be endpoints: their addresses, and whether they are on this node.
const PODS: [(&str, &str, bool); 6] = [
    ("10.244.2.2", "fd00:10:244:2::2", true),
    ("10.244.2.4", "fd00:10:244:2::4", true),
    ("10.244.2.9", "fd00:10:244:2::9", true),
    ("10.244.0.4", "fd00:10:244:0::4", false),
    ("10.244.1.2", "fd00:10:244:1::2", false),
    ("10.244.0.5", "fd00:10:244:0::5", false),
];

/// Addresses that services claim, and that packets go to. The last two are the node's own.
const DESTINATIONS: [(&str, &str); 8] = [
    ("10.96.0.1", "fd00:10:96::1"),
    ("10.96.0.2", "fd00:10:96::2"),
    ("10.96.0.3", "fd00:10:96::3"),
    ("10.97.0.1", "fd00:10:97::1"),
    ("203.0.113.7", "2001:db8::7"),
    ("192.168.67.240", "fd00:192:168:67::240"),
    ("192.168.67.10", "fd00:192:168:67::10"),
    ("10.244.2.1", "fd00:10:244:2::1"),
];

/// Ports that services claim, that packets go to, and that the node itself listens on.
pub(super) const PORTS: [u16; 3] = [80, 81, 30080];

const fn client(place: &'static str, enters: Option<&'static str>, v4: &'static str, v6: &'static str) -> Client {
    Client { place, enters, v4, v6 }
}

impl Stage {
    /// What `attempt` dials.
    pub(super) fn dialled(&self, attempt: &Attempt) -> Dialled {
        match &attempt.aim {
            Aim::Anything(dialled) => *dialled,
            Aim::Frontend(index, node_address) => {
                let ports = self.services.iter().flat_map(|service| &service.ports);
                let keys: Vec<_> = ports.flat_map(|port| &port.frontends).map(|frontend| frontend.key).collect();
                if keys.is_empty() {
                    return Dialled { address: of(Family::V4, DESTINATIONS[0]), protocol: Protocol::Tcp, port: 80 };
                }
                let key = keys[index.index(keys.len())];
                let address = match key {
                    FrontendKey::Address { address, .. } => address,
                    FrontendKey::NodePort { family, .. } => of(family, DESTINATIONS[6 + node_address % 2]),
                };
                Dialled { address, protocol: key.protocol(), port: key.port() }
            }
        }
    }
}

impl Client {
    /// Its address of the family of `destination`.
    pub(super) fn source(&self, destination: IpAddr) -> IpAddr {
        of(Family::of(destination), (self.v4, self.v6))
    }
}

pub(super) fn of(family: Family, (v4, v6): (&str, &str)) -> IpAddr {
    let text = match family {
        Family::V4 => v4,
        Family::V6 => v6,
    };
    text.parse().expect("written as an address")
}

pub(super) fn case() -> impl Strategy<Value = Case> {
    (node(), vec(stage(), 1..4)).prop_map(|(node, stages)| Case { node, stages })
}

/// Services have the same few names in every stage, so that one stage changes those of the one before.
fn stage() -> impl Strategy<Value = Stage> {
    let services = vec(option::weighted(0.8, service()), 5).prop_map(|services| {
        let named = services.into_iter().enumerate().filter_map(|(number, service)| {
            Some(Service { name: ServiceName::new("default", &format!("s{number}")), ..service? })
        });
        named.collect()
    });
    (services, weighted(0.2), vec(attempt(), 1..6)).prop_map(|(services, restarted, packets)| Stage {
        services,
        restarted,
        packets,
    })
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let anything = (family(), 0..DESTINATIONS.len(), protocol(), select(&PORTS[..])).prop_map(
        |(family, destination, protocol, port)| {
            Aim::Anything(Dialled { address: of(family, DESTINATIONS[destination]), protocol, port })
        },
    );
    let frontend = (any::<Index>(), 0..2_usize).prop_map(|(index, address)| Aim::Frontend(index, address));
    let aim = prop_oneof![1 => anything, 4 => frontend];
    (select(&CLIENTS[..]), aim).prop_map(|(from, aim)| Attempt { from, aim })
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![3 => Just(Family::V4), 1 => Just(Family::V6)]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop_oneof![4 => Just(Protocol::Tcp), 2 => Just(Protocol::Udp), 1 => Just(Protocol::Sctp)]
}

fn node() -> impl Strategy<Value = NodeNetwork> {
    let ranges: Vec<Cidr> =
        ["10.96.0.0/24", "10.96.0.0/12", "fd00:10:96::/112"].map(|text| text.parse().expect("a range")).to_vec();
    let service_cidrs = subsequence(ranges, 0..=3).prop_map(|some| some.into_iter().collect::<BTreeSet<_>>());
    (local_traffic(), node_ports(), service_cidrs, any::<bool>()).prop_map(
        |(local_traffic, node_ports, service_cidrs, masquerade_all)| NodeNetwork {
            local_traffic,
            node_ports,
            addresses: BTreeSet::new(), // the world knows them
            service_cidrs,
            masquerade_all,
            offload: None,
        },
    )
}

fn local_traffic() -> impl Strategy<Value = PerFamily<LocalTraffic>> {
    (0..5_u8).prop_map(|choice| PerFamily {
        v4: local_traffic_of(Family::V4, choice),
        v6: local_traffic_of(Family::V6, choice),
    })
}

fn local_traffic_of(family: Family, choice: u8) -> LocalTraffic {
    match choice {
        0 => LocalTraffic::Unknown,
        1 => source(family, ("10.244.0.0", "fd00:10:244::"), (16, 48)),
        2 => source(family, ("10.244.2.0", "fd00:10:244:2::"), (24, 64)),
        3 => LocalTraffic::Bridge("cni0".into()),
        _ => LocalTraffic::InterfacePrefix("cali".into()),
    }
}

fn source(family: Family, text: (&str, &str), prefix: (u8, u8)) -> LocalTraffic {
    let prefix = if family == Family::V4 { prefix.0 } else { prefix.1 };
    LocalTraffic::Source(Cidr::new(of(family, text), prefix).expect("a prefix that fits"))
}

fn node_ports() -> impl Strategy<Value = PerFamily<NodePortAddresses>> {
    (node_port_addresses(Family::V4), node_port_addresses(Family::V6)).prop_map(|(v4, v6)| PerFamily { v4, v6 })
}

fn node_port_addresses(family: Family) -> impl Strategy<Value = NodePortAddresses> {
    let own = [DESTINATIONS[6], DESTINATIONS[7]].map(|pair| of(family, pair));
    let these = subsequence(own.to_vec(), 0..=2).prop_map(|some| NodePortAddresses::These(some.into_iter().collect()));
    prop_oneof![1 => Just(NodePortAddresses::All), 3 => these]
}

fn service() -> impl Strategy<Value = Service> {
    let ports = vec(service_port(), 1..3).prop_map(|ports| {
        let named = ports.into_iter().enumerate();
        named.map(|(number, port)| ServicePort { name: format!("p{number}").into(), ..port }).collect::<Vec<_>>()
    });
    (0..3_i128, ports).prop_map(|(age, ports)| Service {
        name: ServiceName::new("default", "unnamed"),
        age: Age(age),
        ports,
    })
}

fn service_port() -> impl Strategy<Value = ServicePort> {
    (family(), protocol()).prop_flat_map(|(family, protocol)| {
        let affinity = prop_oneof![
            2 => Just(Affinity::None),
            1 => (1..3_u32).prop_map(|hours| Affinity::ClientIp {
                timeout: NonZeroU32::new(hours * 3600).expect("at least an hour"),
            }),
        ];
        let frontends = vec(frontend(family, protocol), 1..4).prop_map(|frontends| {
            let mut seen = BTreeSet::new();
            frontends.into_iter().filter(|frontend| seen.insert(frontend.key)).collect::<Vec<_>>()
        });
        (affinity, frontends, endpoints(family)).prop_map(move |(affinity, frontends, endpoints)| ServicePort {
            affinity,
            frontends,
            endpoints,
            ..ServicePort::new(family, protocol)
        })
    })
}

fn endpoints(family: Family) -> impl Strategy<Value = Vec<Endpoint>> {
    let pools =
        prop_oneof![3 => Just(Pools::BOTH), 2 => Just(Pools::CLUSTER), 1 => Just(Pools::LOCAL), 1 => Just(Pools::NONE)];
    let chosen = btree_set((0..PODS.len()).prop_map(|index| index), 0..5);
    (chosen, vec((pools, 0..4_u16), PODS.len())).prop_map(move |(chosen, parts)| {
        let mut endpoints: Vec<_> = chosen.into_iter().map(|index| endpoint(family, index, parts[index])).collect();
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints
    })
}

fn endpoint(family: Family, index: usize, (pools, weight): (Pools, u16)) -> Endpoint {
    let (v4, v6, on_this_node) = PODS[index];
    let address = EndpointAddress::new(of(family, (v4, v6)), 80);
    Endpoint { address, weight, pools, on_this_node }
}

fn frontend(family: Family, protocol: Protocol) -> impl Strategy<Value = Frontend> {
    let key = prop_oneof![
        4 => (0..DESTINATIONS.len() - 1, select(&PORTS[..])).prop_map(move |(index, port)| {
            FrontendKey::address(of(family, DESTINATIONS[index]), protocol, port)
        }),
        1 => select(&PORTS[..]).prop_map(move |port| FrontendKey::node_port(family, protocol, port)),
    ];
    let route = prop_oneof![
        3 => answer().prop_map(Route::Everyone),
        2 => (answer(), answer()).prop_map(|(inside, outside)| Route::Split { inside, outside }),
    ];
    let masquerade = select(&[Masquerade::Never, Masquerade::Always, Masquerade::UnlessPod, Masquerade::FromNode][..]);
    (key, any::<bool>(), route, masquerade, source_ranges(family)).prop_map(
        move |(key, external, route, masquerade, source_ranges)| {
            let kind = match key {
                FrontendKey::NodePort { .. } => FrontendKind::NodePort,
                // What the node owns is not the cluster's own.
                FrontendKey::Address { address, .. } if external || address == of(family, DESTINATIONS[6]) => {
                    FrontendKind::External
                }
                FrontendKey::Address { .. } => FrontendKind::ClusterIp,
            };
            Frontend { key, kind, route, masquerade, source_ranges }
        },
    )
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => Just(Answer::Balance(Pool::Cluster)),
        2 => Just(Answer::Balance(Pool::Local)),
        1 => Just(Answer::Reject),
        1 => Just(Answer::Drop),
    ]
}

fn source_ranges(family: Family) -> impl Strategy<Value = SourceRanges> {
    let texts: &[&str] = match family {
        Family::V4 => &["10.244.0.0/16", "10.244.2.0/24", "10.244.2.3/32", "192.168.67.0/24", "0.0.0.0/1"],
        Family::V6 => &["fd00:10:244::/48", "fd00:10:244:2::/64", "fd00:10:244:2::3/128", "fd00:192:168:67::/64"],
    };
    let ranges: Vec<Cidr> = texts.iter().map(|text| text.parse().expect("a range")).collect();
    let all = ranges.len();
    option::weighted(0.2, subsequence(ranges, 0..=all))
        .prop_map(|some| some.map_or(SourceRanges::Any, SourceRanges::Only))
}
