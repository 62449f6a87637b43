//! kube-proxy's metrics, as far as they mean something here: same names, labels and buckets, so that dashboards and
//! alerts for kube-proxy continue to work.
//!
//! One sync programs both families, so it is counted for each, as kube-proxy's two proxiers would.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backend_api::{Cleaning, Family, PerFamily, Protocol, Scope};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::Registry;

use super::totals::MissedEndpoints;
use super::{Counters, Gauges, Histograms, Times, in_family};
use crate::localhost::Counts;

/// The metrics that the recorder counts.
#[derive(Clone, Debug)]
pub(super) struct KubeProxyMetrics {
    syncs: Histograms,
    full_syncs: Histograms,
    partial_syncs: Histograms,
    synced_at: Times,
    queued_at: Times,
    programming: Histograms,
    endpoint_changes_pending: Gauge,
    endpoint_changes: Counter,
    service_changes_pending: Gauge,
    service_changes: Counter,
    no_local_endpoints: Gauges<2>,
    sync_failures: Counters<1>,
    cleanings: Histograms,
    flows_deleted: Counters<1>,
    healthz: Codes,
    livez: Codes,
}

/// Answers by status code. Only codes that were answered are there.
type Codes = prometheus_client::metrics::family::Family<[(&'static str, String); 1], Counter>;

fn sync_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// Seconds up to five minutes; kube-proxy's first bucket is 0.
fn programming_buckets() -> Histogram {
    let seconds = linear_buckets(0.25, 0.25, 2)
        .chain(linear_buckets(1.0, 1.0, 59))
        .chain(linear_buckets(60.0, 5.0, 12))
        .chain(linear_buckets(120.0, 30.0, 7));
    Histogram::new(std::iter::once(0.0).chain(seconds))
}

impl KubeProxyMetrics {
    /// All at zero, registered.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("kubeproxy");
        let metrics = Self {
            syncs: Histograms::new_with_constructor(sync_buckets),
            full_syncs: Histograms::new_with_constructor(sync_buckets),
            partial_syncs: Histograms::new_with_constructor(sync_buckets),
            synced_at: Times::default(),
            queued_at: Times::default(),
            programming: Histograms::new_with_constructor(programming_buckets),
            endpoint_changes_pending: Gauge::default(),
            endpoint_changes: Counter::default(),
            service_changes_pending: Gauge::default(),
            service_changes: Counter::default(),
            no_local_endpoints: Gauges::default(),
            sync_failures: Counters::default(),
            cleanings: Histograms::new_with_constructor(sync_buckets),
            flows_deleted: Counters::default(),
            healthz: Codes::default(),
            livez: Codes::default(),
        };
        metrics.register(registry);
        metrics.start_at_zero();
        metrics
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "sync_proxy_rules_duration_seconds",
            "Duration of a sync of the rules in the kernel",
            self.syncs.clone(),
        );
        registry.register(
            "sync_full_proxy_rules_duration_seconds",
            "Duration of a sync that checked every service",
            self.full_syncs.clone(),
        );
        registry.register(
            "sync_partial_proxy_rules_duration_seconds",
            "Duration of a sync that checked only services that had changed",
            self.partial_syncs.clone(),
        );
        registry.register(
            "sync_proxy_rules_last_timestamp_seconds",
            "Time of the last successful sync, in seconds since the Unix epoch",
            self.synced_at.clone(),
        );
        registry.register(
            "sync_proxy_rules_last_queued_timestamp_seconds",
            "Time when a change was last queued for a sync, in seconds since the Unix epoch",
            self.queued_at.clone(),
        );
        registry.register(
            "network_programming_duration_seconds",
            "Time from a change of endpoints in the cluster to the end of the sync that programmed it",
            self.programming.clone(),
        );
        registry.register(
            "sync_proxy_rules_endpoint_changes_pending",
            "Changes of EndpointSlice and Endpoints objects that wait for a sync",
            self.endpoint_changes_pending.clone(),
        );
        registry.register(
            "sync_proxy_rules_endpoint_changes",
            "Changes of EndpointSlice and Endpoints objects that were received",
            self.endpoint_changes.clone(),
        );
        registry.register(
            "sync_proxy_rules_service_changes_pending",
            "Changes of Service objects that wait for a sync",
            self.service_changes_pending.clone(),
        );
        registry.register(
            "sync_proxy_rules_service_changes",
            "Changes of Service objects that were received",
            self.service_changes.clone(),
        );
        registry.register(
            "sync_proxy_rules_no_local_endpoints_total",
            "Services with a Local traffic policy that have endpoints, but none on this node",
            self.no_local_endpoints.clone(),
        );
        registry.register(
            "sync_proxy_rules_nftables_sync_failures",
            "Syncs that failed as a whole, with either backend",
            self.sync_failures.clone(),
        );
        registry.register(
            "conntrack_reconciler_sync_duration_seconds",
            "Duration of a search for stale entries of connection tracking",
            self.cleanings.clone(),
        );
        registry.register(
            "conntrack_reconciler_deleted_entries",
            "Stale entries of connection tracking that were deleted",
            self.flows_deleted.clone(),
        );
        registry.register("proxy_healthz", "Answers on /healthz, by HTTP status code", self.healthz.clone());
        registry.register("proxy_livez", "Answers on /livez, by HTTP status code", self.livez.clone());
    }

    /// Shows as zero what has not happened yet.
    fn start_at_zero(&self) {
        for family in Family::ALL {
            let labels = in_family(family);
            for histograms in [&self.syncs, &self.full_syncs, &self.partial_syncs, &self.programming, &self.cleanings] {
                drop(histograms.get_or_create(&labels));
            }
            drop(self.sync_failures.get_or_create(&labels));
            drop(self.flows_deleted.get_or_create(&labels));
        }
        self.no_local_endpoints(&MissedEndpoints::default());
    }

    /// Something waits for a sync.
    pub(super) fn queued(&self, now: SystemTime) {
        set_in_each_family(&self.queued_at, now);
    }

    /// A service's object has changed.
    pub(super) fn service_changed(&self) {
        self.service_changes.inc();
        self.service_changes_pending.inc();
    }

    /// An object with endpoints has changed.
    pub(super) fn endpoints_changed(&self) {
        self.endpoint_changes.inc();
        self.endpoint_changes_pending.inc();
    }

    /// Nothing waits any more.
    pub(super) fn settled(&self) {
        self.service_changes_pending.set(0);
        self.endpoint_changes_pending.set(0);
    }

    /// A sync has ended, with or without success.
    pub(super) fn ran(&self, scope: Scope<'_>, took: Duration) {
        let by_scope = match scope {
            Scope::All => &self.full_syncs,
            Scope::Services(_) => &self.partial_syncs,
        };
        for family in Family::ALL {
            self.syncs.get_or_create(&in_family(family)).observe(took.as_secs_f64());
            by_scope.get_or_create(&in_family(family)).observe(took.as_secs_f64());
        }
    }

    /// A sync has succeeded, with changes of endpoints that were triggered then.
    pub(super) fn synced(&self, triggers: &PerFamily<Vec<SystemTime>>, now: SystemTime) {
        set_in_each_family(&self.synced_at, now);
        for family in Family::ALL {
            let histogram = self.programming.get_or_create(&in_family(family));
            for trigger in triggers.of(family) {
                // Clocks of two machines: a trigger of the future took no time.
                histogram.observe(now.duration_since(*trigger).unwrap_or_default().as_secs_f64());
            }
        }
    }

    /// Stale connection-tracking entries were looked for.
    pub(super) fn cleaned(&self, cleanings: &PerFamily<Option<Cleaning>>) {
        for family in Family::ALL {
            let Some(Cleaning { deleted, took }) = *cleanings.of(family) else { continue };
            self.cleanings.get_or_create(&in_family(family)).observe(took.as_secs_f64());
            self.flows_deleted.get_or_create(&in_family(family)).inc_by(deleted as u64);
        }
    }

    /// A sync has failed as a whole.
    pub(super) fn failed(&self) {
        for family in Family::ALL {
            self.sync_failures.get_or_create(&in_family(family)).inc();
        }
    }

    /// How many services miss endpoints on this node.
    pub(super) fn no_local_endpoints(&self, missed: &MissedEndpoints) {
        for family in Family::ALL {
            let [ip_family] = in_family(family);
            for (policy, count) in [("internal", missed.internal(family)), ("external", missed.external(family))] {
                let labels = [ip_family, ("traffic_policy", policy)];
                self.no_local_endpoints.get_or_create(&labels).set(count);
            }
        }
    }

    /// `/healthz` was answered.
    pub(super) fn healthz(&self, code: u16) {
        self.healthz.get_or_create(&[("code", code.to_string())]).inc();
    }

    /// `/livez` was answered.
    pub(super) fn livez(&self, code: u16) {
        self.livez.get_or_create(&[("code", code.to_string())]).inc();
    }
}

