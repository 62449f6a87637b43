//! Numbers for Prometheus: kube-proxy's, ours, and the process's.
//!
//! ```text
//! News ─► recorder ─► kube_proxy, own ────────────────┐
//! scrape ─► process, localhost, connections, refused ─┴─► registry ─► text
//! ```
//!
//! What the loop tells is counted as it is told, at the cost of the change; what only a scraper wants is read when it
//! asks.

mod connections;
mod kube_proxy;
mod labels;
mod leftovers;
mod localhost;
mod missed;
mod own;
mod problem;
mod process;
mod programmed;
mod recorder;
mod refused;
mod text;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::time::Instant;

pub use connections::{Afresh, Observer};
pub use leftovers::Leftovers;

use self::connections::{ByName, Connections, Shown};
use self::kube_proxy::KubeProxy;
use self::localhost::Localhost;
use self::own::Own;
use self::process::Process;
use self::programmed::Programmed;
use self::recorder::Recorder;
use self::refused::Refused;
use crate::config::ByService;
use crate::localhost::Counts;
use kubernetes::ClusterState;
use reconcile::Witness;

/// All metrics of an agent.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    shared: Arc<Shared>,
    connections: Connections,
    shown: Arc<Shown>,
    refused: Arc<Refused>,
    started: Instant,
}

/// What is written by the recorder and read by a scrape.
#[derive(Debug)]
struct Shared {
    kube_proxy: KubeProxy,
    own: Own,
    leftovers: Leftovers,
    programmed: Mutex<Programmed>,
    /// Who programs the kernel.
    backend: Mutex<&'static str>,
}

impl Metrics {
    /// All at zero; `backend` programs the kernel, and `observer` reads what it holds.
    pub fn new(backend: &'static str, observer: Box<dyn Observer>) -> Self {
        let mut registry = Registry::default();
        let shared = Shared {
            kube_proxy: KubeProxy::new(&mut registry),
            own: Own::new(&mut registry, backend),
            leftovers: Leftovers::new(&mut registry),
            programmed: Mutex::default(),
            backend: Mutex::new(backend),
        };
        let shown = Arc::new(Shown::default());
        registry.register_collector(Box::new(Process));
        registry.register_collector(Box::new(shown.clone()));
        let refused = Arc::new(Refused::default());
        registry.register_collector(Box::new(refused.clone()));
        let connections = Connections::new(observer);
        Self { registry, shared: Arc::new(shared), connections, shown, refused, started: Instant::now() }
    }

    /// With those of node ports on localhost.
    pub fn with_localhost(mut self, counts: Arc<Counts>) -> Self {
        self.registry.register_collector(Box::new(Localhost(counts)));
        self
    }

    /// Counts what the loop does.
    pub fn recorder(&self) -> impl Witness<ClusterState> + 'static {
        Recorder::new(self.shared.clone())
    }

    /// Counts what of kube-proxy's cannot be removed.
    pub fn leftovers(&self) -> Leftovers {
        self.shared.leftovers.clone()
    }

    /// Everything, in Prometheus' text format.
    pub async fn text(&self, by_service: ByService) -> String {
        let connections = match by_service {
            ByService::No => ByName::default(),
            ByService::AtMost(most) => {
                let services = self.shared.programmed.lock().expect("nothing panics while it holds it").all();
                self.connections.of(self.backend(), &services, most).await
            }
        };
        *self.shown.0.lock().expect("nothing panics while it holds the numbers") = connections;
        self.refused.read(self.connections.observer()).await;
        let mut openmetrics = String::new();
        prometheus_client::encoding::text::encode(&mut openmetrics, &self.registry)
            .expect("a text takes what is written to it");
        text::of_openmetrics(&openmetrics)
    }

    /// The name of who programs the kernel.
    pub fn backend(&self) -> &'static str {
        *self.shared.backend.lock().expect("nothing panics while it holds the name")
    }

    /// Since when.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The node's `/healthz` was answered.
    pub fn healthz_answered(&self, code: u16) {
        self.shared.kube_proxy.healthz(code);
    }

    /// The node's `/livez` was answered.
    pub fn livez_answered(&self, code: u16) {
        self.shared.kube_proxy.livez(code);
    }
}
