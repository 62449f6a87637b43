//! Tables: what changed, which entry, stale or not.

use std::sync::Arc;

use super::*;
use crate::{Endpoint, NodePortAddresses, Observed, Pool, Pools, ServiceName, SourceRanges};

const CLUSTER: &str = "10.96.0.10:53";
const A: &str = "10.244.0.2:53";
const B: &str = "10.244.1.2:53";
const NODE: &str = "192.168.67.8";
const NODE_PORT: u16 = 30053;

fn node() -> NodeNetwork {
    let mut node = NodeNetwork {
        addresses: [NODE, "192.168.68.8"].map(|ip| ip.parse().unwrap()).into(),
        ..NodeNetwork::unknown()
    };
    node.node_ports.v4 = NodePortAddresses::These([NODE.parse().unwrap()].into());
    node
}

/// `name`: a cluster address and a node port, of `protocol`, in front of these endpoints.
fn service(name: &str, protocol: Protocol, endpoints: &[&str]) -> Service {
    let cluster: SocketAddr = CLUSTER.parse().unwrap();
    let port = ServicePort {
        frontends: vec![
            Frontend::cluster_ip(cluster.ip(), protocol, cluster.port()),
            Frontend::node_port(Family::V4, protocol, NODE_PORT),
        ],
        endpoints: endpoints.iter().map(|at| Endpoint::elsewhere(at.parse().unwrap())).collect(),
        ..ServicePort::new(Family::V4, protocol)
    };
    Service::new(ServiceName::new("kube-system", name), vec![port])
}

fn dns(endpoints: &[&str]) -> Service {
    service("kube-dns", Protocol::Udp, endpoints)
}

fn routed(mut service: Service, route: Route) -> Service {
    service.ports[0].frontends[0].route = route;
    service
}

fn flow(destination: &str, reply_source: &str) -> Flow {
    Flow {
        protocol: Protocol::Udp,
        source: "10.244.2.3:40000".parse().unwrap(),
        destination: destination.parse().unwrap(),
        reply_source: reply_source.parse().unwrap(),
        answered: true,
    }
}

fn unanswered(destination: &str, reply_source: &str) -> Flow {
    Flow { protocol: Protocol::Tcp, answered: false, ..flow(destination, reply_source) }
}

fn state(node: NodeNetwork, services: &[&Service]) -> ServiceState {
    let mut state = ServiceState::new(node);
    for service in services {
        state.upsert((*service).clone()).unwrap();
    }
    state
}

/// `before` became `after`; does that make the flow stale?
#[track_caller]
fn check(before: Option<&Service>, after: Option<&Service>, flow: Flow, stale: bool) {
    let before = state(node(), &before.into_iter().collect::<Vec<_>>());
    let now = state(node(), &after.into_iter().collect::<Vec<_>>());
    let mut flows = StaleFlows::new(before.node().clone());
    let name = ServiceName::new("kube-system", "kube-dns");
    flows.service_changed(before.service(&name), now.service(&name), &now);
    assert_eq!(flows.is_stale(&flow), stale, "{flow:?}");
    let kind = (Family::of(flow.destination.ip()), flow.protocol);
    assert!(!stale || flows.kinds().contains(&kind), "would not be dumped: {flow:?}");
}

#[test]
fn flows_follow_their_endpoints() {
    let (both, one, none) = (dns(&[A, B]), dns(&[B]), dns(&[]));
    for destination in [CLUSTER, "192.168.67.8:30053"] {
        check(Some(&both), Some(&one), flow(destination, A), true);
        check(Some(&both), Some(&one), flow(destination, B), false);
        check(Some(&both), Some(&none), flow(destination, A), true);
        check(Some(&both), None, flow(destination, A), true);
    }
    let moved = dns(&["10.244.0.2:5353", B]);
    check(Some(&both), Some(&moved), flow(CLUSTER, A), true);
    check(Some(&both), Some(&moved), flow(CLUSTER, "10.244.0.2:5353"), false);
}

