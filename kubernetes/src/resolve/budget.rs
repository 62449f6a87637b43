//! How large services are, and which are too large to be programmed.
//!
//! Counted from the objects, before anything is made of them: a few kilobytes of objects may ask for millions of
//! elements, since every address has every port, and each of these every endpoint.
//!
//! **Invariant:** which services are refused depends on the sizes of all of them and not on the order in which they
//! came (`tests/resolve/budget.rs::the_largest_go_without_in_whatever_order_they_came`).

use std::collections::BTreeSet;
use std::fmt;

use backend_api::{Family, PerFamily, ServiceName};

use super::selection::{self, cluster_ips};
use crate::objects::{Address, AddressType, AffinityKind, EndpointSlice, Endpoints, Service, TrafficPolicy, Word};

/// Why a service is not programmed: it needs more elements than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// How many it needs.
    pub elements: u32,
    /// Which limit it exceeds.
    pub limit: Limit,
}

/// A limit on elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// This many for one service.
    OfService(u32),
    /// This many for all services: the largest go without, so that as few as possible do.
    InAll(u32),
}

/// What an endpoint by which clients are remembered needs once for all frontends: a chain with its rules.
const OF_SLOT: u64 = 12;

/// The elements that a service needs at most, from objects as they are written; 0 if a proxy has nothing to do with it.
///
/// Each frontend counts as one and as many as it has endpoints: as many again where clients are remembered, and where
/// clients inside and outside are balanced apart. What the backends need can be less, and is never a multiple.
pub(super) fn size<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a EndpointSlice>,
    endpoints: Option<&Endpoints>,
) -> u32 {
    if selection::skip(service).is_some() {
        return 0;
    }
    let spec = &service.spec;
    let remembered = spec.session_affinity == Some(Word::Known(AffinityKind::ClientIp));
    let apart = spec.external_traffic_policy == Some(Word::Known(TrafficPolicy::Local));
    let times = (1 + u64::from(remembered)) * (1 + u64::from(apart));
    let ports = spec.ports.len() as u64;
    let node_ports = spec.ports.iter().filter(|port| port.node_port != 0).count() as u64;
    let [clusters, vips, external] = addresses(service);
    let endpoints = count_endpoints(slices, endpoints);
    let mut size = 0;
    for family in Family::ALL {
        if *clusters.of(family) > 0 {
            let (vips, external) = (vips.of(family), external.of(family));
            let frontends = ports * (1 + vips + external) + node_ports;
            let ranges = ports * vips * spec.load_balancer_source_ranges.len() as u64;
            let chains = if remembered { endpoints.of(family) * OF_SLOT } else { 0 };
            size += frontends.saturating_mul(1 + endpoints.of(family) * times).saturating_add(ranges + chains);
        }
    }
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// How many cluster, load-balancer and external addresses are written, those that stand twice counted twice.
fn addresses(service: &Service) -> [PerFamily<u64>; 3] {
    let count = |addresses: &mut dyn Iterator<Item = &Address>| {
        let mut count = PerFamily::default();
        addresses.for_each(|address| *count.of_mut(family_of(address)) += 1);
        count
    };
    let ingress = &service.status.load_balancer.ingress;
    [
        count(&mut cluster_ips(service).map(|(_, address)| address)),
        count(&mut ingress.iter().filter_map(|ingress| ingress.ip.as_ref())),
        count(&mut service.spec.external_ips.iter()),
    ]
}

/// What is no address in today's notation is IPv4 in an older one, or nothing.
fn family_of(address: &Address) -> Family {
    match address {
        Address::Ip(ip) => Family::of(ip.to_canonical()),
        Address::Text(_) => Family::V4,
    }
}

fn count_endpoints<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    endpoints: Option<&Endpoints>,
) -> PerFamily<u64> {
    let mut count = PerFamily::default();
    let mut any_slice = false;
    for slice in slices {
        any_slice = true;
        if let Word::Known(AddressType::Ip(family)) = slice.address_type {
            *count.of_mut(family) += slice.endpoints.len() as u64;
        }
    }
    if let (false, Some(endpoints)) = (any_slice, endpoints) {
        for address in endpoints.subsets.iter().flat_map(|subset| {
            subset.addresses.iter().chain(subset.not_ready_addresses.iter()).map(|address| &address.ip)
        }) {
            *count.of_mut(family_of(address)) += 1;
        }
    }
    count
}

