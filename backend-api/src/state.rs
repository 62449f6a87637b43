//! The whole desired state: services by name, with at most one owner for each frontend.
//!
//! Kept apart from the services because it settles conflicts: two services may claim a frontend, one gets it. Settling is
//! incremental, so that the cost of a change is the size of the change.
//!
//! **Invariant:** the outcome depends on the set of services alone, not on the order in which they came
//! (`tests/laws.rs::order_never_decides`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::{Age, Endpoint, Frontend, FrontendKey, NodeNetwork, Service, ServiceName, ServicePort};

/// Everything that a dataplane is to program.
#[derive(Clone, Debug, Default)]
pub struct ServiceState {
    node: Arc<NodeNetwork>,
    /// As granted: frontends that an older service owns are taken out.
    services: BTreeMap<ServiceName, Arc<Service>>,
    /// As claimed, of those services only that lost a frontend.
    claimed: BTreeMap<ServiceName, Arc<Service>>,
    owners: HashMap<FrontendKey, Claim>,
    /// Who waits for a frontend that another service owns.
    waiting: BTreeMap<FrontendKey, BTreeSet<Claim>>,
}

/// A service's claim to a frontend; the smallest wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// The older first.
    pub age: Age,
    /// Then by name.
    pub service: ServiceName,
}

/// What a change of one service did to the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Every service whose granted form is another than before: the hint for [`crate::Scope::Services`].
    pub touched: BTreeSet<ServiceName>,
}

/// A frontend that a service claims and another owns.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// What both claim.
    pub frontend: FrontendKey,
    /// Who has it.
    pub owner: ServiceName,
    /// Who goes without.
    pub loser: ServiceName,
}

impl ServiceState {
    /// The state of a node with no services.
    pub fn new(node: NodeNetwork) -> Self {
        Self { node: Arc::new(node), ..Self::default() }
    }

    /// The node's network.
    pub fn node(&self) -> &Arc<NodeNetwork> {
        &self.node
    }

    /// Replaces the node's network. Returns whether it is another than before: then sync with [`crate::Scope::All`].
    pub fn set_node(&mut self, node: NodeNetwork) -> bool {
        let changed = *self.node != node;
        if changed {
            self.node = Arc::new(node);
        }
        changed
    }

    /// Every service, in order of names, each with the frontends that it owns. A service keeps its `Arc` for as long as
    /// its granted form stays the same: equal pointers mean an equal service.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// One service, with the frontends that it owns.
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// Who owns `frontend`.
    pub fn owner(&self, frontend: &FrontendKey) -> Option<&ServiceName> {
        self.owners.get(frontend).map(|claim| &claim.service)
    }

    /// What answers `frontend`: its service, its port, and the frontend itself.
    pub fn find(&self, frontend: &FrontendKey) -> Option<(&Arc<Service>, &ServicePort, &Frontend)> {
        let service = self.services.get(self.owner(frontend)?)?;
        let (port, frontend) = service.ports.iter().find_map(|port| found_in(port, frontend))?;
        Some((service, port, frontend))
    }

    /// Every claim that lost, in order of frontends.
    pub fn conflicts(&self) -> impl Iterator<Item = Conflict> {
        self.waiting.iter().flat_map(|(frontend, waiting)| {
            let owner = self.owners.get(frontend).expect("a frontend that is waited for has an owner");
            waiting.iter().map(|loser| Conflict {
                frontend: *frontend,
                owner: owner.service.clone(),
                loser: loser.service.clone(),
            })
        })
    }

    /// Adds a service, or replaces the one of its name. A frontend that an older service claims stays with that
    /// one; a frontend that a younger one had is taken from it. Endpoints are put in order.
    pub fn upsert(&mut self, mut service: Service) -> Change {
        for port in &mut service.ports {
            put_in_order(&mut port.endpoints);
        }
        let name = service.name.clone();
        let same = self.claims_of(&name).is_some_and(|claimed| **claimed == service);
        if same {
            return Change::default();
        }
        let claim = Claim { age: service.age, service: name.clone() };
        let mut unsettled = self.release(&name);
        for frontend in frontends(&service) {
            self.waiting.entry(frontend).or_default().insert(claim.clone());
            unsettled.insert(frontend);
        }
        self.claimed.insert(name, Arc::new(service));
        self.settle(unsettled, claim.service)
    }

