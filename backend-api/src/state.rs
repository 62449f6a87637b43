//! The whole desired state: services by name, with at most one owner for each frontend.
//!
//! Kept apart from the services because it settles conflicts: two services may claim a frontend, one gets it. Settling is
//! incremental, so that the cost of a change is the size of the change.
//!
//! **Invariant:** the outcome depends on the set of services alone, not on the order in which they came
//! (`tests/laws.rs::order_never_decides`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::{Age, Frontend, FrontendKey, NodeNetwork, Service, ServiceName, ServicePort};

/// Everything that a dataplane is to program.
///
/// ```
/// # use backend_api::*;
/// let claim = |name: &str, age| {
///     let frontends = vec![Frontend::external([192, 168, 67, 240].into(), Protocol::Tcp, 80)];
///     let port = ServicePort { frontends, ..ServicePort::new(Family::V4, Protocol::Tcp) };
///     Service { age: Age(age), ..Service::new(ServiceName::new("default", name), vec![port]) }
/// };
/// let mut state = ServiceState::new(NodeNetwork::default());
/// state.upsert(claim("young", 2));
/// let change = state.upsert(claim("old", 1));
/// assert_eq!(change.touched.len(), 2, "one wins the frontend, the other loses it");
///
/// let conflict = state.conflicts().next().expect("both claim it");
/// assert_eq!(conflict.to_string(), "frontend 192.168.67.240:80/TCP: default/old has it, default/young goes without");
/// state.remove(&conflict.owner);
/// assert_eq!(state.owner(&conflict.frontend), Some(&conflict.loser));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceState {
    node: Arc<NodeNetwork>,
    /// As granted: frontends that an older service owns are taken out.
    services: BTreeMap<ServiceName, Arc<Service>>,
    /// As claimed, of those services only that lost a frontend, to another or to themselves.
    claimed: BTreeMap<ServiceName, Arc<Service>>,
    owners: HashMap<FrontendKey, Claim>,
    /// Who waits for a frontend that another service owns.
    waiting: BTreeMap<FrontendKey, BTreeSet<Claim>>,
}

/// A service's claim to a frontend; the smallest wins: the older, then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    age: Age,
    service: ServiceName,
}

/// What a change of one service did to the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Every service whose granted form is another than before: the hint for [`crate::Scope::Services`].
    pub touched: BTreeSet<ServiceName>,
}

