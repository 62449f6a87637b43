//! The agent's own servers: the node's health, the health of services, and metrics.
//!
//! ```text
//!                  ┌─► Health ──────► node     :10256 /healthz /livez
//! News (Witness) ──┼─► Board ───────► service  healthCheckNodePort, one server for each
//!                  └─► Metrics ─────► metrics  :10249 /metrics /proxyMode /configz
//! ServersConfig ─────► place: where they are, live
//! ```
//!
//! Nothing here can hold up the loop: witnesses write down, servers read.

mod answer;
mod health;
mod http;
mod listen;
mod listeners;
mod metrics;
mod node;
mod place;
mod service;

use std::convert::Infallible;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::watch;

pub use health::{Health, Verdict};
pub use place::Unbindable;

use self::place::Place;
use self::service::Board;
use crate::config::ServersConfig;
use crate::events::Outbox;
use crate::metrics::Metrics;
use kubernetes::ClusterState;
use reconcile::Witness;

/// The servers, before they are put to work.
#[derive(Debug)]
pub struct Serving {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
}

/// What servers read that others write.
#[derive(Debug)]
pub struct Sources {
    /// Where servers are.
    pub config: watch::Receiver<ServersConfig>,
    /// The configuration in force, as its file would say it.
    pub configuration: watch::Receiver<Value>,
    /// Where it is told that a service's health cannot be served.
    pub notices: Outbox,
}

impl Serving {
    /// Nothing listens yet.
    pub fn new(health: Health, metrics: Metrics) -> Self {
        let health = Arc::new(health);
        Self { board: Arc::new(Board::new(health.clone())), health, metrics: Arc::new(metrics) }
    }

    /// Hears what the loop does.
    pub fn witness(&self) -> Box<dyn Witness<ClusterState>> {
        let witnesses: Vec<Box<dyn Witness<ClusterState>>> = vec![
            Box::new(health::Listener(self.health.clone())),
            Box::new(service::Listener::new(self.board.clone())),
            Box::new(self.metrics.recorder()),
        ];
        Box::new(witnesses)
    }

    /// Serves for as long as it is polled, in the network namespace of the runtime's threads.
    ///
    /// # Errors
    /// Where an address cannot be bound and the configuration says that it must be.
    pub async fn serve(self, sources: Sources) -> Result<Infallible, Unbindable> {
        let Self { health, metrics, board } = self;
        let Sources { config, configuration, notices } = sources;
        let shown = metrics::Shown { metrics: metrics.clone(), config: config.clone(), configuration };
        let node = Place { server: "health", address: |config| config.healthz, router: node::router(health, metrics) };
        let metrics = Place { server: "metrics", address: |config| config.metrics, router: metrics::router(shown) };
        tokio::select! {
            outcome = node.follow(config.clone()) => outcome,
            outcome = metrics.follow(config) => outcome,
            never = listeners::keep(board, notices) => match never {},
        }
    }
}
