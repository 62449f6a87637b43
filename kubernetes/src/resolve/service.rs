//! One service: all judgements together.

use std::fmt;

use backend_api::{
    Affinity, Endpoint, Family, Frontend, FrontendKey, FrontendKind, PerFamily, Pools, Protocol, Scheduler, Service,
    ServicePort, SourceRanges,
};

use super::addresses::{self, Addresses};
use super::candidates::{self, Candidate, Group};
use super::endpoints::{PortIdentity, offering};
use super::node::NodeFacts;
use super::notation::{port, word};
use super::on_node::OnNode;
use super::policies::{Policies, Usable, usable};
use super::selection::Skip;
use super::source_ranges::Ranges;
use super::warning::{Log, Problem, Warning};
use super::{affinity, age, masquerade, on_node, scheduler, selection};
use crate::objects::{self, EndpointSlice, Endpoints, TrafficPolicy, Word};

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
    let shared = Shared::read(service, node, &mut Log::new(service.key(), &mut warnings));
    let ports = ports(&service.spec.ports, &mut Log::new(service.key(), &mut warnings));
    let groups = groups(slices, endpoints, &mut warnings);
    let resolved: Vec<_> = ports
        .iter()
        .flat_map(|port| {
            let of_family =
                |family| shared.addresses.of(family).as_ref().map(|of| shared.port(port, of, family, &groups));
            Family::ALL.into_iter().filter_map(of_family)
        })
        .collect();
    if resolved.is_empty() {
        return Resolution { warnings, ..Resolution::default() };
    }
    let families = Family::ALL.into_iter().filter(|family| shared.addresses.of(*family).is_some());
    let mut log = Log::new(service.key(), &mut warnings);
    let on_node = OnNode {
        health_check: on_node::health_check(&service.spec, (shared.external, families), &groups, node, &mut log),
        no_local_endpoints: on_node::no_local_endpoints(&resolved),
    };
    let service = Service { name: service.service_name(), age: shared.age, ports: resolved };
    Resolution { service: Some(service), on_node, skipped: None, warnings }
}

/// What all ports of a service share.
struct Shared<'a> {
    node: &'a NodeFacts,
    age: backend_api::Age,
    affinity: Affinity,
    scheduler: Option<Scheduler>,
    addresses: PerFamily<Option<Addresses>>,
    source_ranges: PerFamily<SourceRanges>,
    internal: TrafficPolicy,
    external: TrafficPolicy,
}

/// A port of a service that can be dialled.
struct Port {
    /// In `spec.ports`.
    index: usize,
    identity: PortIdentity,
    number: u16,
    node_port: Option<u16>,
}

fn groups<'a>(
    slices: impl IntoIterator<Item = &'a EndpointSlice>,
    endpoints: Option<&'a Endpoints>,
    warnings: &mut Vec<Warning>,
) -> Vec<Group<'a>> {
    let mut slices = slices.into_iter().peekable();
    match (slices.peek(), endpoints) {
        (None, Some(endpoints)) if selection::takes_endpoints(endpoints) => {
            candidates::of_endpoints(endpoints, warnings)
        }
        _ => slices
            .filter(|slice| selection::takes_slice(slice))
            .filter_map(|slice| candidates::of_slice(slice, warnings))
            .collect(),
    }
}

/// The ports that can be told apart and dialled. Each is compared with those before it: a service has few.
fn ports(written: &[objects::ServicePort], log: &mut Log<'_>) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::with_capacity(written.len());
    for (index, written) in written.iter().enumerate() {
        let field = |name| Field { index, name };
        let protocol = match &written.protocol {
            None => Some(Protocol::Tcp),
            Some(protocol) => word(protocol, "the port is left out", field("protocol"), log),
        };
        let (Some(protocol), Some(number)) = (protocol, port(written.port, field("port"), log)) else { continue };
        let name = written.name.as_deref().unwrap_or_default();
        let like = |other: &&Port| other.identity.protocol == protocol;
        if let Some(earlier) = ports.iter().filter(like).find(|other| *other.identity.name == *name) {
            let earlier = format!("spec.ports[{}]", earlier.index);
            log.warn(field("name"), Problem::PortName { name: name.to_owned(), earlier });
            continue;
        }
        if taken(ports.iter().filter(like).find(|other| other.number == number), number, field("port"), log) {
            continue;
        }
        // 0 where the load balancer does not need one (KEP-1864), and for types that have none.
        let asked = Some(written.node_port).filter(|number| *number != 0);
        let node_port = asked.and_then(|number| port(number, field("nodePort"), log)).filter(|number| {
            let earlier = ports.iter().filter(like).find(|other| other.node_port == Some(*number));
            !taken(earlier, *number, field("nodePort"), log)
        });
        let identity = PortIdentity { name: written.name.clone().unwrap_or_default(), protocol };
        ports.push(Port { index, identity, number, node_port });
    }
    ports
}

