//! What of a service is on this node, for health checks of load balancers and for a metric: which services cannot be
//! reached by traffic from here, or through here.
//!
//! Kept apart from what is programmed: nothing here changes a packet's way.

use std::collections::BTreeSet;
use std::net::IpAddr;

use backend_api::{Answer, Family, FrontendKind, PerFamily, Route, ServicePort};

use super::endpoints::Group;
use super::node::NodeFacts;
use super::notation::port;
use super::shared::Shared;
use super::warning::Log;
use crate::objects::{ServiceSpec, ServiceType, TrafficPolicy, Word};

/// What of a service is on this node; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnNode {
    /// Where load balancers ask, if they do.
    pub health_check: Option<HealthCheck>,
    /// Which of its Local policies find no endpoint here while there are some elsewhere.
    pub no_local_endpoints: PerFamily<NoLocalEndpoints>,
}

/// `healthCheckNodePort`: a load balancer sends a service with externalTrafficPolicy Local only to nodes that have
/// endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The port that it asks on.
    pub port: u16,
    /// In each family that the service has: addresses on this node that are ready. Those that terminate do not count,
    /// though they may still be served, so that the load balancer looks elsewhere in time (KEP-1669).
    pub local_endpoints: PerFamily<Option<usize>>,
}

/// Which traffic policies drop, for want of an endpoint on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoLocalEndpoints {
    /// internalTrafficPolicy.
    pub internal: bool,
    /// externalTrafficPolicy.
    pub external: bool,
}

/// Where load balancers ask and what they are told, if they ask at all.
pub(super) fn health_check(
    spec: &ServiceSpec,
    shared: &Shared,
    groups: &[Group<'_>],
    node: &NodeFacts,
    log: &mut Log<'_>,
) -> Option<HealthCheck> {
    let balanced = spec.service_type == Some(Word::Known(ServiceType::LoadBalancer));
    if !balanced || shared.external != TrafficPolicy::Local || spec.health_check_node_port == 0 {
        return None;
    }
    let port = port(spec.health_check_node_port, "spec.healthCheckNodePort", log)?;
    let mut local_endpoints = PerFamily::default();
    for family in Family::ALL {
        if shared.addresses.of(family).is_some() {
            *local_endpoints.of_mut(family) = Some(ready_here(groups, family, node));
        }
    }
    Some(HealthCheck { port, local_endpoints })
}

/// Addresses, whatever ports they offer.
fn ready_here(groups: &[Group<'_>], family: Family, node: &NodeFacts) -> usize {
    let offering = groups.iter().filter(|group| group.family == family && !group.ports.is_empty());
    let here = offering.flat_map(|group| &group.candidates).filter(|candidate| candidate.ready && node.runs(candidate));
    here.map(|candidate| candidate.ip).collect::<BTreeSet<IpAddr>>().len()
}

/// Which policies drop: as the routes of its frontends say.
pub(super) fn no_local_endpoints(ports: &[ServicePort]) -> PerFamily<NoLocalEndpoints> {
    let mut missing = PerFamily::<NoLocalEndpoints>::default();
    for port in ports {
        let missing = missing.of_mut(port.family);
        for frontend in &port.frontends {
            let outside = match frontend.route {
                Route::Everyone(answer) | Route::Split { outside: answer, .. } => answer,
            };
            match frontend.kind {
                FrontendKind::ClusterIp => missing.internal |= outside == Answer::Drop,
                FrontendKind::External | FrontendKind::NodePort => missing.external |= outside == Answer::Drop,
            }
        }
    }
    missing
}
