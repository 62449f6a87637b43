//! The elements that are a service.

use std::collections::BTreeSet;

use backend_api::{
    Affinity, Answer, Family, Frontend, FrontendKey, FrontendKind, Masquerade, NodeNetwork, Pool, Route, Service,
    ServicePort, SourceRanges,
};

use super::affinity::affinity_id;
use super::ranges::disjoint;
use crate::assign::{Slots, assign, first_slot, first_sticky_slot, live};
use crate::marks::{Marks, Target};
use crate::ruleset::code::masquerade_code;
use crate::ruleset::{By, Element, Key, LOCAL_STICKY_SLOT, Mark, Policy, SetName, Tag, Value};

/// The slots of every port and pool of a service, where they differ from what they would be without a past: mostly
/// nowhere, so that 50,000 services weigh little.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// In order of ports and pools.
    slots: Vec<(usize, Pool, Slots)>,
    /// What answers, port by port, in order, in tables that mark; none in tables that translate.
    marks: Option<Box<[Answering]>>,
}

/// The index of a port, one of its frontends, and which virtual server answers it.
type Answering = (usize, FrontendKey, Target, Mark);

impl Assignment {
    /// The slots of `service`, with as few changes as possible from `before`, which answers what the slots of a port
    /// and pool were.
    pub(crate) fn new(
        service: &Service,
        before: impl Fn(&ServicePort, Pool) -> Option<Slots>,
        marks: Option<&dyn Marks>,
    ) -> Self {
        let mut slots = Vec::new();
        for (i, port) in service.ports.iter().enumerate() {
            for pool in pools(port) {
                let Some(before) = before(port, pool) else { continue };
                let now = assign(Some(&before), port, pool);
                if now != assign(None, port, pool) {
                    slots.push((i, pool, now));
                }
            }
        }
        Self { slots, marks: marks.map(|marks| marked(service, marks)) }
    }

    /// The slots of the port at `index` in one of its pools.
    pub(crate) fn slots(&self, service: &Service, index: usize, pool: Pool) -> Slots {
        match self.slots.binary_search_by_key(&(index, pool), |(index, pool, _)| (*index, *pool)) {
            Ok(at) => self.slots[at].2.clone(),
            Err(_) => assign(None, &service.ports[index], pool),
        }
    }

    /// What answers a frontend of the port at `index` for `target`.
    fn answer(&self, index: usize, frontend: FrontendKey, target: Target) -> Option<Value> {
        match (&self.marks, target) {
            (Some(marks), _) => {
                let wanted = (index, frontend, target);
                let at =
                    marks.binary_search_by_key(&wanted, |(index, frontend, target, _)| (*index, *frontend, *target));
                Some(Value::Mark(marks[at.ok()?].3))
            }
            (None, Target::Endpoint(endpoint)) => Some(Value::Endpoint(endpoint)),
            (None, Target::Pool(_)) => None,
        }
    }

    /// The slots of the port at `index`, if it has this pool.
    pub(crate) fn slots_of(&self, service: &Service, index: usize, pool: Pool) -> Option<Slots> {
        pools(&service.ports[index]).contains(&pool).then(|| self.slots(service, index, pool))
    }
}

/// The marks of every virtual server that answers for a service.
fn marked(service: &Service, marks: &dyn Marks) -> Box<[Answering]> {
    let mut all = Vec::new();
    for (index, port) in service.ports.iter().enumerate() {
        for Frontend { key, route, .. } in &port.frontends {
            let targets: BTreeSet<Target> = match port.affinity {
                Affinity::None => balanced(*route).map(Target::Pool).collect(),
                Affinity::ClientIp { .. } => {
                    let endpoints = balanced(*route).flat_map(|pool| port.pool(pool));
                    endpoints.map(|endpoint| Target::Endpoint(endpoint.address)).collect()
                }
            };
            for target in targets {
                let mark = marks.mark(&service.name, port, *key, target);
                all.extend(mark.map(|mark| (index, *key, target, mark)));
            }
        }
    }
    all.sort_unstable();
    all.into()
}

