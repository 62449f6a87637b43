//! Services as the virtual servers that they need; pure and total.
//!
//! Which clients may dial, refusals and session affinity are the tables' part. Here is only which endpoints a mark
//! leads to.
//!
//! **Invariant:** a virtual server has at least one real server (`tests::an_empty_pool_has_no_virtual_server`).

use std::collections::BTreeMap;

use backend_api::{
    Affinity, Answer, Endpoint, EndpointAddress, Family, Frontend, FrontendKey, Pool, PortName, Protocol, Route,
    Scheduler, Service, ServicePort,
};
use backend_nft::marking::{Mark, Target};
use netlink::ipvs::VirtualKey;

use crate::drain::ends_at_once;
use crate::schedulers::Schedulers;
use crate::servers::{Server, key, real_server, virtual_server};

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
    /// Which frontend it answers, if not every frontend of the port: flows of UDP and SCTP end with their frontend, and
    /// all that IPVS can end is a virtual server.
    pub(crate) frontend: Option<FrontendKey>,
    pub(crate) target: Target,
}

/// A virtual server that a service needs, whatever its mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) role: Role,
    pub(crate) scheduler: Scheduler,
    /// Its endpoints, each with its weight; 0 gets nothing new. Never empty.
    pub(crate) weights: BTreeMap<EndpointAddress, u32>,
}

/// The tables have chosen, so any weight will do, but for scheduler `ovf`: it takes a weight for the most
/// connections that a real server may have.
const CHOSEN: u32 = 65_535;

/// Every virtual server that `service` needs, each role once.
pub(crate) fn render(service: &Service, schedulers: &Schedulers) -> Vec<Wanted> {
    service.ports.iter().flat_map(|port| render_port(port, schedulers.of(port))).collect()
}

fn render_port(port: &ServicePort, scheduler: Scheduler) -> Vec<Wanted> {
    if ends_at_once(port.protocol) {
        return port.frontends.chunks(1).flat_map(|frontend| render_for(port, frontend, scheduler)).collect();
    }
    render_for(port, &port.frontends, scheduler)
}

/// The virtual servers that these frontends share.
fn render_for(port: &ServicePort, frontends: &[Frontend], scheduler: Scheduler) -> Vec<Wanted> {
    let Some(Frontend { key: frontend, .. }) = frontends.first() else { return Vec::new() };
    let mut pools = vec![Pool::Cluster, Pool::Local];
    pools.retain(|pool| frontends.iter().any(|frontend| balances_over(frontend, *pool)));
    let mut all = Vec::new();
    match port.affinity {
        Affinity::None => {
            for pool in pools {
                let role = Role::of(port, *frontend, Target::Pool(pool));
                all.push(Wanted { role, scheduler, weights: weights(port, pool) });
            }
        }
        Affinity::ClientIp { .. } if pools.is_empty() => {}
        Affinity::ClientIp { .. } => {
            for endpoint in &port.endpoints {
                let role = Role::of(port, *frontend, Target::Endpoint(endpoint.address));
                let weight = weight_alone(endpoint, &pools);
                all.push(Wanted { role, scheduler, weights: BTreeMap::from([(endpoint.address, weight)]) });
            }
        }
    }
    all.retain(|wanted| !wanted.weights.is_empty());
    all
}

/// The endpoints that the pool's virtual server has, with their weights.
fn weights(port: &ServicePort, pool: Pool) -> BTreeMap<EndpointAddress, u32> {
    let endpoints = port.endpoints.iter();
    endpoints.filter_map(|endpoint| Some((endpoint.address, weight_in(endpoint, pool)?))).collect()
}

/// The weight of an endpoint in the pool's virtual server: 0 if it is not in the pool, but may still have connections
/// from when it was; none if it cannot have any.
fn weight_in(endpoint: &Endpoint, pool: Pool) -> Option<u32> {
    match (endpoint.pools.contains(pool), pool) {
        (true, _) => Some(endpoint.weight.into()),
        (false, Pool::Cluster) => Some(0),
        (false, Pool::Local) => endpoint.on_this_node.then_some(0),
    }
}

/// The weight of an endpoint in a virtual server of its own, for frontends that balance over these pools.
fn weight_alone(endpoint: &Endpoint, pools: &[Pool]) -> u32 {
    let is_live = endpoint.weight > 0 && pools.iter().any(|pool| endpoint.pools.contains(*pool));
    if is_live { CHOSEN } else { 0 }
}

fn balances_over(frontend: &Frontend, pool: Pool) -> bool {
    let wanted = Answer::Balance(pool);
    match frontend.route {
        Route::Everyone(answer) => answer == wanted,
        Route::Split { inside, outside } => inside == wanted || outside == wanted,
    }
}

impl PortId {
    /// Of this port.
    pub(crate) fn of(port: &ServicePort) -> Self {
        Self { name: port.name.clone(), family: port.family, protocol: port.protocol }
    }
}

