//! What we believe to be in the kernel: what was programmed last, and nothing that can be rendered again.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use backend_api::{Family, NodeNetwork, PerFamily, Pool, Service, ServiceName, ServicePort};

use crate::assign::Slots;
use crate::marks::Marks;
use crate::render::{Assignment, service_elements};
use crate::ruleset::{ChainName, Element, Key, SetName};

/// The state that was programmed last.
#[derive(Clone, Debug)]
pub(crate) struct Belief {
    /// For which node.
    pub(crate) node: Arc<NodeNetwork>,
    /// Every service, as it was programmed.
    pub(crate) services: HashMap<ServiceName, Programmed>,
    /// Chains beyond those that are always there.
    pub(crate) chains: PerFamily<BTreeSet<ChainName>>,
    /// How many services need each element that several may need.
    pub(crate) shared: Shared,
}

/// A service as it was programmed.
#[derive(Clone, Debug)]
pub(crate) struct Programmed {
    /// In which form.
    pub(crate) service: Arc<Service>,
    /// With which endpoint in which slot.
    pub(crate) slots: Assignment,
}

/// How many services need each shared element; the keys are addresses, because millions of bytes depend on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    cluster_ips: HashMap<IpAddr, u32>,
    hairpin: HashMap<IpAddr, u32>,
}

impl Belief {
    /// No services, on this node.
    pub(crate) fn without_services(node: Arc<NodeNetwork>) -> Self {
        Self { node, services: HashMap::new(), chains: PerFamily::default(), shared: Shared::default() }
    }
}

impl Programmed {
    /// `service`, with as few slots changed as possible from what they were.
    pub(crate) fn new(
        service: &Arc<Service>,
        before: impl Fn(&ServicePort, Pool) -> Option<Slots>,
        marks: Option<&dyn Marks>,
    ) -> Self {
        Self { service: service.clone(), slots: Assignment::new(service, before, marks) }
    }

    /// The next form of this service.
    pub(crate) fn next(&self, service: &Arc<Service>, marks: Option<&dyn Marks>) -> Self {
        let identity = |port: &ServicePort| (port.name.clone(), port.family, port.protocol);
        let places: HashMap<_, _> = self.service.ports.iter().map(identity).zip(0..).collect();
        let before = |port: &ServicePort, pool| {
            let place = places.get(&identity(port))?;
            self.slots.slots_of(&self.service, *place, pool)
        };
        Self::new(service, before, marks)
    }

    /// Its elements, sorted into its own, and those that others may need too (each once).
    pub(crate) fn elements(&self, node: &NodeNetwork, own: &mut Vec<Element>, shared: &mut BTreeSet<Element>) {
        service_elements(&self.service, &self.slots, node, |element| {
            if element.is_shared() {
                shared.insert(element);
            } else {
                own.push(element);
            }
        });
    }
}

impl Shared {
    /// Counts one more service that needs `element`. Whether it is the first.
    pub(crate) fn need(&mut self, element: &Element) -> bool {
        let Some((counts, address)) = self.counts(element) else { return true };
        let count = counts.entry(address).or_insert(0);
        *count += 1;
        *count == 1
    }

    /// Counts one service less. Whether it was the last.
    pub(crate) fn release(&mut self, element: &Element) -> bool {
        let Some((counts, address)) = self.counts(element) else { return true };
        let Some(count) = counts.get_mut(&address) else { return false };
        *count -= 1;
        let last = *count == 0;
        if last {
            counts.remove(&address);
        }
        last
    }

    /// Every element that is needed.
    pub(crate) fn elements(&self) -> impl Iterator<Item = Element> + '_ {
        let cluster_ips =
            self.cluster_ips.keys().map(|address| (SetName::ClusterIps, Key::Address(*address), *address));
        let hairpin = self.hairpin.keys().map(|address| (SetName::Hairpin, Key::Itself(*address), *address));
        cluster_ips.chain(hairpin).map(|(set, key, address)| Element::member(Family::of(address), set, key))
    }

    fn counts(&mut self, element: &Element) -> Option<(&mut HashMap<IpAddr, u32>, IpAddr)> {
        match (element.set, element.key) {
            (SetName::ClusterIps, Key::Address(address)) => Some((&mut self.cluster_ips, address)),
            (SetName::Hairpin, Key::Itself(address)) => Some((&mut self.hairpin, address)),
            _ => None,
        }
    }
}
