//! Who was turned away, by why: counted by the kernel's rules, and read when somebody asks.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use backend_api::TurnedAway;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use tokio::time::timeout;
use tracing::debug;

use super::Observer;

/// How long a reading may take: a scraper waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// As last read; nothing where it could not be read.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<Option<BTreeMap<TurnedAway, u64>>>);

impl Refused {
    /// Reads anew.
    pub(super) async fn read(&self, observer: &dyn Observer) {
        let outcome = timeout(PATIENCE, observer.refused()).await;
        let read = outcome.unwrap_or_else(|_| Err("not within five seconds".to_owned()));
        if let Err(reason) = &read {
            debug!(reason, "refused connections cannot be read from the kernel");
        }
        *self.0.lock().expect("nothing panics while it holds the numbers") = read.ok();
    }
}

impl Collector for Refused {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(refused) = self.0.lock().expect("nothing panics while it holds the numbers").clone() else {
            return Ok(());
        };
        let help = "First packets to services that were refused or dropped, by why";
        let mut encoder =
            encoder.encode_descriptor("switchyard_refused_connections", help, None, MetricType::Counter)?;
        for reason in TurnedAway::ALL {
            let count = refused.get(&reason).copied().unwrap_or_default();
            ConstCounter::new(count).encode(encoder.encode_family(&[("reason", reason.name())])?)?;
        }
        Ok(())
    }
}
