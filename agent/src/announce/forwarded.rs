//! Which external addresses the kernel forwards, and how clients from outside are answered there: pure, and at the cost
//! of what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use backend_api::{
    Answer, Frontend, FrontendKey, FrontendKind, Report, Scope, Service, ServiceName, ServicePort, ServiceState,
    SourceRanges, TrafficClass,
};

/// What a client from outside meets at an address; the greatest of its ports counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Offer {
    /// Nothing: this node has no endpoint that may answer, and another one may have.
    Silence,
    /// A refusal: there is no endpoint anywhere.
    Refusal,
    /// An endpoint.
    Endpoint,
}

/// Every external address that is programmed, with what its services offer.
#[derive(Debug, Default)]
pub struct Forwarded {
    of_service: BTreeMap<ServiceName, BTreeMap<IpAddr, Offer>>,
    of_address: BTreeMap<IpAddr, BTreeMap<ServiceName, Offer>>,
}

impl Forwarded {
    /// Takes what `scope` of a state that was synced says, but for services that `report` says failed. Returns the
    /// addresses of which something changed.
    pub fn update(&mut self, state: &ServiceState, scope: Scope<'_>, report: &Report) -> BTreeSet<IpAddr> {
        let failed: BTreeSet<&ServiceName> = report.failed.iter().map(|failure| &failure.service).collect();
        let mut changed = BTreeSet::new();
        match scope {
            Scope::Services(touched) => {
                for name in touched.iter().chain(failed.iter().copied()) {
                    self.replace(name, offers(state, name, &failed), &mut changed);
                }
            }
            Scope::All => {
                let gone = self.of_service.keys().filter(|name| state.service(name).is_none());
                for name in gone.cloned().collect::<Vec<_>>() {
                    self.replace(&name, BTreeMap::new(), &mut changed);
                }
                for service in state.services_unordered() {
                    self.replace(&service.name, offers(state, &service.name, &failed), &mut changed);
                }
            }
        }
        changed
    }

    /// The best of what the services of an address offer; none if no service with it is programmed.
    pub fn offer(&self, address: IpAddr) -> Option<Offer> {
        self.of_address.get(&address)?.values().max().copied()
    }

    /// The services of an address.
    pub fn services(&self, address: IpAddr) -> impl Iterator<Item = &ServiceName> {
        self.of_address.get(&address).into_iter().flat_map(BTreeMap::keys)
    }

    fn replace(&mut self, name: &ServiceName, now: BTreeMap<IpAddr, Offer>, changed: &mut BTreeSet<IpAddr>) {
        let before = self.of_service.remove(name).unwrap_or_default();
        for address in before.keys().filter(|address| !now.contains_key(*address)) {
            if let Some(services) = self.of_address.get_mut(address) {
                services.remove(name);
                if services.is_empty() {
                    self.of_address.remove(address);
                }
            }
            changed.insert(*address);
        }
        for (address, offer) in now.iter().filter(|(address, offer)| before.get(*address) != Some(*offer)) {
            self.of_address.entry(*address).or_default().insert(name.clone(), *offer);
            changed.insert(*address);
        }
        if !now.is_empty() {
            self.of_service.insert(name.clone(), now);
        }
    }
}

fn offers(state: &ServiceState, name: &ServiceName, failed: &BTreeSet<&ServiceName>) -> BTreeMap<IpAddr, Offer> {
    match state.service(name) {
        Some(service) if !failed.contains(name) => offers_of(service),
        Some(_) | None => BTreeMap::new(),
    }
}

fn offers_of(service: &Service) -> BTreeMap<IpAddr, Offer> {
    let mut offers: BTreeMap<IpAddr, Offer> = BTreeMap::new();
    for port in &service.ports {
        for frontend in port.frontends.iter().filter(|frontend| frontend.kind == FrontendKind::External) {
            if let FrontendKey::Address { address, .. } = frontend.key {
                let offer = offer_of(port, frontend);
                offers.entry(address).and_modify(|best| *best = offer.max(*best)).or_insert(offer);
            }
        }
    }
    offers
}

