//! The allocator: edits come in, verdicts that are news come out.
//!
//! Services are decided in passes, each the oldest first, so that nothing is given before everything that is held
//! has been adopted.
//!
//! ```text
//! edits ─► adopt ─────────────► requests ──────────────► rest ─────────────► explain ─► decisions
//!          what is held and     what is asked for by     what any pool       what is missing,
//!          legal is kept; the   address or by pool;      gives, and second   and why
//!          older of two keeps   the old one is kept      addresses
//!                               until then
//! ```
//!
//! An edit makes only those services take part whose outcome it can change: the edited one, younger ones that it
//! displaces, and those that wait for what came free. All take part when a pool changes.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use backend_api::ServiceName;

use crate::claims::Claims;
use crate::layout::{Layout, Standing};
use crate::settle::Round;
use crate::waiting::{Turn, Waiting};
use crate::{Decision, Labels, Lost, Options, Overlap, Pool, PoolCounts, PoolName, Service, Verdict};

/// Something that came, changed or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A pool is there, or has another form.
    Pool(Pool),
    /// A pool is there no more. What was given from it stays for [`Options::grace`], if no other pool has it.
    PoolGone(PoolName),
    /// A service is there, or has another form.
    Service(Service),
    /// A service is there no more.
    ServiceGone(ServiceName),
    /// Labels of a namespace.
    Namespace(String, Labels),
    /// A namespace is there no more, or is not known: it counts as one without labels.
    NamespaceGone(String),
}

/// Pools and services, and which service has which address.
///
/// ```
/// # use backend_api as switchyard_api;
/// use std::time::Duration;
/// use switchyard_allocation::{AddressRange, Allocator, Edit, Options, Pool, Service};
/// use switchyard_api::ServiceName;
///
/// let (range, _) = AddressRange::parse("192.168.67.240-192.168.67.250")?;
/// let web = ServiceName::new("default", "web");
/// let mut allocator = Allocator::new(Options::default());
/// let edits = [Edit::Pool(Pool::new("office", vec![range])), Edit::Service(Service::new(web.clone()))];
/// let decisions = allocator.apply(edits, Duration::ZERO);
/// assert_eq!(decisions[0].given, ["192.168.67.240".parse::<std::net::IpAddr>()?]);
/// assert_eq!(decisions[0].events()[0].message, "assigned 192.168.67.240");
///
/// // The service comes back with what is now its status: no news.
/// let service = Service { held: decisions[0].verdict.addresses.clone(), ..Service::new(web) };
/// assert_eq!(allocator.apply([Edit::Service(service)], Duration::ZERO), []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Allocator {
    pub(crate) options: Options,
    pools: BTreeMap<PoolName, Arc<Pool>>,
    /// Pools that are gone, and until when what was given from them stays.
    leaving: BTreeMap<PoolName, (Arc<Pool>, Duration)>,
    namespaces: HashMap<String, Labels>,
    pub(crate) services: HashMap<ServiceName, Entry>,
    pub(crate) layout: Layout,
    pub(crate) claims: Claims,
    pub(crate) waiting: Waiting,
}

#[derive(Debug)]
pub(crate) struct Entry {
    service: Arc<Service>,
    /// What it has; before it is decided, what it held.
    pub(crate) current: Vec<IpAddr>,
    /// As told; `None`: not yet.
    pub(crate) verdict: Option<Verdict>,
    /// While it is decided, what it held.
    pub(crate) held: Option<Vec<IpAddr>>,
    /// While it is decided, what it lost.
    pub(crate) lost: Vec<Lost>,
}

