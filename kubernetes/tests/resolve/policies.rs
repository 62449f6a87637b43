//! Which endpoints answer which frontend: both traffic policies, and what happens without endpoints (A3.5 to A3.7, A4).
//! And from whose address endpoints see connections (A5.1 to A5.3).

use switchyard_kubernetes::settings::LocalDetector;

use super::given::given;

/// Routes of the cluster address, the load balancer's, the external one and the node port.
fn check(policies: &str, endpoints: &str, expected: [&str; 2]) {
    let spec = format!(
        "type: LoadBalancer, clusterIP: 10.96.0.1, externalIPs: [192.0.2.1], ports: [{{port: 80, nodePort: 30080}}], {policies}"
    );
    let outcome = given().load_balancer(&spec, "{ip: 192.0.2.2}").slice(endpoints).resolved();
    let [internal, external] = expected;
    let expected = [
        format!("10.96.0.1:80/TCP {internal}"),
        format!("192.0.2.2:80/TCP {external}"),
        format!("192.0.2.1:80/TCP {external}"),
        format!("node port 30080/TCP (IPv4) {external}"),
    ];
    assert_eq!(outcome.routes(), expected, "{policies} with {endpoints:?}");
}

const BOTH: &str = "10.0.0.1@here 10.0.0.2@there";
const ELSEWHERE: &str = "10.0.0.2@there";

#[test]
fn cluster_policies_use_endpoints_anywhere() {
    for policies in
        ["", "internalTrafficPolicy: Cluster, externalTrafficPolicy: Cluster", "internalTrafficPolicy: null"]
    {
        check(policies, BOTH, ["cluster", "cluster"]);
        check(policies, ELSEWHERE, ["cluster", "cluster"]);
    }
}

#[test]
fn the_internal_policy_decides_the_cluster_address_alone() {
    check("internalTrafficPolicy: Local", BOTH, ["local", "cluster"]);
}

#[test]
fn the_external_policy_decides_strangers_alone() {
    check("externalTrafficPolicy: Local", BOTH, ["cluster", "inside cluster outside local"]);
    check(
        "internalTrafficPolicy: Local, externalTrafficPolicy: Local",
        BOTH,
        ["local", "inside cluster outside local"],
    );
}

#[test]
fn local_policies_drop_what_only_others_could_answer() {
    check("internalTrafficPolicy: Local", ELSEWHERE, ["drop", "cluster"]);
    check("externalTrafficPolicy: Local", ELSEWHERE, ["cluster", "inside cluster outside drop"]);
    check(
        "internalTrafficPolicy: Local, externalTrafficPolicy: Local",
        ELSEWHERE,
        ["drop", "inside cluster outside drop"],
    );
    // Terminating ones elsewhere are usable too, so that the miss may pass.
    check("internalTrafficPolicy: Local", "10.0.0.2@there/draining 10.0.0.1@here/not-ready", ["drop", "cluster"]);
}

#[test]
fn everything_is_refused_without_a_usable_endpoint_whatever_the_policies() {
    for policies in ["", "internalTrafficPolicy: Local", "externalTrafficPolicy: Local"] {
        for endpoints in ["", "10.0.0.1@here/not-ready", "10.0.0.1@here/serving 10.0.0.2@there/gone"] {
            check(policies, endpoints, ["reject", "reject"]);
        }
    }
}

#[test]
fn an_internal_policy_drops_without_external_frontends_too() {
    let spec = "clusterIP: 10.96.0.1, internalTrafficPolicy: Local, ports: [{port: 80}]";
    for (endpoints, expected) in [(BOTH, "local"), (ELSEWHERE, "drop"), ("", "reject")] {
        let outcome = given().service(spec).slice(endpoints).resolved();
        assert_eq!(outcome.routes(), [format!("10.96.0.1:80/TCP {expected}")], "{endpoints}");
    }
}

#[test]
fn each_family_is_answered_by_its_own_endpoints() {
    let spec = "clusterIPs: [10.96.0.1, 'fd00::1'], internalTrafficPolicy: Local, ports: [{port: 80}]";
    let outcome = given().service(spec).slice("10.0.0.1@here").slice("fd00:1::1@there").resolved();
    assert_eq!(outcome.routes(), ["10.96.0.1:80/TCP local", "[fd00::1]:80/TCP drop"]);
}

fn check_masquerades(detector: LocalDetector, masquerade_all: bool, v4: &str, v6: &str) {
    for (policy, external) in [("Cluster", "always"), ("Local", "from-node")] {
        let spec = format!(
            "clusterIPs: [10.96.0.1, 'fd00::1'], externalIPs: [192.0.2.1], externalTrafficPolicy: {policy}, \
             ports: [{{port: 80, nodePort: 30080}}]"
        );
        let outcome = given()
            .settings(|settings| {
                settings.local_traffic = detector.clone();
                settings.masquerade_all = masquerade_all;
            })
            .load_balancer(&spec, "{ip: 192.0.2.2}")
            .slice("10.0.0.1@here")
            .resolved();
        assert_eq!(
            outcome.masquerades(),
            [
                format!("10.96.0.1:80/TCP {v4}"),
                format!("192.0.2.2:80/TCP {external}"),
                format!("192.0.2.1:80/TCP {external}"),
                format!("node port 30080/TCP (IPv4) {external}"),
                format!("[fd00::1]:80/TCP {v6}"),
                format!("node port 30080/TCP (IPv6) {external}"),
            ],
            "{detector:?} {masquerade_all} {policy}"
        );
    }
}

#[test]
fn cluster_addresses_follow_the_detector_of_their_family() {
    let none = LocalDetector::ClusterCidrs("".parse().unwrap());
    let v4_only = LocalDetector::ClusterCidrs("10.244.0.0/16".parse().unwrap());
    let bridge = LocalDetector::Bridge("cni0".parse().unwrap());
    check_masquerades(none.clone(), false, "never", "never");
    check_masquerades(v4_only.clone(), false, "unless-pod", "never");
    check_masquerades(bridge, false, "unless-pod", "unless-pod");
    check_masquerades(none, true, "always", "always");
    check_masquerades(v4_only, true, "always", "always");
}
