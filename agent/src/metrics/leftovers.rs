//! What kube-proxy left in the kernel, as the last pass over it found it.

use prometheus_client::registry::Registry;

use super::labels::Gauges;
use crate::migration::Report;

/// The metric. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leftovers(Gauges<1>);

impl Leftovers {
    /// Without a value until there was a pass.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let leftovers = Self(Gauges::default());
        let help =
            "What kube-proxy left in the kernel and stays: `failed` could not be removed, `left` is not ours to remove";
        registry.register("switchyard_kube_proxy_leftovers", help, leftovers.0.clone());
        leftovers
    }

    /// A pass has come to this.
    pub fn passed(&self, report: &Report) {
        for (state, count) in [("failed", report.failed.len()), ("left", report.left.len())] {
            self.0.get_or_create(&[("state", state)]).set(count as i64);
        }
    }
}