impl Role {
    /// Of what answers this frontend for `target`.
    pub(crate) fn of(port: &ServicePort, frontend: FrontendKey, target: Target) -> Self {
        let frontend = ends_at_once(port.protocol).then_some(frontend);
        Self { port: PortId::of(port), frontend, target }
    }

    /// What names the virtual server of this mark.
    pub(crate) fn key(&self, mark: Mark) -> VirtualKey {
        key(self.port.family, mark)
    }
}

impl Wanted {
    /// With this mark.
    pub(crate) fn server(&self, mark: Mark) -> Server {
        let mut reals = BTreeMap::new();
        for (endpoint, weight) in &self.weights {
            let real = real_server(*endpoint, *weight);
            reals.insert(real.address, real);
        }
        Server { server: virtual_server(self.role.key(mark), self.scheduler), reals }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use backend_api::{Pools, ServiceName};

    use super::*;

    /// `3` is `10.244.0.3:80` with weight 1 in both pools, on this node.
    fn port(change: impl FnOnce(&mut ServicePort)) -> ServicePort {
        let mut port = ServicePort {
            frontends: vec![Frontend::cluster_ip([10, 96, 0, 1].into(), Protocol::Tcp, 80)],
            endpoints: [1, 2, 3].map(|host| Endpoint::here(at(host))).to_vec(),
            ..ServicePort::new(Family::V4, Protocol::Tcp)
        };
        change(&mut port);
        port
    }

    fn at(host: u8) -> EndpointAddress {
        EndpointAddress::new([10, 244, 0, host].into(), 80)
    }

    /// What each virtual server is for, and the weights of its real servers.
    fn check(port: ServicePort, expected: &[(Target, &[(u8, u32)])]) {
        let service = Service::new(ServiceName::new("default", "web"), vec![port]);
        let rendered = render(&service, &Schedulers::new(Scheduler::Wrr));
        let found: Vec<_> = rendered.into_iter().map(|wanted| (wanted.role.target, wanted.weights)).collect();
        let expected: Vec<_> = expected.iter().map(|(target, weights)| (*target, by_address(weights))).collect();
        assert_eq!(found, expected);
    }

    fn by_address(weights: &[(u8, u32)]) -> BTreeMap<EndpointAddress, u32> {
        weights.iter().map(|(host, weight)| (at(*host), *weight)).collect()
    }

    const CLUSTER: Target = Target::Pool(Pool::Cluster);
    const LOCAL: Target = Target::Pool(Pool::Local);

    fn split(port: &mut ServicePort) {
        let (inside, outside) = (Answer::Balance(Pool::Cluster), Answer::Balance(Pool::Local));
        port.frontends.push(Frontend {
            route: Route::Split { inside, outside },
            ..Frontend::node_port(Family::V4, Protocol::Tcp, 30080)
        });
    }

    #[test]
    fn a_pool_that_a_frontend_balances_over_has_a_virtual_server() {
        check(port(|_| ()), &[(CLUSTER, &[(1, 1), (2, 1), (3, 1)])]);
        check(port(split), &[(CLUSTER, &[(1, 1), (2, 1), (3, 1)]), (LOCAL, &[(1, 1), (2, 1), (3, 1)])]);
        check(port(|port| port.frontends[0].route = Route::Everyone(Answer::Drop)), &[]);
        check(port(|port| port.frontends.clear()), &[]);
    }

    #[test]
    fn an_empty_pool_has_no_virtual_server() {
        check(port(|port| port.endpoints.clear()), &[]);
        let elsewhere = port(|port| {
            split(port);
            port.endpoints = vec![Endpoint::elsewhere(at(1))];
        });
        check(elsewhere, &[(CLUSTER, &[(1, 1)])]);
    }

    #[test]
    fn an_endpoint_that_is_listed_keeps_its_connections() {
        let terminating = port(|port| {
            split(port);
            port.endpoints[0].weight = 0;
            port.endpoints[1].pools = Pools::NONE;
            port.endpoints[2] = Endpoint { weight: 7, ..Endpoint::elsewhere(at(3)) };
        });
        check(terminating, &[(CLUSTER, &[(1, 0), (2, 0), (3, 7)]), (LOCAL, &[(1, 0), (2, 0)])]);
    }

    #[test]
    fn with_affinity_each_endpoint_has_a_virtual_server() {
        check(port(sticky), &[(alone(1), &[(1, CHOSEN)]), (alone(2), &[(2, 0)]), (alone(3), &[(3, 0)])]);
        let with_local = port(|port| {
            sticky(port);
            split(port);
        });
        check(with_local, &[(alone(1), &[(1, CHOSEN)]), (alone(2), &[(2, 0)]), (alone(3), &[(3, CHOSEN)])]);
    }

    fn sticky(port: &mut ServicePort) {
        port.affinity = Affinity::ClientIp { timeout: NonZeroU32::MIN };
        port.endpoints[1].pools = Pools::NONE;
        port.endpoints[2].pools = Pools::LOCAL;
    }

    fn alone(host: u8) -> Target {
        Target::Endpoint(at(host))
    }
}
