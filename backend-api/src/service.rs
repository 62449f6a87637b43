//! Services as values: which frontends clients may dial, and which endpoints answer.
//!
//! Every Kubernetes judgement (readiness, topology, policies) has been made before one of these exists; a
//! backend only looks up what answers a frontend, for a class of clients.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::{Cidr, Family, Scheduler};

/// Namespace and name of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// Its namespace; `default` for embedders that have none.
    pub namespace: Arc<str>,
    /// Its name, unique in the namespace.
    pub name: Arc<str>,
}

/// Which of two services that claim one frontend keeps it: the smaller, that is the older; equals by name.
///
/// The unit is the caller's (Kubernetes: nanoseconds of `creationTimestamp` since 1970).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Age(pub i128);

/// One service: everything that a dataplane needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// Decides conflicts over a frontend.
    pub age: Age,
    /// Its ports, one entry per port *and family*: a dual-stack port is two.
    pub ports: Vec<ServicePort>,
}

/// Name of a port inside its service; empty where a service has one unnamed port.
pub type PortName = Arc<str>;

/// One port of a service in one address family: its frontends, and the endpoints behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The port's name; part of what session affinity is remembered by.
    pub name: PortName,
    /// Family of all its frontends and endpoints.
    pub family: Family,
    /// Protocol of all its frontends.
    pub protocol: Protocol,
    /// Whether a client comes back to the same endpoint.
    pub affinity: Affinity,
    /// How the endpoint of a new connection is chosen, where the dataplane has schedulers and `affinity` does not
    /// decide; none leaves it to the dataplane. One without schedulers (nftables) ignores it: at random by weight.
    pub scheduler: Option<Scheduler>,
    /// What clients dial.
    pub frontends: Vec<Frontend>,
    /// Every endpoint that may carry traffic of this port, sorted by address and unique
    /// ([`crate::ServiceState::upsert`] sees to it). One that is in no
    /// pool (`Pools::NONE`) or weighs 0 gets nothing new and keeps what is established.
    pub endpoints: Vec<Endpoint>,
}

/// One address, or node port, that clients dial, and what they meet there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// What is dialled.
    pub key: FrontendKey,
    /// Whether the address is a cluster address, one that others announce, or a node port; wrong ports
    /// of a [`FrontendKind::ClusterIp`] address are rejected.
    pub kind: FrontendKind,
    /// What answers.
    pub route: Route,
    /// From whose source address the endpoint sees the connection.
    pub masquerade: Masquerade,
    /// Which clients may dial at all; packets of others are dropped before anything is rewritten.
    pub source_ranges: SourceRanges,
}

/// What a frontend's address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendKind {
    /// An address of the cluster's own: nothing else answers on it, on any port.
    ClusterIp,
    /// An external or load-balancer address: other ports of it may belong to other programs.
    External,
    /// A port of the node's own addresses.
    NodePort,
}

/// What a client dials; unique in a [`crate::ServiceState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendKey {
    /// An address and a port.
    Address {
        /// Destination address.
        address: IpAddr,
        /// Protocol.
        protocol: Protocol,
        /// Destination port, not 0.
        port: u16,
    },
    /// A port on every address that [`crate::NodePortAddresses`] selects. Where such an address and port are
    /// a frontend of their own, that one is asked first.
    NodePort {
        /// Family of the node's addresses.
        family: Family,
        /// Protocol.
        protocol: Protocol,
        /// Destination port, not 0.
        port: u16,
    },
}

/// A transport protocol that services know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP, protocol number 6.
    Tcp,
    /// UDP, protocol number 17.
    Udp,
    /// SCTP, protocol number 132.
    Sctp,
}

/// What a client meets at a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// All clients meet the same answer.
    Everyone(Answer),
    /// Clients inside ([`TrafficClass::Pod`], [`TrafficClass::Node`]) meet one answer, all others another:
    /// externalTrafficPolicy Local.
    Split {
        /// For pods and the node itself.
        inside: Answer,
        /// For all other clients.
        outside: Answer,
    },
}

/// How one class of clients is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// By one of the endpoints of this pool with weight above 0, at random by weight or as a [`Scheduler`] chooses. A
    /// pool without such an endpoint rejects.
    Balance(Pool),
    /// By a refusal: TCP by RST, all else by ICMP port unreachable.
    Reject,
    /// By nothing.
    Drop,
}

/// Which of a port's endpoints answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pool {
    /// Wherever they are.
    Cluster,
    /// On this node.
    Local,
}

/// The pools that an endpoint is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pools {
    /// In [`Pool::Cluster`].
    pub cluster: bool,
    /// In [`Pool::Local`].
    pub local: bool,
}

/// Which kind of client it is, seen from this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrafficClass {
    /// A local pod, as [`crate::LocalTraffic`] tells it.
    Pod,
    /// The node itself: the source is one of its own addresses, and it is no pod.
    Node,
    /// All others; pods too, where they cannot be told from other clients.
    Stranger,
}

/// Whose connections to an endpoint carry the node's address as source, so that answers return through it.
/// Besides, a connection from an endpoint on this node to itself always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Masquerade {
    /// None.
    Never,
    /// Every client's.
    Always,
    /// Those of [`TrafficClass::Node`] and [`TrafficClass::Stranger`].
    UnlessPod,
    /// Those of [`TrafficClass::Node`].
    FromNode,
}

impl Masquerade {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Never, Self::Always, Self::UnlessPod, Self::FromNode];
}

