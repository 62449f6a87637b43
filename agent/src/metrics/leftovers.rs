//! What of kube-proxy's should be gone, and is not.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::migration::Report;

/// The metric. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Leftovers(Gauge);

impl Leftovers {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let leftovers = Self(Gauge::default());
        let help = "What kube-proxy left in the kernel and the last try could not remove";
        registry.register("switchyard_kube_proxy_leftovers_failed", help, leftovers.0.clone());
        leftovers
    }

    /// A pass has come to this. What was tried before it either went then or is tried in it again.
    pub fn passed(&self, report: &Report) {
        self.0.set(report.failed.len() as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::Failed;

    #[test]
    fn what_cannot_be_removed_is_counted_until_it_can() {
        let mut registry = Registry::default();
        let leftovers = Leftovers::new(&mut registry);
        let shown = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text.lines().find(|line| line.starts_with("switchyard_")).map(str::to_owned)
        };
        let failed = Failed { object: "table ip kube-proxy".into(), reason: "busy".into() };
        leftovers.passed(&Report { failed: vec![failed], ..Report::default() });
        assert_eq!(shown().as_deref(), Some("switchyard_kube_proxy_leftovers_failed 1"));
        leftovers.passed(&Report::default());
        assert_eq!(shown().as_deref(), Some("switchyard_kube_proxy_leftovers_failed 0"));
    }
}
