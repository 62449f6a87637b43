//! Short ways to write services by hand, with what Kubernetes takes as defaults.
//!
//! Kept apart from the types so that these stay plain data: every constructor fills public fields, and struct update
//! syntax changes what differs (`Frontend { masquerade: Masquerade::Never, ..Frontend::external(…) }`).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    Affinity, Age, Answer, Endpoint, EndpointAddress, Family, Frontend, FrontendKey, FrontendKind, Masquerade, Pool,
    Pools, PortName, Protocol, Route, Service, ServiceName, ServicePort, SourceRanges,
};

impl Service {
    /// A service of these ports, as old as can be.
    pub fn new(name: ServiceName, ports: Vec<ServicePort>) -> Self {
        Self { name, age: Age::default(), ports }
    }
}

impl ServicePort {
    /// A port without a name, affinity, scheduler, frontends and endpoints.
    pub fn new(family: Family, protocol: Protocol) -> Self {
        let (name, affinity, scheduler) = (PortName::default(), Affinity::None, None);
        Self { name, family, protocol, affinity, scheduler, frontends: Vec::new(), endpoints: Vec::new() }
    }
}

impl ServicePort {
    /// A dual-stack port: two ports, IPv4's first, each with the frontends and endpoints of its family. Without a name,
    /// affinity and scheduler, as [`ServicePort::new`].
    ///
    /// ```
    /// # use switchyard_api::*;
    /// let frontends = vec![
    ///     Frontend::cluster_ip("10.96.0.1".parse()?, Protocol::Tcp, 80),
    ///     Frontend::cluster_ip("fd00:96::1".parse()?, Protocol::Tcp, 80),
    /// ];
    /// let endpoints = vec![Endpoint::here("10.244.0.4:80".parse()?), Endpoint::here("[fd00::4]:80".parse()?)];
    /// let ports = ServicePort::dual(Protocol::Tcp, frontends, endpoints);
    /// assert_eq!(Service::new(ServiceName::new("default", "web"), ports.into()).check(), Ok(()));
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    pub fn dual(protocol: Protocol, frontends: Vec<Frontend>, endpoints: Vec<Endpoint>) -> [Self; 2] {
        let mut ports = Family::ALL.map(|family| Self::new(family, protocol));
        for port in &mut ports {
            let family = port.family;
            port.frontends.extend(frontends.iter().filter(|frontend| frontend.key.family() == family).cloned());
            port.endpoints
                .extend(endpoints.iter().filter(|endpoint| Family::of(endpoint.address.ip) == family).cloned());
        }
        ports
    }
}

impl FrontendKey {
    /// An address and a port of it.
    pub fn address(address: IpAddr, protocol: Protocol, port: u16) -> Self {
        Self::Address { address, protocol, port }
    }

    /// A port of the node's addresses of `family`.
    pub fn node_port(family: Family, protocol: Protocol, port: u16) -> Self {
        Self::NodePort { family, protocol, port }
    }
}

impl Frontend {
    /// A cluster address, open to all, balanced over [`Pool::Cluster`]; only pods' source addresses are preserved.
    pub fn cluster_ip(address: IpAddr, protocol: Protocol, port: u16) -> Self {
        let key = FrontendKey::address(address, protocol, port);
        Self::everyone(key, FrontendKind::ClusterIp, Masquerade::UnlessPod)
    }

    /// An external or load-balancer address, open to all, balanced over [`Pool::Cluster`] with the node's address as
    /// source.
    pub fn external(address: IpAddr, protocol: Protocol, port: u16) -> Self {
        let key = FrontendKey::address(address, protocol, port);
        Self::everyone(key, FrontendKind::External, Masquerade::Always)
    }

    /// A node port, open to all, balanced over [`Pool::Cluster`] with the node's address as source.
    pub fn node_port(family: Family, protocol: Protocol, port: u16) -> Self {
        let key = FrontendKey::node_port(family, protocol, port);
        Self::everyone(key, FrontendKind::NodePort, Masquerade::Always)
    }

    fn everyone(key: FrontendKey, kind: FrontendKind, masquerade: Masquerade) -> Self {
        let route = Route::Everyone(Answer::Balance(Pool::Cluster));
        Self { key, kind, route, masquerade, source_ranges: SourceRanges::Any }
    }
}

impl Endpoint {
    /// An endpoint on this node: in both pools, of weight 1.
    pub fn here(address: EndpointAddress) -> Self {
        Self { address, weight: 1, pools: Pools::BOTH, on_this_node: true }
    }

    /// An endpoint on another node, or on none: in the cluster-wide pool, of weight 1.
    pub fn elsewhere(address: EndpointAddress) -> Self {
        Self { address, weight: 1, pools: Pools::CLUSTER, on_this_node: false }
    }
}

impl EndpointAddress {
    /// An address and a port of it.
    pub fn new(ip: IpAddr, port: u16) -> Self {
        Self { ip, port }
    }
}

/// Nanoseconds since 1970; negative before.
impl From<SystemTime> for Age {
    fn from(created: SystemTime) -> Self {
        match created.duration_since(UNIX_EPOCH) {
            Ok(since) => Self(nanoseconds(since)),
            Err(before) => Self(-nanoseconds(before.duration())),
        }
    }
}

fn nanoseconds(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

/// Drops IPv6 scope and flow label.
impl From<SocketAddr> for EndpointAddress {
    fn from(socket: SocketAddr) -> Self {
        Self { ip: socket.ip(), port: socket.port() }
    }
}

impl From<EndpointAddress> for SocketAddr {
    fn from(address: EndpointAddress) -> Self {
        Self::new(address.ip, address.port)
    }
}

/// `10.244.0.4:80`, `[fd00::4]:80`.
impl std::str::FromStr for EndpointAddress {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<SocketAddr>().map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_counts_nanoseconds_from_1970_in_both_directions() {
        let second = Duration::from_secs(1);
        for (time, age) in
            [(UNIX_EPOCH, 0), (UNIX_EPOCH + second, 1_000_000_000), (UNIX_EPOCH - second, -1_000_000_000)]
        {
            assert_eq!(Age::from(time), Age(age));
        }
    }

    #[test]
    fn a_dual_stack_port_has_each_frontend_and_endpoint_in_its_family() {
        let frontends = ["10.96.0.1", "fd00:96::1", "10.96.0.2"]
            .map(|address| Frontend::cluster_ip(address.parse().unwrap(), Protocol::Udp, 53));
        let endpoints = ["[fd00::4]:53", "10.244.0.4:53"].map(|address| Endpoint::here(address.parse().unwrap()));
        let ports = ServicePort::dual(Protocol::Udp, frontends.to_vec(), endpoints.to_vec());
        let counts = ports.each_ref().map(|port| (port.family, port.frontends.len(), port.endpoints.len()));
        assert_eq!(counts, [(Family::V4, 2, 1), (Family::V6, 1, 1)]);
        let service = Service::new(ServiceName::new("default", "dns"), ports.into());
        assert_eq!(service.check(), Ok(()));
    }
}
