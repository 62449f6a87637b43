//! What is programmed, as far as it is counted. Services are shared with the state itself, so this costs a map of names.

use std::collections::HashMap;
use std::sync::Arc;

use backend_api::{Scope, Service, ServiceName, ServiceState};

/// Every service that is programmed, with running totals.
#[derive(Debug, Default)]
pub(super) struct Programmed {
    services: HashMap<ServiceName, Arc<Service>>,
    totals: Totals,
}

/// How many of them there are.
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

    /// How many of what they have.
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
