//! All objects, indexed so that a change costs what it concerns: one service, unless the node itself changed.
//!
//! What is known of a service is kept under its name, whichever of its objects came first; when the last one is gone
//! nothing is left.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use backend_api::{FlawedService, NodeNetwork, PerFamily, Scope, ServiceName, ServiceState};

use super::budget::{self, Ledger, Limit, Refusal};
use super::node::{InKernel, LastSaid, NodeFacts, resolve_node};
use super::on_node::OnNode;
use super::service::{Resolution, resolve};
use super::warning::Warning;
use crate::objects::{
    AddressType, EndpointSlice, Endpoints, Kind, Node, Object, ObjectKey, Service, ServiceCidr, Word,
};
use crate::settings::{Budget, Settings};

/// Every object that is known, and which services they leave unresolved.
#[derive(Clone, Debug)]
pub struct Resolver {
    settings: Settings,
    /// All that are known; one of them is this node's own.
    nodes: BTreeMap<Arc<str>, Arc<Node>>,
    /// This node's own, as it was when it was deleted or when the operator named another. It counts until there is one
    /// again: a node whose object is gone still serves.
    former_node: Option<Arc<Node>>,
    last_said: LastSaid,
    service_cidrs: BTreeMap<Arc<str>, Arc<ServiceCidr>>,
    kernel: InKernel,
    services: HashMap<ServiceName, KnownService>,
    /// Told by a former source, and not yet by the present one.
    doubtful: HashSet<ObjectKey>,
    /// Under which service each slice is kept, by namespace and name.
    owners: HashMap<(Arc<str>, Arc<str>), ServiceName>,
    /// Unresolved since their objects changed.
    dirty: HashSet<ServiceName>,
    /// Set until the node is resolved, and whenever what it is resolved from changes.
    node_is_dirty: bool,
    /// As last resolved.
    facts: Option<NodeFacts>,
    node_warnings: Vec<Warning>,
    ledger: Ledger,
    /// How many services are refused at present.
    refused: usize,
    /// Since the last time, of slices that changed.
    triggers: PerFamily<Vec<SystemTime>>,
}

/// What is known of a service, which itself may not be known yet.
#[derive(Clone, Debug, Default)]
struct KnownService {
    service: Option<Arc<Service>>,
    /// In order of names. Most services have one; a map of one would take nine times as much memory.
    slices: Vec<Arc<EndpointSlice>>,
    endpoints: Option<Arc<Endpoints>>,
    /// As last resolved.
    warnings: Vec<Warning>,
    /// As last counted; 0 where it is too large for a service.
    size: u32,
    refusal: Option<Limit>,
}

/// What has changed since the last time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The node's network, if what it is resolved from has changed.
    pub node: Option<NodeNetwork>,
    /// Every service of which an object has changed, or all; `None` for one that is not to be programmed (any more).
    pub services: BTreeMap<ServiceName, Option<backend_api::Service>>,
    /// Of each of these services, what is on this node; nothing of one that is not to be programmed.
    pub on_node: BTreeMap<ServiceName, OnNode>,
    /// Of each EndpointSlice that changed, when that happened of which it tells, as far as it says so.
    pub triggers: PerFamily<Vec<SystemTime>>,
    /// What is wrong and was not the last time, to be logged.
    pub warnings: Vec<Warning>,
    /// Services that are too large to be programmed and were not the last time, or exceeded another limit then.
    pub refused: BTreeMap<ServiceName, Refusal>,
    /// How many services are too large, in all.
    pub refused_in_all: usize,
}

/// What changes did to a [`ServiceState`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Services whose granted form is another than before.
    pub touched: BTreeSet<ServiceName>,
    /// Whether the node's network is.
    pub node_changed: bool,
    /// Services that no dataplane can program, and which the state does not hold any more. Resolving makes none: each
    /// is a mistake in this crate.
    pub flawed: Vec<FlawedService>,
}