#[test]
fn untranslated_flows_die_when_a_frontend_is_born_or_balances_at_last() {
    let (none, one) = (dns(&[]), dns(&[A]));
    check(None, Some(&one), flow(CLUSTER, CLUSTER), true);
    check(Some(&none), Some(&one), flow(CLUSTER, CLUSTER), true);
    check(None, Some(&none), flow(CLUSTER, CLUSTER), true);
    check(None, Some(&one), flow("192.168.67.8:30053", "192.168.67.8:30053"), true);
    let reject = routed(one.clone(), Route::Everyone(Answer::Reject));
    check(Some(&reject), Some(&one), flow(CLUSTER, CLUSTER), true);
    let (inside, outside) = (Answer::Balance(Pool::Cluster), Answer::Drop);
    let drop = routed(one.clone(), Route::Split { inside, outside });
    check(Some(&drop), Some(&one), flow(CLUSTER, CLUSTER), true);
}

#[test]
fn untranslated_flows_are_right_where_the_frontend_is_gone() {
    check(Some(&dns(&[A])), None, flow(CLUSTER, CLUSTER), false);
}

#[test]
fn an_endpoint_that_is_itself_dialled_keeps_its_flows() {
    let host_network = dns(&["192.168.67.8:30053"]);
    check(None, Some(&host_network), flow("192.168.67.8:30053", "192.168.67.8:30053"), false);
}

#[test]
fn policy_weight_and_pools_never_cut_a_flow() {
    let before = dns(&[A, B]);
    let mut after = before.clone();
    after.ports[0].endpoints[0].weight = 0;
    after.ports[0].endpoints[1].pools = Pools::NONE;
    for route in [Route::Everyone(Answer::Drop), Route::Everyone(Answer::Balance(Pool::Local))] {
        let after = routed(after.clone(), route);
        check(Some(&before), Some(&after), flow(CLUSTER, A), false);
        check(None, Some(&after), flow(CLUSTER, B), false);
    }
}

#[test]
fn strangers_flows_are_untouched() {
    let (both, one) = (dns(&[A, B]), dns(&[B]));
    for destination in [
        "10.96.0.10:54",      // another port
        "10.96.0.11:53",      // another address
        "8.8.8.8:30053",      // the node port's number elsewhere
        "192.168.68.8:30053", // an address of the node that carries no node ports
        "127.0.0.1:30053",
        "[fd00::a]:53",
    ] {
        check(Some(&both), Some(&one), flow(destination, A), false);
        check(Some(&both), None, flow(destination, A), false);
        check(None, Some(&one), flow(destination, destination), false);
    }
    check(Some(&both), Some(&one), Flow { protocol: Protocol::Sctp, ..flow(CLUSTER, A) }, false);
}

#[test]
fn an_answered_tcp_entry_is_never_deleted() {
    let everywhere = [CLUSTER, "192.168.67.8:30053"];
    for (protocol, answered, stale) in [
        (Protocol::Udp, true, true),
        (Protocol::Sctp, true, true),
        (Protocol::Sctp, false, true),
        (Protocol::Tcp, false, true),
        (Protocol::Tcp, true, false),
    ] {
        for (before, after) in [(Some([A, B].as_slice()), Some([B].as_slice())), (Some(&[A]), None), (None, Some(&[B]))]
        {
            let [before, after] =
                [before, after].map(|endpoints| Some(Arc::new(service("kube-dns", protocol, endpoints?))));
            let now = state(node(), &after.as_deref().into_iter().collect::<Vec<_>>());
            let mut flows = StaleFlows::new(now.node().clone());
            flows.service_changed(before.as_ref(), after.as_ref(), &now);
            let observed = Observed::expected(&state(node(), &before.as_deref().into_iter().collect::<Vec<_>>()));
            let mut restart = StaleFlows::new(now.node().clone());
            restart.restarted(observed.frontends.into_keys(), &now);
            for flow in everywhere.map(|destination| Flow { protocol, answered, ..flow(destination, A) }) {
                assert_eq!(flows.is_stale(&flow), stale, "{before:?} -> {after:?}: {flow:?}");
                assert_eq!(restart.is_stale(&flow), stale, "{flow:?}");
            }
        }
    }
}

