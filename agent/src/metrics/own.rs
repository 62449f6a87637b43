//! Our own metrics, beside kube-proxy's: what it cannot tell, because it does not know it.

use backend_api::{Report, Scope, SyncError};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::labels::{Counters, Gauges};
use super::problem;
use super::programmed::Programmed;
use kubernetes::resolve::Problem;

/// The metrics.
#[derive(Clone, Debug)]
pub(super) struct Own {
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

impl Own {
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
        registry.register("build_info", "What was built", build);
        own.succeeded(backend);
        own
    }

    fn register(&self, registry: &mut Registry) {
        let syncs = "Syncs, by what was looked at and what came of it";
        registry.register("syncs", syncs, self.syncs.clone());
        registry.register("writes", "Changes that the kernel was told", self.writes.clone());
        registry.register("sync_writes", "Changes that the kernel was told in one sync", self.writes_per_sync.clone());
        registry.register("netlink_sent_bytes", "Bytes sent to the kernel by syncs", self.netlink_bytes.clone());
        let drift = "Times that what others had changed in our rules was repaired";
        registry.register("drift_repaired", drift, self.drift_repaired.clone());
        registry.register("services", "Services that are programmed", self.services.clone());
        registry.register("frontends", "Addresses and ports that clients dial", self.frontends.clone());
        registry.register("endpoints", "Endpoints of service ports that get connections", self.endpoints.clone());
        registry.register("refused_services", "Services that cannot be programmed now", self.refused.clone());
        let refusals = "Services that could not be programmed, each once for each reason";
        registry.register("service_refusals", refusals, self.refusals.clone());
        let conflicts = "Frontends that a service went without because an older one has them";
        registry.register("frontend_conflicts", conflicts, self.conflicts.clone());
        registry.register("warnings", "Parts of objects that make no sense, by what is wrong", self.warnings.clone());
        registry.register("source_troubles", "Things that a source could not read", self.troubles.clone());
        registry.register("backend_info", "Who programs the kernel", self.backend.clone());
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
        self.refused.set(refused as i64);
    }

    /// What others had changed is as it should be.
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

    /// An object makes no sense in part.
    pub(super) fn warned(&self, problem: &Problem) {
        self.warnings.get_or_create(&[("problem", problem::word(problem))]).inc();
    }

    /// A source could not read something.
    pub(super) fn troubled(&self) {
        self.troubles.inc();
    }
}
