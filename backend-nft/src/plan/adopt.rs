//! From what was read from the kernel: everything is looked at, and only what is wrong is written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use backend_api::{
    Affinity, EndpointAddress, Family, FrontendKey, NodeNetwork, PerFamily, Pool, ServiceName, ServicePort,
    ServiceState,
};
use tracing::trace_span;

use super::{Plan, Terms, add_chain, is_sized, sized_chains, unfit};
use crate::assign::{Slots, Sticky, first_slot, first_sticky_slot};
use crate::belief::{Belief, Programmed};
use crate::content::Content;
use crate::diff::diff_of_unsorted;
use crate::marking::{Marks, Target};
use crate::render::{
    base, constant_elements, fastpath, flowtable, initial_chains, node_elements, rules, sized_element,
};
use crate::ruleset::lower::lower;
use crate::ruleset::{By, ChainName, Delivery, Element, FLOWTABLE, Key, Mark, SetName, Tag, Value};
use crate::transaction::Transaction;
use netlink::nftables as kernel;
use netlink::nftables::{Expr, Flowtable, Set};

/// What is in the kernel under our name, and ours.
#[derive(Debug)]
pub(crate) enum Found {
    /// No table.
    Nothing,
    /// A table of ours, of another layout.
    OfOld,
    /// A table of ours.
    Table(Content),
}

impl Found {
    /// What is in our table.
    pub(crate) fn content(&self) -> Option<&Content> {
        match self {
            Self::Table(content) => Some(content),
            Self::Nothing | Self::OfOld => None,
        }
    }
}

impl Plan {
    /// What leads from `found` to `desired`. Services that `excluded` names are taken for absent.
    pub(crate) fn adopt(
        found: &PerFamily<Found>,
        desired: &ServiceState,
        terms: &Terms<'_>,
        excluded: &BTreeSet<ServiceName>,
    ) -> Self {
        let rendering = trace_span!("render").entered();
        let (marks, delivery, node) = (terms.marks, terms.delivery(), terms.node.clone());
        let mut transaction = Transaction { delivery, ..Transaction::default() };
        let mut belief = Belief::without_services(node.clone());
        let mut failed = Vec::new();
        let mut wanted = node_elements(&node, delivery);
        let history = PerFamily { v4: History::of(&found.v4), v6: History::of(&found.v6) };
        for service in desired.services_unordered().filter(|service| !excluded.contains(&service.name)) {
            if let Some(failure) = unfit(service, marks) {
                failed.push(failure);
                continue;
            }
            let before = |port: &ServicePort, pool| {
                let answering = Answering::new(&service.name, port, marks);
                history.of(port.family).slots(port, pool, &answering)
            };
            let programmed = Programmed::new(service, before, marks);
            let mut shared = BTreeSet::new();
            programmed.elements(&node, &mut wanted, &mut shared);
            for element in &shared {
                belief.shared.need(element);
            }
            belief.services.insert(service.name.clone(), programmed);
        }
        wanted.extend(belief.shared.elements());
        let needed = sized_chains(&wanted);
        let mut there = Vec::new();
        for family in Family::ALL {
            let usable = match found.of(family) {
                Found::Nothing => None,
                Found::Table(content) if is_usable(content, family, delivery) => Some(content),
                Found::Table(_) | Found::OfOld => {
                    transaction.remove_tables.push(family);
                    None
                }
            };
            let chains = match usable {
                Some(content) => {
                    there.extend_from_slice(&content.elements);
                    transaction.claim_tables.extend(content.is_orphan.then_some(family));
                    transaction.remove_strange.extend_from_slice(&content.strange);
                    repair(&mut transaction, content, needed.of(family), (&node, family))
                }
                None => {
                    create(&mut transaction, needed.of(family), (&node, family));
                    needed.of(family).clone()
                }
            };
            wanted.extend(constant_elements(family));
            let all = initial_chains(delivery).chain(chains.iter().copied());
            wanted.extend(all.filter_map(|chain| sized_element(family, chain)));
            *belief.chains.of_mut(family) = chains;
        }
        drop(rendering);
        let _diffing = trace_span!("diff").entered();
        (transaction.remove_elements, transaction.add_elements) = diff_of_unsorted(there, wanted);
        failed.sort_unstable_by(|one, other| one.service.cmp(&other.service));
        Plan { transaction, belief, failed, changed: Vec::new() }
    }
}

