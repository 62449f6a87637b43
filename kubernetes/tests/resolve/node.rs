//! The node's network: detectors (A13), node-port addresses (A8), ServiceCIDRs (A1.5), its own object alone (A1.4).

use super::given::{given, objects, settings};
use backend_api::{LocalTraffic, NodePortAddresses};
use switchyard_kubernetes::objects::Object;
use switchyard_kubernetes::resolve::Resolver;
use switchyard_kubernetes::settings::{LocalDetector, Settings};

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
        let outcome = given()
            .settings(|settings| {
                settings.local_traffic = LocalDetector::NodeCidrs;
                settings.node_ports = "all".parse().unwrap();
            })
            .object(node)
            .resolved();
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

/// Node `here` with these addresses, each an InternalIP, and pod ranges.
fn node(addresses: &str, pod_ranges: &str) -> Object {
    let address = |address| format!("{{type: InternalIP, address: '{address}'}}");
    let addresses: Vec<_> = addresses.split_whitespace().map(address).collect();
    let text = format!(
        "{{apiVersion: v1, kind: Node, metadata: {{name: here}}, spec: {{podCIDRs: [{pod_ranges}]}}, \
         status: {{addresses: [{}]}}}}",
        addresses.join(", ")
    );
    objects(&text).remove(0)
}

/// A node that owns three addresses, and whose Node object changes.
struct Followed(Resolver);

impl Followed {
    fn new() -> Self {
        let mut resolver = Resolver::new(Settings { local_traffic: LocalDetector::NodeCidrs, ..settings() });
        resolver.set_addresses(["192.168.0.1", "192.168.0.2", "fd00::1"].map(|ip| ip.parse().unwrap()).into());
        Self(resolver)
    }

    /// Where node ports are served, how pods are told in IPv4, and what is newly wrong.
    fn now(&mut self) -> (Vec<NodePortAddresses>, LocalTraffic, Vec<String>) {
        let changes = self.0.resolve();
        let node = changes.node.expect("the node has changed");
        let warnings = changes.warnings.iter().map(ToString::to_string).collect();
        (vec![node.node_ports.v4, node.node_ports.v6], node.local_traffic.v4, warnings)
    }

    fn told(&mut self, object: &Object) -> (Vec<NodePortAddresses>, LocalTraffic, Vec<String>) {
        self.0.upsert(object);
        self.now()
    }
}

fn these(address: &str) -> NodePortAddresses {
    NodePortAddresses::These([address.parse().unwrap()].into())
}

fn pods(range: &str) -> LocalTraffic {
    LocalTraffic::Source(range.parse().unwrap())
}

#[test]
fn the_first_address_that_others_can_dial_is_the_primary_one() {
    for (addresses, v4, v6) in [
        ("169.254.1.0 fe80::1 192.168.0.1 fd00::1", these("192.168.0.1"), these("fd00::1")),
        ("169.254.1.0 fe80::1", these("169.254.1.0"), NodePortAddresses::All),
        ("192.168.0.1", these("192.168.0.1"), NodePortAddresses::All),
        ("fd00::1", NodePortAddresses::All, these("fd00::1")),
    ] {
        let (node_ports, _, warnings) = Followed::new().told(&node(addresses, ""));
        assert_eq!((node_ports, warnings), (vec![v4, v6], Vec::new()), "{addresses}");
    }
}

#[test]
fn an_object_that_names_no_address_at_all_leaves_node_ports_open_everywhere_and_is_warned_of() {
    let (node_ports, _, warnings) = Followed::new().told(&node("", ""));
    assert_eq!(node_ports, [NodePortAddresses::All, NodePortAddresses::All]);
    let expected = "Node here: status.addresses: no address of the node: node ports are served at all of its addresses";
    assert_eq!(warnings, [expected]);
}

#[test]
fn an_address_that_the_object_names_no_more_holds_while_the_node_owns_it() {
    let mut known = Followed::new();
    known.told(&node("192.168.0.1 fd00::1", ""));
    let (node_ports, _, warnings) = known.told(&node("fd00::1", ""));
    assert_eq!(node_ports, [these("192.168.0.1"), these("fd00::1")]);
    assert_eq!(
        warnings,
        ["Node here: status.addresses: no IPv4 address any more, though the node still has 192.168.0.1: it stays the \
          primary one"]
    );
    known.0.set_addresses(["192.168.0.2".parse().unwrap()].into());
    let (node_ports, _, _) = known.now();
    assert_eq!(node_ports, [NodePortAddresses::All, these("fd00::1")]);
    let (node_ports, _, warnings) = known.told(&node("192.168.0.2 fd00::1", ""));
    assert_eq!((node_ports, warnings.len()), (vec![these("192.168.0.2"), these("fd00::1")], 0));
}

#[test]
fn a_deleted_node_object_holds_until_there_is_one_again() {
    let mut known = Followed::new();
    let (before, _) = (known.told(&node("192.168.0.1", "10.244.1.0/24")), known.0.remove(&node("", "").key()));
    assert!(known.0.resolve().is_empty() && known.0.node_is_gone() && known.0.node().is_some());
    known.0.set_settings(Settings { masquerade_all: true, local_traffic: LocalDetector::NodeCidrs, ..settings() });
    assert_eq!(known.now(), before, "resolved again");
    let again = known.told(&node("192.168.0.2", "10.244.9.0/24"));
    assert_eq!(again, (vec![these("192.168.0.2"), NodePortAddresses::All], pods("10.244.9.0/24"), Vec::new()));
    assert!(!known.0.node_is_gone());
}

#[test]
fn a_node_that_registers_anew_keeps_its_pod_ranges_until_it_is_given_others() {
    let mut known = Followed::new();
    known.told(&node("192.168.0.1", "10.244.1.0/24"));
    known.0.remove(&node("", "").key());
    let (_, local, warnings) = known.told(&node("192.168.0.1", ""));
    assert_eq!(local, pods("10.244.1.0/24"));
    assert_eq!(warnings, ["Node here: spec.podCIDRs: no range any more: pods are still told by 10.244.1.0/24"]);
    assert_eq!(known.told(&node("192.168.0.1", "10.244.9.0/24")).1, pods("10.244.9.0/24"));
}

#[test]
fn another_node_name_takes_what_the_former_object_said_until_its_own_is_known() {
    let mut known = Followed::new();
    known.told(&node("192.168.0.1", "10.244.1.0/24"));
    let named = |name: &str| Settings {
        node_name: name.parse().unwrap(),
        local_traffic: LocalDetector::NodeCidrs,
        ..settings()
    };
    known.0.set_settings(named("there"));
    let (node_ports, local, _) = known.now();
    assert_eq!((node_ports[0].clone(), local), (these("192.168.0.1"), pods("10.244.1.0/24")));
    let there = "{apiVersion: v1, kind: Node, metadata: {name: there}, \
                 status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}}";
    let (node_ports, local, _) = known.told(&objects(there).remove(0));
    assert_eq!((node_ports[0].clone(), local), (these("192.168.0.2"), LocalTraffic::Unknown));
}
