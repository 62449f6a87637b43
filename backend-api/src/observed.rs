//! What the kernel holds, as values: what a backend reads back, and what it must read back for a desired state.
//!
//! Kept apart from the desired state because the kernel knows no names, resolves every pool to its endpoints, and
//! counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;

use crate::{
    Affinity, Answer, Cidr, EndpointAddress, Family, Frontend, FrontendKey, FrontendKind, Masquerade, Offload,
    PerFamily, Route, ServicePort, ServiceState, SourceRanges,
};

/// What the kernel holds, in the words of the desired state. It does not know services' names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Every frontend that is programmed.
    pub frontends: BTreeMap<FrontendKey, ObservedFrontend>,
    /// First packets that were turned away, by why; reasons that did not occur are left out. A client that tries again
    /// is counted again. Counts may begin anew when the node's network changes.
    pub refused: BTreeMap<TurnedAway, u64>,
    /// How established connections leave the path of rules, where they do.
    pub offload: PerFamily<Option<ObservedOffload>>,
}

/// Established connections are handed to a flowtable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedOffload {
    /// After about so many packets.
    pub after: NonZeroU32,
    /// Names of the flowtable's devices.
    pub devices: BTreeSet<String>,
}

/// Why a connection to a service is refused or dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TurnedAway {
    /// The client is in none of the frontend's source ranges: dropped.
    SourceRanges,
    /// No endpoint answers the frontend: refused.
    NoEndpoints,
    /// No endpoint on this node answers the frontend, and others must not: dropped.
    NoLocalEndpoints,
    /// The address is a service's, the port is not: refused.
    WrongPort,
    /// The address is in a range of cluster addresses, and no service's: dropped.
    UnallocatedAddress,
    /// What should have picked an endpoint was not there, or has given the connection up: refused or dropped.
    Unserved,
}

/// A frontend as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedFrontend {
    /// What kind of address it is.
    pub kind: FrontendKind,
    /// What answers.
    pub route: ObservedRoute,
    /// Which clients' source address is rewritten.
    pub masquerade: Masquerade,
    /// Session affinity.
    pub affinity: Affinity,
    /// Which clients may dial.
    pub source_ranges: SourceRanges,
    /// Connections that were opened to it since it was programmed first, whatever endpoint answered.
    pub connections: u64,
}

/// What answers a frontend in the kernel; the shape of [`crate::Route`] with the endpoints themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedRoute {
    /// The same for all.
    Everyone(ObservedAnswer),
    /// One answer for pods and the node, another for strangers; if they are equal, it is what `Everyone` is.
    Split {
        /// For pods and the node.
        inside: ObservedAnswer,
        /// For all other clients.
        outside: ObservedAnswer,
    },
}

/// How one class of clients is answered by the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedAnswer {
    /// By one of these, each with its share; never empty (a pool without endpoints rejects). Shares are relative to
    /// each other: `{a: 2, b: 2}` is what `{a: 1, b: 1}` is.
    Balance(BTreeMap<EndpointAddress, u32>),
    /// By a refusal.
    Reject,
    /// By nothing.
    Drop,
}

impl Observed {
    /// What a backend observes once `state` is programmed, before the first connection.
    pub fn expected(state: &ServiceState) -> Self {
        let ports = state.services_unordered().flat_map(|service| &service.ports);
        let frontends = ports.flat_map(|port| port.frontends.iter().map(move |frontend| (port, frontend)));
        let offload = state.node().offload.as_ref().map(|Offload { after, devices }| ObservedOffload {
            after: *after,
            devices: devices.values().cloned().collect(),
        });
        Self {
            frontends: frontends
                .map(|(port, frontend)| (frontend.key, ObservedFrontend::expected(port, frontend)))
                .collect(),
            refused: BTreeMap::new(),
            offload: PerFamily { v4: offload.clone(), v6: offload },
        }
    }
}

