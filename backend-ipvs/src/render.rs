//! Services as the virtual servers that they need; pure and total.
//!
//! Who may dial what, refusals and session affinity are the tables' part. Here is only whom a mark leads to.
//!
//! **Invariant:** a virtual server has at least one real server (`tests::an_empty_pool_has_no_virtual_server`).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use backend_api::{
    Affinity, Answer, Endpoint, Family, Frontend, FrontendKey, Pool, PortName, Protocol, Route, Scheduler, Service,
    ServicePort,
};

use crate::schedulers::Schedulers;
use backend_nft::marking::{self, Mark, Target};
use netlink::ipvs::{Flags, Forwarding, RealServer, Thresholds, VirtualKey, VirtualServer};

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
    /// Whom it answers, if not every frontend of the port: flows of UDP and SCTP end with their frontend, and all that
    /// IPVS can end is a virtual server.
    pub(crate) frontend: Option<FrontendKey>,
    pub(crate) target: Target,
}

/// A virtual server that a service needs, whatever its mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) role: Role,
    pub(crate) scheduler: Scheduler,
    /// Its real servers; 0 gets nothing new. Never empty.
    pub(crate) weights: BTreeMap<SocketAddr, u32>,
}

/// A virtual server with its real servers, as it is or as it shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) server: VirtualServer,
    pub(crate) reals: BTreeMap<SocketAddr, RealServer>,
}

/// The tables have chosen, so any weight will do, but for scheduler `ovf`: it takes a weight for the most
/// connections that a real server may have.
const CHOSEN: u32 = 65_535;

/// Every virtual server that `service` needs, each role once.
pub(crate) fn render(service: &Service, schedulers: &Schedulers) -> Vec<Wanted> {
    service.ports.iter().flat_map(|port| render_port(port, schedulers.of(port))).collect()
}

fn render_port(port: &ServicePort, scheduler: Scheduler) -> Vec<Wanted> {
    if shares(port.protocol) {
        return render_for(port, &port.frontends, scheduler);
    }
    port.frontends.chunks(1).flat_map(|frontend| render_for(port, frontend, scheduler)).collect()
}

/// The virtual servers that these frontends share.
fn render_for(port: &ServicePort, frontends: &[Frontend], scheduler: Scheduler) -> Vec<Wanted> {
    let Some(Frontend { key: frontend, .. }) = frontends.first() else { return Vec::new() };
    let both = [Pool::Cluster, Pool::Local].into_iter();
    let pools: Vec<Pool> = both.filter(|pool| frontends.iter().any(|one| balances_over(one, *pool))).collect();
    let wanted = |target, weights| Wanted { role: Role::of(port, *frontend, target), scheduler, weights };
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
            let alone = |endpoint: &Endpoint| BTreeMap::from([(endpoint.address.into(), weight(endpoint))]);
            let endpoints = port.endpoints.iter();
            endpoints.map(|endpoint| wanted(Target::Endpoint(endpoint.address), alone(endpoint))).collect()
        }
    }
}

/// The endpoints that the pool's virtual server has: those in the pool, and with weight 0 those that may still have
/// connections from when they were in it.
fn weights(port: &ServicePort, pool: Pool) -> BTreeMap<SocketAddr, u32> {
    let weight = |endpoint: &Endpoint| match (endpoint.pools.contains(pool), pool) {
        (true, _) => Some(endpoint.weight.into()),
        (false, Pool::Cluster) => Some(0),
        (false, Pool::Local) => endpoint.on_this_node.then_some(0),
    };
    port.endpoints.iter().filter_map(|endpoint| Some((endpoint.address.into(), weight(endpoint)?))).collect()
}

fn balances_over(frontend: &Frontend, pool: Pool) -> bool {
    let wanted = Answer::Balance(pool);
    match frontend.route {
        Route::Everyone(answer) => answer == wanted,
        Route::Split { inside, outside } => inside == wanted || outside == wanted,
    }
}

