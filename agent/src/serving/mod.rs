//! The agent's own servers: the node's health, the health of services, and metrics.
//!
//! ```text
//!                  ┌─► Health ────────► health          :10256 /healthz /livez
//! News (Witness) ──┼─► HealthChecks ──► service_health  healthCheckNodePort, one server for each
//!                  └─► Metrics ───────► metrics         :10249 /metrics /proxyMode /configz
//! ServersConfig ─────► server: where they listen, changed while the agent runs ─► http ─► clients: how many
//! ```
//!
//! Nothing here can hold up the loop: witnesses write to memory, servers read it.

mod clients;
mod health;
mod http;
mod metrics;
mod server;
mod service_health;

use std::convert::Infallible;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

pub use health::{Health, Verdict};
pub use server::Unbindable;

use self::clients::Clients;
use self::health::HealthWitness;
use self::metrics::MetricsSources;
use self::server::ConfiguredServer;
use self::service_health::{HealthCheckWitness, HealthChecks, Resources, serve_health_checks};
use crate::config::ServersConfig;
use crate::descriptors::Descriptors;
use crate::events::Outbox;
use crate::metrics::Metrics;
use kubernetes::ClusterState;
use reconcile::Witness;

/// The servers, before they are put to work.
#[derive(Debug)]
pub struct Serving {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    checks: Arc<HealthChecks>,
    descriptors: Descriptors,
}

/// What servers read and other parts of the agent write.
#[derive(Debug)]
pub struct Sources {
    /// Where servers listen.
    pub config: watch::Receiver<ServersConfig>,
    /// The configuration in effect, as its file would say it.
    pub configuration: watch::Receiver<Value>,
    /// Takes notices of health check node ports that cannot be bound.
    pub notices: Outbox,
}

impl Serving {
    /// Nothing listens yet. Clients will use no more than their share of `descriptors`.
    pub fn new(health: Health, metrics: Metrics, descriptors: Descriptors) -> Self {
        let health = Arc::new(health);
        let checks = Arc::new(HealthChecks::new(health.clone()));
        Self { checks, health, metrics: Arc::new(metrics), descriptors }
    }

    /// Hears what the loop does.
    pub fn witness(&self) -> Box<dyn Witness<ClusterState>> {
        let witnesses: Vec<Box<dyn Witness<ClusterState>>> = vec![
            Box::new(HealthWitness(self.health.clone())),
            Box::new(HealthCheckWitness::new(self.checks.clone())),
            Box::new(self.metrics.recorder()),
        ];
        Box::new(witnesses)
    }

    /// Serves for as long as it is polled, in the network namespace of the runtime's threads.
    ///
    /// # Errors
    /// Where an address cannot be bound and the configuration says that it must be.
    pub async fn serve(self, sources: Sources) -> Result<Infallible, Unbindable> {
        let Self { health, metrics, checks, descriptors } = self;
        let clients = Clients::at_most(descriptors.clients);
        let Sources { config, configuration, notices } = sources;
        let health_server = ConfiguredServer {
            server: "health",
            address: |config| config.healthz,
            router: health::router(health, metrics.clone()),
            clients: clients.clone(),
        };
        let metrics_server = ConfiguredServer {
            server: "metrics",
            address: |config| config.metrics,
            router: metrics::router(MetricsSources { metrics, config: config.clone(), configuration }),
            clients: clients.clone(),
        };
        tokio::select! {
            ended = health_server.serve(config.clone()) => ended,
            ended = metrics_server.serve(config) => ended,
            never = serve_health_checks(checks, Resources { clients, descriptors }, notices) => match never {},
        }
    }
}
