//! Which addresses a node announces: what the advertisements select.
//!
//! Whether the node can forward, and which of several nodes it is, is decided elsewhere: this is what the objects say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use allocation::{Labels, Pool, PoolMap, PoolName, Selector, any_matches};
use backend_api::{Age, ServiceName};

use super::convert::{age, ip, selector, selectors};
use super::{Mistake, service};
use crate::objects::{IpMode, L2Advertisement, Node, Service, Word};

/// The label of a node that announces nothing.
const EXCLUDE: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// What is announced, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// Pools by name.
    pub pools: Vec<PoolName>,
    /// Pools by their labels. With neither names nor these: all.
    pub pool_selectors: Vec<Selector>,
    /// Nodes that may announce; all, if empty.
    pub node_selectors: Vec<Selector>,
    /// Services; all, if empty.
    pub service_selectors: Vec<Selector>,
    /// On which interfaces.
    pub interfaces: Interfaces,
    /// Nodes that are better than others.
    pub preferences: Vec<Preference>,
}

/// Nodes that are better than others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preference {
    /// By how much, 1 to 100.
    pub weight: u32,
    /// Which nodes.
    pub nodes: Selector,
}

/// On which interfaces an address is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// On every one that it belongs to.
    All,
    /// On these.
    These(BTreeSet<Box<str>>),
}

/// Everything that decides what is announced.
#[derive(Clone, Debug, Default)]
pub struct Advertised {
    /// The pools.
    pub pools: Vec<AdvertisedPool>,
    /// The advertisements.
    pub advertisements: Vec<Advertisement>,
    /// Services that have addresses.
    pub services: Vec<AdvertisedService>,
}

/// A pool, and its labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertisedPool {
    /// The pool.
    pub pool: Pool,
    /// Its labels.
    pub labels: Labels,
}

/// A service that has addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertisedService {
    /// Its name.
    pub name: ServiceName,
    /// Of several services of one address the oldest decides the order of nodes.
    pub age: Age,
    /// Its labels.
    pub labels: Labels,
    /// The addresses of its status.
    pub addresses: Vec<IpAddr>,
    /// Whether it has a sharing key: advertisements that select services leave it out.
    pub shares: bool,
}

/// A node that could announce.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnouncingNode {
    /// Its labels.
    pub labels: Labels,
    /// Whether it says that its network is not to be used.
    pub network_unavailable: bool,
}

/// How a node announces an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The sum of the weights of the preferences that the node meets: the highest is the best.
    pub score: u32,
    /// On which interfaces.
    pub interfaces: Interfaces,
    /// What is hashed with the node's name to order nodes of one score: the first address of the oldest service of this
    /// address.
    pub order_key: IpAddr,
}

/// Why a node does not announce an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum NotAnnounced {
    /// The node has the label that keeps it out.
    #[error("the node has the label {EXCLUDE}")]
    NodeExcluded,
    /// The node says so.
    #[error("the node has the condition NetworkUnavailable")]
    NetworkUnavailable,
    /// The address is of no pool.
    #[error("no pool has the address")]
    NoPool,
    /// No advertisement is for the pool.
    #[error("no L2Advertisement selects pool {0}: it is given and not announced")]
    NoAdvertisement(PoolName),
    /// Advertisements are for the pool, and for other services.
    #[error("L2Advertisements of pool {0} select other services")]
    OtherServices(PoolName),
    /// Advertisements are for the pool and the service, and for other nodes.
    #[error("L2Advertisements of pool {0} select other nodes")]
    OtherNodes(PoolName),
}

/// The advertisement that an object describes.
///
/// # Errors
/// Everything that is wrong with it: it is taken as a whole or not at all.
pub fn advertisement(object: &L2Advertisement) -> Result<Advertisement, Vec<Mistake>> {
    let spec = &object.spec;
    let mut mistakes = Vec::new();
    let mut preferences = Vec::new();
    for (index, preferred) in spec.preferred_node_selectors.iter().enumerate() {
        let place = format!("spec.preferredNodeSelectors[{index}]");
        let nodes = selector(&format!("{place}.preference"), &preferred.preference, &mut mistakes);
        match u32::try_from(preferred.weight) {
            Ok(weight @ 1..=100) => preferences.push(Preference { weight, nodes }),
            _ => mistakes
                .push(Mistake::new(format!("{place}.weight"), format!("{} is no weight, 1 to 100", preferred.weight))),
        }
    }
    let interfaces = match &*spec.interfaces {
        [] => Interfaces::All,
        names => Interfaces::These(names.iter().cloned().collect()),
    };
    let advertisement = Advertisement {
        pools: spec.ip_address_pools.iter().map(|name| PoolName::from(&**name)).collect(),
        pool_selectors: selectors("spec.ipAddressPoolSelectors", &spec.ip_address_pool_selectors, &mut mistakes),
        node_selectors: selectors("spec.nodeSelectors", &spec.node_selectors, &mut mistakes),
        service_selectors: selectors("spec.serviceSelectors", &spec.service_selectors, &mut mistakes),
        interfaces,
        preferences,
    };
    if mistakes.is_empty() { Ok(advertisement) } else { Err(mistakes) }
}

