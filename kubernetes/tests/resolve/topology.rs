//! Hints (A3.8, A3.10): this node is `here`, in zone `a`.

use super::given::given;

fn check(endpoints: &str, expected: &str) {
    let spec = "clusterIP: 10.96.0.1, ports: [{port: 80}]";
    let outcome = given().node("192.0.2.1").service(spec).slice(endpoints).resolved();
    assert_eq!(outcome.endpoints(), expected, "{endpoints}");
}

#[test]
fn zone_hints_prefer_the_nodes_zone() {
    check("10.0.0.1+a 10.0.0.2+b", "10.0.0.1:80 C, 10.0.0.2:80");
}

#[test]
fn zone_hints_count_only_if_every_ready_endpoint_has_one() {
    check("10.0.0.1+a 10.0.0.2", "10.0.0.1:80 C, 10.0.0.2:80 C");
}

#[test]
fn zone_hints_count_only_if_one_names_the_nodes_zone() {
    check("10.0.0.1+b 10.0.0.2+c", "10.0.0.1:80 C, 10.0.0.2:80 C");
}

#[test]
fn zone_hints_do_not_count_on_a_node_without_zone() {
    let cases = ["", "{apiVersion: v1, kind: Node, metadata: {name: here, labels: {topology.kubernetes.io/zone: ''}}}"];
    for node in cases {
        let outcome = given()
            .object(node)
            .service("clusterIP: 10.96.0.1, ports: [{port: 80}]")
            .slice("10.0.0.1+a 10.0.0.2+''")
            .resolved();
        assert_eq!(outcome.endpoints(), "10.0.0.1:80 C, 10.0.0.2:80 C", "{node}");
    }
}

#[test]
fn node_hints_go_before_zone_hints() {
    check("10.0.0.1+a~here 10.0.0.2+a~there", "10.0.0.1:80 C, 10.0.0.2:80");
}

#[test]
fn zone_hints_count_where_node_hints_name_other_nodes_or_are_incomplete() {
    check("10.0.0.1+a~there 10.0.0.2+b~yonder", "10.0.0.1:80 C, 10.0.0.2:80");
    check("10.0.0.1+b~here 10.0.0.2+a", "10.0.0.1:80, 10.0.0.2:80 C");
}

#[test]
fn unready_endpoints_have_no_say() {
    check(
        "10.0.0.1+a 10.0.0.2+b 10.0.0.3/draining 10.0.0.4/serving",
        "10.0.0.1:80 C, 10.0.0.2:80, 10.0.0.3:80, 10.0.0.4:80",
    );
    check("10.0.0.1+b 10.0.0.2/draining+a", "10.0.0.1:80 C, 10.0.0.2:80");
}

#[test]
fn the_last_resort_knows_no_preference() {
    check("10.0.0.1/draining+a 10.0.0.2/draining+b", "10.0.0.1:80 C, 10.0.0.2:80 C");
}

#[test]
fn the_nodes_own_pool_knows_no_preference() {
    let outcome = given()
        .node("192.0.2.1")
        .service("clusterIP: 10.96.0.1, internalTrafficPolicy: Local, ports: [{port: 80}], externalIPs: [192.0.2.9]")
        .slice("10.0.0.1@here+b 10.0.0.2@there+a")
        .resolved();
    assert_eq!(outcome.endpoints(), "10.0.0.1:80 L here, 10.0.0.2:80 C");
}
