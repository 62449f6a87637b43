//! The world that every scenario plays in: the example cluster seen from `node2`, pods named by where they run.
//!
//! ```text
//! this node, node2 (192.168.67.10, zone b)     other nodes                outside
//!   mytools      10.244.2.3                     nginx-ctrlnode  10.244.0.4   outsider 192.168.67.100
//!   nginx-node2  10.244.2.2                     whoami-ctrlnode 10.244.0.5   node1    192.168.67.9
//!   whoami-node2 10.244.2.4                     nginx-node1     10.244.1.2
//!   routed-pod   10.244.2.9 (behind cali0)      whoami-node1    10.244.1.5
//! ```
//!
//! Every IPv4 address has an IPv6 twin that spells the same: `fd00:10:244:2::3`, `fd00:192:168:67::10`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};
use testbed::{HostPlan, Listen, NodePlan, Placement, PodPlan, WorldPlan};

use crate::scenario::{PodAddresses, Scenario};

/// The node under test.
pub(super) const NODE: &str = "node2";

/// Pods that answer control probes, by preference.
pub(super) const CONTROLS: [&str; 2] = ["nginx-node2", "whoami-node2"];

/// The port for that (RFC 862), which no scenario uses: so that no connection by a service is in its way.
pub(super) const CONTROL_PORT: u16 = 7;

/// Pods: name, node, last number of the address.
const PODS: [(&str, &str, u8); 8] = [
    ("mytools", "node2", 3),
    ("nginx-ctrlnode", "ctrlnode", 4),
    ("nginx-node1", "node1", 2),
    ("nginx-node2", "node2", 2),
    ("routed-pod", "node2", 9),
    ("whoami-ctrlnode", "ctrlnode", 5),
    ("whoami-node1", "node1", 5),
    ("whoami-node2", "node2", 4),
];

/// The world's plan.
pub fn plan() -> WorldPlan {
    let pods = PODS.iter().map(|(name, node, _)| PodPlan {
        name: (*name).to_owned(),
        addresses: addresses_of(name).expect("a pod of the list has addresses"),
        placement: match (*name, *node) {
            ("routed-pod", _) => Placement::Interface("cali0".into()),
            (_, NODE) => Placement::Bridge,
            _ => Placement::Remote,
        },
        listens: if CONTROLS.contains(name) { [pod_listens(), control_listens()].concat() } else { pod_listens() },
    });
    WorldPlan {
        node: NodePlan {
            name: NODE.to_owned(),
            addresses: machine(10),
            bridge_addresses: pod_network(2, 1),
            listens: node_listens(),
        },
        pods: pods.collect(),
        hosts: vec![host("node1", 9, vec![Listen::tcp(30080), Listen::tcp(80)]), host("outsider", 100, vec![])],
        announced: (240..=241).flat_map(machine).collect(),
    }
}

/// The world's plan for a scenario: only places that the file mentions by name or address are in it, for making and
/// unmaking namespaces is a large part of a scenario's time. A place that answers for another must be mentioned too.
pub(super) fn plan_for(scenario: &Scenario) -> WorldPlan {
    let mut mentioned = plan();
    if scenario.script.cluster.is_some() {
        return mentioned;
    }
    let text = scenario.text.as_str();
    let words: BTreeSet<&str> = text.split(|c: char| !(c.is_ascii_alphanumeric() || "-.".contains(c))).collect();
    let is_met = |name: &str, addresses: &[IpAddr]| {
        words.contains(name)
            || (CONTROLS.contains(&name) && words.contains("silent"))
            || addresses.iter().any(|address| text.contains(&address.to_string()))
    };
    mentioned.pods.retain(|pod| is_met(&pod.name, &pod.addresses));
    mentioned.hosts.retain(|host| is_met(&host.name, &host.addresses));
    mentioned
}

/// Where a pod of the stage runs, and its addresses.
pub fn pod_addresses(name: &str) -> Option<PodAddresses> {
    let (_, node, _) = PODS.iter().find(|(pod, ..)| *pod == name)?;
    Some(PodAddresses { node: (*node).to_owned(), addresses: addresses_of(name)? })
}

/// The Node object of the node under test.
pub(super) fn node_object() -> Value {
    let addresses: Vec<_> =
        machine(10).iter().map(|address| json!({"type": "InternalIP", "address": address.to_string()})).collect();
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": NODE,
            "labels": {"kubernetes.io/hostname": NODE, "topology.kubernetes.io/zone": "b"},
        },
        "spec": {"podCIDR": "10.244.2.0/24", "podCIDRs": ["10.244.2.0/24", "fd00:10:244:2::/64"]},
        "status": {"addresses": addresses},
    })
}

fn host(name: &str, last: u8, listens: Vec<Listen>) -> HostPlan {
    HostPlan { name: name.to_owned(), addresses: machine(last), listens }
}

fn addresses_of(name: &str) -> Option<Vec<IpAddr>> {
    let (_, node, last) = PODS.iter().find(|(pod, ..)| *pod == name)?;
    let network = ["ctrlnode", "node1", NODE].iter().position(|known| known == node)?;
    Some(pod_network(u8::try_from(network).expect("three networks"), *last))
}

fn pod_listens() -> Vec<Listen> {
    let web = [Listen::tcp(80), Listen::udp(80), Listen::sctp(80), Listen::tcp(8080)];
    web.into_iter().chain([Listen::udp(53), Listen::tcp(53)]).collect()
}

fn control_listens() -> Vec<Listen> {
    vec![Listen::tcp(CONTROL_PORT), Listen::udp(CONTROL_PORT), Listen::sctp(CONTROL_PORT)]
}

/// Ports that scenarios expect to reach the node itself where no service has them.
fn node_listens() -> Vec<Listen> {
    [30080, 30081, 30099, 8089].map(Listen::tcp).into_iter().chain([Listen::udp(30080)]).collect()
}

fn machine(last: u8) -> Vec<IpAddr> {
    twins(format!("192.168.67.{last}"), format!("fd00:192:168:67::{last}"))
}

fn pod_network(node: u8, last: u8) -> Vec<IpAddr> {
    twins(format!("10.244.{node}.{last}"), format!("fd00:10:244:{node}::{last}"))
}

fn twins(v4: String, v6: String) -> Vec<IpAddr> {
    [v4, v6].iter().map(|text| text.parse().expect("written as an address")).collect()
}
