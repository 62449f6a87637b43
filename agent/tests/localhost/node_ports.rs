//! What a client meets at a node port on localhost.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use backend_api::{Affinity, Answer, Family, PerFamily, Pool, Protocol, Route};
use switchyard_agent::backend::Backend;
use switchyard_agent::localhost::{Limits, OnLocalhost};
use testbed::{Outcome, Refusal};

use super::given::{COMBINATIONS, NODE_PORT, Node, dial, endpoint, localhost, service, web};

#[test]
fn both_protocols_are_answered_in_both_families_beside_nftables() {
    if testbed::privilege::skip() {
        return;
    }
    answered_beside(Backend::Nftables);
}

#[test]
fn both_protocols_are_answered_in_both_families_beside_ipvs() {
    if testbed::privilege::skip() {
        return;
    }
    answered_beside(Backend::Ipvs);
}

fn answered_beside(backend: Backend) {
    let Some(mut node) = Node::with(backend, Limits::default()) else { return };
    node.put(web(&["nginx-1", "nginx-2", "nginx-3"]));
    for (family, protocol) in COMBINATIONS {
        node.until_answered((family, protocol), &["nginx-1", "nginx-2", "nginx-3"]);
        let outcome = node.dial(family, protocol);
        let answer = outcome.answer().unwrap_or_else(|| panic!("{family} {protocol}: {outcome}"));
        assert!(node.world.node_addresses().contains(&answer.source.ip()), "{family} {protocol}: {outcome}");
        // What the kernel itself does at the node's other addresses is as ever.
        let other = node.world.node_address_towards("outsider", family).unwrap();
        let outcome = node.world.dial("outsider", &testbed::Dial::new(protocol, (other, NODE_PORT).into()));
        assert!(outcome.name().is_some_and(|name| name.starts_with("nginx")), "{family} {protocol}: {outcome}");
    }
    assert_eq!(node.listeners(), (2, 2));
}

#[test]
fn route_localnet_stays_off() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::new();
    node.put(web(&["nginx-1"]));
    node.until_answered(COMBINATIONS[0], &["nginx-1"]);
    let all = node.world.node().namespace.run(|| std::fs::read_dir("/proc/sys/net/ipv4/conf").unwrap().count());
    assert!(all > 2);
    let set = node.world.node().namespace.run(|| {
        let devices = std::fs::read_dir("/proc/sys/net/ipv4/conf").unwrap();
        let read = |device: std::fs::DirEntry| std::fs::read_to_string(device.path().join("route_localnet")).unwrap();
        devices.map(|device| read(device.unwrap())).collect::<BTreeSet<_>>()
    });
    assert_eq!(set, ["0\n".to_owned()].into());
}

#[test]
fn without_endpoints_nothing_listens() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::new();
    node.put(web(&["nginx-1"]));
    for combination in COMBINATIONS {
        node.until_answered(combination, &["nginx-1"]);
    }
    node.put(web(&[]));
    for combination in COMBINATIONS {
        node.until_refused(combination);
    }
    assert_eq!(node.listeners(), (0, 0));
    node.put(web(&["nginx-2"]));
    for combination in COMBINATIONS {
        node.until_answered(combination, &["nginx-2"]);
    }
}

#[test]
fn a_listener_is_gone_with_its_service() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::new();
    node.put(web(&["nginx-1"]));
    for combination in COMBINATIONS {
        node.until_answered(combination, &["nginx-1"]);
    }
    node.remove("web");
    for combination in COMBINATIONS {
        node.until_refused(combination);
    }
}

#[test]
fn a_port_goes_from_one_service_to_the_next() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::new();
    node.put(service("a", NODE_PORT, &["nginx-1"]));
    node.put(service("b", NODE_PORT, &["nginx-2"]));
    for combination in COMBINATIONS {
        node.until_answered(combination, &["nginx-1"]);
    }
    node.remove("a");
    for combination in COMBINATIONS {
        node.until_answered(combination, &["nginx-2"]);
    }
    node.put(service("a", NODE_PORT, &["nginx-3"]));
    for combination in COMBINATIONS {
        node.until_answered(combination, &["nginx-3"]);
    }
    assert_eq!(node.listeners(), (2, 2));
}

#[test]
fn only_wanted_families_are_answered() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::new();
    node.wanted.send_replace(PerFamily::default());
    node.put(web(&["nginx-1"]));
    for (v4, v6) in [(OnLocalhost::Closed, OnLocalhost::Open), (OnLocalhost::Open, OnLocalhost::Closed)] {
        node.wanted.send_replace(PerFamily { v4, v6 });
        for (family, protocol) in COMBINATIONS {
            match (PerFamily { v4, v6 }).of(family) {
                OnLocalhost::Open => node.until_answered((family, protocol), &["nginx-1"]),
                OnLocalhost::Closed => node.until_refused((family, protocol)),
            }
        }
    }
}

