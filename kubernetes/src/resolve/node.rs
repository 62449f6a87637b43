//! The node: its network for the dataplane, and what judgements about services must know of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use backend_api::{Cidr, Family, LocalTraffic, Masquerade, NodeNetwork, Offload, PerFamily};

use super::endpoints::Candidate;
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
    /// Which connections to a cluster address carry the node's address.
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
    let pod_ranges = node.map_or_else(Vec::new, |node| read_pod_ranges(node, &mut warnings));
    let of_object = node.map_or_else(Vec::new, |node| read_host_addresses(node, &mut warnings));
    let hosts: Vec<_> = settings.node_address.into_iter().chain(of_object).collect();
    // A node cannot be reached by its loopback from elsewhere.
    let owned = kernel.addresses.iter().copied().filter(|address| !address.is_loopback()).collect();
    let local_traffic = settings.local_traffic.on_node(&pod_ranges);
    let mut ranges_of_services = BTreeSet::new();
    for object in service_cidrs {
        ranges_of_services.extend(read_service_ranges(object, &mut warnings));
    }
    let facts = NodeFacts {
        name: settings.node_name.as_str().into(),
        zone: node.and_then(|node| node.metadata.labels.zone.clone()).filter(|zone| !zone.is_empty()),
        primary: PerFamily { v4: first_of(&hosts, Family::V4), v6: first_of(&hosts, Family::V6) },
        cluster_masquerade: PerFamily {
            v4: masquerade_of_cluster_ips(settings, &local_traffic.v4),
            v6: masquerade_of_cluster_ips(settings, &local_traffic.v6),
        },
    };
    let network = NodeNetwork {
        local_traffic,
        node_ports: settings.node_ports.on_node(&hosts, &owned),
        addresses: owned,
        service_cidrs: ranges_of_services,
        masquerade_all: settings.masquerade_all,
        offload: settings.flowtable_after.map(|after| Offload { after, devices: kernel.links.clone() }),
    };
    NodeResolution { network, facts, warnings }
}

fn first_of(addresses: &[IpAddr], family: Family) -> Option<IpAddr> {
    addresses.iter().copied().find(|address| Family::of(*address) == family)
}

/// From whose address an endpoint sees a connection to a cluster address.
///
/// Where pods can be told, any other client may sit behind a router that does not know the way back for a cluster
/// address: its connections carry the node's address. Where they cannot, no connection does.
fn masquerade_of_cluster_ips(settings: &Settings, local: &LocalTraffic) -> Masquerade {
    match (settings.masquerade_all, local.is_known()) {
        (true, _) => Masquerade::Always,
        (false, true) => Masquerade::UnlessPod,
        (false, false) => Masquerade::Never,
    }
}

impl NodeFacts {
    /// Whether an endpoint is on this node.
    pub(super) fn runs(&self, candidate: &Candidate<'_>) -> bool {
        candidate.node_name == Some(&*self.name)
    }
}

/// The ranges of the node's pods: `podCIDRs`, or `podCIDR` of before dual stack.
fn read_pod_ranges(node: &Node, warnings: &mut Vec<Warning>) -> Vec<Cidr> {
    let mut log = Log::new(node.key(), warnings);
    let mut ranges = Vec::new();
    if let (Some(text), []) = (&node.spec.pod_cidr, &*node.spec.pod_cidrs)
        && !text.is_empty()
    {
        ranges.extend(range(text, "spec.podCIDR", &mut log));
    }
    for (i, text) in node.spec.pod_cidrs.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
        ranges.extend(range(text, format_args!("spec.podCIDRs[{i}]"), &mut log));
    }
    ranges
}

/// The node's addresses by which others reach it, the best first: internal before external ones, each
/// in the order of the object (`GetNodeHostIPs`).
fn read_host_addresses(node: &Node, warnings: &mut Vec<Warning>) -> Vec<IpAddr> {
    let mut log = Log::new(node.key(), warnings);
    let mut hosts = Vec::new();
    for address_type in ["InternalIP", "ExternalIP"] {
        for (i, written) in node.status.addresses.iter().enumerate() {
            if *written.address_type == *address_type {
                hosts.extend(usable_address(&written.address, format_args!("status.addresses[{i}].address"), &mut log));
            }
        }
    }
    hosts
}

fn read_service_ranges(object: &ServiceCidr, warnings: &mut Vec<Warning>) -> Vec<Cidr> {
    let mut log = Log::new(object.key(), warnings);
    let mut ranges = Vec::new();
    for (i, text) in object.spec.cidrs.iter().enumerate() {
        ranges.extend(range(text, format_args!("spec.cidrs[{i}]"), &mut log));
    }
    ranges
}
