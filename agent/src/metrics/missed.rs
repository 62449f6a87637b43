//! Which services have a Local policy that finds no endpoint on this node: counted as they change.

use std::collections::HashMap;

use backend_api::{Family, PerFamily, ServiceName};

use kubernetes::resolve::NoLocalEndpoints;

/// Only services that miss something are kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Missed {
    by_service: HashMap<ServiceName, PerFamily<NoLocalEndpoints>>,
    counts: PerFamily<Counts>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    internal: i64,
    external: i64,
}

impl Missed {
    /// What `service` misses from now on.
    pub(super) fn set(&mut self, service: &ServiceName, missed: PerFamily<NoLocalEndpoints>) {
        let before = if missed == PerFamily::default() {
            self.by_service.remove(service)
        } else {
            self.by_service.insert(service.clone(), missed)
        };
        self.add(&before.unwrap_or_default(), -1);
        self.add(&missed, 1);
    }

    /// Services whose internal policy drops in `family`.
    pub(super) fn internal(&self, family: Family) -> i64 {
        self.counts.of(family).internal
    }

    /// Services whose external policy drops in `family`.
    pub(super) fn external(&self, family: Family) -> i64 {
        self.counts.of(family).external
    }

    fn add(&mut self, missed: &PerFamily<NoLocalEndpoints>, one: i64) {
        for family in Family::ALL {
            let NoLocalEndpoints { internal, external } = *missed.of(family);
            let counts = self.counts.of_mut(family);
            counts.internal += one * i64::from(internal);
            counts.external += one * i64::from(external);
        }
    }
}
