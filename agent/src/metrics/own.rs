//! Switchyard's own metrics: numbers that kube-proxy does not have.

use backend_api::{Report, Scope, SyncError};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::totals::Programmed;
use super::{Counters, Gauges};
use crate::migration::CleanupReport;
use kubernetes::resolve::Problem;

/// The metrics that the recorder counts.
#[derive(Clone, Debug)]
pub(super) struct OwnMetrics {
    syncs: Counters<2>,
    writes: Counter,
    writes_per_sync: Histogram,
    netlink_bytes: Counter,
    drift_repaired: Counter,
    services: Gauge,
    frontends: Gauge,
    endpoints: Gauge,
    refused: Gauge,
    refusals: Counter,
    conflicts: Counter,
    warnings: Counters<1>,
    troubles: Counter,
    backend: Gauges<1>,
}

impl OwnMetrics {
    /// All at zero, registered.
    pub(super) fn new(registry: &mut Registry, backend: &'static str) -> Self {
        let registry = registry.sub_registry_with_prefix("switchyard");
        let own = Self {
            syncs: Counters::default(),
            writes: Counter::default(),
            // 0, then 1 to a million.
            writes_per_sync: Histogram::new(std::iter::once(0.0).chain(exponential_buckets(1.0, 4.0, 11))),
            netlink_bytes: Counter::default(),
            drift_repaired: Counter::default(),
            services: Gauge::default(),
            frontends: Gauge::default(),
            endpoints: Gauge::default(),
            refused: Gauge::default(),
            refusals: Counter::default(),
            conflicts: Counter::default(),
            warnings: Counters::default(),
            troubles: Counter::default(),
            backend: Gauges::default(),
        };
        own.register(registry);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let build = Gauges::<1>::default();
        build.get_or_create(&version).set(1);
        registry.register("build_info", "Version of the agent; the value is 1", build);
        own.succeeded(backend);
        own
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("syncs", "Syncs, by scope and result", self.syncs.clone());
        registry.register("writes", "Changes that syncs wrote to the kernel", self.writes.clone());
        registry.register("sync_writes", "Changes that one sync wrote to the kernel", self.writes_per_sync.clone());
        registry.register("netlink_sent_bytes", "Bytes that syncs sent to the kernel", self.netlink_bytes.clone());
        registry.register(
            "drift_repaired",
            "Repairs of rules that another program had changed",
            self.drift_repaired.clone(),
        );
        registry.register("services", "Services that are programmed", self.services.clone());
        registry.register("frontends", "Addresses and ports that clients can dial", self.frontends.clone());
        registry.register(
            "endpoints",
            "Endpoints of service ports that get connections; an endpoint of two ports counts twice",
            self.endpoints.clone(),
        );
        registry.register("refused_services", "Services that cannot be programmed at present", self.refused.clone());
        registry.register(
            "service_refusals",
            "Services that could not be programmed, each counted once for each reason",
            self.refusals.clone(),
        );
        registry.register(
            "frontend_conflicts",
            "Frontends that two services claimed; the older service has them",
            self.conflicts.clone(),
        );
        registry.register("warnings", "Invalid parts of objects, by problem", self.warnings.clone());
        registry.register("source_troubles", "Failures to read from the source of objects", self.troubles.clone());
        registry.register("backend_info", "Backend that programs the kernel; the value is 1", self.backend.clone());
    }

    /// Another dataplane programs the kernel.
    pub(super) fn succeeded(&self, backend: &'static str) {
        self.backend.clear();
        self.backend.get_or_create(&[("backend", backend)]).set(1);
    }

    /// A sync has succeeded.
    pub(super) fn synced(&self, scope: Scope<'_>, report: &Report) {
        self.ended(scope, "done");
        self.writes.inc_by(report.writes as u64);
        self.writes_per_sync.observe(report.writes as f64);
        self.netlink_bytes.inc_by(report.bytes_sent);
    }