impl Resolver {
    /// Knows nothing yet but what the operator decided.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            nodes: BTreeMap::new(),
            former_node: None,
            last_said: LastSaid::default(),
            service_cidrs: BTreeMap::new(),
            kernel: InKernel::default(),
            services: HashMap::new(),
            doubtful: HashSet::new(),
            owners: HashMap::new(),
            dirty: HashSet::new(),
            node_is_dirty: true,
            facts: None,
            node_warnings: Vec::new(),
            ledger: Ledger::default(),
            refused: 0,
            triggers: PerFamily::default(),
        }
    }

    /// Adds an object, or replaces the one of its key.
    pub fn upsert(&mut self, object: &Object) {
        if !self.doubtful.is_empty() {
            self.doubtful.remove(&object.key());
        }
        match object {
            Object::Service(service) => {
                self.change(&service.service_name(), |known| replace(&mut known.service, service));
            }
            Object::Endpoints(endpoints) => {
                self.change(&name_of(&endpoints.key()), |known| replace(&mut known.endpoints, endpoints));
            }
            Object::EndpointSlice(slice) => self.upsert_slice(slice),
            Object::Node(node) => {
                let mut before = self.nodes.insert(node.metadata.name.clone(), node.clone());
                if self.is_this_node(&node.metadata.name) {
                    before = before.or(self.former_node.take());
                    self.node_is_dirty |= before.as_ref() != Some(node);
                    if before.is_some_and(|before| before.metadata.name != node.metadata.name) {
                        self.last_said = LastSaid::default();
                    }
                }
            }
            Object::ServiceCidr(cidr) => {
                let before = self.service_cidrs.insert(cidr.metadata.name.clone(), cidr.clone());
                self.node_is_dirty |= before.as_ref() != Some(cidr);
            }
            // An allocator's and an announcer's, and what a source has put into a Service.
            Object::Namespace(_) | Object::IpAddressPool(_) | Object::L2Advertisement(_) => {}
            Object::Unserved(_) | Object::ServiceAddresses(_) => {}
        }
    }

    /// Takes an object out; nothing happens if it is not known.
    pub fn remove(&mut self, key: &ObjectKey) {
        match key.kind {
            Kind::Service => {
                self.change(&name_of(key), |known| known.service.take().is_some());
            }
            Kind::EndpointSlice => self.remove_slice(&(key.namespace.clone(), key.name.clone())),
            Kind::Endpoints => {
                self.change(&name_of(key), |known| known.endpoints.take().is_some());
            }
            Kind::Node => {
                let removed = self.nodes.remove(&key.name);
                if self.is_this_node(&key.name) {
                    self.former_node = removed.or(self.former_node.take());
                }
            }
            Kind::ServiceCidr => self.node_is_dirty |= self.service_cidrs.remove(&key.name).is_some(),
            Kind::Namespace | Kind::IpAddressPool | Kind::L2Advertisement => {}
            Kind::Unserved(_) | Kind::ServiceAddresses => {}
        }
    }

    /// Holds every object for doubtful until it is told again.
    pub fn doubt(&mut self) {
        self.doubtful = self.keys();
    }

    /// Takes out every object that is still doubtful.
    pub fn remove_doubtful(&mut self) {
        for key in mem::take(&mut self.doubtful) {
            self.remove(&key);
        }
    }

    fn keys(&self) -> HashSet<ObjectKey> {
        let mut keys = HashSet::new();
        for (ServiceName { namespace, name }, known) in &self.services {
            let key = |kind| ObjectKey { kind, namespace: namespace.clone(), name: name.clone() };
            keys.extend(known.service.iter().map(|_| key(Kind::Service)));
            keys.extend(known.endpoints.iter().map(|_| key(Kind::Endpoints)));
            keys.extend(known.slices.iter().map(|slice| slice.key()));
        }
        keys.extend(self.nodes.values().map(|node| node.key()));
        keys.extend(self.service_cidrs.values().map(|cidr| cidr.key()));
        keys
    }

    /// Replaces the list of addresses that the kernel has.
    pub fn set_addresses(&mut self, addresses: BTreeSet<IpAddr>) {
        self.node_is_dirty |= self.kernel.addresses != addresses;
        self.kernel.addresses = addresses;
    }

    /// Replaces the list of links that the kernel has.
    pub fn set_links(&mut self, links: BTreeMap<u32, String>) {
        self.node_is_dirty |= self.settings.flowtable_after.is_some() && self.kernel.links != links;
        self.kernel.links = links;
    }

    /// Replaces what the operator decided.
    pub fn set_settings(&mut self, settings: Settings) {
        self.node_is_dirty |= self.settings != settings;
        if self.settings.budget != settings.budget {
            self.dirty.extend(self.services.keys().cloned());
        }
        if self.settings.node_name != settings.node_name {
            if self.nodes.contains_key(settings.node_name.as_str()) {
                self.former_node = None;
                self.last_said = LastSaid::default();
            } else {
                self.former_node = self.own_node().cloned();
            }
        }
        self.settings = settings;
    }

    /// This node's Node object, if one was ever known: as it is, or as it was before it was deleted.
    pub fn node(&self) -> Option<&Node> {
        self.own_node().map(|node| &**node)
    }

    /// Whether [`Resolver::node`] is what a former object said: there is none now.
    pub fn node_is_gone(&self) -> bool {
        self.former_node.is_some()
    }

    fn own_node(&self) -> Option<&Arc<Node>> {
        self.nodes.get(self.settings.node_name.as_str()).or(self.former_node.as_ref())
    }

    fn is_this_node(&self, name: &str) -> bool {
        name == self.settings.node_name.as_str()
    }

    /// Everything that is wrong with the objects as last resolved, in order of services.
    pub fn warnings(&self) -> impl Iterator<Item = &Warning> {
        let mut warned: Vec<_> = self.services.iter().filter(|(_, known)| !known.warnings.is_empty()).collect();
        warned.sort_unstable_by_key(|(name, _)| *name);
        self.node_warnings.iter().chain(warned.into_iter().flat_map(|(_, known)| &known.warnings))
    }

    /// Whether nothing is known of any service.
    pub fn has_no_services(&self) -> bool {
        self.services.is_empty() && self.owners.is_empty()
    }

    /// Resolves what has changed since the last time.
    pub fn resolve(&mut self) -> Changes {
        let mut changes = Changes { triggers: mem::take(&mut self.triggers), ..Changes::default() };
        let facts = self.resolve_node(&mut changes);
        self.settle();
        let mut dirty: Vec<ServiceName> = mem::take(&mut self.dirty).into_iter().collect();
        dirty.sort_unstable();
        // Maps of what is in order already are made at once, and not name by name.
        let (mut services, mut on_nodes) = (Vec::with_capacity(dirty.len()), Vec::with_capacity(dirty.len()));
        for name in dirty {
            let mut resolution = Resolution::default();
            if let Some(known) = self.services.get_mut(&name) {
                let refusal = known.refusal(&name, &self.settings.budget, &self.ledger);
                if refusal.is_none() {
                    resolution = known.resolve(&facts);
                }
                changes.warnings.extend(new_ones(&resolution.warnings, &known.warnings));
                known.warnings = mem::take(&mut resolution.warnings);
                let before = mem::replace(&mut known.refusal, refusal.map(|refusal| refusal.limit));
                self.refused = self.refused + usize::from(refusal.is_some()) - usize::from(before.is_some());
                changes.refused.extend(refusal.filter(|now| before != Some(now.limit)).map(|now| (name.clone(), now)));
            }
            on_nodes.push((name.clone(), resolution.on_node));
            services.push((name, resolution.service));
        }
        (changes.services, changes.on_node) = (services.into_iter().collect(), on_nodes.into_iter().collect());
        changes.refused_in_all = self.refused;
        self.facts = Some(facts);
        changes
    }

    /// Counts the services that changed, and decides which go without; one that is let in again is dirty too.
    fn settle(&mut self) {
        let of_service = self.settings.budget.of_service.get();
        for name in &self.dirty {
            let Some(known) = self.services.get_mut(name) else { continue };
            let size = Some(known.count()).filter(|size| *size <= of_service).unwrap_or(0);
            self.ledger.change(name, known.size, size);
            known.size = size;
        }
        let all = self.services.iter().map(|(name, known)| (name, known.size));
        self.dirty.extend(self.ledger.settle(self.settings.budget.in_all.get().into(), all));
    }

    /// The facts about the node; where they are others than before, every service is dirty.
    fn resolve_node(&mut self, changes: &mut Changes) -> NodeFacts {
        match self.facts.take() {
            Some(facts) if !self.node_is_dirty => facts,
            before => {
                let cidrs = self.service_cidrs.values().map(|cidr| &**cidr);
                let resolved = resolve_node(&self.settings, self.node(), cidrs, &self.kernel, &self.last_said);
                self.last_said = resolved.last_said;
                changes.node = Some(resolved.network);
                changes.warnings.extend(new_ones(&resolved.warnings, &self.node_warnings));
                self.node_warnings = resolved.warnings;
                if before.as_ref() != Some(&resolved.facts) {
                    self.dirty.extend(self.services.keys().cloned());
                }
                self.node_is_dirty = false;
                resolved.facts
            }
        }
    }

    fn upsert_slice(&mut self, slice: &Arc<EndpointSlice>) {
        let key = (slice.metadata.namespace.clone(), slice.metadata.name.clone());
        let owner = slice.service_name();
        if self.owners.get(&key) != owner.as_ref() {
            self.remove_slice(&key);
        }
        let Some(owner) = owner else { return };
        let changed = self.change(&owner, |known| match known.slice(&key.1) {
            Ok(at) => mem::replace(&mut known.slices[at], slice.clone()) != *slice,
            Err(at) => {
                known.slices.reserve_exact(1);
                known.slices.insert(at, slice.clone());
                true
            }
        });
        self.owners.insert(key, owner);
        if let (true, Word::Known(AddressType::Ip(family)), Some(trigger)) =
            (changed, &slice.address_type, slice.metadata.annotations.last_change_trigger_time)
        {
            self.triggers.of_mut(*family).push(trigger);
        }
    }

    fn remove_slice(&mut self, key: &(Arc<str>, Arc<str>)) {
        if let Some(owner) = self.owners.remove(key) {
            self.change(&owner, |known| known.slice(&key.1).map(|at| known.slices.remove(at)).is_ok());
        }
    }

    /// Changes what is known of a service; `change` tells whether there is any difference, and so does this.
    fn change(&mut self, name: &ServiceName, change: impl FnOnce(&mut KnownService) -> bool) -> bool {
        let known = self.services.entry(name.clone()).or_default();
        let changed = change(known);
        if known.is_nothing() {
            self.ledger.change(name, known.size, 0);
            self.refused -= usize::from(known.refusal.is_some());
            self.services.remove(name);
        }
        if changed {
            self.dirty.insert(name.clone());
        }
        changed
    }
}

