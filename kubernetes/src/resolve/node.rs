//! The node: its network for the dataplane, and what judgements about services must know of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use backend_api::{Cidr, Family, LocalTraffic, Masquerade, NodeNetwork, Offload, PerFamily};

use super::endpoints::Candidate;
use super::notation::{range, usable_address};
use super::warning::{Log, Problem, Warning};
use crate::objects::{Node, ServiceCidr};
use crate::settings::{LocalDetector, PrimaryAddress, Settings};

/// What judgements about services depend on: when it changes, every service is to be resolved again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFacts {
    /// The node's name; an endpoint of that `nodeName` is on this node.
    pub name: Box<str>,
    /// Its zone, if it has one.
    pub zone: Option<Box<str>>,
    /// The node's own address of each family, as its Node object says or said last.
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
    /// To be passed the next time.
    pub last_said: LastSaid,
    /// What is wrong with the objects.
    pub warnings: Vec<Warning>,
}

/// What a Node object said last of what the node keeps though the object says nothing of it any more: a cloud
/// provider's outage and a node that registers anew empty these fields for a while, and connections depend on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastSaid {
    /// The primary address of each family. It counts as long as the node owns it.
    pub primary: PerFamily<Option<IpAddr>>,
    /// The ranges of the node's pods, which the API never takes away from a node.
    pub pod_ranges: Vec<Cidr>,
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
/// `before` is what the node's objects came to the last time.
pub fn resolve_node<'a>(
    settings: &Settings,
    node: Option<&Node>,
    service_cidrs: impl IntoIterator<Item = &'a ServiceCidr>,
    kernel: &InKernel,
    before: &LastSaid,
) -> NodeResolution {
    let mut warnings = Vec::new();
    let mut said = before.clone();
    let mut primary = PerFamily::both(PrimaryAddress::Unknown);
    if let Some(node) = node {
        let mut object = ReadNode { node, settings, kernel, log: Log::new(node.key(), &mut warnings) };
        primary = object.primary(&mut said.primary);
        object.pod_ranges(&mut said.pod_ranges);
    }
    if let Some(address) = settings.node_address {
        *primary.of_mut(Family::of(address)) = PrimaryAddress::Named(address);
    }
    // A node cannot be reached by its loopback from elsewhere.
    let owned = kernel.addresses.iter().copied().filter(|address| !address.is_loopback()).collect();
    let local_traffic = settings.local_traffic.on_node(&said.pod_ranges);
    let mut ranges_of_services = BTreeSet::new();
    for object in service_cidrs {
        ranges_of_services.extend(read_service_ranges(object, &mut warnings));
    }
    let facts = NodeFacts {
        name: settings.node_name.as_str().into(),
        zone: node.and_then(|node| node.metadata.labels.zone.clone()).filter(|zone| !zone.is_empty()),
        primary: primary.map(named),
        cluster_masquerade: PerFamily {
            v4: masquerade_of_cluster_ips(settings, &local_traffic.v4),
            v6: masquerade_of_cluster_ips(settings, &local_traffic.v6),
        },
    };
    let network = NodeNetwork {
        local_traffic,
        node_ports: settings.node_ports.on_node(&primary, &owned),
        addresses: owned,
        service_cidrs: ranges_of_services,
        masquerade_all: settings.masquerade_all,
        offload: settings.flowtable_after.map(|after| Offload { after, devices: kernel.links.clone() }),
    };
    NodeResolution { network, facts, last_said: said, warnings }
}

fn named(primary: PrimaryAddress) -> Option<IpAddr> {
    match primary {
        PrimaryAddress::Named(address) => Some(address),
        PrimaryAddress::NotNamed | PrimaryAddress::Unknown => None,
    }
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

/// This node's Node object, while it is read.
struct ReadNode<'a> {
    node: &'a Node,
    settings: &'a Settings,
    kernel: &'a InKernel,
    log: Log<'a>,
}

impl ReadNode<'_> {
    /// The node's own address of each family; `said` is what was said before, and then what is said now.
    fn primary(&mut self, said: &mut PerFamily<Option<IpAddr>>) -> PerFamily<PrimaryAddress> {
        let hosts = self.host_addresses();
        let mut primary = PerFamily::both(PrimaryAddress::NotNamed);
        for family in Family::ALL {
            let said = said.of_mut(family);
            match (best_of(&hosts, family), *said) {
                (Some(address), _) => *said = Some(address),
                (None, Some(address)) if self.kernel.addresses.contains(&address) => {
                    self.log.warn("status.addresses", Problem::AddressWithdrawn { address, family });
                }
                (None, _) => continue,
            }
            *primary.of_mut(family) = said.map_or(PrimaryAddress::NotNamed, PrimaryAddress::Named);
        }
        let is_named = self.settings.node_address.is_some() || primary != PerFamily::both(PrimaryAddress::NotNamed);
        if !is_named && self.settings.node_ports.needs_node_object() {
            self.log.warn("status.addresses", Problem::NoNodeAddress);
        }
        primary
    }

    /// The node's addresses by which others reach it, the best first: internal before external ones, each in the order
    /// of the object (`GetNodeHostIPs`).
    fn host_addresses(&mut self) -> Vec<IpAddr> {
        let mut hosts = Vec::new();
        for address_type in ["InternalIP", "ExternalIP"] {
            for (i, written) in self.node.status.addresses.iter().enumerate() {
                if *written.address_type == *address_type {
                    let field = format_args!("status.addresses[{i}].address");
                    hosts.extend(usable_address(&written.address, field, &mut self.log));
                }
            }
        }
        hosts
    }

    /// The ranges of the node's pods: `podCIDRs`, or `podCIDR` of before dual stack. `said` is what was said before,
    /// and then what is said now.
    fn pod_ranges(&mut self, said: &mut Vec<Cidr>) {
        let spec = &self.node.spec;
        let mut ranges = Vec::new();
        if let (Some(text), []) = (&spec.pod_cidr, &*spec.pod_cidrs)
            && !text.is_empty()
        {
            ranges.extend(range(text, "spec.podCIDR", &mut self.log));
        }
        for (i, text) in spec.pod_cidrs.iter().enumerate().filter(|(_, text)| !text.is_empty()) {
            ranges.extend(range(text, format_args!("spec.podCIDRs[{i}]"), &mut self.log));
        }
        if !ranges.is_empty() {
            *said = ranges;
        } else if !said.is_empty() && self.settings.local_traffic == LocalDetector::NodeCidrs {
            self.log.warn("spec.podCIDRs", Problem::PodRangesWithdrawn(said.clone()));
        }
    }
}

/// The first address of a family that others can dial. One of the link alone counts where there is no other, and in
/// IPv6 never: it means nothing without the link's name.
fn best_of(addresses: &[IpAddr], family: Family) -> Option<IpAddr> {
    let of_family = || addresses.iter().copied().filter(|address| Family::of(*address) == family);
    of_family().find(|address| !is_of_link(*address)).or_else(|| of_family().find(|_| family == Family::V4))
}

fn is_of_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn read_service_ranges(object: &ServiceCidr, warnings: &mut Vec<Warning>) -> Vec<Cidr> {
    let mut log = Log::new(object.key(), warnings);
    let mut ranges = Vec::new();
    for (i, text) in object.spec.cidrs.iter().enumerate() {
        ranges.extend(range(text, format_args!("spec.cidrs[{i}]"), &mut log));
    }
    ranges
}
