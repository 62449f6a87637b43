//! Which addresses a service could have: what it asks for, or what is missing. Nothing is claimed here.

use std::net::IpAddr;

use backend_api::Family;

use crate::layout::{Rank, Standing};
use crate::{
    Allocator, Assign, BadRequest, Clash, Demand, FamilyPolicy, PoolName, Problem, RefusedBecause, Requested, Service,
};

impl Allocator {
    /// Whether the service asks for an address or a pool, and has not got it.
    pub(crate) fn asks(&self, service: &Service, current: &[IpAddr]) -> bool {
        if service.demand.wanted().is_empty() {
            return false;
        }
        let addresses = match &service.addresses {
            Requested::Any => false,
            Requested::Unreadable(_) => true,
            Requested::These(asked) => !fits(service, asked) || !asked.iter().all(|asked| current.contains(asked)),
        };
        addresses || service.pool.as_ref().is_some_and(|pool| !self.has_one_of(current, pool))
    }

    /// Whether one of the addresses is of the pool.
    fn has_one_of(&self, addresses: &[IpAddr], pool: &str) -> bool {
        let Some(pool) = self.layout.rank(pool) else { return false };
        addresses.iter().any(|address| self.layout.pool_of(*address) == Some(pool))
    }

    /// Families of which the service wants an address and has none.
    pub(crate) fn missing<'a>(&self, service: &'a Service, current: &'a [IpAddr]) -> impl Iterator<Item = Family> + 'a {
        let wanted = service.demand.wanted().iter().copied();
        wanted.filter(|family| current.iter().all(|address| Family::of(*address) != *family))
    }

    /// Why the service has not what it asks for, or why what it has will not last.
    pub(crate) fn problem(&mut self, service: &Service) -> Option<Problem> {
        let Demand::OneOfEach { families, .. } = &service.demand else { return None };
        if service.demand.wanted().is_empty() {
            return Some(Problem::NoFamily { cluster_addresses: families.len() });
        }
        let current = self.current(&service.name).to_vec();
        let found = if self.asks(service, &current) {
            self.find_requested(service, &current)
        } else if self.missing(service, &current).next().is_some() {
            self.find_missing(service, &current)
        } else {
            let outside = current.iter().filter(|address| self.layout.pool_of(**address).is_none());
            let outside: Vec<IpAddr> = outside.copied().collect();
            return (!outside.is_empty()).then_some(Problem::OutsidePools(outside));
        };
        debug_assert!(found.is_err(), "{}: {found:?} was there to be given", service.name);
        found.err()
    }

    /// What the service asks for by address or pool; all that it has from then on, in the order of its families.
    pub(crate) fn find_requested(&mut self, service: &Service, current: &[IpAddr]) -> Result<Vec<IpAddr>, Problem> {
        let asked = match &service.addresses {
            Requested::Unreadable(why) => return Err(Problem::BadRequest(BadRequest::Unreadable(why.clone()))),
            Requested::These(asked) => asked,
            Requested::Any => {
                let asked = service.pool.as_ref().expect("the service asks for something");
                let rank = self.serving(asked).ok_or_else(|| Problem::NoPool { asked: Some(asked.clone()) })?;
                let found = self.refuses(rank, service, None).and_then(|()| self.find_in(rank, service));
                return found.map_err(|because| Problem::Refused(vec![self.refusal(rank, because)]));
            }
        };
        if !fits(service, asked) {
            return Err(Problem::BadRequest(BadRequest::Families(asked.clone())));
        }
        let mut found: Vec<IpAddr> = Vec::new();
        for family in service.demand.wanted() {
            let Some(address) = asked.iter().find(|asked| Family::of(**asked) == *family) else { continue };
            if !current.contains(address) {
                self.check_pool(service, *address)?;
            }
            found.push(*address);
        }
        // What only another pool can change is told first, so that it is told whatever other services have.
        let pool = self.pool_of_all(service, &found)?;
        found
            .iter()
            .filter(|address| !current.contains(address))
            .try_for_each(|address| self.check_users(service, *address))?;
        let others = current.iter().filter(|address| !asked.iter().any(|asked| same_family(*asked, **address)));
        // PreferDualStack, and one address is asked for: the other one stays if it can.
        found.extend(others.filter(|other| self.layout.pool_of(**other) == pool));
        in_order(service, &mut found);
        Ok(found)
    }

