//! What its IPVS mode leaves: virtual servers drain, and the device goes with the last of them. Where the kernel has
//! IPVS.

use std::net::SocketAddr;

use netlink::Family;
use netlink::ipvs::{Flags, Forwarding, Ipvs, Operation, RealServer, Thresholds, Timeouts, VirtualKey, VirtualServer};
use switchyard_agent::backend::Backend;
use switchyard_agent::migration::{self, CleanupReport, Left, Removed};
use testbed::Load;

use crate::node::{Node, dial};

const CLUSTER_IP: &str = "10.108.154.253:8080";
const NODE_PORT: &str = "192.168.67.10:30673";
/// A virtual server of another program.
const FOREIGN: &str = "192.168.67.10:9999";
/// Another one.
const MARK: VirtualKey = VirtualKey::Mark { family: Family::Ipv4, mark: 0x77 };

fn key(address: &str) -> VirtualKey {
    let address = endpoint(address);
    VirtualKey::Address { protocol: 6, address: address.ip(), port: address.port() }
}

fn endpoint(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn balanced(key: VirtualKey, over: &str) -> [Operation; 2] {
    let server = VirtualServer { key, scheduler: "rr".into(), flags: Flags::NONE, persistence: None, engine: None };
    let real = RealServer {
        address: endpoint(over),
        forwarding: Forwarding::Masquerade,
        weight: 1,
        thresholds: Thresholds::default(),
    };
    [Operation::AddVirtual(server), Operation::AddReal(key, real)]
}

/// The rules beside them. With these, connection tracking is at work: IPVS alone does not ask for it.
const RULES: &str = "table ip nat {
    chain KUBE-MARK-MASQ { meta mark set meta mark | 0x4000; }
    chain KUBE-POSTROUTING { meta mark & 0x4000 == 0x4000 masquerade; }
    chain KUBE-SERVICES { ip saddr != 10.244.0.0/16 ip daddr 10.108.154.253 jump KUBE-MARK-MASQ; }
    chain PREROUTING { type nat hook prerouting priority dstnat; jump KUBE-SERVICES; }
    chain OUTPUT { type nat hook output priority -100; jump KUBE-SERVICES; }
    chain POSTROUTING { type nat hook postrouting priority srcnat; jump KUBE-POSTROUTING; }
}
table ip filter {
    chain KUBE-FORWARD { ct state established,related accept; }
    chain FORWARD { type filter hook forward priority filter; jump KUBE-FORWARD; }
}";

/// A node as kube-proxy's IPVS mode leaves it, with virtual servers of another program, one by address and one by mark.
fn left_behind() -> Option<Node> {
    let node = Node::new();
    if !node.can_run(Backend::Ipvs) {
        return None;
    }
    node.call("nft -f -", RULES);
    node.call("ip link add kube-ipvs0 type dummy", "");
    for address in ["10.108.154.253/32", "10.96.0.1/32", "fd00:10:96::1/128"] {
        node.call(&format!("ip address add {address} dev kube-ipvs0"), "");
    }
    let namespace = &node.world.node().namespace;
    namespace.sysctl("net/ipv4/vs/conntrack", "1").unwrap();
    for state in ["fin_wait", "close_wait", "last_ack", "time_wait"] {
        namespace.sysctl(&format!("net/netfilter/nf_conntrack_tcp_timeout_{state}"), "1").unwrap();
    }
    let mut operations = vec![Operation::SetTimeouts(Timeouts { tcp: 900, tcp_fin: 1, udp: 300 })];
    for (at, over) in [
        (key(CLUSTER_IP), "10.244.0.5:80"),
        (key(NODE_PORT), "10.244.0.5:80"),
        (key("10.96.0.1:443"), "10.244.0.4:80"),
        (key("[fd00:10:96::1]:443"), "[fd00:10:244::4]:80"),
        (key(FOREIGN), "10.244.2.6:80"),
        (MARK, "10.244.0.5:80"),
    ] {
        operations.extend(balanced(at, over));
    }
    node.executor.run(async move {
        assert_eq!(Ipvs::open().await.unwrap().execute(&operations).await.unwrap(), []);
    });
    Some(node)
}