impl KnownService {
    /// Where the slice of this name is, or where it would be.
    fn slice(&self, name: &str) -> Result<usize, usize> {
        self.slices.binary_search_by(|slice| (*slice.metadata.name).cmp(name))
    }

    fn is_nothing(&self) -> bool {
        self.service.is_none() && self.slices.is_empty() && self.endpoints.is_none()
    }

    /// The elements that it needs.
    fn count(&self) -> u32 {
        let slices = self.slices.iter().map(|slice| &**slice);
        self.service.as_ref().map_or(0, |service| budget::size(service, slices, self.endpoints.as_deref()))
    }

    /// Why it is not programmed, if it is too large; to be asked once it was counted.
    fn refusal(&self, name: &ServiceName, budget: &Budget, ledger: &Ledger) -> Option<Refusal> {
        if self.size > 0 {
            let limit = Limit::InAll(budget.in_all.get());
            return ledger.refuses(name, self.size).then_some(Refusal { elements: self.size, limit });
        }
        let elements = self.count();
        (elements > 0).then_some(Refusal { elements, limit: Limit::OfService(budget.of_service.get()) })
    }

    fn resolve(&self, node: &NodeFacts) -> Resolution {
        match &self.service {
            Some(service) => {
                resolve(service, self.slices.iter().map(|slice| &**slice), self.endpoints.as_deref(), node)
            }
            None => Resolution::default(),
        }
    }
}