    /// A sync has failed as a whole.
    pub(super) fn failed(&self, scope: Scope<'_>, error: &SyncError) {
        let result = match error {
            SyncError::Raced { .. } => "raced",
            SyncError::Transient { .. } => "transient",
            SyncError::Refused { .. } => "refused",
            SyncError::Unsupported { .. } => "unsupported",
            _ => "other",
        };
        self.ended(scope, result);
    }

    fn ended(&self, scope: Scope<'_>, result: &'static str) {
        let scope = match scope {
            Scope::All => "all",
            Scope::Services(_) => "changed",
        };
        self.syncs.get_or_create(&[("scope", scope), ("result", result)]).inc();
    }

    /// What is programmed now, and how many services cannot be.
    pub(super) fn programmed(&self, programmed: &Programmed, refused: usize) {
        let totals = programmed.totals();
        // A service that was refused is in the state, and not in the kernel.
        self.services.set(programmed.services().saturating_sub(refused) as i64);
        self.frontends.set(totals.frontends);
        self.endpoints.set(totals.endpoints);
    }

    /// So many services are not programmed at present.
    pub(super) fn refused_now(&self, refused: usize) {
        self.refused.set(refused as i64);
    }

    /// Rules that another program had changed are repaired.
    pub(super) fn repaired(&self) {
        self.drift_repaired.inc();
    }

    /// A service could not be programmed.
    pub(super) fn refused_one(&self) {
        self.refusals.inc();
    }

    /// Two services claim one frontend.
    pub(super) fn conflicted(&self) {
        self.conflicts.inc();
    }

    /// A part of an object is invalid.
    pub(super) fn warned(&self, problem: &Problem) {
        self.warnings.get_or_create(&[("problem", problem_label(problem))]).inc();
    }

    /// A source could not read something.
    pub(super) fn troubled(&self) {
        self.troubles.inc();
    }
}

/// The value of the label `problem`.
fn problem_label(problem: &Problem) -> &'static str {
    match problem {
        Problem::NotAnAddress(_) => "not_an_address",
        Problem::OldAddress { .. } => "old_address",
        Problem::SpecialAddress(_) => "special_address",
        Problem::OtherFamily { .. } => "other_family",
        Problem::NoClusterIp { .. } => "no_cluster_ip",
        Problem::SecondClusterIp(_) => "second_cluster_ip",
        Problem::PortNumber(_) => "port_number",
        Problem::PortName { .. } => "port_name",
        Problem::PortTaken { .. } => "port_taken",
        Problem::Word { .. } => "unknown_word",
        Problem::NotARange(_) => "not_a_range",
        Problem::OldRange { .. } => "old_range",
        Problem::Closed(_) => "closed",
        Problem::Timeout(_) => "timeout",
        Problem::Scheduler(_) => "scheduler",
        Problem::AffinityDecides(_) => "affinity_decides",
        Problem::AddressWithdrawn { .. } => "address_withdrawn",
        Problem::NoNodeAddress => "no_node_address",
        Problem::PodRangesWithdrawn(_) => "pod_ranges_withdrawn",
        Problem::Time(_) => "time",
    }
}

/// `switchyard_kube_proxy_leftovers_failed`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LeftoversGauge(Gauge);

impl LeftoversGauge {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let gauge = Self(Gauge::default());
        let help = "Objects of kube-proxy that the last attempt could not remove";
        registry.register("switchyard_kube_proxy_leftovers_failed", help, gauge.0.clone());
        gauge
    }

    /// Shows what the latest attempt could not remove: each attempt tries everything that is left.
    pub fn show(&self, report: &CleanupReport) {
        self.0.set(report.failed.len() as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::Failed;

    #[test]
    fn what_cannot_be_removed_is_counted_until_it_can() {
        let mut registry = Registry::default();
        let gauge = LeftoversGauge::new(&mut registry);
        let failed = Failed { object: "table ip kube-proxy".into(), reason: "busy".into() };
        for (failed, expected) in [(vec![failed], 1), (vec![], 0)] {
            gauge.show(&CleanupReport { failed, ..CleanupReport::default() });
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            let line = format!("switchyard_kube_proxy_leftovers_failed {expected}");
            assert!(text.lines().any(|shown| shown == line), "{text}");
        }
    }
}