fn offer_of(port: &ServicePort, frontend: &Frontend) -> Offer {
    if frontend.source_ranges == SourceRanges::Only(Vec::new()) {
        return Offer::Silence;
    }
    match frontend.route.answer(TrafficClass::Stranger) {
        Answer::Balance(pool) if port.pool(pool).next().is_some() => Offer::Endpoint,
        Answer::Balance(_) | Answer::Reject => Offer::Refusal,
        Answer::Drop => Offer::Silence,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ADDRESS, failed, service, state};
    use super::*;
    use backend_api::{Pool, Route};

    /// Clients inside are balanced, and others meet this.
    fn split(outside: Answer) -> Route {
        Route::Split { inside: Answer::Balance(Pool::Cluster), outside }
    }

    #[test]
    fn an_address_counts_if_a_client_from_outside_is_answered() {
        let (balance, local) = (Answer::Balance(Pool::Cluster), Answer::Balance(Pool::Local));
        for (routes, expected) in [
            (vec![(Route::Everyone(balance), 1)], Some(Offer::Endpoint)),
            (vec![(Route::Everyone(balance), 0)], Some(Offer::Refusal)),
            (vec![(Route::Everyone(Answer::Reject), 1)], Some(Offer::Refusal)),
            (vec![(split(Answer::Drop), 1)], Some(Offer::Silence)),
            (vec![(split(local), 1)], Some(Offer::Endpoint)),
            (vec![(split(Answer::Drop), 1), (Route::Everyone(balance), 1)], Some(Offer::Endpoint)),
            (vec![(Route::Everyone(Answer::Reject), 0), (split(Answer::Drop), 1)], Some(Offer::Refusal)),
            (vec![], None),
        ] {
            let mut forwarded = Forwarded::default();
            let state = state(vec![service("web", &routes)]);
            let changed = forwarded.update(&state, Scope::All, &Report::default());
            assert_eq!(forwarded.offer(ADDRESS), expected, "{routes:?}");
            assert_eq!(changed.contains(&ADDRESS), expected.is_some(), "{routes:?}");
        }
    }

    #[test]
    fn only_what_the_scope_names_is_looked_at_and_only_differences_are_told() {
        let answered = [(Route::Everyone(Answer::Balance(Pool::Cluster)), 1)];
        let both = state(vec![service("web", &answered), service("dns", &answered)]);
        let one = state(vec![service("web", &answered)]);
        let (web, dns) = (ServiceName::new("default", "web"), ServiceName::new("default", "dns"));
        let (of_web, of_both) = (BTreeSet::from([web.clone()]), BTreeSet::from([web.clone(), dns.clone()]));
        let none = Report::default();
        let mut forwarded = Forwarded::default();
        for (state, scope, report, changes, expected) in [
            (&both, Scope::Services(&of_web), &none, true, vec![&web]),
            (&both, Scope::All, &none, true, vec![&dns, &web]),
            (&both, Scope::All, &none, false, vec![&dns, &web]),
            (&both, Scope::Services(&of_web), &failed("web"), true, vec![&dns]),
            (&both, Scope::Services(&of_both), &failed("web"), false, vec![&dns]),
            (&both, Scope::Services(&of_web), &none, true, vec![&dns, &web]),
            (&one, Scope::Services(&of_both), &none, true, vec![&web]),
            (&one, Scope::All, &failed("web"), true, vec![]),
            (&both, Scope::All, &none, true, vec![&dns, &web]),
            (&state(vec![]), Scope::All, &none, true, vec![]),
        ] {
            let changed = forwarded.update(state, scope, report);
            assert_eq!(!changed.is_empty(), changes, "{scope:?} {expected:?}");
            assert_eq!(forwarded.services(ADDRESS).collect::<Vec<_>>(), expected);
        }
    }
}