/// Whether a table can become what it should be without being made anew: what cannot be changed in place is right.
fn is_usable(content: &Content, family: Family, delivery: Delivery) -> bool {
    let sets: HashMap<&str, &Set> = content.sets.iter().map(|set| (set.name.as_str(), set)).collect();
    let sets_fit = SetName::of(delivery).all(|name| {
        let wanted = name.kernel_set(family, delivery);
        sets.get(name.as_str()).is_some_and(|there| **there == wanted)
    });
    let base_fits =
        |chain: &kernel::Chain| ChainName::parse(&chain.name).is_none_or(|name| base(name, delivery) == chain.base);
    let flowtable = flowtable(BTreeSet::new());
    let flowtable_fits = content.flowtables.iter().filter(|there| there.name == flowtable.name).all(|there| {
        // Devices come and go.
        kernel::Flowtable { devices: BTreeSet::new(), ..there.clone() } == flowtable
    });
    sets_fit && flowtable_fits && content.chains.iter().all(base_fits)
}

/// Everything in a new table, but for elements.
fn create(transaction: &mut Transaction, sized: &BTreeSet<ChainName>, (node, family): (&NodeNetwork, Family)) {
    transaction.add_tables.push(family);
    let fastpath = fastpath(node, transaction.delivery);
    transaction.add_flowtables.extend(fastpath.map(|_| family));
    for chain in initial_chains(transaction.delivery).chain(fastpath).chain(sized.iter().copied()) {
        add_chain(transaction, family, chain, node);
    }
}

/// Adds chains that are missing, fills those again whose rules are not ours, and removes what is not ours. Answers the
/// chains beyond those that are always there.
fn repair(
    transaction: &mut Transaction,
    content: &Content,
    needed: &BTreeSet<ChainName>,
    (node, family): (&NodeNetwork, Family),
) -> BTreeSet<ChainName> {
    let mut there: BTreeMap<&str, Vec<&kernel::Rule>> =
        content.chains.iter().map(|chain| (chain.name.as_str(), Vec::new())).collect();
    for rule in &content.rules {
        there.entry(&rule.chain).or_default().push(rule);
    }
    let known = there.keys().filter_map(|name| ChainName::parse(name)).filter(|chain| is_sized(*chain));
    let sized: BTreeSet<ChainName> = known.chain(needed.iter().copied()).collect();
    let fastpath = fastpath(node, transaction.delivery);
    for chain in initial_chains(transaction.delivery).chain(fastpath).chain(sized.iter().copied()) {
        let name = chain.to_string();
        let Some(present) = there.remove(name.as_str()) else {
            add_chain(transaction, family, chain, node);
            continue;
        };
        let wanted = rules(chain, node, family, transaction.delivery);
        let equal =
            |(rule, present): (&crate::ruleset::Rule, &&kernel::Rule)| is_same(&lower(rule, family), &present.exprs);
        if wanted.len() != present.len() || !wanted.iter().zip(&present).all(equal) {
            transaction.flush_chains.push((family, name));
            transaction.add_rules.extend(wanted.into_iter().map(|rule| (family, chain, rule)));
        }
    }
    for strange in there.into_keys() {
        transaction.flush_chains.push((family, strange.to_owned()));
        transaction.remove_chains.push((family, strange.to_owned()));
    }
    let is_wanted = |flowtable: &&Flowtable| fastpath.is_some() && flowtable.name == FLOWTABLE;
    if fastpath.is_some() && !content.flowtables.iter().any(|flowtable| is_wanted(&flowtable)) {
        transaction.add_flowtables.push(family);
    }
    let strange = content.flowtables.iter().filter(|flowtable| !is_wanted(flowtable));
    transaction.remove_flowtables.extend(strange.map(|flowtable| (family, flowtable.name.clone())));
    let is_ours = |set: &&Set| SetName::of(transaction.delivery).any(|name| name.as_str() == set.name);
    let strange = content.sets.iter().filter(|set| !is_ours(set));
    transaction.remove_sets.extend(strange.map(|set| (family, set.name.clone())));
    sized
}

