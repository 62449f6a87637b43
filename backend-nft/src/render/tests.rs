//! What each topic of a service becomes, element by element, as nft would print it.

use std::net::IpAddr;
use std::num::NonZeroU32;

use backend_api::*;

use super::{Assignment, service_elements};
use crate::ruleset::SetName;

/// `set: element` of the service that has this one port, without the sets that are not asked for.
fn check(port: ServicePort, sets: &[&str], expected: &[&str]) {
    let sets: Vec<SetName> = sets.iter().map(|name| SetName::parse(name).expect("a set of ours")).collect();
    let service = Service::new(ServiceName::new("default", "web"), vec![port]);
    let mut elements = Vec::new();
    service_elements(&service, &Assignment::default(), &NodeNetwork::unknown(), |element| elements.push(element));
    elements.sort();
    let asked = elements.iter().filter(|element| sets.contains(&element.set));
    let texts: Vec<String> = asked.map(|element| format!("{}: {element}", element.set)).collect();
    assert_eq!(texts, expected);
}

fn cluster_ip() -> Frontend {
    Frontend::cluster_ip([10, 96, 0, 1].into(), Protocol::Tcp, 80)
}

fn node_port() -> Frontend {
    Frontend::node_port(Family::V4, Protocol::Tcp, 30080)
}

fn port(frontends: Vec<Frontend>, endpoints: Vec<Endpoint>) -> ServicePort {
    ServicePort { frontends, endpoints, ..ServicePort::new(Family::V4, Protocol::Tcp) }
}

fn endpoint(host: u8, weight: u16, pools: Pools) -> Endpoint {
    let address = EndpointAddress::new(IpAddr::from([10, 244, 0, host]), 8080);
    Endpoint { address, weight, pools, on_this_node: pools.local }
}

#[test]
fn a_frontend_leads_to_the_chain_of_its_pool_size() {
    let two = || vec![endpoint(1, 1, Pools::CLUSTER), endpoint(2, 1, Pools::BOTH)];
    let local = |frontend| Frontend { route: Route::Everyone(Answer::Balance(Pool::Local)), ..frontend };
    check(port(vec![cluster_ip()], two()), &["services"], &["services: 10.96.0.1 . tcp . 80 : 5352:2"]);
    check(port(vec![local(cluster_ip())], two()), &["services"], &["services: 10.96.0.1 . tcp . 80 : 5353:1"]);
    check(port(vec![cluster_ip()], vec![]), &["services"], &["services: 10.96.0.1 . tcp . 80 : 5350:0"]);
    let silent = Frontend { route: Route::Everyone(Answer::Drop), ..node_port() };
    check(port(vec![silent], two()), &["node-ports"], &["node-ports: tcp . 30080 : 5350:1"]);
}

#[test]
fn weights_are_numbers_of_slots_and_zero_is_none() {
    let endpoints =
        vec![endpoint(1, 4, Pools::CLUSTER), endpoint(2, 2, Pools::CLUSTER), endpoint(3, 0, Pools::CLUSTER)];
    check(
        port(vec![node_port()], endpoints),
        &["node-ports", "node-port-endpoints"],
        &[
            "node-ports: tcp . 30080 : 5352:3",
            "node-port-endpoints: tcp . 30080 . 0 : 10.244.0.1 . 8080",
            "node-port-endpoints: tcp . 30080 . 1 : 10.244.0.1 . 8080",
            "node-port-endpoints: tcp . 30080 . 2 : 10.244.0.2 . 8080",
        ],
    );
}

#[test]
fn other_clients_have_maps_of_their_own() {
    let split = Route::Split { inside: Answer::Balance(Pool::Cluster), outside: Answer::Balance(Pool::Local) };
    let frontend = Frontend { route: split, ..node_port() };
    let endpoints = vec![endpoint(1, 1, Pools::CLUSTER), endpoint(2, 1, Pools::BOTH)];
    check(
        port(vec![frontend], endpoints),
        &["node-ports", "node-ports-inside", "node-ports-outside", "node-port-endpoints"],
        &[
            "node-ports: tcp . 30080 : 5351:0",
            "node-ports-inside: tcp . 30080 : 5352:2",
            "node-ports-outside: tcp . 30080 : 5353:1",
            "node-port-endpoints: tcp . 30080 . 0 : 10.244.0.1 . 8080",
            "node-port-endpoints: tcp . 30080 . 1 : 10.244.0.2 . 8080",
            "node-port-endpoints: tcp . 30080 . 65536 : 10.244.0.2 . 8080",
        ],
    );
}

