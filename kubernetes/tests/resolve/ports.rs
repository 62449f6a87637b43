//! How endpoints are matched to ports (A1.7, A1.8, A2.10), and node ports (A2.4, A2.7).

use super::given::given;

fn check(ports: &str, slices: &[(&str, &str)], expected: &str) {
    let mut given = given().service(&format!("clusterIP: 10.96.0.1, ports: [{ports}]"));
    for (endpoints, ports) in slices {
        given = given.slice_with_ports(endpoints, ports);
    }
    assert_eq!(given.resolved().endpoints(), expected, "{ports} of {slices:?}");
}

#[test]
fn ports_match_by_name_and_protocol_never_by_number() {
    let named = "{name: http, port: 80, targetPort: 9999}";
    check(named, &[("10.0.0.1", "{name: http, port: 8080, protocol: TCP}")], "10.0.0.1:8080 C");
    check(named, &[("10.0.0.1", "{name: https, port: 80}")], "");
    check(named, &[("10.0.0.1", "{name: http, port: 80, protocol: UDP}")], "");
    check(named, &[("10.0.0.1", "{name: '', port: 80}")], "");
    check(
        "{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53}",
        &[("10.0.0.1", "{name: dns-tcp, port: 5353}, {name: dns, port: 53, protocol: UDP}")],
        "10.0.0.1:53 C; 10.0.0.1:5353 C",
    );
    check("{port: 80, protocol: SCTP}", &[("10.0.0.1", "{port: 80, protocol: SCTP}")], "10.0.0.1:80 C");
}

#[test]
fn missing_names_are_empty_and_missing_protocols_tcp_on_both_sides() {
    for port in ["{port: 80}", "{name: '', port: 80, protocol: TCP}", "{name: null, protocol: null, port: 80}"] {
        for offer in ["{port: 81}", "{name: '', port: 81, protocol: TCP}", "{name: null, protocol: null, port: 81}"] {
            check(port, &[("10.0.0.1", offer)], "10.0.0.1:81 C");
        }
    }
}

#[test]
fn a_named_target_port_may_have_another_number_in_each_slice() {
    check(
        "{name: http, port: 80, targetPort: web}",
        &[("10.0.0.1 10.0.0.2", "{name: http, port: 8080}"), ("10.0.0.3", "{name: http, port: 8081}")],
        "10.0.0.1:8080 C, 10.0.0.2:8080 C, 10.0.0.3:8081 C",
    );
}

#[test]
fn offers_without_a_number_are_passed_over_in_silence() {
    for offer in ["{name: ''}", "{port: null}", "{port: 0}"] {
        let outcome =
            given().service("clusterIP: 10.96.0.1, ports: [{port: 80}]").slice_with_ports("10.0.0.1", offer).resolved();
        assert_eq!((outcome.endpoints().as_str(), outcome.warnings.len()), ("", 0), "{offer}");
    }
}

#[test]
fn protocols_on_one_number_are_ports_of_their_own() {
    let outcome = given()
        .service("clusterIP: 10.96.0.1, ports: [{name: a, port: 53, protocol: UDP}, {name: b, port: 53, protocol: TCP}, {name: c, port: 53, protocol: SCTP}]")
        .slice_with_ports("10.0.0.1", "{name: a, port: 53, protocol: UDP}")
        .resolved();
    assert_eq!(outcome.routes(), ["10.96.0.1:53/UDP cluster", "10.96.0.1:53/TCP reject", "10.96.0.1:53/SCTP reject"]);
}

#[test]
fn a_node_port_is_a_frontend_in_each_family_of_the_service() {
    let cases: [(&str, &str, &[&str]); 4] = [
        (
            "10.96.0.1, 'fd00::1'",
            "{port: 80, nodePort: 30080}",
            &[
                "10.96.0.1:80/TCP reject",
                "node port 30080/TCP (IPv4) reject",
                "[fd00::1]:80/TCP reject",
                "node port 30080/TCP (IPv6) reject",
            ],
        ),
        ("10.96.0.1", "{port: 80, nodePort: 0}", &["10.96.0.1:80/TCP reject"]),
        ("10.96.0.1", "{port: 80, nodePort: null}", &["10.96.0.1:80/TCP reject"]),
        (
            "10.96.0.1",
            "{name: a, port: 53, nodePort: 30053, protocol: UDP}, {name: b, port: 53, nodePort: 30053}",
            &[
                "10.96.0.1:53/UDP reject",
                "node port 30053/UDP (IPv4) reject",
                "10.96.0.1:53/TCP reject",
                "node port 30053/TCP (IPv4) reject",
            ],
        ),
    ];
    for (cluster_ips, ports, expected) in cases {
        let outcome =
            given().service(&format!("type: NodePort, clusterIPs: [{cluster_ips}], ports: [{ports}]")).resolved();
        assert_eq!(
            (outcome.routes(), outcome.warnings.len()),
            (expected.iter().map(|&route| route.to_owned()).collect(), 0),
            "{ports}"
        );
    }
}

#[test]
fn a_load_balancer_without_node_ports_is_served_on_its_address() {
    let spec = "type: LoadBalancer, allocateLoadBalancerNodePorts: false, clusterIP: 10.96.0.1, ports: [{port: 80}]";
    let outcome = given().load_balancer(spec, "{ip: 192.0.2.2}").slice("10.0.0.1").resolved();
    assert_eq!(outcome.routes(), ["10.96.0.1:80/TCP cluster", "192.0.2.2:80/TCP cluster"]);
}