    /// Whether a pool lets the service have this address.
    fn check_pool(&self, service: &Service, address: IpAddr) -> Result<(), Problem> {
        let rank = self.layout.pool_of(address).filter(|rank| self.is_serving(*rank));
        let rank = rank.ok_or(Problem::AddressOutsidePools(address))?;
        let refused = self.refuses(rank, service, Some(address));
        refused.map_err(|because| Problem::Refused(vec![self.refusal(rank, because)]))
    }

    /// Whether the services that have this address share it.
    fn check_users(&self, service: &Service, address: IpAddr) -> Result<(), Problem> {
        let Some(user) = self.claims.clashing(address, service).into_iter().next() else { return Ok(()) };
        let name = user.name.clone();
        Err(match self.claims.clash(&user, service).expect("they clash") {
            Clash::NoKey => Problem::AddressInUse { address, by: name },
            clash => Problem::SharingRefused { address, with: name, clash },
        })
    }

    /// The pool of the addresses that a service asks for, which must be one, and the one that it asks for.
    fn pool_of_all(&self, service: &Service, found: &[IpAddr]) -> Result<Option<Rank>, Problem> {
        let pools: Vec<_> = found.iter().map(|address| self.layout.pool_of(*address)).collect();
        if let [Some(one), Some(other)] = pools[..]
            && one != other
        {
            return Err(Problem::BadRequest(BadRequest::TwoPools([self.pool_name(one), self.pool_name(other)])));
        }
        let pool = pools.iter().copied().flatten().next();
        if let Some(asked) = &service.pool {
            let rank = self.serving(asked).ok_or_else(|| Problem::NoPool { asked: Some(asked.clone()) })?;
            match (found, pool) {
                (_, Some(pool)) if pool == rank => {}
                ([address, ..], Some(pool)) => {
                    let bad =
                        BadRequest::OtherPool { address: *address, pool: self.pool_name(pool), asked: asked.clone() };
                    return Err(Problem::BadRequest(bad));
                }
                ([address, ..], None) => return Err(Problem::AddressOutsidePools(*address)),
                ([], _) => {}
            }
        }
        Ok(pool)
    }

    fn pool_name(&self, rank: Rank) -> PoolName {
        self.layout.placed(rank).pool.name.clone()
    }

    /// What the service has, and what of the rest a pool gives; in the order of its families.
    pub(crate) fn find_missing(&mut self, service: &Service, current: &[IpAddr]) -> Result<Vec<IpAddr>, Problem> {
        if let [first, ..] = current {
            return self.find_second(service, *first);
        }
        let mut tried: Vec<Rank> = self.layout.serving().collect();
        tried.retain(|rank| {
            self.layout.placed(*rank).pool.assign == Assign::Automatic && self.refuses(*rank, service, None).is_ok()
        });
        // PreferDualStack: a pool that has both is better than an earlier one that has one.
        for families in alternatives(service) {
            if let Some(found) = tried.iter().find_map(|rank| self.find_all(*rank, service, families)) {
                return Ok(found);
            }
        }
        Err(self.all_refuse(service))
    }

    /// The second address comes from the pool of the first: a service never moves for it.
    fn find_second(&mut self, service: &Service, first: IpAddr) -> Result<Vec<IpAddr>, Problem> {
        let family = self.missing(service, &[first]).next().expect("one address is missing");
        let Some(rank) = self.layout.pool_of(first).filter(|rank| self.is_serving(*rank)) else {
            return Err(Problem::FamilyMissing { family, refusal: None });
        };
        let Some(second) = self.layout.lowest(rank, family, service, &mut self.claims) else {
            let has_range = self.layout.placed(rank).pool.has_family(family);
            let because = if has_range { RefusedBecause::Exhausted } else { RefusedBecause::NoRange(family) };
            return Err(Problem::FamilyMissing { family, refusal: Some(self.refusal(rank, because)) });
        };
        let mut both = vec![first, second];
        in_order(service, &mut both);
        Ok(both)
    }

