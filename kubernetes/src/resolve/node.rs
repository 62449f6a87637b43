//! The node: its network for the dataplane, and what judgements about services must know of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use backend_api::{Cidr, Family, Masquerade, NodeNetwork, Offload, PerFamily};

use super::candidates::Candidate;
use super::masquerade;
use super::notation::{range, usable_address};
use super::warning::{Log, Warning};
use crate::objects::{Node, ServiceCidr};
use crate::settings::Settings;

/// What judgements about services depend on: when it changes, every service is to be resolved again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// The node's name; an endpoint of that `nodeName` is on this node.
    pub name: Box<str>,
    /// Its zone, if it has one.
    pub zone: Option<Box<str>>,
    /// The node's own address of each family, as its Node object says.
    pub primary: PerFamily<Option<IpAddr>>,
    /// Whose connections to a cluster address carry the node's address.
    pub cluster_masquerade: PerFamily<Masquerade>,
}

/// What a node's objects come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeResolution {
    /// For the dataplane.
    pub network: NodeNetwork,
    /// For judgements about services.
    pub facts: NodeFacts,
    /// What is wrong with the objects.
    pub warnings: Vec<Warning>,
}

/// What the kernel says of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InKernel {
    /// The node's own addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// The names of its links by their index, loopback excepted; read only where connections are handed to a flowtable.
    pub links: BTreeMap<u32, String>,
}

/// Resolves the node: its own Node object if known, the ServiceCIDRs of the cluster, and what the kernel says.
pub fn resolve_node<'a>(
    settings: &Settings,
    node: Option<&Node>,
    service_cidrs: impl IntoIterator<Item = &'a ServiceCidr>,
    kernel: &InKernel,
) -> NodeResolution {
    let mut warnings = Vec::new();
    let pod_cidrs = node.map_or_else(Vec::new, |node| pod_cidrs(node, &mut warnings));
    let of_node = node.map_or_else(Vec::new, |node| host_addresses(node, &mut warnings));
    let hosts: Vec<_> = settings.node_address.into_iter().chain(of_node).collect();
    // Nobody reaches a node by its loopback.
    let owned = kernel.addresses.iter().copied().filter(|address| !address.is_loopback()).collect();
    let local_traffic = settings.local_traffic.on_node(&pod_cidrs);
    let first = |family| hosts.iter().copied().find(|address| Family::of(*address) == family);
    let facts = NodeFacts {
        name: settings.node_name.as_str().into(),
        zone: node.and_then(|node| node.metadata.labels.zone.clone()).filter(|zone| !zone.is_empty()),
        primary: PerFamily { v4: first(Family::V4), v6: first(Family::V6) },
        cluster_masquerade: masquerade::of_cluster_ips(settings, &local_traffic),
    };
    let network = NodeNetwork {
        local_traffic,
        node_ports: settings.node_ports.on_node(&hosts, &owned),
        addresses: owned,
        service_cidrs: service_cidrs.into_iter().flat_map(|object| cidrs(object, &mut warnings)).collect(),
        masquerade_all: settings.masquerade_all,
        offload: settings.flowtable_after.map(|after| Offload { after, devices: kernel.links.clone() }),
    };
    NodeResolution { network, facts, warnings }
}

impl NodeFacts {
    /// Whether an endpoint is on this node.
    pub(super) fn runs(&self, candidate: &Candidate<'_>) -> bool {
        candidate.node_name == Some(&*self.name)
    }
}

/// The ranges of the node's pods: `podCIDRs`, or `podCIDR` of before dual stack.
fn pod_cidrs(node: &Node, warnings: &mut Vec<Warning>) -> Vec<Cidr> {
    let mut log = Log::new(node.key(), warnings);
    let mut read = |field: String, text: &str| range(text, &field, &mut log);
    let single = node.spec.pod_cidr.iter().filter(|_| node.spec.pod_cidrs.is_empty());
    let listed = node.spec.pod_cidrs.iter().enumerate().map(|(i, text)| (format!("spec.podCIDRs[{i}]"), text));
    let all = single.map(|text| ("spec.podCIDR".to_owned(), text)).chain(listed);
    all.filter(|(_, text)| !text.is_empty()).filter_map(|(field, text)| read(field, text)).collect()
}

/// The node's addresses by which others reach it, the best first: internal before external ones, each
/// in the order of the object (`GetNodeHostIPs`).
fn host_addresses(node: &Node, warnings: &mut Vec<Warning>) -> Vec<IpAddr> {
    let mut log = Log::new(node.key(), warnings);
    let mut of_type = |address_type: &str| {
        let addresses = node.status.addresses.iter().enumerate();
        let read = |(i, address): (usize, &crate::objects::NodeAddress)| {
            let field = format!("status.addresses[{i}].address");
            (*address.address_type == *address_type)
                .then(|| usable_address(&address.address, &field, &mut log))
                .flatten()
        };
        addresses.filter_map(read).collect::<Vec<_>>()
    };
    let mut hosts = of_type("InternalIP");
    hosts.extend(of_type("ExternalIP"));
    hosts
}

fn cidrs(object: &ServiceCidr, warnings: &mut Vec<Warning>) -> Vec<Cidr> {
    let mut log = Log::new(object.key(), warnings);
    let cidrs = object.spec.cidrs.iter().enumerate();
    cidrs.filter_map(|(i, text)| range(text, format_args!("spec.cidrs[{i}]"), &mut log)).collect()
}
