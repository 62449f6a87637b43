//! Which node ports are open on localhost, and to which endpoints: pure, and at the cost of what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use backend_api::{
    Affinity, Answer, EndpointAddress, Family, Frontend, FrontendKey, Pool, PortName, Protocol, Scope, Service,
    ServiceName, ServicePort, ServiceState, TrafficClass,
};

/// A node port of a family's loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePort {
    /// Of 127.0.0.1 or of ::1.
    pub family: Family,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number, not 0.
    pub port: u16,
}

/// The endpoints of one service port that get connections from the node; there is at least one. Cheap to clone: it
/// shares the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortEndpoints {
    service: Arc<Service>,
    /// Index into the service's ports.
    port: usize,
    pool: Pool,
}

/// By what session affinity remembers an endpoint; the client is always this node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct AffinityKey {
    service: ServiceName,
    port: PortName,
    protocol: Protocol,
    family: Family,
    pool: Pool,
}

/// Every node port that has endpoints for the node, by service.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    services: BTreeMap<ServiceName, BTreeMap<NodePort, PortEndpoints>>,
}

/// Node ports with other endpoints than before; none for a port that has none any more.
pub(super) type PortChanges = BTreeMap<NodePort, Option<PortEndpoints>>;

impl Plan {
    /// Takes what `scope` of `state` says, and returns what that changes.
    pub fn update(&mut self, state: &ServiceState, scope: Scope<'_>) -> BTreeMap<NodePort, Option<PortEndpoints>> {
        let every_one;
        let touched = match scope {
            Scope::Services(touched) => touched,
            Scope::All => {
                let now = state.services().map(|service| &service.name);
                every_one = now.chain(self.services.keys()).cloned().collect::<BTreeSet<_>>();
                &every_one
            }
        };
        let mut changes = PortChanges::new();
        // A port may go from one service to another: the new endpoints count, in whatever order the services come.
        for name in touched {
            let now = state.service(name).map(endpoints_of_node_ports).unwrap_or_default();
            let before = self.services.remove(name).unwrap_or_default();
            for (port, _) in before.iter().filter(|(port, _)| !now.contains_key(port)) {
                changes.entry(*port).or_insert(None);
            }
            for (port, endpoints) in now.iter().filter(|(port, endpoints)| before.get(port) != Some(endpoints)) {
                changes.insert(*port, Some(endpoints.clone()));
            }
            if !now.is_empty() {
                self.services.insert(name.clone(), now);
            }
        }
        changes
    }
}

/// The node ports of a service that have endpoints for the node.
fn endpoints_of_node_ports(service: &Arc<Service>) -> BTreeMap<NodePort, PortEndpoints> {
    let mut all = BTreeMap::new();
    for (index, service_port) in service.ports.iter().enumerate() {
        for frontend in &service_port.frontends {
            if let FrontendKey::NodePort { family, protocol, port } = frontend.key {
                let at = NodePort { family, protocol, port };
                all.extend(PortEndpoints::of(service, index, frontend, at).map(|endpoints| (at, endpoints)));
            }
        }
    }
    all
}

impl PortEndpoints {
    /// The endpoints for a client on the node that dials `frontend` of the port at this index; none where such a client
    /// is refused or dropped. User space cannot leave a connection unanswered, so a dropped one is refused, too.
    pub(super) fn of(service: &Arc<Service>, port: usize, frontend: &Frontend, at: NodePort) -> Option<Self> {
        let pool = match frontend.route.answer(TrafficClass::Node) {
            Answer::Balance(pool) => pool,
            Answer::Reject | Answer::Drop => return None,
        };
        let endpoints = Self { service: service.clone(), port, pool };
        let allowed = frontend.source_ranges.allow(at.address().ip());
        (allowed && endpoints.total_weight() > 0).then_some(endpoints)
    }

    /// `remembered` while it is among the endpoints, otherwise one by weight, as `dice` say.
    pub fn choose(&self, remembered: Option<EndpointAddress>, dice: u64) -> EndpointAddress {
        if let Some(remembered) = remembered
            && self.port().pool(self.pool).any(|endpoint| endpoint.address == remembered)
        {
            return remembered;
        }
        let mut point = dice % self.total_weight();
        for endpoint in self.port().pool(self.pool) {
            match point.checked_sub(endpoint.weight.into()) {
                Some(rest) => point = rest,
                None => return endpoint.address,
            }
        }
        unreachable!("the point is below the sum of all weights")
    }

    /// Whether connections to `endpoint` that are established may go on: the service still has it, perhaps in no pool.
    pub fn keeps(&self, endpoint: EndpointAddress) -> bool {
        self.port().endpoints.binary_search_by_key(&endpoint, |endpoint| endpoint.address).is_ok()
    }

    /// By which key, and for how long, a chosen endpoint is remembered.
    pub(super) fn affinity(&self) -> Option<(AffinityKey, Duration)> {
        let port = self.port();
        match port.affinity {
            Affinity::None => None,
            Affinity::ClientIp { timeout } => {
                let key = AffinityKey {
                    service: self.service.name.clone(),
                    port: port.name.clone(),
                    protocol: port.protocol,
                    family: port.family,
                    pool: self.pool,
                };
                Some((key, Duration::from_secs(timeout.get().into())))
            }
        }
    }

    /// The service.
    pub fn service(&self) -> &ServiceName {
        &self.service.name
    }

    fn port(&self) -> &ServicePort {
        &self.service.ports[self.port]
    }

    fn total_weight(&self) -> u64 {
        self.port().pool(self.pool).map(|endpoint| u64::from(endpoint.weight)).sum()
    }
}

impl NodePort {
    /// The address and port where it listens.
    pub(super) fn address(self) -> SocketAddr {
        let loopback: IpAddr = match self.family {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        };
        SocketAddr::new(loopback, self.port)
    }
}

/// `127.0.0.1:30080/TCP`, `[::1]:30080/TCP`.
impl fmt::Display for NodePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.protocol)
    }
}