impl TurnedAway {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::SourceRanges,
        Self::NoEndpoints,
        Self::NoLocalEndpoints,
        Self::WrongPort,
        Self::UnallocatedAddress,
        Self::Unserved,
    ];

    /// Its name in labels and listings: `no-endpoints`.
    pub fn name(self) -> &'static str {
        match self {
            Self::SourceRanges => "source-ranges",
            Self::NoEndpoints => "no-endpoints",
            Self::NoLocalEndpoints => "no-local-endpoints",
            Self::WrongPort => "wrong-port",
            Self::UnallocatedAddress => "unallocated-address",
            Self::Unserved => "unserved",
        }
    }
}

impl fmt::Display for TurnedAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ObservedFrontend {
    /// What a backend observes once `frontend` of `port` is programmed, before the first connection.
    pub fn expected(port: &ServicePort, frontend: &Frontend) -> Self {
        let route = match frontend.route {
            Route::Everyone(answer) => ObservedRoute::Everyone(ObservedAnswer::expected(port, answer)),
            Route::Split { inside, outside } => ObservedRoute::Split {
                inside: ObservedAnswer::expected(port, inside),
                outside: ObservedAnswer::expected(port, outside),
            },
        };
        Self {
            kind: frontend.kind,
            route,
            masquerade: frontend.masquerade,
            affinity: port.affinity,
            source_ranges: frontend.source_ranges.clone(),
            connections: 0,
        }
    }

    /// Whether both forward every packet alike: counters do not matter, nor how equal shares and equal source ranges
    /// are written down, nor how long clients would be remembered where no endpoint answers them.
    pub fn forwards_like(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.masquerade == other.masquerade
            && intervals(&self.source_ranges) == intervals(&other.source_ranges)
            && sides(&self.route) == sides(&other.route)
            && (self.affinity == other.affinity || !self.has_endpoints())
    }

    /// Whether endpoints answer any client.
    fn has_endpoints(&self) -> bool {
        let (inside, outside) = sides(&self.route);
        [inside, outside].iter().any(|side| matches!(side, ObservedAnswer::Balance(_)))
    }
}

impl ObservedAnswer {
    fn expected(port: &ServicePort, answer: Answer) -> Self {
        match answer {
            Answer::Balance(pool) => {
                let shares = port.pool(pool).map(|endpoint| (endpoint.address, u32::from(endpoint.weight)));
                Self::Balance(shares.collect()).reduced()
            }
            Answer::Reject => Self::Reject,
            Answer::Drop => Self::Drop,
        }
    }

    /// With the smallest shares that say the same.
    fn reduced(&self) -> Self {
        match self {
            Self::Balance(shares) if shares.is_empty() => Self::Reject,
            Self::Balance(shares) => {
                let divisor = shares.values().copied().fold(0, greatest_common_divisor).max(1);
                Self::Balance(shares.iter().map(|(endpoint, share)| (*endpoint, share / divisor)).collect())
            }
            Self::Reject => Self::Reject,
            Self::Drop => Self::Drop,
        }
    }
}

/// What the inside and the outside meet.
fn sides(route: &ObservedRoute) -> (ObservedAnswer, ObservedAnswer) {
    match route {
        ObservedRoute::Everyone(answer) => (answer.reduced(), answer.reduced()),
        ObservedRoute::Split { inside, outside } => (inside.reduced(), outside.reduced()),
    }
}

/// First and last address of every gapless stretch that is allowed, in order.
fn intervals(ranges: &SourceRanges) -> Option<Vec<(IpAddr, IpAddr)>> {
    let SourceRanges::Only(ranges) = ranges else { return None };
    let mut ranges: Vec<Cidr> = ranges.clone();
    ranges.sort();
    let mut merged: Vec<(IpAddr, IpAddr)> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some((_, last)) if follows(*last, range.network()) => *last = range.last().max(*last),
            _ => merged.push((range.network(), range.last())),
        }
    }
    Some(merged)
}

