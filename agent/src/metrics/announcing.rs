//! What the announcer knows, read when a scraper asks.

use std::sync::{Arc, Mutex};

use announce::election::Progress;
use announce::kernel::{Counters, Snapshot};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::announce::Announcing;

/// How far this node is with an address, as the label `state`.
const STATES: [&str; 8] =
    ["holding", "standing_in", "following", "listening", "probing", "blocked", "down", "without_interface"];

/// Which of the counters.
type Count = fn(&Counters) -> u64;

/// Of all interfaces together; all are 0 where nothing is announced.
#[derive(Clone, Debug)]
pub(super) struct AnnounceMetrics {
    announcing: Announcing,
    read: Arc<Mutex<Snapshot>>,
}

impl AnnounceMetrics {
    pub(super) fn new(announcing: Announcing) -> Self {
        Self { announcing, read: Arc::default() }
    }

    /// Asks the announcer.
    pub(super) async fn read(&self) {
        let announcing = self.announcing.clone();
        // It waits for a turn of the announcer's thread.
        let read = tokio::task::spawn_blocking(move || announcing.snapshot()).await;
        *self.read.lock().expect("nothing panics while it holds it") = read.ok().flatten().unwrap_or_default();
    }
}

impl Collector for AnnounceMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let snapshot = self.read.lock().expect("nothing panics while it holds it");
        let name = "switchyard_announced_addresses";
        let help = "Addresses on an interface that this node bids for, by how far it is";
        let mut addresses = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for state in STATES {
            let count = i64::try_from(count(&snapshot, state)).unwrap_or(i64::MAX);
            ConstGauge::new(count).encode(addresses.encode_family(&[("state", state)])?)?;
        }
        let peers: usize = snapshot.interfaces.values().map(|counters| counters.peers).sum();
        let help = "Other nodes that are heard, each counted once for each interface";
        let peers_now = encoder.encode_descriptor("switchyard_announce_peers", help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(peers).unwrap_or(i64::MAX)).encode(peers_now)?;
        let counters: [(&str, &str, Count); 5] = [
            (
                "switchyard_announce_requests_answered",
                "ARP requests and neighbour solicitations that were answered",
                |counters| counters.answered,
            ),
            (
                "switchyard_announce_gratuitous",
                "Gratuitous ARP packets and unsolicited neighbour advertisements that were sent",
                |counters| counters.gratuitous,
            ),
            ("switchyard_announce_heartbeats_sent", "Heartbeats that were sent", |counters| counters.heartbeats_sent),
            ("switchyard_announce_heartbeats_heard", "Heartbeats of other nodes", |counters| counters.heartbeats_heard),
            ("switchyard_announce_send_errors", "Frames that could not be sent", |counters| counters.send_errors),
        ];
        for (name, help, of) in counters {
            let sum: u64 = snapshot.interfaces.values().map(of).sum();
            ConstCounter::new(sum).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        Ok(())
    }
}

fn count(snapshot: &Snapshot, state: &str) -> usize {
    if state == "without_interface" {
        return snapshot.without_interface.len();
    }
    snapshot.addresses.iter().filter(|address| state_of(&address.progress) == state).count()
}

fn state_of(progress: &Progress) -> &'static str {
    match progress {
        Progress::Holding(_) => "holding",
        Progress::StandingIn(_) => "standing_in",
        Progress::Following(_) => "following",
        Progress::Listening => "listening",
        Progress::Probing => "probing",
        Progress::Blocked(_) => "blocked",
        Progress::Down => "down",
    }
}
