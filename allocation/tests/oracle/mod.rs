//! The rules once more, as simply as they can be written: addresses are walked one by one, and every search begins anew.

use std::collections::BTreeMap;
use std::net::IpAddr;

use backend_api::{Family, ServiceName};
use switchyard_allocation::{
    Assign, Avoid, Clash, Demand, FamilyPolicy, Labels, Options, OutsidePools, Pool, Requested, Service, Sharing,
};

/// What there is.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) pools: Vec<Pool>,
    /// Pools that are gone, and keep what was given from them.
    pub(crate) leaving: Vec<Pool>,
    pub(crate) services: Vec<Service>,
    pub(crate) namespaces: BTreeMap<String, Labels>,
}

/// What the oracle says of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) pool: Option<String>,
    pub(crate) reason: Option<&'static str>,
}

type Have = BTreeMap<ServiceName, Vec<IpAddr>>;

impl World {
    pub(crate) fn plan(&self) -> BTreeMap<ServiceName, Said> {
        let mut ordered: Vec<&Service> = self.services.iter().collect();
        ordered.sort_by_key(|service| (service.age, service.name.clone()));
        let mut have = Have::new();
        for service in &ordered {
            let kept = self.adopt(service, &have);
            have.insert(service.name.clone(), kept);
        }
        while let Some((name, addresses)) =
            ordered.iter().find_map(|service| Some((service.name.clone(), self.granted_request(service, &have)?.ok()?)))
        {
            have.insert(name, addresses);
        }
        for service in &ordered {
            if self.granted_request(service, &have).is_none()
                && let Some(Ok(addresses)) = self.missing_given(service, &have)
            {
                have.insert(service.name.clone(), addresses);
            }
        }
        ordered.iter().map(|service| (service.name.clone(), self.say(service, &have))).collect()
    }

    fn say(&self, service: &Service, have: &Have) -> Said {
        let addresses = have[&service.name].clone();
        let pool = addresses.iter().find_map(|address| self.owner(*address)).map(|(pool, _)| pool.name.to_string());
        let reason = match &service.demand {
            Demand::Nothing => None,
            Demand::OneOfEach { .. } if families(service).is_empty() => Some("FamilyMissing"),
            Demand::OneOfEach { .. } => match self.granted_request(service, have) {
                Some(granted) => Some(granted.expect_err("all that can be granted is granted")),
                None => match self.missing_given(service, have) {
                    Some(given) => Some(given.expect_err("all that can be given is given")),
                    None => addresses.iter().any(|address| self.owner(*address).is_none()).then_some("OutsidePools"),
                },
            },
        };
        Said { addresses, pool, reason }
    }

    fn adopt(&self, service: &Service, have: &Have) -> Vec<IpAddr> {
        let mut kept: Vec<IpAddr> = Vec::new();
        for family in families(service) {
            let of_family = service.held.iter().filter(|address| Family::of(**address) == family);
            for address in of_family {
                let is_legal = match self.owner(*address) {
                    None => self.options.outside_pools == OutsidePools::Keep,
                    Some((pool, _)) => {
                        let others = kept.iter().filter_map(|kept| self.owner(*kept));
                        self.accepts(pool, service)
                            && !avoids(pool, *address)
                            && others.into_iter().all(|(other, _)| other.name == pool.name)
                    }
                };
                if is_legal && self.clashes(service, *address, have).is_empty() {
                    kept.push(*address);
                    break;
                }
            }
        }
        kept
    }

