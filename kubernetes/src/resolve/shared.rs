//! What all ports of a service share: its age, session affinity, scheduler, addresses, and traffic policies.

use std::num::NonZeroU32;

use backend_api::{Affinity, Age, PerFamily, Scheduler, SourceRanges, UnknownScheduler};
use jiff::Timestamp;

use super::addresses::{self, ServiceAddresses};
use super::node::NodeFacts;
use super::notation::word;
use super::source_ranges::Ranges;
use super::warning::{Log, Problem};
use crate::objects::{AffinityKind, Service, ServiceSpec, TrafficPolicy, Word};

/// Three hours: what the API fills in where no timeout is given (`DefaultClientIPServiceAffinitySeconds`).
const DEFAULT_TIMEOUT: NonZeroU32 = NonZeroU32::new(10_800).unwrap();

/// The longest timeout that the API accepts: a day.
const LONGEST_TIMEOUT: u32 = 86_400;

/// Of a service that does not say when it was made, or says it in a way that cannot be read: it never takes
/// a frontend from one that does, and between two such the name decides.
pub(crate) const YOUNGEST: Age = Age(i128::MAX);

/// Where a service names a scheduler.
const SCHEDULER: &str = "metadata.annotations[switchyard.dev/scheduler]";

/// What all ports of a service share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Decides which of two services keeps a frontend that both claim.
    pub(super) age: Age,
    pub(super) affinity: Affinity,
    /// How IPVS is to choose; none where the service leaves it to the operator, or where `affinity` decides.
    pub(super) scheduler: Option<Scheduler>,
    pub(super) addresses: PerFamily<Option<ServiceAddresses>>,
    /// Which clients may dial the load-balancer addresses.
    pub(super) source_ranges: PerFamily<SourceRanges>,
    pub(super) internal: TrafficPolicy,
    pub(super) external: TrafficPolicy,
}

impl Shared {
    pub(super) fn read(service: &Service, node: &NodeFacts, log: &mut Log<'_>) -> Self {
        let spec = &service.spec;
        if let Some(service_type) = &spec.service_type {
            // Known: what a type brings stands in the fields, and a proxy looks at those.
            word(service_type, "the service is treated by its fields alone", "spec.type", log);
        }
        let addresses = addresses::of_service(service, log);
        let ranges = Ranges::read(&spec.load_balancer_source_ranges, log);
        let source_ranges = ranges.of_families(&addresses, &node.primary, log);
        let affinity = affinity_of(spec, log);
        Self {
            age: age_of(service, log),
            affinity,
            scheduler: scheduler_of(service, affinity, log),
            addresses,
            source_ranges,
            internal: policy(spec.internal_traffic_policy.as_ref(), "spec.internalTrafficPolicy", log),
            external: policy(spec.external_traffic_policy.as_ref(), "spec.externalTrafficPolicy", log),
        }
    }
}

/// Nanoseconds from 1970 to the service's creation.
fn age_of(service: &Service, log: &mut Log<'_>) -> Age {
    let Some(written) = service.metadata.creation_timestamp.as_deref() else { return YOUNGEST };
    match written.parse::<Timestamp>() {
        Ok(created) => Age(created.as_nanosecond()),
        Err(_) => {
            log.warn("metadata.creationTimestamp", Problem::Time(written.to_owned()));
            YOUNGEST
        }
    }
}

/// Whether clients come back to the same endpoint, and for how long.
fn affinity_of(spec: &ServiceSpec, log: &mut Log<'_>) -> Affinity {
    let Some(kind) = &spec.session_affinity else { return Affinity::None };
    match word(kind, "read as None", "spec.sessionAffinity", log) {
        None | Some(AffinityKind::None) => Affinity::None,
        Some(AffinityKind::ClientIp) => Affinity::ClientIp { timeout: timeout_of(spec, log) },
    }
}

fn timeout_of(spec: &ServiceSpec, log: &mut Log<'_>) -> NonZeroU32 {
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let Some(seconds) = config.and_then(|client_ip| client_ip.timeout_seconds) else { return DEFAULT_TIMEOUT };
    let in_range = u32::try_from(seconds).ok().filter(|seconds| *seconds <= LONGEST_TIMEOUT);
    in_range.and_then(NonZeroU32::new).unwrap_or_else(|| {
        log.warn("spec.sessionAffinityConfig.clientIP.timeoutSeconds", Problem::Timeout(seconds));
        DEFAULT_TIMEOUT
    })
}

fn scheduler_of(service: &Service, affinity: Affinity, log: &mut Log<'_>) -> Option<Scheduler> {
    let scheduler = match service.metadata.annotations.scheduler.as_ref()? {
        Word::Known(scheduler) => *scheduler,
        Word::Unknown(name) if name.is_empty() => return None,
        Word::Unknown(name) => {
            log.warn(SCHEDULER, Problem::Scheduler(UnknownScheduler(name.to_string())));
            return None;
        }
    };
    match affinity {
        Affinity::None => Some(scheduler),
        Affinity::ClientIp { .. } => {
            log.warn(SCHEDULER, Problem::AffinityDecides(scheduler));
            None
        }
    }
}

fn policy(written: Option<&Word<TrafficPolicy>>, field: &str, log: &mut Log<'_>) -> TrafficPolicy {
    written.and_then(|policy| word(policy, "read as Cluster", field, log)).unwrap_or(TrafficPolicy::Cluster)
}
