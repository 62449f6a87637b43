//! Established connections through services are handed to the kernel's flowtable, and no others. Needs flowtables:
//! `cargo run -p switchyard-conformance --bin vm -- --tests agent::flowtable` has them.

mod live;
mod node;

use std::net::SocketAddr;

use backend_api::Family;

use self::node::{BULK, CLUSTER_PORT, NODE_PORT, Node, cluster_ip};

/// The chain as nft 1.0.6 lists it.
const CHAIN: &str = "\tchain fastpath {
\t\ttype filter hook forward priority 300; policy accept;
\t\tct status ! dnat accept
\t\tnumgen random mod 4 != 0 accept
\t\tmeta l4proto tcp ct state established ct original ip daddr @cluster-ips flow add @fastpath
\t\tmeta l4proto tcp ct state established meta priority set ct original ip daddr . meta l4proto . ct original proto-dst \
map @masquerades meta priority set none flow add @fastpath
\t\tmeta l4proto tcp ct state established ct original ip daddr @node-addresses meta priority set meta l4proto . \
ct original proto-dst map @node-port-masquerades meta priority set none flow add @fastpath
\t}
";

#[test]
fn connections_through_services_are_handed_over_and_no_others() {
    let Some(mut node) = Node::new() else { return };
    node.others_translate(7777, "nginx-3");
    node.sync(Some(4));
    for family in Family::ALL {
        let own = node.address(family);
        let ways = [
            ("mytools", SocketAddr::new(cluster_ip(family), CLUSTER_PORT), true),
            ("outsider", SocketAddr::new(cluster_ip(family), CLUSTER_PORT), true),
            ("outsider", SocketAddr::new(own, NODE_PORT), true),
            ("mytools", SocketAddr::new(node.endpoint("nginx-1", family), BULK), false),
            ("outsider", SocketAddr::new(own, 7777), false),
        ];
        for (from, to, handed_over) in ways {
            let mut connection = node.open(from, to);
            connection.exchange();
            assert_eq!(node.is_offloaded(&connection), handed_over, "{from} → {to}");
            connection.exchange();
        }
    }
}

#[test]
fn a_connection_outlives_its_endpoint_its_device_and_the_flowtable() {
    let Some(mut node) = Node::new() else { return };
    node.sync(Some(4));
    let to = SocketAddr::new(cluster_ip(Family::V4), CLUSTER_PORT);
    let mut connection = node.open("mytools", to);
    connection.exchange();
    assert!(node.is_offloaded(&connection));

    node.remove_endpoints();
    assert_eq!(node.sync(Some(4)).warnings, Vec::<String>::new());
    connection.exchange();

    node.add_link("later0");
    node.sync(Some(4));
    assert!(node.devices().iter().all(|devices| devices.contains("later0")), "{:?}", node.devices());
    node.remove_link("later0");
    // The kernel took it out: nothing is to be written.
    assert_eq!(node.sync(Some(4)).writes, 0);
    assert!(node.devices().iter().all(|devices| !devices.contains("later0")), "{:?}", node.devices());
    connection.exchange();

    let observed = node.observed();
    let [v4, v6] = [observed.offload.v4.unwrap(), observed.offload.v6.unwrap()];
    assert_eq!(vec![v4.devices, v6.devices], node.devices());
    assert_eq!((v4.after.get(), v6.after.get()), (4, 4));

    node.restart();
    let report = node.sync(Some(4));
    assert_eq!((report.writes, report.warnings), (0, Vec::new()), "a restart");

    let listed = node.nft(&["list", "ruleset"]);
    assert!(
        listed.contains("\tflowtable fastpath {\n\t\thook ingress priority filter\n\t\tdevices = { cni0, eth0"),
        "{listed}"
    );
    assert!(listed.contains(CHAIN), "{listed}");

    // Others undo it, and it is mended.
    node.nft(&["flush", "chain", "ip", "switchyard", "fastpath"]);
    node.nft(&["delete", "flowtable", "ip", "switchyard", "fastpath"]);
    node.drifted();
    assert!(node.sync(Some(4)).writes > 0);
    assert_eq!(node.nft(&["list", "ruleset"]), listed);

    node.sync(None);
    assert_eq!(node.devices(), []);
    assert!(!node.nft(&["list", "ruleset"]).contains("fastpath"));
    connection.exchange();
    node.sync(Some(1));
    node.remove_all();
    assert_eq!(node.nft(&["list", "ruleset"]), "");
}

/// The device is gone when the batch is committed.
#[test]
fn a_device_that_has_just_gone_is_a_warning() {
    let Some(mut node) = Node::new() else { return };
    node.pretend_link("gone0");
    let report = node.sync(Some(4));
    assert!(report.failed.is_empty());
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    assert!(report.warnings[0].contains("gone0"), "{:?}", report.warnings);
    assert!(node.devices().iter().all(|devices| devices.contains("eth0")), "{:?}", node.devices());
    let mut connection = node.open("mytools", SocketAddr::new(cluster_ip(Family::V4), CLUSTER_PORT));
    connection.exchange();
    assert!(node.is_offloaded(&connection));
}

#[test]
fn a_kernel_without_flowtables_says_so_and_forwards_as_ever() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::on_any_kernel();
    let report = node.sync(Some(4));
    if report.warnings.is_empty() {
        eprintln!("not tested: this kernel has flowtables");
        return;
    }
    assert!(report.warnings[0].contains("CONFIG_NF_FLOW_TABLE"), "{:?}", report.warnings);
    let mut connection = node.open("mytools", SocketAddr::new(cluster_ip(Family::V4), CLUSTER_PORT));
    connection.exchange();
    assert!(!node.is_offloaded(&connection));
    assert_eq!(node.sync(Some(4)).writes, 0);
}
