//! From whose address endpoints see connections (A5.1 to A5.3).

use super::given::given;
use switchyard_kubernetes::settings::LocalDetector;

fn check(detector: LocalDetector, masquerade_all: bool, v4: &str, v6: &str) {
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
    check(none.clone(), false, "never", "never");
    check(v4_only.clone(), false, "unless-pod", "never");
    check(bridge, false, "unless-pod", "unless-pod");
    check(none, true, "always", "always");
    check(v4_only, true, "always", "always");
}
