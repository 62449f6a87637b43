//! Connections by service, read from the kernel when somebody asks, and not more often than every few seconds.
//!
//! Each service is a time series, so their number is bounded: the first by name have their own, all others share one.

use std::collections::BTreeMap;
use std::sync::Mutex;
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

/// Least time between two readings.
const SPACING: Duration = Duration::from_secs(5);

/// How long a reading may take: a scraper waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The label of those that share one number. No service has such a name.
const OTHERS: &str = "(others)";

/// Reads what the kernel holds.
#[async_trait]
pub trait Observer: std::fmt::Debug + Send + Sync {
    /// What the backend of this name has programmed.
    ///
    /// # Errors
    /// A sentence that says why it cannot be read.
    async fn observe(&self, backend: &'static str) -> Result<Observed, String>;

    /// First packets that were turned away, by why: cheap, whatever the number of services.
    ///
    /// # Errors
    /// A sentence that says why they cannot be read.
    async fn refused(&self) -> Result<BTreeMap<TurnedAway, u64>, String>;
}

/// Opens the backend anew for each reading: the one that programs is the loop's alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Afresh;

#[async_trait]
impl Observer for Afresh {
    async fn observe(&self, backend: &'static str) -> Result<Observed, String> {
        let named = Backend::compiled().into_iter().find(|compiled| compiled.name() == backend);
        let backend = named.ok_or_else(|| format!("backend {backend}: not part of this build"))?;
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

/// Connections by frontend, as last read.
#[derive(Debug)]
pub(super) struct Connections {
    observer: Box<dyn Observer>,
    read: tokio::sync::Mutex<Option<Reading>>,
}

#[derive(Debug)]
struct Reading {
    at: Instant,
    connections: BTreeMap<FrontendKey, u64>,
}

impl Connections {
    /// Nothing has been read yet.
    pub(super) fn new(observer: Box<dyn Observer>) -> Self {
        Self { observer, read: tokio::sync::Mutex::default() }
    }

    /// Who reads.
    pub(super) fn observer(&self) -> &dyn Observer {
        &*self.observer
    }

    /// Connections of the first `most` of `services`, and of all others together.
    pub(super) async fn of(&self, backend: &'static str, services: &[std::sync::Arc<Service>], most: usize) -> ByName {
        let mut read = self.read.lock().await;
        if read.as_ref().is_none_or(|reading| reading.at.elapsed() >= SPACING) {
            *read = self.read(backend).await.or(read.take());
        }
        let Some(reading) = &*read else { return ByName::default() };
        let mut by_name = ByName::default();
        for (rank, service) in services.iter().enumerate() {
            let frontends = service.ports.iter().flat_map(|port| &port.frontends);
            let sum: u64 = frontends.filter_map(|frontend| reading.connections.get(&frontend.key)).sum();
            let name = if rank < most { service.name.to_string() } else { OTHERS.to_owned() };
            *by_name.0.entry(name).or_default() += sum;
        }
        by_name
    }

    async fn read(&self, backend: &'static str) -> Option<Reading> {
        let outcome = timeout(PATIENCE, self.observer.observe(backend)).await;
        match outcome.unwrap_or_else(|_| Err("not within five seconds".to_owned())) {
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
}

/// Connections by services' names.
#[derive(Clone, Debug, Default)]
pub(super) struct ByName(BTreeMap<String, u64>);

/// What is served.
#[derive(Debug, Default)]
pub(super) struct Shown(pub(super) Mutex<ByName>);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let by_name = self.0.lock().expect("nothing panics while it holds the numbers").clone();
        if by_name.0.is_empty() {
            return Ok(());
        }
        let (name, help) = ("switchyard_service_connections", "Connections that were opened to a service's frontends");
        let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (service, connections) in &by_name.0 {
            let labels = [("service", service.as_str())];
            ConstCounter::new(*connections).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
