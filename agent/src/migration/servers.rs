//! Which virtual servers are kube-proxy's, and when each can go without cutting a connection.
//!
//! Pure, because every decision about virtual servers is here. Virtual servers by mark are never looked at:
//! Switchyard's are, and kube-proxy makes none.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use netlink::ipvs::{Operation, RealServer, RealServerEntry, VirtualKey};

/// A virtual server as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OldServer {
    /// Its key.
    pub(super) key: VirtualKey,
    /// Its real servers.
    pub(super) reals: Vec<RealServerEntry>,
}

/// What there is of IPVS mode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IpvsLeftovers {
    /// Addresses on kube-proxy's device.
    pub(super) bound: BTreeSet<IpAddr>,
    /// All virtual servers of the network namespace.
    pub(super) servers: Vec<OldServer>,
    /// Those of the addresses that connections start from, as conntrack has them: the node dialled a service from its
    /// own address.
    pub(super) sources: BTreeSet<IpAddr>,
}

/// Whether the removal waits for the end of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It does.
    ForConnections,
    /// It does not: connections are cut.
    No,
}

/// What is to be done now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// What IPVS is told, in order.
    pub(super) operations: Vec<Operation>,
    /// Addresses to remove from the device.
    pub(super) release: Vec<IpAddr>,
    /// How many virtual servers are removed.
    pub(super) gone: usize,
    /// How many virtual servers still have connections.
    pub(super) draining: usize,
    /// How many real servers take new connections before this step.
    pub(super) open: usize,
    /// Addresses that stay.
    pub(super) stay: Vec<IpAddr>,
    /// How many virtual servers by address are not known to be kube-proxy's.
    pub(super) others: usize,
}

/// Decides what is done now.
///
/// A virtual server without connections is removed. One with some gets weight 0, so that it takes no new ones, and is
/// removed when they have ended. An address is removed when no virtual server has it and no connection starts from it:
/// a process on the node that dials a service has the service's own address as source, as long as the node owns it.
pub(super) fn step(found: &IpvsLeftovers, wait: Wait) -> Step {
    let mut step = Step::default();
    let mut busy = found.sources.clone();
    for server in &found.servers {
        let Some(address) = address(server.key) else { continue };
        if !is_kube_proxys(found, server) {
            step.others += 1;
            continue;
        }
        if wait == Wait::No || !server.reals.iter().any(has_connections) {
            step.operations.push(Operation::RemoveVirtual(server.key));
            step.gone += 1;
            continue;
        }
        step.draining += 1;
        busy.insert(address);
        for real in server.reals.iter().map(|real| real.server).filter(|real| real.weight > 0) {
            step.operations.push(Operation::EditReal(server.key, RealServer { weight: 0, ..real }));
            step.open += 1;
        }
    }
    (step.stay, step.release) =
        found.bound.iter().partition(|address| wait == Wait::ForConnections && busy.contains(*address));
    step
}

/// Whether the address is on kube-proxy's device, or the virtual server is that of a node port: at another address,
/// with some real servers, all of them also behind one virtual server of the same protocol at an address on the device.
fn is_kube_proxys(found: &IpvsLeftovers, server: &OldServer) -> bool {
    if is_bound(found, server) {
        return true;
    }
    !server.reals.is_empty()
        && found.servers.iter().any(|other| {
            is_bound(found, other)
                && protocol(other.key) == protocol(server.key)
                && endpoints(server).is_subset(&endpoints(other))
        })
}

fn is_bound(found: &IpvsLeftovers, server: &OldServer) -> bool {
    address(server.key).is_some_and(|address| found.bound.contains(&address))
}

fn endpoints(server: &OldServer) -> BTreeSet<SocketAddr> {
    server.reals.iter().map(|real| real.server.address).collect()
}

fn has_connections(real: &RealServerEntry) -> bool {
    real.connections.active + real.connections.inactive > 0
}

fn address(key: VirtualKey) -> Option<IpAddr> {
    match key {
        VirtualKey::Address { address, .. } => Some(address),
        VirtualKey::Mark { .. } => None,
    }
}