/// A field of one of `spec.ports`.
#[derive(Clone, Copy, Debug)]
struct Field {
    index: usize,
    name: &'static str,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spec.ports[{}].{}", self.index, self.name)
    }
}

fn taken(earlier: Option<&Port>, port: u16, field: Field, log: &mut Log<'_>) -> bool {
    if let Some(earlier) = earlier {
        log.warn(field, Problem::PortTaken { port, earlier: format!("spec.ports[{}]", earlier.index) });
    }
    earlier.is_some()
}

impl<'a> Shared<'a> {
    fn read(service: &objects::Service, node: &'a NodeFacts, log: &mut Log<'_>) -> Self {
        let spec = &service.spec;
        if let Some(service_type) = &spec.service_type {
            // Known: what a type brings stands in the fields, and a proxy looks at those.
            word(service_type, "the service is treated by its fields alone", "spec.type", log);
        }
        let addresses = addresses::of_service(service, log);
        let ranges = Ranges::read(&spec.load_balancer_source_ranges, log);
        let mut source_ranges = |family| {
            let vips = addresses.of(family).as_ref().map_or(&[][..], |of| &of.vips);
            ranges.of_family(family, vips, *node.primary.of(family), log)
        };
        let source_ranges = PerFamily { v4: source_ranges(Family::V4), v6: source_ranges(Family::V6) };
        let affinity = affinity::of_spec(spec, log);
        Self {
            node,
            age: age::of_service(service, log),
            affinity,
            scheduler: scheduler::of_service(service, affinity, log),
            addresses,
            source_ranges,
            internal: policy(spec.internal_traffic_policy.as_ref(), "spec.internalTrafficPolicy", log),
            external: policy(spec.external_traffic_policy.as_ref(), "spec.externalTrafficPolicy", log),
        }
    }

    fn port(&self, port: &Port, addresses: &Addresses, family: Family, groups: &[Group<'_>]) -> ServicePort {
        let externally_accessible =
            port.node_port.is_some() || !addresses.vips.is_empty() || !addresses.external.is_empty();
        let policies = Policies { internal: self.internal, external: self.external, externally_accessible };
        let (found, candidates): (Vec<_>, Vec<_>) = offering(&port.identity, family, groups).into_iter().unzip();
        let usable = usable(&candidates, policies, self.node);
        let endpoint = |((address, candidate), pools): ((_, &Candidate<'_>), &Pools)| Endpoint {
            address,
            weight: 1,
            pools: *pools,
            on_this_node: self.node.runs(candidate),
        };
        ServicePort {
            name: port.identity.name.clone(),
            family,
            protocol: port.identity.protocol,
            affinity: self.affinity,
            scheduler: self.scheduler,
            frontends: self.frontends(port, addresses, family, (policies, &usable)),
            endpoints: found
                .into_iter()
                .zip(&candidates)
                .zip(&usable.pools)
                // Serving, or ready without serving, as publishNotReadyAddresses makes them.
                .filter(|((_, candidate), _)| candidate.serving || candidate.ready)
                .map(endpoint)
                .collect(),
        }
    }

    fn frontends(
        &self,
        port: &Port,
        addresses: &Addresses,
        family: Family,
        (policies, usable): (Policies, &Usable),
    ) -> Vec<Frontend> {
        let protocol = port.identity.protocol;
        let key = |address| FrontendKey::Address { address, protocol, port: port.number };
        let external = |key, kind, source_ranges| Frontend {
            key,
            kind,
            route: usable.external(policies),
            masquerade: masquerade::of_external(policies.external),
            source_ranges,
        };
        let cluster_ip = Frontend {
            key: key(addresses.cluster_ip),
            kind: FrontendKind::ClusterIp,
            route: usable.internal(policies),
            masquerade: *self.node.cluster_masquerade.of(family),
            source_ranges: SourceRanges::Any,
        };
        let vip = |ip: &_| external(key(*ip), FrontendKind::External, self.source_ranges.of(family).clone());
        let external_ip = |ip: &_| external(key(*ip), FrontendKind::External, SourceRanges::Any);
        let node_port = |number| {
            let key = FrontendKey::NodePort { family, protocol, port: number };
            external(key, FrontendKind::NodePort, SourceRanges::Any)
        };
        std::iter::once(cluster_ip)
            .chain(addresses.vips.iter().map(vip))
            .chain(addresses.external.iter().map(external_ip))
            .chain(port.node_port.map(node_port))
            .collect()
    }
}

fn policy(written: Option<&Word<TrafficPolicy>>, field: &str, log: &mut Log<'_>) -> TrafficPolicy {
    written.and_then(|policy| word(policy, "read as Cluster", field, log)).unwrap_or(TrafficPolicy::Cluster)
}
