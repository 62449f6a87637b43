//! The node's network: detectors (A13), node-port addresses (A8), ServiceCIDRs (A1.5), its own object alone (A1.4).

use super::given::given;
use backend_api::{LocalTraffic, NodePortAddresses};
use switchyard_kubernetes::settings::LocalDetector;

const NODE: &str = "{apiVersion: v1, kind: Node, metadata: {name: here}, \
    spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, 'fd00:10:244:1::/64', 10.99.0.0/24]}, \
    status: {addresses: [{type: Hostname, address: here}, {type: ExternalIP, address: 203.0.113.1}, \
    {type: InternalIP, address: 192.168.0.1}, {type: InternalIP, address: 192.168.0.2}, {type: ExternalIP, address: '2001:db8::1'}]}}";

#[test]
fn detectors_are_resolved_for_each_family() {
    let source = |text: &str| format!("Source {text}");
    let cases = [
        (LocalDetector::ClusterCidrs("".parse().unwrap()), "Unknown".to_owned(), "Unknown".to_owned()),
        (
            LocalDetector::ClusterCidrs("10.244.0.0/16,10.0.0.0/8".parse().unwrap()),
            source("10.244.0.0/16"),
            "Unknown".to_owned(),
        ),
        (
            LocalDetector::ClusterCidrs("fd00:10:244::/56,10.244.0.0/16".parse().unwrap()),
            source("10.244.0.0/16"),
            source("fd00:10:244::/56"),
        ),
        (LocalDetector::NodeCidrs, source("10.244.1.0/24"), source("fd00:10:244:1::/64")),
        (LocalDetector::Bridge("cni0".parse().unwrap()), "Bridge cni0".to_owned(), "Bridge cni0".to_owned()),
        (LocalDetector::InterfacePrefix("veth".parse().unwrap()), "Prefix veth".to_owned(), "Prefix veth".to_owned()),
    ];
    for (detector, v4, v6) in cases {
        let network =
            given().settings(|settings| settings.local_traffic = detector.clone()).object(NODE).resolved().network;
        let text = |local: &LocalTraffic| match local {
            LocalTraffic::Unknown => "Unknown".to_owned(),
            LocalTraffic::Source(cidr) => format!("Source {cidr}"),
            LocalTraffic::Bridge(name) => format!("Bridge {name}"),
            LocalTraffic::InterfacePrefix(prefix) => format!("Prefix {prefix}"),
        };
        assert_eq!((text(&network.local_traffic.v4), text(&network.local_traffic.v6)), (v4, v6), "{detector:?}");
    }
}

#[test]
fn pod_ranges_may_stand_in_the_old_field_and_may_be_missing_or_wrong() {
    let cases = [
        ("{podCIDR: 10.244.1.0/24}", Some("10.244.1.0/24"), 0),
        ("{podCIDR: '', podCIDRs: []}", None, 0),
        ("{podCIDRs: [banana, 010.244.1.0/24]}", Some("10.244.1.0/24"), 2),
        ("null", None, 0),
    ];
    for (spec, expected, warnings) in cases {
        let node = format!("{{apiVersion: v1, kind: Node, metadata: {{name: here}}, spec: {spec}}}");
        let outcome =
            given().settings(|settings| settings.local_traffic = LocalDetector::NodeCidrs).object(node).resolved();
        let expected = expected.map_or(LocalTraffic::Unknown, |text| LocalTraffic::Source(text.parse().unwrap()));
        assert_eq!(outcome.network.local_traffic.v4, expected, "{spec}");
        assert_eq!(outcome.warnings.len(), warnings, "{spec}");
    }
}

#[test]
fn node_port_addresses_are_those_of_the_object_or_of_the_kernel() {
    let kernel = "127.0.0.1 ::1 192.168.0.1 192.168.0.2 203.0.113.1 10.244.1.1 2001:db8::1 fe80::1";
    let cases = [
        ("primary", "192.168.0.1", "2001:db8::1"),
        ("", "192.168.0.1", "2001:db8::1"),
        ("all", "all", "all"),
        ("192.168.0.0/16", "192.168.0.1 192.168.0.2", "all"),
        ("2001:db8::/32", "all", "2001:db8::1"),
        ("primary,203.0.113.0/24", "192.168.0.1 203.0.113.1", "2001:db8::1"),
        ("127.0.0.0/8,2001:db8::/32", "", "2001:db8::1"),
        ("0.0.0.0/0,2001:db8::/32", "all", "2001:db8::1"),
    ];
    for (flag, v4, v6) in cases {
        let network = given()
            .settings(|settings| settings.node_ports = flag.parse().unwrap())
            .object(NODE)
            .kernel(kernel)
            .resolved()
            .network;
        let text = |addresses: &NodePortAddresses| match addresses {
            NodePortAddresses::All => "all".to_owned(),
            NodePortAddresses::These(these) => these.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        };
        assert_eq!(
            (text(&network.node_ports.v4).as_str(), text(&network.node_ports.v6).as_str()),
            (v4, v6),
            "{flag:?}"
        );
    }
}

#[test]
fn the_nodes_addresses_are_the_kernels_without_loopback() {
    let network = given().object(NODE).kernel("127.0.0.1 127.1.2.3 ::1 192.168.0.1 fe80::1").resolved().network;
    let expected = ["192.168.0.1", "fe80::1"].map(|address| address.parse().unwrap());
    assert_eq!(network.addresses, expected.into());
}

#[test]
fn ranges_of_all_service_cidrs_count() {
    let outcome = given()
        .object("{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}, spec: {cidrs: [10.96.0.0/12, 'fd00::/108']}}")
        .object("{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: more}, spec: {cidrs: [172.30.0.0/16, banana]}, status: {conditions: []}}")
        .object("{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: empty}, spec: null}")
        .resolved();
    let expected = ["10.96.0.0/12", "fd00::/108", "172.30.0.0/16"].map(|range| range.parse().unwrap());
    assert_eq!(outcome.network.service_cidrs, expected.into());
    assert_eq!(outcome.warnings, ["ServiceCIDR more: spec.cidrs[1]: \"banana\" is no range"]);
}

#[test]
fn other_nodes_do_not_count() {
    let outcome = given()
        .settings(|settings| settings.local_traffic = LocalDetector::NodeCidrs)
        .object(NODE.replace("name: here", "name: there"))
        .resolved();
    assert_eq!(outcome.network.local_traffic.v4, LocalTraffic::Unknown);
}

#[test]
fn masquerade_all_is_told_to_the_dataplane() {
    let network = given().settings(|settings| settings.masquerade_all = true).resolved().network;
    assert!(network.masquerade_all);
}

#[test]
fn the_configured_address_goes_before_those_of_the_node_object_in_its_family() {
    for (address, v4, v6) in [("10.0.0.7", "10.0.0.7", "2001:db8::1"), ("fd00::7", "192.168.0.1", "fd00::7")] {
        let outcome =
            given().settings(|settings| settings.node_address = Some(address.parse().unwrap())).object(NODE).resolved();
        let these = |text: &str| NodePortAddresses::These([text.parse().unwrap()].into());
        assert_eq!(outcome.network.node_ports.v4, these(v4), "{address}");
        assert_eq!(outcome.network.node_ports.v6, these(v6), "{address}");
    }
}
