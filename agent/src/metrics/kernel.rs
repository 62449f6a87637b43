//! What the kernel counts, read when a scraper asks: connections by service, and refused connections by reason.
//!
//! Each service is a time series, so their number is bounded: the first by name have their own, all others share one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use backend_api::{FrontendKey, Observed, Service, TurnedAway};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use tokio::time::{Instant, timeout};
use tracing::debug;

use crate::backend::Backend;

/// Least time between two readings of all frontends.
const SPACING: Duration = Duration::from_secs(5);

/// How long a reading may take: a scraper waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The label of all services that share one number. No service has such a name.
const OTHERS: &str = "(others)";

/// Reads what the kernel holds.
#[async_trait]
pub trait Observer: std::fmt::Debug + Send + Sync {
    /// What the backend of this name has programmed.
    ///
    /// # Errors
    /// A sentence that says why it cannot be read.
    async fn observe(&self, backend: &'static str) -> Result<Observed, String>;

    /// First packets that were refused or dropped, by reason: cheap, whatever the number of services.
    ///
    /// # Errors
    /// A sentence that says why they cannot be read.
    async fn refused(&self) -> Result<BTreeMap<TurnedAway, u64>, String>;
}

/// Opens the backend anew for each reading: only the loop may use the one that programs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Afresh;

#[async_trait]
impl Observer for Afresh {
    async fn observe(&self, backend: &'static str) -> Result<Observed, String> {
        let compiled = Backend::compiled().into_iter().find(|compiled| compiled.name() == backend);
        let backend = compiled.ok_or_else(|| format!("backend {backend}: not part of this build"))?;
        let mut dataplane = backend.open().await.map_err(|error| error.to_string())?;
        dataplane.observe().await.map_err(|error| error.to_string())
    }

    #[cfg(any(feature = "nftables", feature = "ipvs"))]
    async fn refused(&self) -> Result<BTreeMap<TurnedAway, u64>, String> {
        let mut counters = backend_nft::RefusedConnections::open().map_err(|error| error.to_string())?;
        counters.read().await.map_err(|error| error.to_string())
    }

    #[cfg(not(any(feature = "nftables", feature = "ipvs")))]
    async fn refused(&self) -> Result<BTreeMap<TurnedAway, u64>, String> {
        Err("this build has no backend".to_owned())
    }
}

/// Reads from the kernel for a scrape, and keeps what a collector shows.
#[derive(Debug)]
pub(super) struct KernelReader {
    observer: Box<dyn Observer>,
    /// Connections by frontend, as last read.
    read: tokio::sync::Mutex<Option<Reading>>,
    by_service: Arc<ConnectionsByService>,
    refused: Arc<RefusedByReason>,
}

#[derive(Debug)]
struct Reading {
    at: Instant,
    connections: BTreeMap<FrontendKey, u64>,
}

/// `switchyard_service_connections_total`: absent where nothing was read.
#[derive(Debug, Default)]
pub(super) struct ConnectionsByService(Mutex<BTreeMap<String, u64>>);

/// `switchyard_refused_connections_total`: absent where the last reading failed.
#[derive(Debug, Default)]
pub(super) struct RefusedByReason(Mutex<Option<BTreeMap<TurnedAway, u64>>>);

impl KernelReader {
    /// Nothing has been read yet.
    pub(super) fn new(observer: Box<dyn Observer>) -> Self {
        Self { observer, read: tokio::sync::Mutex::default(), by_service: Arc::default(), refused: Arc::default() }
    }

    /// What shows the numbers.
    pub(super) fn collectors(&self) -> (Arc<ConnectionsByService>, Arc<RefusedByReason>) {
        (self.by_service.clone(), self.refused.clone())
    }

    /// Shows no connections by service.
    pub(super) fn hide_connections(&self) {
        self.by_service.show(BTreeMap::new());
    }

    /// Shows the connections of the first `most` of `services`, and of all others together.
    pub(super) async fn read_connections(&self, backend: &'static str, services: &[Arc<Service>], most: usize) {
        let mut read = self.read.lock().await;
        if read.as_ref().is_none_or(|reading| reading.at.elapsed() >= SPACING) {
            *read = self.read_frontends(backend).await.or(read.take());
        }
        let mut by_name = BTreeMap::new();
        if let Some(reading) = &*read {
            for (rank, service) in services.iter().enumerate() {
                let name = if rank < most { service.name.to_string() } else { OTHERS.to_owned() };
                *by_name.entry(name).or_default() += reading.connections_of(service);
            }
        }
        self.by_service.show(by_name);
    }

    async fn read_frontends(&self, backend: &'static str) -> Option<Reading> {
        match within_patience(self.observer.observe(backend)).await {
            Ok(Observed { frontends, .. }) => {
                let connections = frontends.into_iter().map(|(key, frontend)| (key, frontend.connections)).collect();
                Some(Reading { at: Instant::now(), connections })
            }
            Err(reason) => {
                debug!(reason, backend, "connections cannot be read from the kernel");
                None
            }
        }
    }

    /// Shows the refused connections of this moment.
    pub(super) async fn read_refused(&self) {
        let refused = within_patience(self.observer.refused()).await;
        if let Err(reason) = &refused {
            debug!(reason, "refused connections cannot be read from the kernel");
        }
        *self.refused.0.lock().expect("nothing panics while it holds the numbers") = refused.ok();
    }
}

async fn within_patience<T>(reading: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(PATIENCE, reading).await.unwrap_or_else(|_| Err(format!("not within {PATIENCE:?}")))
}

impl Reading {
    fn connections_of(&self, service: &Service) -> u64 {
        let frontends = service.ports.iter().flat_map(|port| &port.frontends);
        frontends.filter_map(|frontend| self.connections.get(&frontend.key)).sum()
    }
}

impl ConnectionsByService {
    fn show(&self, by_name: BTreeMap<String, u64>) {
        *self.0.lock().expect("nothing panics while it holds the numbers") = by_name;
    }
}

impl Collector for ConnectionsByService {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let by_name = self.0.lock().expect("nothing panics while it holds the numbers").clone();
        if by_name.is_empty() {
            return Ok(());
        }
        let help = "Connections opened to the frontends of a service; only with --connections-by-service";
        let mut encoder =
            encoder.encode_descriptor("switchyard_service_connections", help, None, MetricType::Counter)?;
        for (service, connections) in &by_name {
            let labels = [("service", service.as_str())];
            ConstCounter::new(*connections).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for RefusedByReason {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(refused) = self.0.lock().expect("nothing panics while it holds the numbers").clone() else {
            return Ok(());
        };
        let help = "First packets of connections that were refused or dropped, by reason";
        let mut encoder =
            encoder.encode_descriptor("switchyard_refused_connections", help, None, MetricType::Counter)?;
        for reason in TurnedAway::ALL {
            let count = refused.get(&reason).copied().unwrap_or_default();
            ConstCounter::new(count).encode(encoder.encode_family(&[("reason", reason.name())])?)?;
        }
        Ok(())
    }
}
