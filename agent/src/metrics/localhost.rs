//! Node ports on localhost, by the names that kube-proxy gives these numbers since 1.37 (KEP-6032).

use std::sync::Arc;

use backend_api::{Family, Protocol};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::labels::in_family;
use crate::localhost::Counts;

/// Reads what is counted there.
#[derive(Debug)]
pub(super) struct Localhost(pub(super) Arc<Counts>);

impl Collector for Localhost {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = "kubeproxy_nftables_localhost_nodeport_listeners";
        let mut listeners = encoder.encode_descriptor(name, "Node ports on localhost", None, MetricType::Gauge)?;
        for family in Family::ALL {
            ConstGauge::new(self.0.listeners(family)).encode(listeners.encode_family(&in_family(family))?)?;
        }
        let name = "kubeproxy_nftables_localhost_nodeport_listener_creation_failures";
        let help = "Node ports that could not be listened on";
        let mut failures = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for family in Family::ALL {
            ConstCounter::new(self.0.failures(family)).encode(failures.encode_family(&in_family(family))?)?;
        }
        let name = "kubeproxy_nftables_localhost_nodeport_rejected_packets";
        let help = "Connections that were reset and datagrams that were dropped";
        let mut rejected = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for family in Family::ALL {
            for (protocol, word) in [(Protocol::Tcp, "TCP"), (Protocol::Udp, "UDP"), (Protocol::Sctp, "SCTP")] {
                let [in_family] = in_family(family);
                let labels = [in_family, ("protocol", word)];
                let count = self.0.rejected(family, protocol);
                ConstCounter::new(count).encode(rejected.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