impl Allocator {
    /// Without pools and services.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            pools: BTreeMap::new(),
            leaving: BTreeMap::new(),
            namespaces: HashMap::new(),
            services: HashMap::new(),
            layout: Layout::default(),
            claims: Claims::new(options.sharing),
            waiting: Waiting::default(),
        }
    }

    /// Takes the edits together, and says what is news, the oldest service first. `now` is a time since any fixed
    /// moment, and never goes back. The first edits must be all pools, namespaces and services that there are: what is
    /// held is adopted before anything is given only among services that are known.
    ///
    /// The cost is that of the services that an edit can change. A change of a pool costs with all services.
    pub fn apply(&mut self, edits: impl IntoIterator<Item = Edit>, now: Duration) -> Vec<Decision> {
        let mut round = Round::default();
        let mut pools_changed = self.end_graces(now);
        for edit in edits {
            match edit {
                Edit::Pool(pool) => pools_changed |= self.put_pool(pool),
                Edit::PoolGone(name) => pools_changed |= self.take_pool(&name, now),
                Edit::Service(service) => self.put_service(service, &mut round),
                Edit::ServiceGone(name) => self.take_service(&name, &mut round),
                Edit::Namespace(name, labels) => self.set_namespace(name, Some(labels), &mut round),
                Edit::NamespaceGone(name) => self.set_namespace(name, None, &mut round),
            }
        }
        if pools_changed {
            self.lay_out();
            round.adopt = self.services.values().map(|entry| Turn(entry.service.clone())).collect();
        }
        self.settle(round)
    }

    /// When the next grace of a pool that is gone ends: then [`Allocator::apply`] is due, with or without edits.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.leaving.values().map(|(_, until)| *until).min()
    }

    /// What a service has; `None` for one that is not known.
    pub fn verdict(&self, service: &ServiceName) -> Option<&Verdict> {
        self.services.get(service)?.verdict.as_ref()
    }

    /// What every service has, in any order.
    pub fn verdicts(&self) -> impl Iterator<Item = (&ServiceName, &Verdict)> {
        self.services.iter().filter_map(|(name, entry)| Some((name, entry.verdict.as_ref()?)))
    }

    /// How many addresses of each pool are assigned and available.
    pub fn counts(&self) -> impl Iterator<Item = (PoolName, PoolCounts)> {
        self.layout.counts()
    }

    /// Addresses that more than one pool lists.
    pub fn overlaps(&self) -> &[Overlap] {
        self.layout.overlaps()
    }

    fn put_pool(&mut self, pool: Pool) -> bool {
        let was_leaving = self.leaving.remove(&pool.name).is_some();
        let before = self.pools.get(&pool.name).is_some_and(|before| **before == pool);
        if !before {
            self.pools.insert(pool.name.clone(), Arc::new(pool));
        }
        was_leaving || !before
    }

    fn take_pool(&mut self, name: &PoolName, now: Duration) -> bool {
        let Some(pool) = self.pools.remove(name) else { return false };
        if !self.options.grace.is_zero() {
            self.leaving.insert(name.clone(), (pool, now.saturating_add(self.options.grace)));
        }
        true
    }

    fn end_graces(&mut self, now: Duration) -> bool {
        let before = self.leaving.len();
        self.leaving.retain(|_, (_, until)| now < *until);
        self.leaving.len() != before
    }

    fn lay_out(&mut self) {
        let serving = self.pools.values().map(|pool| (pool.clone(), Standing::Serving));
        let leaving = self.leaving.values().map(|(pool, _)| (pool.clone(), Standing::Leaving));
        self.layout = Layout::new(serving.chain(leaving).collect());
        self.claims.addresses().for_each(|address| self.layout.occupy(address));
        self.waiting.clear();
    }

    fn set_namespace(&mut self, name: String, labels: Option<Labels>, round: &mut Round) {
        let before = match labels {
            Some(labels) if self.namespaces.get(&name) == Some(&labels) => return,
            Some(labels) => self.namespaces.insert(name.clone(), labels),
            None => self.namespaces.remove(&name),
        };
        let unchanged = before.unwrap_or_default() == *self.namespace(&name);
        let pools = self.pools.values().chain(self.leaving.values().map(|(pool, _)| pool));
        if unchanged || !pools.into_iter().any(|pool| pool.reads_namespaces()) {
            return;
        }
        let inside = self.services.values().filter(|entry| *entry.service.name.namespace == name);
        round.adopt.extend(inside.map(|entry| Turn(entry.service.clone())));
    }

    pub(crate) fn namespace(&self, name: &str) -> &Labels {
        const NONE: &Labels = &Labels::new();
        self.namespaces.get(name).unwrap_or(NONE)
    }

    fn put_service(&mut self, service: Service, round: &mut Round) {
        let service = Arc::new(service);
        let Some(before) = self.services.get(&service.name) else {
            round.adopt.insert(Turn(service.clone()));
            let current = service.held.clone();
            let entry = Entry { service: service.clone(), current, verdict: None, held: None, lost: Vec::new() };
            self.services.insert(service.name.clone(), entry);
            return;
        };
        if service.held == before.current && is_same(&service, &before.service) {
            return;
        }
        let turn = Turn(before.service.clone());
        self.withdraw_all(&turn, round);
        round.adopt.remove(&turn);
        self.waiting.remove(&turn);
        round.adopt.insert(Turn(service.clone()));
        let entry = self.services.get_mut(&service.name).expect("it was there before");
        entry.current = service.held.clone();
        entry.service = service;
    }

    fn take_service(&mut self, name: &ServiceName, round: &mut Round) {
        let Some(entry) = self.services.get(name) else { return };
        let turn = Turn(entry.service.clone());
        self.withdraw_all(&turn, round);
        round.adopt.remove(&turn);
        self.waiting.remove(&turn);
        self.services.remove(name);
    }

    pub(crate) fn current(&self, name: &ServiceName) -> &[IpAddr] {
        self.services.get(name).map_or(&[], |entry| &entry.current)
    }

    pub(crate) fn entry(&mut self, name: &ServiceName) -> &mut Entry {
        self.services.get_mut(name).expect("a service that takes part is known")
    }

    pub(crate) fn claim(&mut self, address: IpAddr, service: &Arc<Service>, round: &mut Round) {
        if self.claims.add(address, service) {
            self.layout.occupy(address);
        }
        round.changed.insert(address);
        if service.sharing.is_some() {
            round.opened.insert(address);
        }
    }

    pub(crate) fn withdraw(&mut self, address: IpAddr, name: &ServiceName, round: &mut Round) {
        let Some((_, was_last)) = self.claims.remove(address, name) else { return };
        if was_last {
            self.layout.vacate(address);
        }
        round.changed.insert(address);
        round.opened.insert(address);
    }

    pub(crate) fn withdraw_all(&mut self, turn: &Turn, round: &mut Round) {
        for address in self.current(&turn.0.name).to_vec() {
            self.withdraw(address, &turn.0.name, round);
        }
    }
}

/// Whether both are the same but for what they hold.
fn is_same(one: &Service, other: &Service) -> bool {
    let Service { name, age, labels, demand, addresses, pool, sharing, ports, held: _ } = one;
    (name, age, labels, demand) == (&other.name, &other.age, &other.labels, &other.demand)
        && (addresses, pool, sharing, ports) == (&other.addresses, &other.pool, &other.sharing, &other.ports)
}