/// The pools that a port's frontends balance over.
fn pools(port: &ServicePort) -> BTreeSet<Pool> {
    port.frontends.iter().flat_map(|frontend| balanced(frontend.route)).collect()
}

/// The pools that clients are balanced over.
fn balanced(route: Route) -> impl Iterator<Item = Pool> {
    let answers = match route {
        Route::Everyone(answer) => [Some(answer), None],
        Route::Split { inside, outside } => [Some(inside), Some(outside)],
    };
    answers.into_iter().flatten().filter_map(|answer| match answer {
        Answer::Balance(pool) => Some(pool),
        Answer::Reject | Answer::Drop => None,
    })
}

/// Why a service cannot be programmed by us, whatever the kernel says.
pub(crate) fn beyond_limits(service: &Service) -> Option<String> {
    service.ports.iter().find_map(|port| {
        let limit = beyond_limits_of_port(port)?;
        Some(format!("port {:?} ({}, {}): {limit}", port.name, port.protocol, port.family))
    })
}

fn beyond_limits_of_port(port: &ServicePort) -> Option<String> {
    for pool in pools(port) {
        let endpoints = live(port, pool);
        let shares: u64 = endpoints.iter().map(|(_, share)| u64::from(*share)).sum();
        if shares > u16::MAX.into() {
            return Some(format!("weights need {shares} slots, {} at most", u16::MAX));
        }
        if port.affinity != Affinity::None && endpoints.len() > LOCAL_STICKY_SLOT.into() {
            let count = endpoints.len();
            return Some(format!("{count} endpoints with session affinity, {LOCAL_STICKY_SLOT} at most"));
        }
    }
    match port.affinity {
        Affinity::ClientIp { timeout } if timeout.get() > Tag::MAX_TIMEOUT => {
            Some(format!("affinity timeout of {timeout} s, {} s at most", Tag::MAX_TIMEOUT))
        }
        _ => None,
    }
}

/// Shows every element of a service to `put`; one that several of its ports need, several times.
pub(crate) fn service_elements(
    service: &Service,
    slots: &Assignment,
    node: &NodeNetwork,
    mut put: impl FnMut(Element),
) {
    for (index, port) in service.ports.iter().enumerate() {
        let slots_of_pools: Vec<(Pool, Slots)> =
            pools(port).into_iter().map(|pool| (pool, slots.slots(service, index, pool))).collect();
        let context = Context {
            service,
            port,
            index,
            slots,
            pools: &slots_of_pools,
            cluster_default: node.cluster_masquerade(port.family),
        };
        for frontend in &port.frontends {
            context.frontend(frontend, &mut put);
        }
        if !port.frontends.is_empty() {
            for endpoint in port.endpoints.iter().filter(|endpoint| endpoint.on_this_node) {
                put(Element::member(port.family, SetName::Hairpin, Key::Itself(endpoint.address.ip)));
            }
        }
    }
}

/// What the frontends of a port have in common.
struct Context<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    index: usize,
    slots: &'a Assignment,
    pools: &'a [(Pool, Slots)],
    cluster_default: Masquerade,
}