/// The node's masquerade rewrites the source of what leaves: the answer's destination is another, its source is not.
#[test]
fn a_first_packet_from_before_the_frontend_is_stale_masqueraded_or_not() {
    let born = Arc::new(service("kube-dns", Protocol::Tcp, &[A]));
    let now = state(node(), &[&born]);
    let mut flows = StaleFlows::new(now.node().clone());
    assert!(flows.is_empty() && flows.kinds().is_empty());
    flows.service_changed(None, Some(&born), &now);
    assert_eq!(flows.kinds(), [(Family::V4, Protocol::Tcp)].into());
    assert!(flows.is_stale(&unanswered(CLUSTER, CLUSTER)));
    assert!(flows.is_stale(&unanswered("192.168.67.8:30053", "192.168.67.8:30053")));
    assert!(!flows.is_stale(&unanswered("192.168.68.8:30053", "192.168.68.8:30053")), "carries no node ports");
    assert!(!flows.is_stale(&unanswered(CLUSTER, A)), "on its way to an endpoint");
    assert!(!flows.is_stale(&unanswered("10.96.0.11:53", "10.96.0.11:53")), "no frontend");
}

#[test]
fn what_is_suspect_follows_later_changes() {
    let tcp = |name: &str, endpoints: &[&str]| Arc::new(service(name, Protocol::Tcp, endpoints));
    let (one, both, other) = (tcp("kube-dns", &[A]), tcp("kube-dns", &[A, B]), tcp("z-dns", &[B]));
    let (nothing, moved) = (state(node(), &[]), state(node(), &[&other]));
    let mut flows = StaleFlows::new(nothing.node().clone());
    flows.service_changed(None, Some(&one), &state(node(), &[&one]));
    assert!(flows.is_stale(&unanswered(CLUSTER, B)));
    flows.follow(Some(&one), Some(&both));
    assert!(!flows.is_stale(&unanswered(CLUSTER, B)), "an endpoint by now");
    // The frontend moves to another service, told in either order.
    for changes in [[(Some(&both), None), (None, Some(&other))], [(None, Some(&other)), (Some(&both), None)]] {
        let mut flows = flows.clone();
        changes.into_iter().for_each(|(before, after)| flows.service_changed(before, after, &moved));
        assert!(flows.is_stale(&unanswered(CLUSTER, A)));
        assert!(!flows.is_stale(&unanswered(CLUSTER, B)));
    }
    // What could not be looked at is suspect again, as it is by now.
    let mut owed = StaleFlows::new(nothing.node().clone());
    owed.service_changed(Some(&both), None, &nothing);
    flows.hand_back(&mut owed);
    assert!(!owed.is_stale(&unanswered(CLUSTER, CLUSTER)) && owed.is_stale(&unanswered(CLUSTER, B)));
}

#[test]
fn what_was_suspect_before_an_error_stays_so() {
    let (both, nothing) = (Arc::new(dns(&[A, B])), state(node(), &[]));
    let mut flows = StaleFlows::new(nothing.node().clone());
    flows.service_changed(Some(&both), None, &nothing);
    // The kernel does not hold the service any more.
    flows.restarted([], &nothing);
    assert!(flows.is_stale(&flow(CLUSTER, A)));
    assert!(!flows.is_stale(&flow(CLUSTER, CLUSTER)));
}

#[test]
fn nothing_is_read_where_no_flow_can_be_stale() {
    let both = dns(&[A, B]);
    let mut weights = both.clone();
    weights.ports[0].endpoints[0].weight = 0;
    let mut ranges = both.clone();
    ranges.ports[0].frontends[0].source_ranges = SourceRanges::Only(vec![]);
    let tcp = |endpoints: &[&str]| service("kube-dns", Protocol::Tcp, endpoints);
    for (before, after) in [
        (Some(dns(&[A])), Some(both.clone())),
        (Some(both.clone()), Some(both.clone())),
        (Some(both.clone()), Some(weights)),
        (Some(both.clone()), Some(ranges)),
        (Some(tcp(&[A])), Some(tcp(&[A, B]))),
    ] {
        let [before, after] = [before, after].map(|service| service.map(Arc::new));
        let now = state(node(), &after.as_deref().into_iter().collect::<Vec<_>>());
        let mut flows = StaleFlows::new(now.node().clone());
        flows.service_changed(before.as_ref(), after.as_ref(), &now);
        assert!(flows.is_empty() && flows.kinds().is_empty(), "{before:?} -> {after:?}");
    }
}