#[test]
fn remembered_clients_have_slots_and_timeouts() {
    let sticky = ServicePort {
        affinity: Affinity::ClientIp { timeout: NonZeroU32::new(3).unwrap() },
        ..port(vec![cluster_ip()], vec![endpoint(1, 2, Pools::CLUSTER), endpoint(2, 1, Pools::CLUSTER)])
    };
    check(
        sticky,
        &["services", "endpoints", "sticky-picks", "sticky-endpoints"],
        &[
            "services: 10.96.0.1 . tcp . 80 : 5354:3",
            "sticky-picks: 10.96.0.1 . tcp . 80 . 0 : 1:8000",
            "sticky-picks: 10.96.0.1 . tcp . 80 . 1 : 1:8000",
            "sticky-picks: 10.96.0.1 . tcp . 80 . 2 : 1:8001",
            "sticky-endpoints: 10.96.0.1 . tcp . 80 . 5357:0 : 10.244.0.1 . 8080",
            "sticky-endpoints: 10.96.0.1 . tcp . 80 . 5357:1 : 10.244.0.2 . 8080",
        ],
    );
}

#[test]
fn of_cluster_addresses_only_what_differs_from_the_default_is_said_of_sources() {
    let rewritten = |frontend: Frontend, masquerade| Frontend { masquerade, ..frontend };
    let sets = &["masquerades", "node-port-masquerades"];
    let of = |frontend| port(vec![frontend], vec![]);
    // The default node cannot tell pods: no source is rewritten.
    check(of(rewritten(cluster_ip(), Masquerade::Never)), sets, &[]);
    check(of(rewritten(cluster_ip(), Masquerade::Always)), sets, &["masquerades: 10.96.0.1 . tcp . 80 : 5356:1"]);
    let external = Frontend::external([10, 96, 0, 9].into(), Protocol::Tcp, 80);
    check(of(rewritten(external, Masquerade::Never)), sets, &["masquerades: 10.96.0.9 . tcp . 80 : 5356:0"]);
    check(of(rewritten(node_port(), Masquerade::Never)), sets, &["node-port-masquerades: tcp . 30080 : 5356:0"]);
    check(of(rewritten(node_port(), Masquerade::FromNode)), sets, &["node-port-masquerades: tcp . 30080 : 5356:3"]);
}

#[test]
fn a_frontend_with_ranges_is_restricted_even_if_there_are_none() {
    let only = |ranges: &[&str]| {
        let ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
        port(vec![Frontend { source_ranges: SourceRanges::Only(ranges), ..cluster_ip() }], vec![])
    };
    let sets = &["restricted", "allowed"];
    check(only(&[]), sets, &["restricted: 10.96.0.1 . tcp . 80"]);
    check(
        only(&["10.1.0.0/16", "10.1.2.0/24", "192.168.0.7/32"]),
        sets,
        &[
            "restricted: 10.96.0.1 . tcp . 80",
            "allowed: 10.96.0.1 . tcp . 80 . 10.1.0.0/16",
            "allowed: 10.96.0.1 . tcp . 80 . 192.168.0.7",
        ],
    );
}

#[test]
fn endpoints_of_this_node_may_reach_themselves() {
    let endpoints = vec![endpoint(1, 1, Pools::CLUSTER), endpoint(2, 1, Pools::BOTH)];
    check(port(vec![cluster_ip()], endpoints), &["hairpin"], &["hairpin: 10.244.0.2 . 10.244.0.2"]);
    check(port(vec![], vec![endpoint(2, 1, Pools::BOTH)]), &["hairpin"], &[]);
}