impl Context<'_> {
    fn family(&self) -> Family {
        self.port.family
    }

    fn frontend(&self, frontend: &Frontend, put: &mut impl FnMut(Element)) {
        let by = By::of(frontend.key);
        let answers = self.route(frontend, by, put);
        if let Affinity::ClientIp { .. } = self.port.affinity {
            let id = Value::Code(affinity_id(&self.service.name, self.port));
            put(Element::maps(self.family(), SetName::AffinityIds(by), Key::Frontend(frontend.key), id));
        }
        for (pool, slots) in self.pools.iter().filter(|(pool, _)| answers.contains(&Answer::Balance(*pool))) {
            self.balance(frontend.key, by, (*pool, slots), put);
        }
        self.source(frontend, by, put);
        if let (FrontendKind::ClusterIp, FrontendKey::Address { address, .. }) = (frontend.kind, frontend.key) {
            put(Element::member(self.family(), SetName::ClusterIps, Key::Address(address)));
        }
    }

    /// What answers; returns every answer that clients can meet.
    fn route(&self, frontend: &Frontend, by: By, put: &mut impl FnMut(Element)) -> Vec<Answer> {
        match frontend.route {
            Route::Everyone(answer) => {
                put(self.code(frontend, SetName::Services(by), self.policy(answer)));
                vec![answer]
            }
            Route::Split { inside, outside } => {
                put(self.code(frontend, SetName::Services(by), Policy::Split));
                put(self.code(frontend, SetName::Inside(by), self.policy(inside)));
                put(self.code(frontend, SetName::Outside(by), self.policy(outside)));
                vec![inside, outside]
            }
        }
    }

    fn code(&self, frontend: &Frontend, set: SetName, policy: Policy) -> Element {
        Element::maps(self.family(), set, Key::Frontend(frontend.key), Value::Code(policy.code()))
    }

    fn policy(&self, answer: Answer) -> Policy {
        match answer {
            Answer::Reject => Policy::Refuse,
            Answer::Drop => Policy::Drop,
            Answer::Balance(pool) => {
                let size = self.pools.iter().find(|(of, _)| *of == pool).map_or(0, |(_, slots)| slots.size());
                let size = u16::try_from(size).expect("larger pools are beyond our limits");
                match (size, self.port.affinity) {
                    (0, _) => Policy::Refuse,
                    // IPVS picks.
                    (_, Affinity::None) if self.slots.marks.is_some() => Policy::Pick(pool, 1),
                    (_, Affinity::None) => Policy::Pick(pool, size),
                    (_, Affinity::ClientIp { .. }) => Policy::Sticky(pool, size),
                }
            }
        }
    }

    fn balance(&self, frontend: FrontendKey, by: By, (pool, slots): (Pool, &Slots), put: &mut impl FnMut(Element)) {
        let family = self.family();
        match (slots, self.port.affinity) {
            (Slots::Plain(endpoints), _) => {
                let targets = match self.slots.marks {
                    Some(_) if endpoints.is_empty() => &[],
                    Some(_) => &[Target::Pool(pool)][..],
                    None => &endpoints.iter().copied().map(Target::Endpoint).collect::<Vec<_>>(),
                };
                for (slot, target) in (first_slot(pool)..).zip(targets) {
                    if let Some(value) = self.slots.answer(self.index, frontend, *target) {
                        put(Element::maps(family, SetName::Endpoints(by), Key::Slot(frontend, slot), value));
                    }
                }
            }
            (Slots::Sticky(_), Affinity::None) => {}
            (Slots::Sticky(sticky), Affinity::ClientIp { timeout }) => {
                let first = first_sticky_slot(pool);
                for (index, pick) in (first_slot(pool)..).zip(&sticky.picks) {
                    let tag = Tag { slot: first + pick, timeout: timeout.get() };
                    let key = Key::Slot(frontend, index);
                    put(Element::maps(family, SetName::StickyPicks(by), key, Value::Code(tag.code())));
                }
                for (slot, endpoint) in (first..).zip(&sticky.endpoints) {
                    let Some(endpoint) = endpoint else { continue };
                    if let Some(value) = self.slots.answer(self.index, frontend, Target::Endpoint(*endpoint)) {
                        let key = Key::Remembered(frontend, slot);
                        put(Element::maps(family, SetName::StickyEndpoints(by), key, value));
                    }
                }
            }
        }
    }

    /// Which sources may dial, and whether the source is rewritten.
    fn source(&self, frontend: &Frontend, by: By, put: &mut impl FnMut(Element)) {
        let family = self.family();
        if let SourceRanges::Only(ranges) = &frontend.source_ranges {
            put(Element::member(family, SetName::Restricted(by), Key::Frontend(frontend.key)));
            for range in disjoint(ranges).into_iter().filter(|range| range.family() == family) {
                put(Element::member(family, SetName::Allowed(by), Key::Source(frontend.key, range)));
            }
        }
        let is_default = frontend.kind == FrontendKind::ClusterIp && frontend.masquerade == self.cluster_default;
        if !is_default {
            let code = Value::Code(masquerade_code(frontend.masquerade));
            put(Element::maps(family, SetName::Masquerade(by), Key::Frontend(frontend.key), code));
        }
    }
}