    /// As much as the service's policy asks of one pool.
    fn find_in(&mut self, rank: Rank, service: &Service) -> Result<Vec<IpAddr>, RefusedBecause> {
        let found = alternatives(service).into_iter().find_map(|families| self.find_all(rank, service, families));
        found.ok_or_else(|| self.lacks(rank, service))
    }

    /// The lowest address of each family.
    fn find_all(&mut self, rank: Rank, service: &Service, families: &[Family]) -> Option<Vec<IpAddr>> {
        let Self { layout, claims, .. } = self;
        families.iter().map(|family| layout.lowest(rank, *family, service, claims)).collect()
    }

    /// Why a pool that is for the service has nothing for it.
    fn lacks(&self, rank: Rank, service: &Service) -> RefusedBecause {
        let (pool, wanted) = (&self.layout.placed(rank).pool, service.demand.wanted());
        let mut absent = wanted.iter().copied().filter(|family| !pool.has_family(*family));
        let enough = match service.demand.policy() {
            FamilyPolicy::SingleStack | FamilyPolicy::RequireDualStack => wanted.len(),
            FamilyPolicy::PreferDualStack => 1,
        };
        match absent.clone().count() + enough > wanted.len() {
            true => RefusedBecause::NoRange(absent.next().expect("a family is absent")),
            false => RefusedBecause::Exhausted,
        }
    }

    fn all_refuse(&self, service: &Service) -> Problem {
        let refusals = self.layout.serving().map(|rank| self.refusal(rank, self.gives_nothing_because(rank, service)));
        let refusals: Vec<_> = refusals.collect();
        match refusals.is_empty() {
            true => Problem::NoPool { asked: None },
            false => Problem::Refused(refusals),
        }
    }

    fn gives_nothing_because(&self, rank: Rank, service: &Service) -> RefusedBecause {
        match self.refuses(rank, service, None) {
            Err(because) => because,
            Ok(()) if self.layout.placed(rank).pool.assign == Assign::OnRequest => RefusedBecause::OnRequest,
            Ok(()) => self.lacks(rank, service),
        }
    }

    /// A pool that is asked for by name.
    fn serving(&self, name: &str) -> Option<Rank> {
        self.layout.rank(name).filter(|rank| self.is_serving(*rank))
    }

    fn is_serving(&self, rank: Rank) -> bool {
        self.layout.placed(rank).standing == Standing::Serving
    }
}

/// Whether the service can have all of these at once: one of each of its families, or of one under PreferDualStack.
fn fits(service: &Service, asked: &[IpAddr]) -> bool {
    let wanted = service.demand.wanted();
    let mut families = asked.iter().map(|asked| Family::of(*asked));
    let is_each_once = Family::ALL.iter().all(|family| families.clone().filter(|asked| asked == family).count() <= 1);
    let all_wanted = families.all(|family| wanted.contains(&family));
    let enough = asked.len() == wanted.len() || service.demand.policy() == FamilyPolicy::PreferDualStack;
    !asked.is_empty() && all_wanted && is_each_once && enough
}

/// The families of which a service is given an address of each, the best first.
fn alternatives(service: &Service) -> Vec<&[Family]> {
    match (service.demand.policy(), service.demand.wanted()) {
        (FamilyPolicy::PreferDualStack, wanted @ [_, _]) => vec![wanted, &wanted[..1], &wanted[1..]],
        (_, wanted) => vec![wanted],
    }
}

/// Puts addresses in the order of the service's families; those of other families come first.
pub(crate) fn in_order(service: &Service, addresses: &mut [IpAddr]) {
    addresses.sort_by_key(|address| service.demand.wanted().iter().position(|family| *family == Family::of(*address)));
}

fn same_family(one: IpAddr, other: IpAddr) -> bool {
    Family::of(one) == Family::of(other)
}
