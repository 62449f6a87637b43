//! One service: all judgements together.

use backend_api::{Endpoint, Family, Frontend, FrontendKey, FrontendKind, Service, ServicePort, SourceRanges};

use super::addresses::ServiceAddresses;
use super::endpoints::{self, Group, Offers};
use super::node::NodeFacts;
use super::on_node::{self, OnNode};
use super::policies::{Policies, Usable, masquerade_of_external, usable};
use super::ports::{Port, read_ports};
use super::selection::{self, Skip};
use super::shared::Shared;
use super::warning::{Log, Warning};
use crate::objects::{self, EndpointSlice, Endpoints};

/// What a service comes to on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// What is to be programmed, if a proxy has anything to do.
    pub service: Option<Service>,
    /// What of it is on this node, as far as it is programmed.
    pub on_node: OnNode,
    /// Why a proxy has nothing to do with it.
    pub skipped: Option<Skip>,
    /// What is wrong with its objects.
    pub warnings: Vec<Warning>,
}

/// Resolves `service` with its `slices`, which are in order of names, on `node`. `endpoints` counts where there is
/// no slice.
pub fn resolve<'a>(
    service: &objects::Service,
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    endpoints: Option<&'a Endpoints>,
    node: &NodeFacts,
) -> Resolution {
    if let Some(skip) = selection::skip(service) {
        return Resolution { skipped: Some(skip), ..Resolution::default() };
    }
    let mut warnings = Vec::new();
    let mut log = Log::new(service.key(), &mut warnings);
    let shared = Shared::read(service, node, &mut log);
    let ports = read_ports(&service.spec.ports, &mut log);
    let groups = read_groups(slices, endpoints, &mut warnings);
    let offers = Offers::of(&groups);
    let mut resolved = Vec::new();
    for port in &ports {
        for family in Family::ALL {
            if let Some(addresses) = shared.addresses.of(family) {
                let port = PortInFamily { shared: &shared, port, family, addresses, node };
                resolved.push(port.resolve(&offers));
            }
        }
    }
    if resolved.is_empty() {
        return Resolution { warnings, ..Resolution::default() };
    }
    let mut log = Log::new(service.key(), &mut warnings);
    let on_node = OnNode {
        health_check: on_node::health_check(&service.spec, &shared, &groups, node, &mut log),
        no_local_endpoints: on_node::no_local_endpoints(&resolved),
    };
    let service = Service { name: service.service_name(), age: shared.age, ports: resolved };
    Resolution { service: Some(service), on_node, skipped: None, warnings }
}

fn read_groups<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    endpoints: Option<&'a Endpoints>,
    warnings: &mut Vec<Warning>,
) -> Vec<Group<'a>> {
    let mut slices = slices.into_iter().peekable();
    match (slices.peek(), endpoints) {
        (None, Some(endpoints)) if selection::takes_endpoints(endpoints) => {
            endpoints::of_endpoints(endpoints, warnings)
        }
        _ => slices
            .filter(|slice| selection::takes_slice(slice))
            .filter_map(|slice| endpoints::of_slice(slice, warnings))
            .collect(),
    }
}

/// A port in a family in which its service has addresses.
#[derive(Clone, Copy)]
struct PortInFamily<'a> {
    shared: &'a Shared,
    port: &'a Port,
    family: Family,
    addresses: &'a ServiceAddresses,
    node: &'a NodeFacts,
}

impl PortInFamily<'_> {
    fn resolve(self, offers: &Offers<'_>) -> ServicePort {
        let Self { shared, port, family, node, .. } = self;
        let policies = self.policies();
        let (addresses, candidates): (Vec<_>, Vec<_>) = offers.of_port(&port.identity, family).into_iter().unzip();
        let usable = usable(&candidates, policies, node);
        let mut endpoints = Vec::with_capacity(addresses.len());
        for ((address, candidate), pools) in addresses.into_iter().zip(&candidates).zip(&usable.pools) {
            // Ready without serving is what publishNotReadyAddresses makes.
            if candidate.serving || candidate.ready {
                endpoints.push(Endpoint { address, weight: 1, pools: *pools, on_this_node: node.runs(candidate) });
            }
        }
        ServicePort {
            name: port.identity.name.clone(),
            family,
            protocol: port.identity.protocol,
            affinity: shared.affinity,
            scheduler: shared.scheduler,
            frontends: self.frontends(policies, &usable),
            endpoints,
        }
    }

    fn policies(self) -> Policies {
        let has_addresses = !self.addresses.vips.is_empty() || !self.addresses.external.is_empty();
        Policies {
            internal: self.shared.internal,
            external: self.shared.external,
            externally_accessible: self.port.node_port.is_some() || has_addresses,
        }
    }

    fn frontends(self, policies: Policies, usable: &Usable) -> Vec<Frontend> {
        let Self { shared, port, family, addresses, node } = self;
        let protocol = port.identity.protocol;
        let key = |address| FrontendKey::Address { address, protocol, port: port.number };
        let mut frontends = vec![Frontend {
            key: key(addresses.cluster_ip),
            kind: FrontendKind::ClusterIp,
            route: usable.internal(policies),
            masquerade: *node.cluster_masquerade.of(family),
            source_ranges: SourceRanges::Any,
        }];
        let external = Frontend {
            key: key(addresses.cluster_ip),
            kind: FrontendKind::External,
            route: usable.external(policies),
            masquerade: masquerade_of_external(policies.external),
            source_ranges: SourceRanges::Any,
        };
        for vip in &addresses.vips {
            let source_ranges = shared.source_ranges.of(family).clone();
            frontends.push(Frontend { key: key(*vip), source_ranges, ..external.clone() });
        }
        for address in &addresses.external {
            frontends.push(Frontend { key: key(*address), ..external.clone() });
        }
        if let Some(number) = port.node_port {
            let key = FrontendKey::NodePort { family, protocol, port: number };
            frontends.push(Frontend { key, kind: FrontendKind::NodePort, ..external });
        }
        frontends
    }
}
