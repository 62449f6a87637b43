//! Node ports of services (A2.4, A2.7).

use super::given::given;

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