fn set_in_each_family(times: &Times, now: SystemTime) {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    for family in Family::ALL {
        times.get_or_create(&in_family(family)).set(seconds);
    }
}

/// Node ports on localhost, by the names that kube-proxy gives these numbers since 1.37 (KEP-6032).
#[derive(Debug)]
pub(super) struct LocalhostMetrics(pub(super) Arc<Counts>);

impl Collector for LocalhostMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = "kubeproxy_nftables_localhost_nodeport_listeners";
        let help = "Node ports that the agent listens on at a loopback address";
        let mut listeners = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for family in Family::ALL {
            ConstGauge::new(self.0.listeners(family)).encode(listeners.encode_family(&in_family(family))?)?;
        }
        let name = "kubeproxy_nftables_localhost_nodeport_listener_creation_failures";
        let help = "Node ports that the agent could not listen on at a loopback address";
        let mut failures = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for family in Family::ALL {
            ConstCounter::new(self.0.failures(family)).encode(failures.encode_family(&in_family(family))?)?;
        }
        let name = "kubeproxy_nftables_localhost_nodeport_rejected_packets";
        let help = "Connections reset and datagrams dropped by the agent at node ports on a loopback address";
        let mut rejected = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for family in Family::ALL {
            for (protocol, word) in [(Protocol::Tcp, "TCP"), (Protocol::Udp, "UDP"), (Protocol::Sctp, "SCTP")] {
                let [ip_family] = in_family(family);
                let labels = [ip_family, ("protocol", word)];
                let count = self.0.rejected(family, protocol);
                ConstCounter::new(count).encode(rejected.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