/// A frontend that a service claims and another owns, or that it claims twice (then `owner` is `loser`).
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

    /// Every claim that lost, in order of frontends. A service that claims a frontend twice loses to itself.
    pub fn conflicts(&self) -> impl Iterator<Item = Conflict> {
        let with_others = self.waiting.iter().flat_map(|(frontend, waiting)| {
            let owner = self.owners.get(frontend).expect("a frontend that is waited for has an owner");
            waiting.iter().map(|loser| Conflict {
                frontend: *frontend,
                owner: owner.service.clone(),
                loser: loser.service.clone(),
            })
        });
        let with_itself = self.claimed.iter().flat_map(|(name, service)| {
            let owned = |frontend: &FrontendKey| self.owner(frontend) == Some(name);
            let twice = claimed_twice(service).into_iter().filter(owned);
            twice.map(|frontend| Conflict { frontend, owner: name.clone(), loser: name.clone() })
        });
        with_others.chain(with_itself).collect::<BTreeSet<_>>().into_iter()
    }

    /// Adds a service, or replaces the one of its name. A frontend that an older service claims stays with that
    /// one; a frontend that a younger one had is taken from it. Of a frontend that the service itself claims twice, the
    /// first stays. Endpoints are put in order.
    pub fn upsert(&mut self, mut service: Service) -> Change {
        service.ports.iter_mut().for_each(tidy);
        service.ports.shrink_to_fit();
        let name = service.name.clone();
        if self.claims_of(&name).is_some_and(|claimed| **claimed == service) {
            return Change::default();
        }
        let mut unsettled = self.release(&name);
        let claim = Claim { age: service.age, service: name.clone() };
        for frontend in frontends(&service) {
            self.waiting.entry(frontend).or_default().insert(claim.clone());
            unsettled.insert(frontend);
        }
        self.claimed.insert(name.clone(), Arc::new(service));
        let mut affected = self.settle(unsettled);
        affected.insert(name);
        self.grant_all(affected)
    }

    /// Takes a service out; what it owned goes to the next older claimant.
    pub fn remove(&mut self, name: &ServiceName) -> Change {
        let unsettled = self.release(name);
        let removed = self.services.remove(name);
        let affected = self.settle(unsettled);
        let mut change = self.grant_all(affected);
        change.touched.extend(removed.map(|service| service.name.clone()));
        change
    }

    /// Makes these all the services there are: adds, replaces, and removes the others.
    pub fn replace_all(&mut self, services: impl IntoIterator<Item = Service>) -> Change {
        let mut gone: BTreeSet<ServiceName> = self.services.keys().cloned().collect();
        let mut change = Change::default();
        for service in services {
            gone.remove(&service.name);
            change.touched.append(&mut self.upsert(service).touched);
        }
        for name in gone {
            change.touched.append(&mut self.remove(&name).touched);
        }
        change
    }

    /// What `name` claims, granted or not.
    fn claims_of(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.claimed.get(name).or_else(|| self.services.get(name))
    }

    /// Withdraws every claim of `name` and returns what it claimed; its granted form stays as it is.
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

    /// Gives each of these frontends to its smallest claim. Returns who won one or lost one to another.
    fn settle(&mut self, unsettled: BTreeSet<FrontendKey>) -> BTreeSet<ServiceName> {
        let mut affected = BTreeSet::new();
        for frontend in unsettled {
            let mut claims = self.waiting.remove(&frontend).unwrap_or_default();
            let before = self.owners.remove(&frontend);
            claims.extend(before.clone());
            let Some(winner) = claims.pop_first() else { continue };
            affected.extend(before.filter(|before| *before != winner).map(|loser| loser.service));
            affected.insert(winner.service.clone());
            self.owners.insert(frontend, winner);
            if !claims.is_empty() {
                self.waiting.insert(frontend, claims);
            }
        }
        affected
    }

    fn grant_all(&mut self, affected: BTreeSet<ServiceName>) -> Change {
        Change { touched: affected.into_iter().filter(|name| self.grant(name)).collect() }
    }

    /// Recomputes what `name` is granted; returns whether that changed.
    fn grant(&mut self, name: &ServiceName) -> bool {
        let Some(claimed) = self.claims_of(name).cloned() else { return false };
        let owned = |frontend: &FrontendKey| self.owner(frontend) == Some(name);
        let granted = if frontends(&claimed).all(|frontend| owned(&frontend)) && claimed_twice(&claimed).is_empty() {
            self.claimed.remove(name);
            claimed
        } else {
            let (mut granted, mut first) = ((*claimed).clone(), BTreeSet::new());
            for port in &mut granted.ports {
                port.frontends.retain(|frontend| owned(&frontend.key) && first.insert(frontend.key));
            }
            self.claimed.insert(name.clone(), claimed);
            Arc::new(granted)
        };
        if self.services.get(name) == Some(&granted) {
            return false;
        }
        self.services.insert(name.clone(), granted);
        true
    }
}

/// `frontend 192.168.67.240:80/TCP: default/old has it, default/young goes without`.
impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frontend, owner, loser } = self;
        match owner == loser {
            true => write!(f, "frontend {frontend}: {owner} claims it twice"),
            false => write!(f, "frontend {frontend}: {owner} has it, {loser} goes without"),
        }
    }
}

fn claimed_twice(service: &Service) -> BTreeSet<FrontendKey> {
    let mut seen = BTreeSet::new();
    frontends(service).filter(|frontend| !seen.insert(*frontend)).collect()
}

/// Puts endpoints in order of addresses, each once: the first of two at one address stays. Gives spare memory back.
fn tidy(port: &mut ServicePort) {
    let endpoints = &mut port.endpoints;
    if !endpoints.is_sorted_by(|one, next| one.address < next.address) {
        endpoints.sort_by_key(|endpoint| endpoint.address);
        endpoints.dedup_by_key(|endpoint| endpoint.address);
    }
    endpoints.shrink_to_fit();
    port.frontends.shrink_to_fit();
}

fn found_in<'a>(port: &'a ServicePort, key: &FrontendKey) -> Option<(&'a ServicePort, &'a Frontend)> {
    port.frontends.iter().find(|frontend| frontend.key == *key).map(|frontend| (port, frontend))
}

fn frontends(service: &Service) -> impl Iterator<Item = FrontendKey> {
    service.ports.iter().flat_map(|port| port.frontends.iter().map(|frontend| frontend.key))
}