fn servers(node: &Node) -> Vec<VirtualKey> {
    let all = node.executor.run(async { Ipvs::open().await.unwrap().virtual_servers().await.unwrap() });
    all.into_iter().map(|entry| entry.server.key).collect()
}

fn addresses(node: &Node) -> Vec<String> {
    let shown = node.call("ip -o address", "");
    let on_device = shown.lines().filter(|line| line.contains(" kube-ipvs0 "));
    on_device.filter_map(|line| Some(line.split_whitespace().nth(3)?.to_owned())).collect()
}

fn draining(report: &CleanupReport) -> Option<usize> {
    report.left.iter().find_map(|left| match left {
        Left::Draining { servers, .. } => Some(*servers),
        _ => None,
    })
}

#[test]
fn virtual_servers_go_as_their_connections_end_and_the_device_with_the_last() {
    if testbed::privilege::skip_without("nft") {
        return;
    }
    let Some(node) = left_behind() else { return };
    let ways = [("mytools", CLUSTER_IP), ("outsider", NODE_PORT), ("node2", CLUSTER_IP)];
    for (from, to) in ways {
        assert_eq!(node.answers(from, to, 4), ["whoami-1"], "{from} → {to}, by the old virtual servers");
    }
    let mut held: Vec<_> = ways.iter().map(|(from, to)| node.world.open(from, &dial(to)).unwrap().0).collect();
    let loads = ways.map(|(from, to)| Load::start(node.world.place(from).unwrap(), &dial(to)).unwrap());

    let agent = node.take_over(Backend::Nftables);
    let report = agent.pass();
    assert_eq!((report.removed.len(), report.failed.len()), (2, 0), "chains of two tables: {report:?}");
    let report = agent.pass();
    assert_eq!(report.failed, []);
    assert!(draining(&report).is_some_and(|servers| servers > 0), "{report:?}");
    assert!(report.left.contains(&Left::VirtualServers(1)), "{report:?}");
    for (load, (from, to)) in loads.into_iter().zip(ways) {
        let tally = load.finish().unwrap();
        assert_eq!(tally.failures, [], "{from} → {to}, of {}", tally.total());
        assert_eq!(node.answers(from, to, 40).len(), 3, "{from} → {to}");
    }
    // The node's own connections to a service have the service's address for their source as long as it is the node's.
    let (mut own, first) = node.world.open("node2", &dial(CLUSTER_IP)).unwrap();

    for (held, (from, to)) in held.iter_mut().zip(ways) {
        let later = held.ask();
        assert_eq!(later.name(), Some("whoami-1"), "{from} → {to}, a connection from before: {later}");
    }
    drop(held);
    let mut passes = 0;
    while draining(&agent.pass()) != Some(0) {
        passes += 1;
        assert!(passes < 20, "waited in vain for the old virtual servers to go: {:?}", servers(&node));
    }
    assert_eq!(servers(&node).len(), 2);
    assert_eq!(addresses(&node), ["10.108.154.253/32"]);
    let later = own.ask();
    assert_eq!(later.name(), Some(first.name.as_str()), "the node's own connection: {later}");
    drop(own);
    passes = 0;
    while !agent.pass().removed.contains(&Removed::Device("kube-ipvs0")) {
        passes += 1;
        assert!(passes < 20, "waited in vain for the device to go: {:?}", addresses(&node));
    }
    assert!(!node.call("ip link", "").contains("kube-ipvs0"));
    let left = servers(&node);
    assert!(left.len() == 2 && left.contains(&MARK) && left.contains(&key(FOREIGN)), "{left:?}");
}

#[test]
fn cleanup_waits_for_no_connection() {
    if testbed::privilege::skip_without("nft") {
        return;
    }
    let Some(node) = left_behind() else { return };
    let _held = node.world.open("mytools", &dial(CLUSTER_IP)).unwrap();
    let report = node.executor.run(migration::remove_all());
    assert_eq!(report.failed, []);
    let removed = [Removed::VirtualServers(4), Removed::Addresses(3), Removed::Device("kube-ipvs0")];
    assert!(removed.iter().all(|removed| report.removed.contains(removed)), "{report:?}");
    assert_eq!(servers(&node).len(), 2);
    let again = node.executor.run(migration::remove_all());
    assert_eq!((again.removed, again.failed), (vec![], vec![]));
}
