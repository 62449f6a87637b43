//! The whole desired state: services by name, with at most one owner for each frontend.
//!
//! Kept apart from the services because it settles conflicts: two services may claim a frontend, one gets it. Settling
//! is incremental, so that the cost of a change is the size of the change.
//!
//! **Invariants:** the outcome depends on the set of services alone, not on the order in which they came
//! (`tests/laws.rs::order_never_decides`). No service of a state has a [`Flaw`]
//! (`tests/laws.rs::a_flawed_service_is_refused_and_changes_nothing`).

use std::borrow::Borrow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::unmet::UnmetNeeds;
use crate::{Age, Flaw, FlawedService, Frontend, FrontendKey, NodeNetwork, Service, ServiceName, ServicePort, Unmet};

/// Everything that a dataplane is to program.
///
/// ```
/// # use switchyard_api::*;
/// let claim = |name: &str, age| {
///     let frontends = vec![Frontend::external([192, 168, 67, 240].into(), Protocol::Tcp, 80)];
///     let port = ServicePort { frontends, ..ServicePort::new(Family::V4, Protocol::Tcp) };
///     Service { age: Age(age), ..Service::new(ServiceName::new("default", name), vec![port]) }
/// };
/// let mut state = ServiceState::new(NodeNetwork::unknown());
/// state.upsert(claim("young", 2))?;
/// let change = state.upsert(claim("old", 1))?;
/// assert_eq!(change.touched.len(), 2, "one wins the frontend, the other loses it");
///
/// let conflict = state.conflicts().next().expect("both claim it");
/// assert_eq!(conflict.to_string(), "frontend 192.168.67.240:80/TCP: default/old has it, default/young goes without");
/// state.remove(&conflict.owner);
/// assert_eq!(state.owner(&conflict.frontend), Some(&conflict.loser));
/// # Ok::<(), Flaw>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServiceState {
    node: Arc<NodeNetwork>,
    /// As granted: frontends that an older service owns are taken out.
    services: HashSet<Named>,
    /// As claimed, of those services only that lost a frontend, to another or to themselves.
    claimed: BTreeMap<ServiceName, Arc<Service>>,
    owners: HashMap<FrontendKey, Claim>,
    /// Claims that wait for a frontend that another service owns.
    waiting: BTreeMap<FrontendKey, BTreeSet<Claim>>,
    /// What the services ask of the node and do not get.
    unmet: UnmetNeeds,
}

/// A service, found by its name: the name is kept once.
#[derive(Clone, Debug)]
struct Named(Arc<Service>);

impl Borrow<ServiceName> for Named {
    fn borrow(&self) -> &ServiceName {
        &self.0.name
    }
}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Named {}

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
    /// The service that has it.
    pub owner: ServiceName,
    /// The service that does not have it.
    pub loser: ServiceName,
}

impl ServiceState {
    /// The state of a node with no services.
    pub fn new(node: NodeNetwork) -> Self {
        Self {
            unmet: UnmetNeeds::of(&node, std::iter::empty()),
            node: Arc::new(node),
            services: HashSet::new(),
            claimed: BTreeMap::new(),
            owners: HashMap::new(),
            waiting: BTreeMap::new(),
        }
    }

    /// The node's network.
    pub fn node(&self) -> &Arc<NodeNetwork> {
        &self.node
    }

    /// Replaces the node's network. Returns whether it is another than before: then sync with [`crate::Scope::All`].
    pub fn set_node(&mut self, node: NodeNetwork) -> bool {
        let changed = *self.node != node;
        if changed {
            if !self.unmet.fit(&node) {
                self.unmet = UnmetNeeds::of(&node, self.services_unordered().map(|service| &**service));
            }
            self.node = Arc::new(node);
        }
        changed
    }

    /// Every service, in order of names, each with the frontends that it owns. A service keeps its `Arc` for as long as
    /// its granted form stays the same: equal pointers mean an equal service. Each call sorts:
    /// [`ServiceState::services_unordered`] does not.
    pub fn services(&self) -> impl ExactSizeIterator<Item = &Arc<Service>> {
        let mut services: Vec<_> = self.services_unordered().collect();
        services.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        services.into_iter()
    }

    /// Every service, in any order.
    pub fn services_unordered(&self) -> impl ExactSizeIterator<Item = &Arc<Service>> {
        self.services.iter().map(|Named(service)| service)
    }