#[test]
fn a_client_on_the_node_is_inside() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::new();
    let mut web = web(&["nginx-1", "nginx-2"]);
    for port in &mut web.ports {
        port.endpoints[0].pools.local = true;
        let outside = Answer::Balance(Pool::Local);
        port.frontends[0].route = Route::Split { inside: Answer::Balance(Pool::Cluster), outside };
    }
    node.put(web.clone());
    for combination in COMBINATIONS {
        node.until_answered(combination, &["nginx-2"]);
        node.until_answered(combination, &["nginx-1"]);
    }
    for port in &mut web.ports {
        let (inside, outside) = (Answer::Reject, Answer::Balance(Pool::Cluster));
        port.frontends[0].route = Route::Split { inside, outside };
    }
    node.put(web);
    for combination in COMBINATIONS {
        node.until_refused(combination);
    }
}

#[test]
fn endpoints_are_chosen_by_weight() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::new();
    let mut web = web(&["nginx-1", "nginx-2", "nginx-3"]);
    for port in &mut web.ports {
        for (endpoint, weight) in port.endpoints.iter_mut().zip([3, 1, 0]) {
            endpoint.weight = weight;
        }
    }
    node.put(web);
    for combination in COMBINATIONS {
        node.until_answered(combination, &["nginx-1"]);
        let names = node.names(combination, 200);
        let count = |name: &str| names.iter().filter(|one| *one == name).count();
        assert_eq!((count("nginx-1") + count("nginx-2"), count("nginx-3")), (200, 0), "{combination:?}: {names:?}");
        // 150 is expected, with a standard deviation of 6.
        assert!((115..=185).contains(&count("nginx-1")), "{combination:?}: {}", count("nginx-1"));
    }
}

#[test]
fn with_affinity_the_node_comes_back_to_its_endpoint() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::new();
    let sticky = |pods: &[&str]| {
        let mut web = web(pods);
        for port in &mut web.ports {
            port.affinity = Affinity::ClientIp { timeout: NonZeroU32::new(100).unwrap() };
        }
        web
    };
    node.put(sticky(&["nginx-1", "nginx-2", "nginx-3"]));
    for combination in COMBINATIONS {
        node.until_answered(combination, &["nginx-1", "nginx-2", "nginx-3"]);
        let names: BTreeSet<_> = node.names(combination, 30).into_iter().collect();
        assert_eq!(names.len(), 1, "{combination:?}: {names:?}");
        // Its endpoint is gone: another one, and that for good.
        let gone = names.first().unwrap().clone();
        let left: Vec<_> = ["nginx-1", "nginx-2", "nginx-3"].into_iter().filter(|name| *name != gone).collect();
        node.put(sticky(&left));
        node.until_answered(combination, &left);
        let names: BTreeSet<_> = node.names(combination, 30).into_iter().collect();
        assert!(names.len() == 1 && !names.contains(&gone), "{combination:?}: {names:?}");
        node.put(sticky(&["nginx-1", "nginx-2", "nginx-3"]));
    }
}

#[test]
fn a_port_that_another_program_holds_is_taken_when_it_is_free() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::new();
    let held = node.world.node().namespace.run(|| {
        let tcp = std::net::TcpListener::bind(localhost(Family::V4, NODE_PORT)).unwrap();
        let udp = std::net::UdpSocket::bind(localhost(Family::V6, NODE_PORT)).unwrap();
        (tcp, udp)
    });
    node.put(web(&["nginx-1"]));
    node.until_answered((Family::V4, Protocol::Udp), &["nginx-1"]);
    node.until_answered((Family::V6, Protocol::Tcp), &["nginx-1"]);
    // Changes in between do not count the failure again.
    node.put(web(&["nginx-2"]));
    node.until_answered((Family::V4, Protocol::Udp), &["nginx-2"]);
    assert_eq!(node.listeners(), (1, 1));
    assert_eq!((node.counts.failures(Family::V4), node.counts.failures(Family::V6)), (1, 1));
    drop(held);
    for combination in COMBINATIONS {
        node.until_answered(combination, &["nginx-2"]);
    }
    assert_eq!((node.counts.failures(Family::V4), node.counts.failures(Family::V6)), (1, 1));
}

#[test]
fn sctp_is_not_listened_on_and_other_protocols_work() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::new();
    let mut web = web(&["nginx-1"]);
    for family in Family::ALL {
        let mut sctp = backend_api::ServicePort::new(family, Protocol::Sctp);
        sctp.frontends = vec![backend_api::Frontend::node_port(family, Protocol::Sctp, NODE_PORT)];
        sctp.endpoints = vec![endpoint("nginx-1", family)];
        web.ports.push(sctp);
    }
    node.put(web);
    for combination in COMBINATIONS {
        node.until_answered(combination, &["nginx-1"]);
    }
    let outcome = node.dial(Family::V4, Protocol::Sctp);
    assert!(!matches!(outcome, Outcome::Answered(_)), "{outcome}");
    assert_eq!((node.listeners(), node.counts.failures(Family::V4)), ((2, 2), 0));
}

#[test]
fn pods_do_not_reach_localhost_through_the_node() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::new();
    node.put(web(&["nginx-1"]));
    node.until_answered(COMBINATIONS[0], &["nginx-1"]);
    let outcome = node.world.dial("mytools", &dial(Family::V4, Protocol::Tcp));
    assert_eq!(outcome, Outcome::Refused(Refusal::Reset), "the pod's own localhost");
}