/// Whether a rule in the kernel is this one, whatever it has counted.
fn is_same(wanted: &[Expr], present: &[Expr]) -> bool {
    let same = |(wanted, present): (&Expr, &Expr)| match (wanted, present) {
        (Expr::Counter(_), Expr::Counter(_)) => true,
        _ => wanted == present,
    };
    wanted.len() == present.len() && wanted.iter().zip(present).all(same)
}

/// Which endpoint the value of a slot means.
struct Answering(HashMap<Mark, EndpointAddress>);

impl Answering {
    fn new(service: &ServiceName, port: &ServicePort, marks: Option<&dyn Marks>) -> Self {
        let mut answering = HashMap::new();
        if let Some(marks) = marks.filter(|_| port.affinity != Affinity::None) {
            for frontend in &port.frontends {
                let addresses = port.endpoints.iter().map(|endpoint| endpoint.address);
                let mark = |endpoint| marks.mark(service, port, frontend.key, Target::Endpoint(endpoint));
                answering.extend(addresses.filter_map(|endpoint| Some((mark(endpoint)?, endpoint))));
            }
        }
        Self(answering)
    }

    fn endpoint(&self, value: Value) -> Option<EndpointAddress> {
        match value {
            Value::Endpoint(endpoint) => Some(endpoint),
            Value::Mark(mark) => self.0.get(&mark).copied(),
            _ => None,
        }
    }
}

/// Which endpoint is in which slot in the kernel.
struct History<'a>(&'a [Element]);

impl<'a> History<'a> {
    fn of(found: &'a Found) -> Self {
        match found {
            Found::Table(content) => Self(&content.elements),
            Found::Nothing | Found::OfOld => Self(&[]),
        }
    }

    /// The slots of a port and pool, by the first of its frontends that has any.
    fn slots(&self, port: &ServicePort, pool: Pool, answering: &Answering) -> Option<Slots> {
        port.frontends.iter().find_map(|frontend| match port.affinity {
            Affinity::None => self.plain(frontend.key, pool).map(Slots::Plain),
            Affinity::ClientIp { .. } => self.sticky(frontend.key, pool, answering).map(Slots::Sticky),
        })
    }

    fn plain(&self, frontend: FrontendKey, pool: Pool) -> Option<Vec<EndpointAddress>> {
        let set = SetName::Endpoints(by(frontend));
        let at = |slot| self.value(set, Key::Slot(frontend, slot));
        let endpoints = (first_slot(pool)..).map_while(|slot| match at(slot)? {
            Value::Endpoint(endpoint) => Some(endpoint),
            _ => None,
        });
        Some(endpoints.collect::<Vec<_>>()).filter(|endpoints| !endpoints.is_empty())
    }

    fn sticky(&self, frontend: FrontendKey, pool: Pool, answering: &Answering) -> Option<Sticky> {
        let first = first_sticky_slot(pool);
        let picks = (first_slot(pool)..).map_while(|index| {
            match self.value(SetName::StickyPicks(by(frontend)), Key::Slot(frontend, index))? {
                Value::Code(code) => Tag::of(code).slot.checked_sub(first),
                _ => None,
            }
        });
        let picks: Vec<u16> = picks.collect();
        let mut sticky =
            Sticky { endpoints: vec![None; picks.iter().max().map_or(0, |last| usize::from(*last) + 1)], picks };
        for (slot, endpoint) in (first..).zip(&mut sticky.endpoints) {
            let there = self.value(SetName::StickyEndpoints(by(frontend)), Key::Remembered(frontend, slot));
            *endpoint = there.and_then(|there| answering.endpoint(there));
        }
        Some(sticky).filter(|sticky| !sticky.picks.is_empty())
    }

    fn value(&self, set: SetName, key: Key) -> Option<Value> {
        let place = (key_family(key)?, set, key);
        let at = self.0.binary_search_by(|element| element.place().cmp(&place)).ok()?;
        Some(self.0[at].value)
    }
}

fn by(frontend: FrontendKey) -> By {
    match frontend {
        FrontendKey::Address { .. } => By::Address,
        FrontendKey::NodePort { .. } => By::NodePort,
    }
}

fn key_family(key: Key) -> Option<Family> {
    match key {
        Key::Frontend(frontend) | Key::Slot(frontend, _) | Key::Remembered(frontend, _) | Key::Source(frontend, _) => {
            Some(frontend.family())
        }
        Key::Code(_) => None,
        Key::Address(address) | Key::Itself(address) => Some(Family::of(address)),
    }
}