    /// What the service asks for, if it asks for something that it has not: all that it has then, or why not.
    fn granted_request(&self, service: &Service, have: &Have) -> Option<Result<Vec<IpAddr>, &'static str>> {
        let (current, families) = (&have[&service.name], families(service));
        if families.is_empty() {
            return None;
        }
        let mut owners = current.iter().filter_map(|address| self.owner(*address));
        let wrong_pool = service.pool.as_ref().is_some_and(|asked| !owners.any(|(pool, _)| pool.name == *asked));
        let asked = match &service.addresses {
            Requested::Unreadable(_) => return Some(Err("BadRequest")),
            Requested::Any if !wrong_pool => return None,
            Requested::Any => return Some(self.asked_pool_gives(service, have)),
            Requested::These(asked) => asked,
        };
        let prefers = policy(service) == FamilyPolicy::PreferDualStack;
        let is_one_of_each = !asked.is_empty()
            && asked.iter().all(|asked| families.contains(&Family::of(*asked)))
            && families.iter().all(|family| match count(asked, *family) {
                0 => prefers,
                count => count == 1,
            });
        let has_all = asked.iter().all(|asked| current.contains(asked));
        if is_one_of_each && has_all && !wrong_pool {
            return None;
        }
        if !is_one_of_each {
            return Some(Err("BadRequest"));
        }
        Some(self.asked_addresses(service, asked, have))
    }

    fn asked_addresses(&self, service: &Service, asked: &[IpAddr], have: &Have) -> Result<Vec<IpAddr>, &'static str> {
        let (current, families) = (&have[&service.name], families(service));
        let mut pools = Vec::new();
        for family in &families {
            let Some(address) = asked.iter().find(|asked| Family::of(**asked) == *family) else { continue };
            let owner = self.owner(*address);
            pools.extend(owner.map(|(pool, _)| pool.name.clone()));
            if current.contains(address) {
                continue;
            }
            let Some((pool, false)) = owner else { return Err("AddressOutsidePools") };
            if !self.accepts(pool, service) || avoids(pool, *address) {
                return Err("PoolForbids");
            }
        }
        if pools.iter().any(|pool| *pool != pools[0]) {
            return Err("BadRequest");
        }
        if let Some(name) = &service.pool {
            if !self.pools.iter().any(|pool| pool.name == *name) {
                return Err("NoPool");
            }
            match pools.first() {
                None => return Err("AddressOutsidePools"),
                Some(pool) if pool != name => return Err("BadRequest"),
                Some(_) => {}
            }
        }
        let mut addresses = Vec::new();
        for family in families {
            if let Some(address) = asked.iter().find(|asked| Family::of(**asked) == family && !current.contains(asked))
            {
                match self.clashes(service, *address, have).first() {
                    Some(Clash::NoKey) => return Err("AddressInUse"),
                    Some(_) => return Err("SharingRefused"),
                    None => {}
                }
            }
            let asked = asked.iter().find(|asked| Family::of(**asked) == family);
            let stays = current.iter().find(|current| {
                Family::of(**current) == family
                    && self.owner(**current).map(|(pool, _)| pool.name.clone()) == pools.first().cloned()
            });
            addresses.extend(asked.or(stays));
        }
        Ok(addresses)
    }

    fn asked_pool_gives(&self, service: &Service, have: &Have) -> Result<Vec<IpAddr>, &'static str> {
        let pool = self.pools.iter().find(|pool| Some(&pool.name) == service.pool.as_ref()).ok_or("NoPool")?;
        if !self.accepts(pool, service) {
            return Err("PoolForbids");
        }
        let found = choices(service).into_iter().find_map(|families| self.first_free(pool, service, &families, have));
        found.ok_or_else(|| lacks(pool, service))
    }

    /// What is missing, if something is: all that the service has then, or why not.
    fn missing_given(&self, service: &Service, have: &Have) -> Option<Result<Vec<IpAddr>, &'static str>> {
        let current = &have[&service.name];
        let missing = families(service).into_iter().find(|family| count(current, *family) == 0)?;
        if let Some(first) = current.first() {
            let Some((pool, false)) = self.owner(*first) else { return Some(Err("FamilyMissing")) };
            let second = self.first_free(pool, service, &[missing], have);
            return Some(second.ok_or("FamilyMissing").map(|second| {
                let mut both = [current.clone(), second].concat();
                both.sort_by_key(|address| families(service).iter().position(|family| *family == Family::of(*address)));
                both
            }));
        }
        let mut tried: Vec<&Pool> = self.pools.iter().collect();
        tried.sort_by_key(|pool| {
            let priority = pool.service_allocation.as_ref().map_or((2, 0), |allocation| match allocation.priority {
                0 => (1, 0),
                priority => (0, priority),
            });
            (priority, pool.name.clone())
        });
        tried.retain(|pool| pool.assign == Assign::Automatic && self.accepts(pool, service));
        for families in choices(service) {
            for pool in &tried {
                if let Some(found) = self.first_free(pool, service, &families, have) {
                    return Some(Ok(found));
                }
            }
        }
        let reasons: Vec<&str> = tried.iter().map(|pool| lacks(pool, service)).collect();
        Some(Err(match () {
            () if self.pools.is_empty() => "NoPool",
            () if reasons.contains(&"PoolExhausted") => "PoolExhausted",
            () if reasons.contains(&"FamilyMissing") => "FamilyMissing",
            () => "PoolForbids",
        }))
    }

    /// The first address of each family that is free or shared, walked one by one.
    fn first_free(&self, pool: &Pool, service: &Service, families: &[Family], have: &Have) -> Option<Vec<IpAddr>> {
        families.iter().map(|family| self.first_free_of(pool, service, *family, have)).collect()
    }

    fn first_free_of(&self, pool: &Pool, service: &Service, family: Family, have: &Have) -> Option<IpAddr> {
        let ranges = pool.ranges.iter().filter(|range| range.family() == family);
        ranges.flat_map(|range| walk(range.first(), range.last())).find(|address| {
            let is_own = self.owner(*address).is_some_and(|(owner, _)| owner.name == pool.name);
            let is_used = have.values().any(|addresses| addresses.contains(address));
            is_own
                && !avoids(pool, *address)
                && (is_used || !is_first_of_block(pool, *address))
                && self.clashes(service, *address, have).is_empty()
        })
    }

    /// Why the service cannot have an address beside those that have it, the oldest first.
    fn clashes(&self, service: &Service, address: IpAddr, have: &Have) -> Vec<Clash> {
        let users = self.services.iter().filter(|user| {
            user.name != service.name && have.get(&user.name).is_some_and(|addresses| addresses.contains(&address))
        });
        let mut users: Vec<_> = users.collect();
        users.sort_by_key(|user| (user.age, user.name.clone()));
        users.into_iter().filter_map(|user| self.clash(user, service)).collect()
    }

    pub(crate) fn clash(&self, one: &Service, other: &Service) -> Option<Clash> {
        match (&one.sharing, &other.sharing) {
            (Some(key), Some(others)) => {
                if key.key != others.key {
                    Some(Clash::Keys)
                } else if self.options.sharing == Sharing::Namespace && one.name.namespace != other.name.namespace {
                    Some(Clash::Namespaces)
                } else if key.backends != others.backends {
                    Some(Clash::Backends)
                } else {
                    let both = one.ports.iter().find(|port| other.ports.contains(port));
                    both.map(|(protocol, port)| Clash::Port(*protocol, *port))
                }
            }
            _ => Some(Clash::NoKey),
        }
    }

    /// The pool that has an address, and whether it is leaving.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<(&Pool, bool)> {
        let serving = oldest(&self.pools, address).map(|pool| (pool, false));
        serving.or_else(|| oldest(&self.leaving, address).map(|pool| (pool, true)))
    }

    fn accepts(&self, pool: &Pool, service: &Service) -> bool {
        let Some(allocation) = &pool.service_allocation else { return true };
        let labels = self.namespaces.get(&*service.name.namespace).cloned().unwrap_or_default();
        let named = allocation.namespaces.iter().any(|name| **name == *service.name.namespace);
        let matched = allocation.namespace_selectors.iter().any(|selector| selector.matches(&labels));
        let any = allocation.namespaces.is_empty() && allocation.namespace_selectors.is_empty();
        let selected = allocation.service_selectors.iter().any(|selector| selector.matches(&service.labels));
        (any || named || matched) && (selected || allocation.service_selectors.is_empty())
    }

    /// Addresses of a pool and family that services have, and those that are left.
    pub(crate) fn counts(&self, pool: &Pool, family: Family, have: &BTreeMap<ServiceName, Said>) -> (i64, i64) {
        let mut all: Vec<IpAddr> = pool
            .ranges
            .iter()
            .filter(|range| range.family() == family)
            .flat_map(|range| walk(range.first(), range.last()))
            .filter(|address| self.owner(*address).is_some_and(|(owner, _)| owner.name == pool.name))
            .collect();
        all.sort();
        all.dedup();
        let (used, free): (Vec<IpAddr>, Vec<IpAddr>) =
            all.into_iter().partition(|address| have.values().any(|said| said.addresses.contains(address)));
        let free = free.iter().filter(|address| !avoids(pool, **address) && !is_first_of_block(pool, **address));
        (used.len() as i64, free.count() as i64)
    }
}