/// The sizes of all services together, and which go without.
///
/// In order of size (of one size, of name), as many as fit are admitted, the smallest first; the order is kept only
/// while not all fit.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    sum: u64,
    crowd: Option<Crowd>,
}

/// More than fits.
#[derive(Clone, Debug, Default)]
struct Crowd {
    admitted: BTreeSet<(u32, ServiceName)>,
    admitted_sum: u64,
    /// Each larger than every one that is admitted.
    refused: BTreeSet<(u32, ServiceName)>,
}

impl Ledger {
    /// The size of a service is another; 0 for none.
    pub(super) fn change(&mut self, name: &ServiceName, before: u32, now: u32) {
        if before == now {
            return;
        }
        self.sum = self.sum - u64::from(before) + u64::from(now);
        if let Some(crowd) = &mut self.crowd {
            crowd.take_out(&(before, name.clone()));
            crowd.put_in((now, name.clone()));
        }
    }

    /// Decides again which services are admitted, where `at_most` fit; returns those for which that may be another
    /// than before. `all` is asked only when they begin not to fit.
    pub(super) fn settle<'a>(
        &mut self,
        at_most: u64,
        all: impl Iterator<Item = (&'a ServiceName, u32)>,
    ) -> BTreeSet<ServiceName> {
        if self.sum <= at_most {
            let refused = self.crowd.take().map(|crowd| crowd.refused).unwrap_or_default();
            return refused.into_iter().map(|(_, name)| name).collect();
        }
        self.crowd.get_or_insert_with(|| Crowd::of(all)).settle(at_most)
    }

    /// Whether a service of this size goes without, as settled last.
    pub(super) fn refuses(&self, name: &ServiceName, size: u32) -> bool {
        self.crowd.as_ref().is_some_and(|crowd| crowd.refused.contains(&(size, name.clone())))
    }
}

impl Crowd {
    fn of<'a>(all: impl Iterator<Item = (&'a ServiceName, u32)>) -> Self {
        let mut crowd = Self::default();
        all.for_each(|(name, size)| crowd.put_in((size, name.clone())));
        crowd
    }

    fn put_in(&mut self, service: (u32, ServiceName)) {
        if service.0 == 0 {
            return;
        }
        if self.refused.first().is_some_and(|least| *least < service) {
            self.refused.insert(service);
        } else {
            self.admitted_sum += u64::from(service.0);
            self.admitted.insert(service);
        }
    }

    fn take_out(&mut self, service: &(u32, ServiceName)) {
        if self.admitted.remove(service) {
            self.admitted_sum -= u64::from(service.0);
        } else {
            self.refused.remove(service);
        }
    }

    fn settle(&mut self, at_most: u64) -> BTreeSet<ServiceName> {
        let mut moved = BTreeSet::new();
        while self.admitted_sum > at_most
            && let Some(largest) = self.admitted.pop_last()
        {
            self.admitted_sum -= u64::from(largest.0);
            moved.insert(largest.1.clone());
            self.refused.insert(largest);
        }
        while let Some(least) = self.refused.first()
            && self.admitted_sum + u64::from(least.0) <= at_most
        {
            let least = self.refused.pop_first().expect("it has a first");
            self.admitted_sum += u64::from(least.0);
            moved.insert(least.1.clone());
            self.admitted.insert(least);
        }
        moved
    }
}

/// `needs 1020200 elements, one service may have 250000 (--max-service-elements)`.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elements = self.elements;
        match self.limit {
            Limit::OfService(at_most) => {
                write!(f, "needs {elements} elements, one service may have {at_most} (--max-service-elements)")
            }
            Limit::InAll(at_most) => write!(
                f,
                "needs {elements} elements, and all services together may have {at_most} (--max-elements): the largest \
                 go without"
            ),
        }
    }
}