/// The service, if it has addresses of this class's allocator that a node may answer.
pub fn advertised_service(object: &Service, class: Option<&str>) -> Option<AdvertisedService> {
    let (service, _) = service(object, class)?;
    let ingress = object.status.load_balancer.ingress.iter();
    let ours = ingress.filter(|ingress| ingress.ip_mode != Some(Word::Known(IpMode::Proxy)));
    let addresses: Vec<IpAddr> = ours.filter_map(|ingress| ip(ingress.ip.as_ref()?)).collect();
    let wants = service.demand != allocation::Demand::Nothing && !addresses.is_empty();
    wants.then(|| AdvertisedService {
        name: service.name,
        age: age(object.metadata.creation_timestamp.as_deref()),
        labels: service.labels,
        addresses,
        shares: service.sharing.is_some(),
    })
}

/// What of a Node object decides whether it announces.
pub fn announcing_node(object: &Node) -> AnnouncingNode {
    AnnouncingNode {
        labels: object.metadata.labels.all.clone(),
        network_unavailable: object.status.network_unavailable,
    }
}

/// Every address that a service has, and how this node announces it, or why it does not.
pub fn announced(advertised: &Advertised, node: &AnnouncingNode) -> BTreeMap<IpAddr, Result<Announced, NotAnnounced>> {
    let pools = PoolMap::new(advertised.pools.iter().map(|pool| &pool.pool));
    let mut services: Vec<&AdvertisedService> = advertised.services.iter().collect();
    services.sort_by_key(|service| (service.age, &service.name));
    let mut users: BTreeMap<IpAddr, Vec<&AdvertisedService>> = BTreeMap::new();
    for service in services {
        service.addresses.iter().for_each(|address| users.entry(*address).or_default().push(service));
    }
    let mut answers = BTreeMap::new();
    for (address, users) in users {
        let pool = pools.pool_of(address);
        let pool = pool.and_then(|name| advertised.pools.iter().find(|pool| pool.pool.name == *name));
        answers.insert(address, announced_address(&users, pool, &advertised.advertisements, node));
    }
    answers
}

/// The union of what the advertisements say for each of the address's users, the oldest first.
fn announced_address(
    users: &[&AdvertisedService],
    pool: Option<&AdvertisedPool>,
    advertisements: &[Advertisement],
    node: &AnnouncingNode,
) -> Result<Announced, NotAnnounced> {
    if node.labels.contains_key(EXCLUDE) {
        return Err(NotAnnounced::NodeExcluded);
    }
    if node.network_unavailable {
        return Err(NotAnnounced::NetworkUnavailable);
    }
    let pool = pool.ok_or(NotAnnounced::NoPool)?;
    let name = &pool.pool.name;
    let of_pool: Vec<_> = advertisements.iter().filter(|advertisement| advertisement.selects_pool(pool)).collect();
    if of_pool.is_empty() {
        return Err(NotAnnounced::NoAdvertisement(name.clone()));
    }
    let of_service = of_pool.into_iter().filter(|of_pool| users.iter().any(|user| of_pool.selects_service(user)));
    let of_service: Vec<_> = of_service.collect();
    if of_service.is_empty() {
        return Err(NotAnnounced::OtherServices(name.clone()));
    }
    let own = of_service.into_iter().filter(|advertisement| any_matches(&advertisement.node_selectors, &node.labels));
    let order_key = *users[0].addresses.first().expect("a user has this address");
    let announced = own.fold(None, |sum: Option<Announced>, advertisement| {
        let score = advertisement.score(node);
        let interfaces = advertisement.interfaces.clone();
        Some(match sum {
            None => Announced { score, interfaces, order_key },
            Some(sum) => Announced { score: sum.score + score, interfaces: sum.interfaces.and(interfaces), order_key },
        })
    });
    announced.ok_or_else(|| NotAnnounced::OtherNodes(name.clone()))
}

impl Advertisement {
    /// Of all pools, on all nodes and interfaces.
    pub fn of_everything() -> Self {
        Self {
            pools: Vec::new(),
            pool_selectors: Vec::new(),
            node_selectors: Vec::new(),
            service_selectors: Vec::new(),
            interfaces: Interfaces::All,
            preferences: Vec::new(),
        }
    }

    fn selects_pool(&self, pool: &AdvertisedPool) -> bool {
        let any = self.pools.is_empty() && self.pool_selectors.is_empty();
        let named = self.pools.contains(&pool.pool.name);
        any || named || self.pool_selectors.iter().any(|selector| selector.matches(&pool.labels))
    }

    fn selects_service(&self, service: &AdvertisedService) -> bool {
        // All services of an address have to be announced by one node, so none of them is chosen alone.
        let all = self.service_selectors.is_empty();
        all || (!service.shares && any_matches(&self.service_selectors, &service.labels))
    }

    fn score(&self, node: &AnnouncingNode) -> u32 {
        let met = self.preferences.iter().filter(|preference| preference.nodes.matches(&node.labels));
        met.map(|preference| preference.weight).sum()
    }
}

impl Interfaces {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::These(mut own), Self::These(other)) => {
                own.extend(other);
                Self::These(own)
            }
            _ => Self::All,
        }
    }
}