fn protocol(key: VirtualKey) -> Option<u16> {
    match key {
        VirtualKey::Address { protocol, .. } => Some(protocol),
        VirtualKey::Mark { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use netlink::Family;
    use netlink::ipvs::{Connections, Forwarding, Statistics, Thresholds};

    use super::*;

    fn at(address: &str, port: u16) -> VirtualKey {
        VirtualKey::Address { protocol: 6, address: address.parse().unwrap(), port }
    }

    /// `10.244.0.4 w1 c0`: at port 80, with a weight and connections.
    fn server(key: VirtualKey, reals: &[(&str, u32, u32)]) -> OldServer {
        let real = |&(ip, weight, active): &(&str, u32, u32)| RealServerEntry {
            server: RealServer {
                address: SocketAddr::new(ip.parse().unwrap(), 80),
                forwarding: Forwarding::Masquerade,
                weight,
                thresholds: Thresholds::default(),
            },
            connections: Connections { active, inactive: 0, persistent: 5 },
            statistics: Statistics::default(),
        };
        OldServer { key, reals: reals.iter().map(real).collect() }
    }

    fn leftovers(bound: &[&str], servers: Vec<OldServer>, sources: &[&str]) -> IpvsLeftovers {
        let addresses = |list: &[&str]| list.iter().map(|address| address.parse().unwrap()).collect();
        IpvsLeftovers { bound: addresses(bound), servers, sources: addresses(sources) }
    }

    fn check(found: &IpvsLeftovers, wait: Wait, operations: &[&str], release: &[&str], stay: &[&str]) -> Step {
        let decided = step(found, wait);
        let told: Vec<_> = decided.operations.iter().map(ToString::to_string).collect();
        assert_eq!(told, operations);
        let texts = |list: &[IpAddr]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((texts(&decided.release), texts(&decided.stay)), (words(release), words(stay)));
        decided
    }

    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn what_has_no_connections_goes_and_the_rest_gets_no_new_ones() {
        let servers = vec![
            server(at("10.96.0.1", 443), &[("10.0.0.1", 1, 0)]),
            server(at("10.96.0.80", 80), &[("10.244.0.4", 1, 3), ("10.244.0.5", 0, 0)]),
        ];
        let found = leftovers(&["10.96.0.1", "10.96.0.80", "10.96.0.99"], servers, &["10.96.0.99"]);
        let gone = "virtual server 10.96.0.1:443/TCP";
        let told = [gone, "virtual server 10.96.0.80:80/TCP, real server 10.244.0.4:80"];
        let step = check(&found, Wait::ForConnections, &told, &["10.96.0.1"], &["10.96.0.80", "10.96.0.99"]);
        assert_eq!((step.gone, step.draining, step.open), (1, 1, 1));
        assert!(matches!(step.operations[1], Operation::EditReal(_, RealServer { weight: 0, .. })));

        let told = [gone, "virtual server 10.96.0.80:80/TCP"];
        check(&found, Wait::No, &told, &["10.96.0.1", "10.96.0.80", "10.96.0.99"], &[]);
    }

    #[test]
    fn node_ports_are_known_by_their_real_servers_and_others_are_left() {
        let mark = VirtualKey::Mark { family: Family::Ipv4, mark: 0x5300_0001 };
        let pods = [("10.244.0.4", 1, 0), ("10.244.0.5", 1, 0)];
        let udp = VirtualKey::Address { protocol: 17, address: "192.168.0.1".parse().unwrap(), port: 30080 };
        let servers = vec![
            server(at("10.96.0.80", 80), &pods),
            server(at("192.168.0.1", 30080), &pods[1..]),
            server(at("192.168.0.1", 8080), &[("10.244.0.4", 1, 0), ("10.0.0.9", 1, 0)]),
            server(at("192.168.0.1", 8081), &[]),
            server(udp, &pods),
            server(mark, &pods),
        ];
        let found = leftovers(&["10.96.0.80"], servers, &[]);
        let told = ["virtual server 10.96.0.80:80/TCP", "virtual server 192.168.0.1:30080/TCP"];
        assert_eq!(check(&found, Wait::ForConnections, &told, &["10.96.0.80"], &[]).others, 3);
    }
}