/// Whether a client comes back to the same endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Affinity {
    /// Each connection chooses anew.
    None,
    /// By the client's address, per service port whichever of its frontends is dialled; forgotten when no new
    /// connection has come for so long.
    ClientIp {
        /// Seconds, 1 to 86,400 in Kubernetes; a backend may refuse more.
        timeout: NonZeroU32,
    },
}

/// Sources that may dial a frontend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceRanges {
    /// All.
    Any,
    /// Those inside one of these, which are of the frontend's family; none if empty.
    Only(Vec<Cidr>),
}

/// A pod's address and port, and its part in its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Where it listens.
    pub address: EndpointAddress,
    /// Its share, relative to the others'; 0 keeps what is established and gets nothing new. A backend may refuse a
    /// port whose shares, in lowest terms, add up to more than 65,535.
    pub weight: u16,
    /// The pools that it is in.
    pub pools: Pools,
    /// Whether it runs on this node; such a one may dial itself through its own service (hairpin).
    pub on_this_node: bool,
}

/// Address and port of an endpoint. Smaller than `SocketAddr`, which carries IPv6 scope and flow label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointAddress {
    /// Its address.
    pub ip: IpAddr,
    /// Its port, not 0.
    pub port: u16,
}

impl ServiceName {
    /// A name from its parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl Pools {
    /// In no pool: only what is established goes on.
    pub const NONE: Self = Self { cluster: false, local: false };
    /// In the cluster-wide pool alone.
    pub const CLUSTER: Self = Self { cluster: true, local: false };
    /// In the node's own pool alone.
    pub const LOCAL: Self = Self { cluster: false, local: true };
    /// In both.
    pub const BOTH: Self = Self { cluster: true, local: true };

    /// Whether `pool` is among them.
    pub fn contains(self, pool: Pool) -> bool {
        match pool {
            Pool::Cluster => self.cluster,
            Pool::Local => self.local,
        }
    }
}

impl ServicePort {
    /// The endpoints that get new connections of `pool`: those in it whose weight is above 0.
    pub fn pool(&self, pool: Pool) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().filter(move |endpoint| endpoint.weight > 0 && endpoint.pools.contains(pool))
    }
}

impl Route {
    /// What `class` meets.
    pub fn answer(self, class: TrafficClass) -> Answer {
        match (self, class) {
            (Self::Everyone(answer), _) => answer,
            (Self::Split { inside, .. }, TrafficClass::Pod | TrafficClass::Node) => inside,
            (Self::Split { outside, .. }, TrafficClass::Stranger) => outside,
        }
    }
}

impl Masquerade {
    /// Whether a connection of `class` carries the node's address.
    pub fn applies_to(self, class: TrafficClass) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::UnlessPod => class != TrafficClass::Pod,
            Self::FromNode => class == TrafficClass::Node,
        }
    }
}

impl SourceRanges {
    /// Whether `source` may dial.
    pub fn allow(&self, source: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Only(ranges) => ranges.iter().any(|range| range.contains(source)),
        }
    }
}

impl FrontendKey {
    /// Family of the address, or of the node's addresses.
    pub fn family(self) -> Family {
        match self {
            Self::Address { address, .. } => Family::of(address),
            Self::NodePort { family, .. } => family,
        }
    }

    /// Its protocol.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Address { protocol, .. } | Self::NodePort { protocol, .. } => protocol,
        }
    }

    /// Its port.
    pub fn port(self) -> u16 {
        match self {
            Self::Address { port, .. } | Self::NodePort { port, .. } => port,
        }
    }
}

impl Protocol {
    /// Every protocol, in order of [`Protocol::number`].
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The number in an IP header (IANA protocol numbers).
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

/// In one line whatever the name holds: control characters and those that turn the direction of writing are escaped, and
/// what is longer than a name of Kubernetes can be is cut off.
impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, &self.namespace)?;
        f.write_str("/")?;
        write_name(f, &self.name)
    }
}

/// The longest name that Kubernetes gives to an object (RFC 1123 subdomain).
const LONGEST_NAME: usize = 253;

fn write_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if name.len() <= LONGEST_NAME && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return f.write_str(name);
    }
    let mut rest = name.chars();
    rest.by_ref().take(LONGEST_NAME).try_for_each(|char| write!(f, "{}", char.escape_debug()))?;
    if rest.next().is_some() { f.write_str("…") } else { Ok(()) }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// `10.96.0.10:53/UDP`, `[fd00::a]:53/UDP`, `node port 30673/TCP (IPv4)`.
impl fmt::Display for FrontendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Address { address, protocol, port } => {
                write!(f, "{}/{protocol}", EndpointAddress { ip: address, port })
            }
            Self::NodePort { family, protocol, port } => write!(f, "node port {port}/{protocol} ({family})"),
        }
    }
}

/// `10.244.0.4:80`, `[fd00::4]:80`.
impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.ip, self.port).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_in_one_line_and_within_bounds() {
        for (name, expected) in [
            ("web", "default/web".to_owned()),
            ("a\r\nb\u{1b}[31m\0", "default/a\\r\\nb\\u{1b}[31m\\0".to_owned()),
            ("a\u{202e}b", "default/a\\u{202e}b".to_owned()),
            (&"x".repeat(1_000_000), format!("default/{}…", "x".repeat(253))),
        ] {
            assert_eq!(ServiceName::new("default", name).to_string(), expected);
        }
    }
}