fn families(service: &Service) -> Vec<Family> {
    match &service.demand {
        Demand::Nothing => Vec::new(),
        Demand::OneOfEach { families, policy } => match policy {
            FamilyPolicy::SingleStack => families.first().copied().into_iter().collect(),
            FamilyPolicy::RequireDualStack if families.len() < 2 => Vec::new(),
            FamilyPolicy::RequireDualStack | FamilyPolicy::PreferDualStack => families.clone(),
        },
    }
}

fn policy(service: &Service) -> FamilyPolicy {
    match &service.demand {
        Demand::Nothing => FamilyPolicy::SingleStack,
        Demand::OneOfEach { policy, .. } => *policy,
    }
}

/// Which families are looked for together, the best first.
fn choices(service: &Service) -> Vec<Vec<Family>> {
    let families = families(service);
    let mut choices = vec![families.clone()];
    if policy(service) == FamilyPolicy::PreferDualStack {
        choices.extend(families.iter().map(|family| vec![*family]));
    }
    choices
}

fn lacks(pool: &Pool, service: &Service) -> &'static str {
    let wanted = families(service).into_iter();
    let mut has = wanted.map(|family| pool.ranges.iter().any(|range| range.family() == family));
    let enough = match policy(service) {
        FamilyPolicy::PreferDualStack => has.any(|has| has),
        _ => has.all(|has| has),
    };
    if enough { "PoolExhausted" } else { "FamilyMissing" }
}