    /// How many services there are.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether there is no service.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// One service, with the frontends that it owns.
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.services.get(name).map(|Named(service)| service)
    }

    /// The owner of `frontend`.
    pub fn owner(&self, frontend: &FrontendKey) -> Option<&ServiceName> {
        self.owners.get(frontend).map(|claim| &claim.service)
    }

    /// What answers `frontend`: its service, its port, and the frontend itself.
    pub fn find(&self, frontend: &FrontendKey) -> Option<(&Arc<Service>, &ServicePort, &Frontend)> {
        let service = self.service(self.owner(frontend)?)?;
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
            let twice = claimed_twice(service).into_iter().filter(|frontend| self.is_owner(name, frontend));
            twice.map(|frontend| Conflict { frontend, owner: name.clone(), loser: name.clone() })
        });
        with_others.chain(with_itself).collect::<BTreeSet<_>>().into_iter()
    }

    /// Adds a service, or replaces the one of its name. A frontend that an older service claims stays with that
    /// one; a frontend that a younger one had is taken from it. Of a frontend that the service itself claims twice, the
    /// first stays. Endpoints are put in order.
    ///
    /// # Errors
    /// When no dataplane can program the service. The state is as before then: an older form of the service stays, and
    /// [`ServiceState::remove`] takes it out.
    pub fn upsert(&mut self, mut service: Service) -> Result<Change, Flaw> {
        service.check()?;
        service.ports.iter_mut().for_each(tidy);
        service.ports.shrink_to_fit();
        let before = self.claims_of(&service.name).cloned();
        if before.as_ref().is_some_and(|before| **before == service) {
            return Ok(Change::default());
        }
        let claim = Claim { age: service.age, service: service.name.clone() };
        let (claimed_before, claimed) = (before.as_deref().map(claims).unwrap_or_default(), claims(&service));
        let aged = before.as_ref().is_some_and(|before| before.age != service.age);
        let mut affected = BTreeSet::new();
        if let Some(before) = &before {
            let claim = Claim { age: before.age, service: service.name.clone() };
            for frontend in claimed_before.iter().filter(|frontend| aged || claimed.binary_search(frontend).is_err()) {
                affected.extend(self.withdraw(frontend, &claim));
            }
        }
        for frontend in claimed.iter().filter(|frontend| aged || claimed_before.binary_search(frontend).is_err()) {
            affected.extend(self.stake(*frontend, &claim));
        }
        affected.remove(&claim.service);
        let mut change = self.grant_all(affected);
        if self.grant(Arc::new(service)) {
            change.touched.insert(claim.service);
        }
        Ok(change)
    }

    /// Takes a service out; what it owned goes to the next older claimant.
    pub fn remove(&mut self, name: &ServiceName) -> Change {
        let Some(before) = self.claims_of(name).cloned() else { return Change::default() };
        let claim = Claim { age: before.age, service: name.clone() };
        let affected = claims(&before).iter().filter_map(|frontend| self.withdraw(frontend, &claim)).collect();
        self.claimed.remove(name);
        if let Some(Named(granted)) = self.services.take(name) {
            self.forget_needs(&granted);
        }
        let mut change = self.grant_all(affected);
        change.touched.insert(claim.service);
        change
    }

    /// Makes these all the services there are: adds, replaces, and removes the others.
    ///
    /// # Errors
    /// As [`ServiceState::upsert`], for the first service with a flaw. The state is as before then.
    pub fn replace_all(&mut self, services: impl IntoIterator<Item = Service>) -> Result<Change, FlawedService> {
        let services: Vec<Service> = services.into_iter().collect();
        services.iter().try_for_each(FlawedService::check)?;
        let mut gone: BTreeSet<ServiceName> = self.services_unordered().map(|service| service.name.clone()).collect();
        let mut change = Change::default();
        for service in services {
            let name = service.name.clone();
            gone.remove(&name);
            let mut changed = self.upsert(service).map_err(|flaw| FlawedService::new(name, flaw))?;
            change.touched.append(&mut changed.touched);
        }
        for name in gone {
            change.touched.append(&mut self.remove(&name).touched);
        }
        Ok(change)
    }

    /// What the services ask of the node and do not get: at most one example of each need and family. A dataplane says
    /// each in [`crate::Report::warnings`]. Costs no more with more services.
    pub fn unmet(&self) -> impl Iterator<Item = Unmet> {
        self.unmet.examples().filter_map(|(need, frontend, others)| {
            let service = self.owner(&frontend)?.clone();
            Some(Unmet { need, frontend, service, others })
        })
    }

    /// Takes out what a service asked for that is gone or has another form; a frontend that another service has by now
    /// stays.
    fn forget_needs(&mut self, before: &Service) {
        if self.unmet.is_empty() {
            return;
        }
        for frontend in frontends(before) {
            if self.owner(&frontend).is_none_or(|owner| *owner == before.name) {
                self.unmet.remove(&frontend);
            }
        }
    }

    /// What `name` claims, granted or not.
    fn claims_of(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.claimed.get(name).or_else(|| self.service(name))
    }

    /// Takes a claim back. Returns the service that has the frontend from now on, if one waited for it.
    fn withdraw(&mut self, frontend: &FrontendKey, claim: &Claim) -> Option<ServiceName> {
        let waiting = self.waiting.get_mut(frontend);
        if self.owners.get(frontend) != Some(claim) {
            let waiting = waiting?;
            waiting.remove(claim);
            if waiting.is_empty() {
                self.waiting.remove(frontend);
            }
            return None;
        }
        let next = waiting.and_then(BTreeSet::pop_first);
        if self.waiting.get(frontend).is_some_and(BTreeSet::is_empty) {
            self.waiting.remove(frontend);
        }
        match next {
            Some(next) => {
                let winner = next.service.clone();
                self.owners.insert(*frontend, next);
                Some(winner)
            }
            None => {
                self.owners.remove(frontend);
                None
            }
        }
    }

    /// Adds a claim. Returns the service that the frontend is taken from, if there is one.
    fn stake(&mut self, frontend: FrontendKey, claim: &Claim) -> Option<ServiceName> {
        let owner = match self.owners.entry(frontend) {
            Entry::Vacant(place) => {
                place.insert(claim.clone());
                return None;
            }
            Entry::Occupied(owner) => owner.into_mut(),
        };
        let waiting = self.waiting.entry(frontend).or_default();
        if *owner < *claim {
            waiting.insert(claim.clone());
            return None;
        }
        let loser = std::mem::replace(owner, claim.clone());
        waiting.insert(loser.clone());
        Some(loser.service)
    }

    fn grant_all(&mut self, affected: BTreeSet<ServiceName>) -> Change {
        let mut touched = BTreeSet::new();
        for name in affected {
            if let Some(claimed) = self.claims_of(&name).cloned()
                && self.grant(claimed)
            {
                touched.insert(name);
            }
        }
        Change { touched }
    }

    /// Recomputes what a service is granted of what it claims; returns whether that changed.
    fn grant(&mut self, claimed: Arc<Service>) -> bool {
        let name = &claimed.name.clone();
        let owns_all = frontends(&claimed).all(|frontend| self.is_owner(name, &frontend));
        let granted = if owns_all && claimed_twice(&claimed).is_empty() {
            if !self.claimed.is_empty() {
                self.claimed.remove(name);
            }
            claimed
        } else {
            let (mut granted, mut first) = ((*claimed).clone(), BTreeSet::new());
            for port in &mut granted.ports {
                port.frontends.retain(|frontend| self.is_owner(name, &frontend.key) && first.insert(frontend.key));
            }
            self.claimed.insert(name.clone(), claimed);
            Arc::new(granted)
        };
        if self.service(name) == Some(&granted) {
            return false;
        }
        if let Some(Named(before)) = self.services.replace(Named(granted.clone())) {
            self.forget_needs(&before);
        }
        self.unmet.add(&granted);
        true
    }

    fn is_owner(&self, service: &ServiceName, frontend: &FrontendKey) -> bool {
        self.owner(frontend) == Some(service)
    }
}

/// By what the services are, not by their names alone.
impl PartialEq for ServiceState {
    fn eq(&self, other: &Self) -> bool {
        // What is unmet follows from the rest.
        let Self { node, services, claimed, owners, waiting, unmet: _ } = self;
        let rest = (node, claimed, owners, waiting);
        rest == (&other.node, &other.claimed, &other.owners, &other.waiting)
            && services.len() == other.services.len()
            && services.iter().all(|Named(service)| other.service(&service.name) == Some(service))
    }
}

impl Eq for ServiceState {}

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

fn claimed_twice(service: &Service) -> Vec<FrontendKey> {
    let mut all: Vec<_> = frontends(service).collect();
    all.sort_unstable();
    let mut twice: Vec<_> = all.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    twice.dedup();
    twice
}

/// What a service claims, in order, each once.
fn claims(service: &Service) -> Vec<FrontendKey> {
    let mut claims: Vec<_> = frontends(service).collect();
    claims.sort_unstable();
    claims.dedup();
    claims
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