    /// Takes a service out; what it owned goes to the next older claimant.
    pub fn remove(&mut self, name: &ServiceName) -> Change {
        if self.claims_of(name).is_none() {
            return Change::default();
        }
        let unsettled = self.release(name);
        self.settle(unsettled, name.clone())
    }

    /// What `name` claims, granted or not.
    fn claims_of(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.claimed.get(name).or_else(|| self.services.get(name))
    }

    /// Withdraws every claim of `name` and returns what it claimed; its granted form stays until it is settled.
    fn release(&mut self, name: &ServiceName) -> BTreeSet<FrontendKey> {
        let Some(service) = self.claims_of(name).cloned() else { return BTreeSet::new() };
        let claim = Claim { age: service.age, service: name.clone() };
        let released: BTreeSet<_> = frontends(&service).collect();
        for frontend in &released {
            if self.owners.get(frontend) == Some(&claim) {
                self.owners.remove(frontend);
            }
            if let Some(waiting) = self.waiting.get_mut(frontend) {
                waiting.remove(&claim);
            }
        }
        self.claimed.remove(name);
        released
    }

    /// Gives each of these frontends to its smallest claim, and grants anew whoever won or lost one.
    fn settle(&mut self, unsettled: BTreeSet<FrontendKey>, changed: ServiceName) -> Change {
        let mut affected = BTreeSet::from([changed]);
        for frontend in unsettled {
            let mut claims = self.waiting.remove(&frontend).unwrap_or_default();
            let before = self.owners.remove(&frontend);
            claims.extend(before.clone());
            let Some(winner) = claims.pop_first() else { continue };
            if before.as_ref() != Some(&winner) {
                affected.extend(before.map(|loser| loser.service));
                affected.insert(winner.service.clone());
            }
            self.owners.insert(frontend, winner);
            if !claims.is_empty() {
                self.waiting.insert(frontend, claims);
            }
        }
        let touched = affected.into_iter().filter(|name| self.grant(name)).collect();
        Change { touched }
    }

    /// Recomputes what `name` is granted; returns whether that changed.
    fn grant(&mut self, name: &ServiceName) -> bool {
        let still_claims = self.claimed.contains_key(name) || self.owns_any(name);
        let Some(claimed) = self.claims_of(name).filter(|_| still_claims).cloned() else {
            return self.services.remove(name).is_some();
        };
        let owned = |frontend: &FrontendKey| self.owner(frontend) == Some(name);
        let granted = if frontends(&claimed).all(|frontend| owned(&frontend)) {
            self.claimed.remove(name);
            claimed
        } else {
            let mut granted = (*claimed).clone();
            for port in &mut granted.ports {
                port.frontends.retain(|frontend| self.owner(&frontend.key) == Some(name));
            }
            self.claimed.insert(name.clone(), claimed);
            Arc::new(granted)
        };
        match self.services.get(name) {
            Some(before) if *before == granted => false,
            _ => {
                self.services.insert(name.clone(), granted);
                true
            }
        }
    }

    fn owns_any(&self, name: &ServiceName) -> bool {
        self.services
            .get(name)
            .is_some_and(|service| frontends(service).any(|frontend| self.owner(&frontend) == Some(name)))
    }
}

/// By address, each once: the first of two at one address stays.
fn put_in_order(endpoints: &mut Vec<Endpoint>) {
    if !endpoints.is_sorted_by(|one, next| one.address < next.address) {
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by_key(|endpoint| endpoint.address);
    }
}

fn found_in<'a>(port: &'a ServicePort, key: &FrontendKey) -> Option<(&'a ServicePort, &'a Frontend)> {
    port.frontends.iter().find(|frontend| frontend.key == *key).map(|frontend| (port, frontend))
}

fn frontends(service: &Service) -> impl Iterator<Item = FrontendKey> {
    service.ports.iter().flat_map(|port| port.frontends.iter().map(|frontend| frontend.key))
}
