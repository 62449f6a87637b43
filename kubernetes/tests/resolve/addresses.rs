//! Which addresses a service is dialled on (A1.10, A2.1, A2.5, A2.6, A2.11).

use super::given::given;

fn check(spec: &str, ingress: &str, expected: &[&str]) {
    let spec = format!("{spec}, ports: [{{port: 80}}]");
    let outcome = given().load_balancer(&spec, ingress).slice("10.0.0.1").slice("fd00:1::1").resolved();
    assert_eq!(outcome.frontends(), expected, "{spec} with {ingress}");
}

#[test]
fn every_kind_of_address_becomes_a_frontend() {
    check(
        "type: LoadBalancer, clusterIP: 10.96.0.1, externalIPs: [192.0.2.1]",
        "{ip: 192.0.2.2}",
        &[
            "10.96.0.1:80/TCP cluster-ip: cluster, never",
            "192.0.2.2:80/TCP external: cluster, always",
            "192.0.2.1:80/TCP external: cluster, always",
        ],
    );
}

#[test]
fn a_load_balancers_address_is_left_to_it_if_it_wants_so() {
    let own = "10.96.0.1:80/TCP cluster-ip: cluster, never";
    let vip = "192.0.2.2:80/TCP external: cluster, always";
    let cases: [(&str, &[&str]); 7] = [
        ("{ip: 192.0.2.2}", &[own, vip]),
        ("{ip: 192.0.2.2, ipMode: VIP}", &[own, vip]),
        ("{ip: 192.0.2.2, ipMode: null}", &[own, vip]),
        ("{ip: 192.0.2.2, ipMode: Proxy}", &[own]),
        ("{ip: 192.0.2.3, ipMode: Proxy}, {ip: 192.0.2.2}", &[own, vip]),
        ("{hostname: lb.example.org}", &[own]),
        ("{ip: '', hostname: lb.example.org}", &[own]),
    ];
    for (ingress, expected) in cases {
        check("type: LoadBalancer, clusterIP: 10.96.0.1", ingress, expected);
    }
}

#[test]
fn addresses_of_both_families_go_their_own_ways() {
    check(
        "clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1, 'fd00::1'], externalIPs: ['2001:db8::1', 192.0.2.1]",
        "{ip: '2001:db8::2'}, {ip: 192.0.2.2}",
        &[
            "10.96.0.1:80/TCP cluster-ip: cluster, never",
            "192.0.2.2:80/TCP external: cluster, always",
            "192.0.2.1:80/TCP external: cluster, always",
            "[fd00::1]:80/TCP cluster-ip: cluster, never",
            "[2001:db8::2]:80/TCP external: cluster, always",
            "[2001:db8::1]:80/TCP external: cluster, always",
        ],
    );
    check(
        "clusterIP: 'fd00::1', clusterIPs: ['fd00::1', 10.96.0.1]",
        "",
        &["10.96.0.1:80/TCP cluster-ip: cluster, never", "[fd00::1]:80/TCP cluster-ip: cluster, never"],
    );
}

#[test]
fn a_service_does_not_exist_in_a_family_without_cluster_address() {
    let spec = "clusterIP: 10.96.0.1, externalIPs: ['2001:db8::1'], ports: [{port: 80, nodePort: 30080}]";
    let outcome = given().load_balancer(spec, "{ip: '2001:db8::2'}").slice("10.0.0.1").resolved();
    assert_eq!(outcome.routes(), ["10.96.0.1:80/TCP cluster", "node port 30080/TCP (IPv4) cluster"]);
    assert_eq!(
        outcome.warnings,
        [
            "Service default/web: status.loadBalancer.ingress[0].ip: 2001:db8::2: service has no IPv6 cluster address",
            "Service default/web: spec.externalIPs[0]: 2001:db8::1: service has no IPv6 cluster address",
        ]
    );
}

#[test]
fn an_address_in_several_places_is_one_frontend() {
    check(
        "clusterIP: 10.96.0.1, externalIPs: [10.96.0.1, 192.0.2.1, 192.0.2.1, 192.0.2.2]",
        "{ip: 192.0.2.2}, {ip: 192.0.2.2}",
        &[
            "10.96.0.1:80/TCP cluster-ip: cluster, never",
            "192.0.2.2:80/TCP external: cluster, always",
            "192.0.2.1:80/TCP external: cluster, always",
        ],
    );
}

#[test]
fn old_notations_are_read_and_reported() {
    let spec = "clusterIP: 010.96.0.001, externalIPs: ['::ffff:192.0.2.1'], ports: [{port: 80}]";
    let outcome = given().load_balancer(spec, "{ip: 192.0.02.02}").slice("010.0.0.001").resolved();
    assert_eq!(outcome.routes(), ["10.96.0.1:80/TCP cluster", "192.0.2.2:80/TCP cluster", "192.0.2.1:80/TCP cluster"]);
    assert_eq!(outcome.endpoints(), "10.0.0.1:80 C");
    assert_eq!(
        outcome.warnings,
        [
            "Service default/web: spec.clusterIP: \"010.96.0.001\" is not in today's notation, read as 10.96.0.1",
            "Service default/web: status.loadBalancer.ingress[0].ip: \"192.0.02.02\" is not in today's notation, read as 192.0.2.2",
            "Service default/web: spec.externalIPs[0]: \"::ffff:192.0.2.1\" is not in today's notation, read as 192.0.2.1",
            "EndpointSlice default/web-1: endpoints[0].addresses[0]: \"010.0.0.001\" is not in today's notation, read as 10.0.0.1",
        ]
    );
}