/// Whether a stretch that ends at `last` goes on at `next`, which does not start before it: no gap between them.
fn follows(last: IpAddr, next: IpAddr) -> bool {
    Family::of(last) == Family::of(next) && number(next) <= number(last).saturating_add(1)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn greatest_common_divisor(one: u32, other: u32) -> u32 {
    if other == 0 { one } else { greatest_common_divisor(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pool;

    fn frontend() -> ObservedFrontend {
        ObservedFrontend {
            kind: FrontendKind::ClusterIp,
            route: balance(&[(1, 1), (2, 1)]),
            masquerade: Masquerade::Never,
            affinity: Affinity::None,
            source_ranges: SourceRanges::Any,
            connections: 0,
        }
    }

    fn balance(shares: &[(u8, u32)]) -> ObservedRoute {
        let address = |last| EndpointAddress::new([10, 244, 0, last].into(), 80);
        ObservedRoute::Everyone(ObservedAnswer::Balance(
            shares.iter().map(|(at, share)| (address(*at), *share)).collect(),
        ))
    }

    fn only(ranges: &[&str]) -> SourceRanges {
        SourceRanges::Only(ranges.iter().map(|range| range.parse().unwrap()).collect())
    }

    #[test]
    fn how_a_thing_is_written_down_does_not_matter() {
        let routed = |route| ObservedFrontend { route, ..frontend() };
        let ranged = |ranges: &[&str]| ObservedFrontend { source_ranges: only(ranges), ..frontend() };
        let split = |inside, outside| routed(ObservedRoute::Split { inside, outside });
        let (reject, drop) = (ObservedAnswer::Reject, ObservedAnswer::Drop);
        for (one, other, alike) in [
            (frontend(), ObservedFrontend { connections: 7, ..frontend() }, true),
            (frontend(), routed(balance(&[(1, 4), (2, 4)])), true),
            (frontend(), routed(balance(&[(1, 4), (2, 2)])), false),
            (frontend(), routed(balance(&[(1, 1)])), false),
            (routed(balance(&[])), routed(ObservedRoute::Everyone(reject.clone())), true),
            (split(drop.clone(), drop.clone()), routed(ObservedRoute::Everyone(drop.clone())), true),
            (split(drop.clone(), reject.clone()), split(reject, drop), false),
            (ranged(&["10.0.0.0/9", "10.128.0.0/9"]), ranged(&["10.0.0.0/8"]), true),
            (ranged(&["10.0.0.0/8", "10.1.0.0/16"]), ranged(&["10.0.0.0/8"]), true),
            (ranged(&["10.0.0.0/9", "10.129.0.0/16"]), ranged(&["10.0.0.0/8"]), false),
            (ranged(&["255.255.255.255/32"]), ranged(&["255.255.255.255/32", "::1/128"]), false),
            (ranged(&[]), frontend(), false),
            (frontend(), ObservedFrontend { masquerade: Masquerade::Always, ..frontend() }, false),
            (frontend(), ObservedFrontend { kind: FrontendKind::External, ..frontend() }, false),
        ] {
            assert_eq!(one.forwards_like(&other), alike, "{one:?}\n{other:?}");
            assert!(one.forwards_like(&one) && other.forwards_like(&other));
        }
    }

    #[test]
    fn a_pool_becomes_its_endpoints() {
        let endpoint = |last, weight, pools| crate::Endpoint {
            address: EndpointAddress::new([10, 244, 0, last].into(), 80),
            weight,
            pools,
            on_this_node: true,
        };
        let (cluster, none) = (crate::Pools::CLUSTER, crate::Pools::NONE);
        let port = ServicePort {
            endpoints: vec![
                endpoint(1, 6, cluster),
                endpoint(2, 4, cluster),
                endpoint(3, 0, cluster),
                endpoint(4, 1, none),
            ],
            ..ServicePort::new(Family::V4, crate::Protocol::Tcp)
        };
        let mut frontend = Frontend::node_port(Family::V4, crate::Protocol::Tcp, 30080);
        assert_eq!(ObservedFrontend::expected(&port, &frontend).route, balance(&[(1, 3), (2, 2)]));
        frontend.route = Route::Everyone(Answer::Balance(Pool::Local));
        let reject = ObservedRoute::Everyone(ObservedAnswer::Reject);
        assert_eq!(ObservedFrontend::expected(&port, &frontend).route, reject);
    }
}