#[test]
fn a_frontend_that_moves_to_another_service_takes_the_flows_that_fit() {
    let [old, young] = [("kube-dns", A), ("z-dns", B)].map(|(name, at)| Arc::new(service(name, Protocol::Udp, &[at])));
    let (before, now) = (state(node(), &[&old]), state(node(), &[&young]));
    let (gone, born) = (Some(&old), Some(&young));
    for changes in [[(gone, None), (None, born)], [(None, born), (gone, None)]] {
        let mut flows = StaleFlows::new(before.node().clone());
        changes.into_iter().for_each(|(before, after)| flows.service_changed(before, after, &now));
        assert!(flows.is_stale(&flow(CLUSTER, A)));
        assert!(!flows.is_stale(&flow(CLUSTER, B)));
        assert!(flows.is_stale(&flow(CLUSTER, CLUSTER)));
    }
}

#[test]
fn an_address_of_the_node_that_changes_sides_takes_node_ports_along() {
    let dns = dns(&[A]);
    let mut other = node();
    other.node_ports.v4 = NodePortAddresses::All;
    other.addresses = ["192.168.68.8".parse().unwrap()].into();
    let (before, now) = (node(), state(other, &[&dns]));
    let mut flows = StaleFlows::new(Arc::new(before));
    flows.node_changed(&now);
    for (destination, reply_source, stale) in [
        ("192.168.68.8:30053", "192.168.68.8:30053", true), // a node port now
        ("192.168.68.8:30053", A, false),
        ("192.168.67.8:30053", A, true), // no node port any more
        ("192.168.67.8:30053", "192.168.67.8:30053", false),
        ("192.168.69.8:30053", A, false),
        (CLUSTER, B, false), // did not change
    ] {
        assert_eq!(flows.is_stale(&flow(destination, reply_source)), stale, "{destination} {reply_source}");
    }
    let mut same = StaleFlows::new(now.node().clone());
    same.node_changed(&now);
    assert!(same.is_empty());
}

#[test]
fn an_address_comes_before_a_node_port() {
    let mut external = service("external", Protocol::Udp, &[B]);
    external.ports[0].frontends = vec![Frontend::external(NODE.parse().unwrap(), Protocol::Udp, NODE_PORT)];
    let [before, after] = [dns(&[A, B]), dns(&[A])].map(Arc::new);
    let now = state(node(), &[&after, &external]);
    let mut flows = StaleFlows::new(now.node().clone());
    flows.service_changed(Some(&before), Some(&after), &now);
    assert!(!flows.is_stale(&flow("192.168.67.8:30053", B)), "belongs to the external address, which did not change");
    assert!(flows.is_stale(&flow(CLUSTER, B)));
}

#[test]
fn a_restart_cuts_only_what_leads_nowhere() {
    let gone = FrontendKey::address("10.96.0.99".parse().unwrap(), Protocol::Udp, 53);
    let web = FrontendKey::address("10.96.0.98".parse().unwrap(), Protocol::Tcp, 80);
    let now = state(node(), &[&dns(&[A])]);
    let mut flows = StaleFlows::new(now.node().clone());
    flows.restarted([gone, web], &now);
    for (destination, reply_source, stale) in [
        ("10.96.0.99:53", A, true),
        (CLUSTER, A, false),
        (CLUSTER, B, true),
        (CLUSTER, CLUSTER, true),
        ("192.168.67.8:30053", B, true),
        ("192.168.68.8:30053", B, false),
        ("10.96.0.97:53", B, false),
    ] {
        assert_eq!(flows.is_stale(&flow(destination, reply_source)), stale, "{destination} {reply_source}");
    }
    assert!(!flows.is_stale(&Flow { protocol: Protocol::Tcp, ..flow("10.96.0.98:80", A) }));
    assert!(flows.is_stale(&unanswered("10.96.0.98:80", A)), "to the endpoint of a service that is gone");
    let nothing = ServiceState::new(node());
    let mut flows = StaleFlows::new(nothing.node().clone());
    flows.restarted([], &nothing);
    assert!(flows.is_empty());
}