fn count(addresses: &[IpAddr], family: Family) -> usize {
    addresses.iter().filter(|address| Family::of(**address) == family).count()
}

fn oldest(pools: &[Pool], address: IpAddr) -> Option<&Pool> {
    let listing = pools.iter().filter(|pool| lists(pool, address));
    listing.min_by_key(|pool| (pool.age, pool.name.clone()))
}

fn lists(pool: &Pool, address: IpAddr) -> bool {
    pool.ranges.iter().any(|range| range.contains(address))
}

fn avoids(pool: &Pool, address: IpAddr) -> bool {
    let text = address.to_string();
    pool.avoid == Avoid::Buggy && address.is_ipv4() && (text.ends_with(".0") || text.ends_with(".255"))
}

/// An IPv6 block of more than two addresses keeps its first for routers.
fn is_first_of_block(pool: &Pool, address: IpAddr) -> bool {
    pool.ranges.iter().any(|range| {
        let block = range.block().filter(|block| block.family() == Family::V6 && block.prefix() < 127);
        block.is_some_and(|block| block.network() == address)
    })
}

fn walk(first: IpAddr, last: IpAddr) -> impl Iterator<Item = IpAddr> {
    std::iter::successors(Some(first), move |address| (*address < last).then(|| next(*address)))
}

fn next(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() + 1).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() + 1).into()),
    }
}
