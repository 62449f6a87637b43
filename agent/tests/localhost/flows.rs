//! What UDP flows through localhost keep.

use std::time::Duration;

use backend_api::{Family, Protocol};
use switchyard_agent::backend::Backend;
use switchyard_agent::localhost::Limits;
use testbed::Outcome;

use super::given::{Node, dial, until, web};

const V4: (Family, Protocol) = (Family::V4, Protocol::Udp);
const V6: (Family, Protocol) = (Family::V6, Protocol::Udp);

#[test]
fn a_flow_stays_with_its_endpoint_and_leaves_it_with_the_service() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::new();
    node.put(web(&["nginx-1"]));
    for family in Family::ALL {
        node.until_answered((family, Protocol::Udp), &["nginx-1"]);
    }
    let mut held = Family::ALL.map(|family| node.world.open("node2", &dial(family, Protocol::Udp)).unwrap().0);
    node.put(web(&["nginx-1", "nginx-2", "nginx-3"]));
    for combination in [V4, V6] {
        node.until_answered(combination, &["nginx-2"]);
    }
    for held in &mut held {
        for _ in 0..10 {
            let outcome = held.ask();
            assert_eq!(outcome.name(), Some("nginx-1"), "{outcome}");
        }
    }
    // Still there, for what is established: in no pool.
    let mut drained = web(&["nginx-1", "nginx-2"]);
    for port in &mut drained.ports {
        port.endpoints[0].pools = backend_api::Pools::NONE;
    }
    node.put(drained);
    for (combination, held) in [V4, V6].into_iter().zip(&mut held) {
        node.until_answered(combination, &["nginx-2"]);
        let outcome = held.ask();
        assert_eq!(outcome.name(), Some("nginx-1"), "{outcome}");
    }
    // Gone: the same client is answered by another.
    node.put(web(&["nginx-2"]));
    for held in &mut held {
        until("the flow to move", || held.ask().name() == Some("nginx-2"));
    }
}

#[test]
fn idle_flows_are_forgotten() {
    if testbed::privilege::skip() {
        return;
    }
    let (flow_idle, stream_idle) = (Duration::from_millis(300), Duration::from_millis(900));
    let mut node = Node::with(Backend::Nftables, Limits { flow_idle, stream_idle, ..Limits::default() }).unwrap();
    node.put(web(&["nginx-1"]));
    node.until_answered(V4, &["nginx-1"]);
    let mut held = node.world.open("node2", &dial(V4.0, V4.1)).unwrap().0;
    assert!(held.ask().answer().is_some());
    assert!(node.counts.flows() > 0);
    until("all flows to be forgotten", || node.counts.flows() == 0);
    assert!(held.ask().answer().is_some(), "what comes later is a flow again");
}

#[test]
fn a_datagram_of_one_flow_too_many_is_dropped_and_counted() {
    if testbed::privilege::skip() {
        return;
    }
    let limits = Limits { flows: 1, ..Limits::default() };
    let mut node = Node::with(Backend::Nftables, limits).unwrap();
    node.put(web(&["nginx-1"]));
    until("the port to be open", || node.listeners().0 == 2);
    let mut held = node.world.open("node2", &dial(V4.0, V4.1)).unwrap().0;
    assert!(held.ask().answer().is_some());
    let outcome = node.world.dial("node2", &dial(V4.0, V4.1).within(Duration::from_millis(100)));
    assert_eq!(outcome, Outcome::Silent);
    assert!(node.counts.rejected(V4.0, V4.1) >= 1);
    assert_eq!(node.counts.rejected(V6.0, V6.1), 0);
    assert!(held.ask().answer().is_some(), "the first goes on");
}
