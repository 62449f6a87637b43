//! Which services are to be looked at again when an address comes free.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use backend_api::{Family, ServiceName};

use crate::{FamilyPolicy, PoolName, Problem, RefusedBecause, Requested, Service};

/// A service, in the order in which services are decided: the oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Turn(pub(crate) Arc<Service>);

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp_age(&other.0)
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Turn {}

/// Services that have not all they ask for, by what could change that.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    by_place: HashMap<Place, BTreeSet<Turn>>,
    places: HashMap<ServiceName, Vec<Place>>,
}

/// What a service waits for a change of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Place {
    Address(IpAddr),
    Pool { pool: PoolName, pass: Pass, needs: Needs },
}

/// When a service has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Pass {
    Requests,
    Rest,
}

/// What a pool must have for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Needs {
    /// An address of this family that is free.
    Free(Family),
    /// One of any family.
    Either,
    /// One of each.
    Both,
    /// Something that others have may do.
    Sharable,
}

impl Waiting {
    /// From now on the service waits in `pass` for what may solve its problem.
    pub(crate) fn add(&mut self, turn: &Turn, pass: Pass, problem: &Problem) {
        let places = places(&turn.0, pass, problem);
        for place in &places {
            self.by_place.entry(place.clone()).or_default().insert(turn.clone());
        }
        if !places.is_empty() {
            self.places.insert(turn.0.name.clone(), places);
        }
    }

    pub(crate) fn remove(&mut self, turn: &Turn) {
        if self.places.is_empty() {
            return;
        }
        for place in self.places.remove(&turn.0.name).unwrap_or_default() {
            if let Some(turns) = self.by_place.get_mut(&place) {
                turns.remove(turn);
                if turns.is_empty() {
                    self.by_place.remove(&place);
                }
            }
        }
    }

    /// Services that wait here, the oldest first.
    pub(crate) fn at(&self, place: &Place) -> impl Iterator<Item = &Turn> {
        self.by_place.get(place).into_iter().flatten()
    }

    /// The service that waits here and is next in age after another.
    pub(crate) fn after(&self, place: &Place, turn: &Turn) -> Option<&Turn> {
        self.by_place.get(place)?.range((Bound::Excluded(turn), Bound::Unbounded)).next()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Place {
    /// Every place at which services wait for an address of a pool.
    pub(crate) fn of_pool(pool: &PoolName) -> impl Iterator<Item = Self> {
        let needs = Family::ALL.map(Needs::Free).into_iter().chain([Needs::Either, Needs::Both, Needs::Sharable]);
        needs.flat_map(|needs| [Pass::Requests, Pass::Rest].map(|pass| Self::Pool { pool: pool.clone(), pass, needs }))
    }
}

impl Needs {
    fn of(service: &Service, missing: &[Family]) -> Self {
        match (missing, service.demand.policy()) {
            _ if service.sharing.is_some() => Self::Sharable,
            ([family], _) => Self::Free(*family),
            (_, FamilyPolicy::PreferDualStack) => Self::Either,
            _ => Self::Both,
        }
    }
}

fn places(service: &Service, pass: Pass, problem: &Problem) -> Vec<Place> {
    match (problem, &service.addresses) {
        (Problem::Refused(refusals), _) => {
            let needs = Needs::of(service, service.demand.wanted());
            let exhausted = refusals.iter().filter(|refusal| refusal.because == RefusedBecause::Exhausted);
            exhausted.map(|refusal| Place::Pool { pool: refusal.pool.clone(), pass, needs }).collect()
        }
        (Problem::FamilyMissing { family, refusal: Some(refusal) }, _) => {
            vec![Place::Pool { pool: refusal.pool.clone(), pass, needs: Needs::of(service, &[*family]) }]
        }
        // All of them: the first that is taken is the one that is told.
        (Problem::AddressInUse { .. } | Problem::SharingRefused { .. }, Requested::These(asked)) => {
            asked.iter().copied().map(Place::Address).collect()
        }
        // Only another pool, another namespace or another form of the service can change these.
        _ => Vec::new(),
    }
}
