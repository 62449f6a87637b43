//! Labels, and the families of metrics that carry them.

use std::sync::atomic::AtomicU64;

use backend_api::Family as IpFamily;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

/// Names with values.
pub(super) type Labels<const N: usize> = [(&'static str, &'static str); N];
pub(super) type Counters<const N: usize> = Family<Labels<N>, Counter>;
pub(super) type Gauges<const N: usize> = Family<Labels<N>, Gauge>;
pub(super) type Times = Family<Labels<1>, Gauge<f64, AtomicU64>>;
pub(super) type Histograms = Family<Labels<1>, Histogram, fn() -> Histogram>;

/// `ip_family`, as kube-proxy spells it.
pub(super) fn in_family(family: IpFamily) -> Labels<1> {
    let name = match family {
        IpFamily::V4 => "IPv4",
        IpFamily::V6 => "IPv6",
    };
    [("ip_family", name)]
}
