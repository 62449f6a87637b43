//! Numbers for Prometheus: kube-proxy's, Switchyard's, and the process's. docs/metrics.md lists them.
//!
//! ```text
//! News ───► recorder ─► kube_proxy, own ─┐
//! scrape ─► process, kernel ─────────────┴─► registry ─► text
//! ```
//!
//! The loop's news are counted as they come, at the cost of the change. What only a scraper wants is read when it asks.

mod announcing;
mod kernel;
mod kube_proxy;
mod own;
mod process;
mod recorder;
mod text;
mod totals;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backend_api::Family as IpFamily;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

pub use kernel::{Afresh, Observer};
pub use own::LeftoversGauge;

use self::announcing::AnnounceMetrics;
use self::kernel::KernelReader;
use self::kube_proxy::{KubeProxyMetrics, LocalhostMetrics};
use self::own::OwnMetrics;
use self::process::ProcessMetrics;
use self::recorder::Recorder;
use self::totals::Programmed;
use crate::announce::Announcing;
use crate::config::ByService;
use crate::localhost::Counts;
use kubernetes::ClusterState;
use reconcile::Witness;

/// All metrics of an agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    recorded: Arc<Recorded>,
    leftovers: LeftoversGauge,
    kernel: KernelReader,
    announcing: Option<AnnounceMetrics>,
    started: Instant,
}

/// Written by the recorder, and read by a scrape.
#[derive(Debug)]
struct Recorded {
    kube_proxy: KubeProxyMetrics,
    own: OwnMetrics,
    programmed: Mutex<Programmed>,
    /// The name of the backend that programs the kernel.
    backend: Mutex<&'static str>,
}

impl Metrics {
    /// All at zero; `backend` programs the kernel, and `observer` reads what it holds.
    pub fn new(backend: &'static str, observer: Box<dyn Observer>) -> Self {
        let mut registry = Registry::default();
        let recorded = Recorded {
            kube_proxy: KubeProxyMetrics::new(&mut registry),
            own: OwnMetrics::new(&mut registry, backend),
            programmed: Mutex::default(),
            backend: Mutex::new(backend),
        };
        let leftovers = LeftoversGauge::new(&mut registry);
        let kernel = KernelReader::new(observer);
        let (connections, refused) = kernel.collectors();
        registry.register_collector(Box::new(ProcessMetrics));
        registry.register_collector(Box::new(connections));
        registry.register_collector(Box::new(refused));
        Self { registry, recorded: Arc::new(recorded), leftovers, kernel, announcing: None, started: Instant::now() }
    }

    /// With those of node ports on localhost.
    pub fn with_localhost(mut self, counts: Arc<Counts>) -> Self {
        self.registry.register_collector(Box::new(LocalhostMetrics(counts)));
        self
    }

    /// With those of announced addresses.
    pub fn with_announcing(mut self, announcing: Announcing) -> Self {
        let metrics = AnnounceMetrics::new(announcing);
        self.registry.register_collector(Box::new(metrics.clone()));
        self.announcing = Some(metrics);
        self
    }

    /// Counts what the loop does.
    pub fn recorder(&self) -> impl Witness<ClusterState> + 'static {
        Recorder::new(self.recorded.clone())
    }

    /// Counts the objects of kube-proxy that cannot be removed.
    pub fn leftovers(&self) -> LeftoversGauge {
        self.leftovers.clone()
    }

    /// Everything, in Prometheus' text format.
    pub async fn text(&self, by_service: ByService) -> String {
        match by_service {
            ByService::No => self.kernel.hide_connections(),
            ByService::AtMost(most) => {
                let services = self.recorded.programmed.lock().expect("nothing panics while it holds it").all();
                self.kernel.read_connections(self.backend(), &services, most).await;
            }
        }
        self.kernel.read_refused().await;
        if let Some(announcing) = &self.announcing {
            announcing.read().await;
        }
        let mut openmetrics = String::new();
        prometheus_client::encoding::text::encode(&mut openmetrics, &self.registry)
            .expect("a text takes what is written to it");
        text::of_openmetrics(&openmetrics)
    }

    /// The name of the backend that programs the kernel.
    pub fn backend(&self) -> &'static str {
        *self.recorded.backend.lock().expect("nothing panics while it holds the name")
    }

    /// How long ago the metrics were made, which is when the agent started.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The node's `/healthz` was answered.
    pub fn healthz_answered(&self, code: u16) {
        self.recorded.kube_proxy.healthz(code);
    }

    /// The node's `/livez` was answered.
    pub fn livez_answered(&self, code: u16) {
        self.recorded.kube_proxy.livez(code);
    }
}

/// Names with values.
type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Gauges<const N: usize> = Family<Labels<N>, Gauge>;
type Times = Family<Labels<1>, Gauge<f64, AtomicU64>>;
type Histograms = Family<Labels<1>, Histogram, fn() -> Histogram>;

/// `ip_family`, as kube-proxy spells it.
fn in_family(family: IpFamily) -> Labels<1> {
    let name = match family {
        IpFamily::V4 => "IPv4",
        IpFamily::V6 => "IPv6",
    };
    [("ip_family", name)]
}