impl Applied {
    /// What a dataplane has to look at.
    pub fn scope(&self) -> Scope<'_> {
        if self.node_changed { Scope::All } else { Scope::Services(&self.touched) }
    }
}

impl Changes {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.node.is_none() && self.services.is_empty()
    }

    /// Makes `state` what the objects say now.
    pub fn apply(self, state: &mut ServiceState) -> Applied {
        let node_changed = self.node.is_some_and(|node| state.set_node(node));
        let mut applied = Applied { node_changed, ..Applied::default() };
        for (name, service) in self.services {
            let change = match service.map(|service| state.upsert(service)) {
                Some(Ok(change)) => change,
                // Absent and not as it was before: an older form may send clients to endpoints that are gone.
                Some(Err(flaw)) => {
                    let change = state.remove(&name);
                    applied.flawed.push(FlawedService::new(name, flaw));
                    change
                }
                None => state.remove(&name),
            };
            applied.touched.extend(change.touched);
        }
        applied
    }
}

/// Returns whether `new` differs from what was there.
fn replace<T: PartialEq>(slot: &mut Option<Arc<T>>, new: &Arc<T>) -> bool {
    slot.replace(new.clone()).as_ref() != Some(new)
}

fn name_of(key: &ObjectKey) -> ServiceName {
    ServiceName { namespace: key.namespace.clone(), name: key.name.clone() }
}

fn new_ones(now: &[Warning], before: &[Warning]) -> Vec<Warning> {
    let before: HashSet<&Warning> = before.iter().collect();
    now.iter().filter(|warning| !before.contains(warning)).cloned().collect()
}