/// Whether all frontends of a port have one virtual server: connections outlive the frontend.
fn shares(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Tcp => true,
        Protocol::Udp | Protocol::Sctp => false,
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
        let frontend = (!shares(port.protocol)).then_some(frontend);
        Self { port: PortId::of(port), frontend, target }
    }

    /// What names the virtual server of this mark.
    pub(crate) fn key(&self, mark: Mark) -> VirtualKey {
        VirtualKey::Mark { family: marking::kernel_family(self.port.family), mark: mark.0 }
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

fn real(address: SocketAddr, weight: u32) -> RealServer {
    RealServer { address, forwarding: Forwarding::Masquerade, weight, thresholds: Thresholds::default() }
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
            endpoints: [1, 2, 3].map(|host| Endpoint::here(at(host).into())).to_vec(),
            ..ServicePort::new(Family::V4, Protocol::Tcp)
        };
        change(&mut port);
        port
    }

    fn at(host: u8) -> SocketAddr {
        SocketAddr::new([10, 244, 0, host].into(), 80)
    }

    /// What each virtual server is for, and the weights of its real servers.
    fn check(port: ServicePort, expected: &[(Target, &[(u8, u32)])]) {
        let service = Service::new(ServiceName::new("default", "web"), vec![port]);
        let rendered = render(&service, &Schedulers::new(Scheduler::Wrr));
        let found: Vec<_> = rendered.into_iter().map(|wanted| (wanted.role.target, wanted.weights)).collect();
        let weights = |weights: &[(u8, u32)]| weights.iter().map(|(host, weight)| (at(*host), *weight)).collect();
        let expected: Vec<_> = expected.iter().map(|(target, of)| (*target, weights(of))).collect();
        assert_eq!(found, expected);
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
    fn a_pool_that_somebody_balances_over_has_a_virtual_server() {
        check(port(|_| ()), &[(CLUSTER, &[(1, 1), (2, 1), (3, 1)])]);
        check(port(split), &[(CLUSTER, &[(1, 1), (2, 1), (3, 1)]), (LOCAL, &[(1, 1), (2, 1), (3, 1)])]);
        check(port(|port| port.frontends[0].route = Route::Everyone(Answer::Drop)), &[]);
        check(port(|port| port.frontends.clear()), &[]);
    }

    #[test]
    fn an_empty_pool_has_no_virtual_server() {
        check(port(|port| port.endpoints.clear()), &[]);
        let elsewhere = |port: &mut ServicePort| {
            split(port);
            port.endpoints = vec![Endpoint::elsewhere(at(1).into())];
        };
        check(port(elsewhere), &[(CLUSTER, &[(1, 1)])]);
    }

    #[test]
    fn who_is_listed_keeps_its_connections() {
        let terminating = |port: &mut ServicePort| {
            split(port);
            port.endpoints[0].weight = 0;
            port.endpoints[1].pools = Pools::NONE;
            port.endpoints[2] = Endpoint { weight: 7, ..Endpoint::elsewhere(at(3).into()) };
        };
        check(port(terminating), &[(CLUSTER, &[(1, 0), (2, 0), (3, 7)]), (LOCAL, &[(1, 0), (2, 0)])]);
    }

    #[test]
    fn where_clients_come_back_each_endpoint_has_a_virtual_server() {
        let sticky = |port: &mut ServicePort| {
            port.affinity = Affinity::ClientIp { timeout: NonZeroU32::MIN };
            port.endpoints[1].pools = Pools::NONE;
            port.endpoints[2].pools = Pools::LOCAL;
        };
        let alone = |host| Target::Endpoint(at(host).into());
        check(port(sticky), &[(alone(1), &[(1, CHOSEN)]), (alone(2), &[(2, 0)]), (alone(3), &[(3, 0)])]);
        let with_local = port(|port| {
            sticky(port);
            split(port);
        });
        check(with_local, &[(alone(1), &[(1, CHOSEN)]), (alone(2), &[(2, 0)]), (alone(3), &[(3, CHOSEN)])]);
    }

    #[test]
    fn who_hashes_falls_back() {
        for scheduler in Scheduler::ALL {
            let hashes = matches!(scheduler, Scheduler::Sh | Scheduler::Mh);
            let key = VirtualKey::Mark { family: netlink::Family::Ipv4, mark: 1 };
            assert_eq!(virtual_server(key, scheduler).flags == Flags::HASH_FALLBACK, hashes, "{scheduler}");
        }
    }
}
