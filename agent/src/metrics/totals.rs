//! Running totals of what is programmed, kept up at the cost of what changes.

use std::collections::HashMap;
use std::sync::Arc;

use backend_api::{Family, PerFamily, Scope, Service, ServiceName, ServiceState};
use kubernetes::resolve::NoLocalEndpoints;

/// Every service that is programmed, with totals. Services are shared with the state itself, so this costs a map of
/// names.
#[derive(Debug, Default)]
pub(super) struct Programmed {
    services: HashMap<ServiceName, Arc<Service>>,
    totals: Totals,
}

/// How many frontends and endpoints there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Addresses and ports that clients dial.
    pub(super) frontends: i64,
    /// Endpoints of service ports that get connections: one of two ports counts twice.
    pub(super) endpoints: i64,
}

impl Programmed {
    /// Takes what a sync of `scope` has programmed.
    pub(super) fn update(&mut self, state: &ServiceState, scope: Scope<'_>) {
        match scope {
            Scope::All => {
                let services = state.services_unordered().map(|service| (service.name.clone(), service.clone()));
                self.services = services.collect();
                self.totals = Totals::default();
                self.services.values().for_each(|service| self.totals.add(service, 1));
            }
            Scope::Services(names) => names.iter().for_each(|name| self.replace(name, state.service(name))),
        }
    }

    fn replace(&mut self, name: &ServiceName, now: Option<&Arc<Service>>) {
        let before = match now {
            Some(service) => self.services.insert(name.clone(), service.clone()),
            None => self.services.remove(name),
        };
        before.iter().for_each(|service| self.totals.add(service, -1));
        now.iter().for_each(|service| self.totals.add(service, 1));
    }

    /// How many services.
    pub(super) fn services(&self) -> usize {
        self.services.len()
    }

    /// How many frontends and endpoints they have.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// All of them, in order of names.
    pub(super) fn all(&self) -> Vec<Arc<Service>> {
        let mut all: Vec<_> = self.services.values().cloned().collect();
        all.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        all
    }
}

impl Totals {
    fn add(&mut self, service: &Service, one: i64) {
        for port in &service.ports {
            self.frontends += one * port.frontends.len() as i64;
            let used = port.endpoints.iter().filter(|endpoint| endpoint.pools.cluster || endpoint.pools.local);
            self.endpoints += one * used.count() as i64;
        }
    }
}

/// Services with a Local policy that finds no endpoint on this node. Others are not kept.
#[derive(Clone, Debug, Default)]
pub(super) struct MissedEndpoints {
    by_service: HashMap<ServiceName, PerFamily<NoLocalEndpoints>>,
    counts: PerFamily<ByPolicy>,
}

#[derive(Clone, Copy, Debug, Default)]
struct ByPolicy {
    internal: i64,
    external: i64,
}

impl MissedEndpoints {
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
