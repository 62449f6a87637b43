//! Services as the virtual servers that they need; pure and total.
//!
//! Who may dial what, refusals and session affinity are the tables' part. Here is only whom a mark leads to.
//!
//! **Invariant:** a virtual server has at least one real server (`tests::an_empty_pool_has_no_virtual_server`).

use std::collections::BTreeMap;

use backend_api::{
    Affinity, Answer, Endpoint, EndpointAddress, Family, Frontend, Pool, PortName, Protocol, Route, Scheduler, Service,
    ServicePort,
};

use crate::kernel::{Flags, Forwarding, RealServer, Thresholds, VirtualKey, VirtualServer};
use crate::schedulers::Schedulers;
use backend_nft::marking::{Mark, Target};

/// What a port is called inside its service: no two have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PortId {
    pub(crate) name: PortName,
    pub(crate) family: Family,
    pub(crate) protocol: Protocol,
}

/// What a virtual server is for, inside its service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Role {
    pub(crate) port: PortId,
    pub(crate) target: Target,
}

/// A virtual server that a service needs, whatever its mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) role: Role,
    pub(crate) scheduler: Scheduler,
    /// Its real servers; 0 gets nothing new. Never empty.
    pub(crate) weights: BTreeMap<EndpointAddress, u32>,
}

/// A virtual server with its real servers, as it is or as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) server: VirtualServer,
    pub(crate) reals: BTreeMap<EndpointAddress, RealServer>,
}

/// The tables have chosen, so any weight will do, but for scheduler `ovf`: it takes a weight for the most
/// connections that a real server may have.
const CHOSEN: u32 = 65_535;

/// Every virtual server that `service` needs, each role once.
pub(crate) fn render(service: &Service, schedulers: &Schedulers) -> Vec<Wanted> {
    service.ports.iter().flat_map(|port| render_port(port, schedulers.of(port))).collect()
}

fn render_port(port: &ServicePort, scheduler: Scheduler) -> Vec<Wanted> {
    let pools: Vec<Pool> = [Pool::Cluster, Pool::Local].into_iter().filter(|pool| balances_over(port, *pool)).collect();
    let wanted = |target, weights| Wanted { role: Role { port: PortId::of(port), target }, scheduler, weights };
    match port.affinity {
        Affinity::None => {
            let pools = pools.into_iter().map(|pool| wanted(Target::Pool(pool), weights(port, pool)));
            pools.filter(|wanted| !wanted.weights.is_empty()).collect()
        }
        Affinity::ClientIp { .. } if pools.is_empty() => Vec::new(),
        Affinity::ClientIp { .. } => {
            let weight = |endpoint: &Endpoint| {
                let is_live = endpoint.weight > 0 && pools.iter().any(|pool| endpoint.pools.contains(*pool));
                if is_live { CHOSEN } else { 0 }
            };
            let alone = |endpoint: &Endpoint| BTreeMap::from([(endpoint.address, weight(endpoint))]);
            let endpoints = port.endpoints.iter();
            endpoints.map(|endpoint| wanted(Target::Endpoint(endpoint.address), alone(endpoint))).collect()
        }
    }
}

/// The endpoints that the pool's virtual server has: those in the pool, and with weight 0 those that may still have
/// connections from when they were in it.
fn weights(port: &ServicePort, pool: Pool) -> BTreeMap<EndpointAddress, u32> {
    let weight = |endpoint: &Endpoint| match (endpoint.pools.contains(pool), pool) {
        (true, _) => Some(endpoint.weight.into()),
        (false, Pool::Cluster) => Some(0),
        (false, Pool::Local) => endpoint.on_this_node.then_some(0),
    };
    port.endpoints.iter().filter_map(|endpoint| Some((endpoint.address, weight(endpoint)?))).collect()
}

fn balances_over(port: &ServicePort, pool: Pool) -> bool {
    let wanted = Answer::Balance(pool);
    port.frontends.iter().any(|Frontend { route, .. }| match *route {
        Route::Everyone(answer) => answer == wanted,
        Route::Split { inside, outside } => inside == wanted || outside == wanted,
    })
}

impl PortId {
    /// Of this port.
    pub(crate) fn of(port: &ServicePort) -> Self {
        Self { name: port.name.clone(), family: port.family, protocol: port.protocol }
    }
}

impl Role {
    /// What names the virtual server of this mark.
    pub(crate) fn key(&self, mark: Mark) -> VirtualKey {
        VirtualKey::Mark { family: self.port.family, mark: mark.0 }
    }
}

impl Wanted {
    /// With this mark.
    pub(crate) fn server(&self, mark: Mark) -> Server {
        let reals = self.weights.iter().map(|(address, weight)| (*address, real(*address, *weight)));
        Server { server: virtual_server(self.role.key(mark), self.scheduler), reals: reals.collect() }
    }
}

fn virtual_server(key: VirtualKey, scheduler: Scheduler) -> VirtualServer {
    let flags = match scheduler {
        // Without it clients whose real server has weight 0 are dropped.
        Scheduler::Sh | Scheduler::Mh => Flags::HASH_FALLBACK,
        Scheduler::Rr
        | Scheduler::Wrr
        | Scheduler::Lc
        | Scheduler::Wlc
        | Scheduler::Fo
        | Scheduler::Ovf
        | Scheduler::Lblc
        | Scheduler::Lblcr
        | Scheduler::Dh
        | Scheduler::Sed
        | Scheduler::Nq
        | Scheduler::Twos => Flags::NONE,
    };
    VirtualServer { key, scheduler: scheduler.name().to_owned(), flags, persistence: None, engine: None }
}

fn real(address: EndpointAddress, weight: u32) -> RealServer {
    RealServer { address, forwarding: Forwarding::Masquerade, weight, thresholds: Thresholds::default() }
}
