//! From what was read from the kernel: everything is compared, and only what is wrong is written.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use backend_api::{
    Affinity, EndpointAddress, Family, FrontendKey, NodeNetwork, PerFamily, Pool, ServiceName, ServicePort,
    ServiceState,
};
use tracing::trace_span;

use super::{Plan, Terms, add_chain, is_on_demand, needed_chains, unfit};
use crate::assign::{Slots, Sticky, first_slot, first_sticky_slot};
use crate::belief::{Belief, Programmed};
use crate::content::{Content, Found};
use crate::diff::diff_of_unsorted;
use crate::marks::{Marks, Target};
use crate::render::{
    base, constant_elements, fastpath, flowtable, initial_chains, node_elements, rules, sized_element,
};
use crate::ruleset::lower::lower;
use crate::ruleset::{By, ChainName, Delivery, Element, FLOWTABLE, Key, Mark, Rule, SetName, Tag, Value, value_at};
use crate::transaction::Transaction;
use netlink::nftables as kernel;
use netlink::nftables::{Expr, Flowtable, Set};

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
        let history = PerFamily { v4: History::of(&found.v4, Family::V4), v6: History::of(&found.v6, Family::V6) };
        for service in desired.services_unordered().filter(|service| !excluded.contains(&service.name)) {
            if let Some(failure) = unfit(service, marks) {
                failed.push(failure);
                continue;
            }
            let programmed = Programmed::new(
                service,
                |port, pool| {
                    let marked = MarkedEndpoints::new(&service.name, port, marks);
                    history.of(port.family).slots(port, pool, &marked)
                },
                marks,
            );
            let mut shared = BTreeSet::new();
            programmed.elements(&node, &mut wanted, &mut shared);
            for element in &shared {
                belief.shared.need(element);
            }
            belief.services.insert(service.name.clone(), programmed);
        }
        wanted.extend(belief.shared.elements());
        let needed = needed_chains(&wanted);
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
    let sets_fit = SetName::of(delivery)
        .all(|name| sets.get(name.as_str()).is_some_and(|there| **there == name.kernel_set(family, delivery)));
    let chains_fit = content
        .chains
        .iter()
        .all(|chain| ChainName::parse(&chain.name).is_none_or(|name| base(name, delivery) == chain.base));
    sets_fit && chains_fit && content.flowtables.iter().all(flowtable_fits)
}

/// Whether a flowtable of our name is as we make it. Its devices come and go.
fn flowtable_fits(there: &Flowtable) -> bool {
    let wanted = flowtable(BTreeSet::new());
    there.name != wanted.name || Flowtable { devices: BTreeSet::new(), ..there.clone() } == wanted
}

/// Everything in a new table, but for elements.
fn create(transaction: &mut Transaction, sized: &BTreeSet<ChainName>, (node, family): (&NodeNetwork, Family)) {
    transaction.add_tables.push(family);
    let to_flowtable = fastpath(node, transaction.delivery);
    transaction.add_flowtables.extend(to_flowtable.map(|_| family));
    for chain in initial_chains(transaction.delivery).chain(to_flowtable).chain(sized.iter().copied()) {
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
    let known = there.keys().filter_map(|name| ChainName::parse(name)).filter(|chain| is_on_demand(*chain));
    let sized: BTreeSet<ChainName> = known.chain(needed.iter().copied()).collect();
    let to_flowtable = fastpath(node, transaction.delivery);
    for chain in initial_chains(transaction.delivery).chain(to_flowtable).chain(sized.iter().copied()) {
        let name = chain.to_string();
        let Some(present) = there.remove(name.as_str()) else {
            add_chain(transaction, family, chain, node);
            continue;
        };
        let wanted = rules(chain, node, family, transaction.delivery);
        if !are_same(&wanted, &present, family) {
            transaction.flush_chains.push((family, name));
            transaction.add_rules.extend(wanted.into_iter().map(|rule| (family, chain, rule)));
        }
    }
    for strange in there.into_keys() {
        transaction.flush_chains.push((family, strange.to_owned()));
        transaction.remove_chains.push((family, strange.to_owned()));
    }
    let mut has_flowtable = false;
    for flowtable in &content.flowtables {
        if to_flowtable.is_some() && flowtable.name == FLOWTABLE {
            has_flowtable = true;
        } else {
            transaction.remove_flowtables.push((family, flowtable.name.clone()));
        }
    }
    if to_flowtable.is_some() && !has_flowtable {
        transaction.add_flowtables.push(family);
    }
    for set in &content.sets {
        if !SetName::of(transaction.delivery).any(|name| name.as_str() == set.name) {
            transaction.remove_sets.push((family, set.name.clone()));
        }
    }
    sized
}

/// Whether the rules of a chain in the kernel are these, in this order.
fn are_same(wanted: &[Rule], present: &[&kernel::Rule], family: Family) -> bool {
    wanted.len() == present.len()
        && wanted.iter().zip(present).all(|(rule, present)| is_same(&lower(rule, family), &present.exprs))
}

/// Whether a rule in the kernel is this one, whatever it has counted.
fn is_same(wanted: &[Expr], present: &[Expr]) -> bool {
    wanted.len() == present.len()
        && wanted.iter().zip(present).all(|(wanted, present)| match (wanted, present) {
            (Expr::Counter(_), Expr::Counter(_)) => true,
            _ => wanted == present,
        })
}

/// The endpoints that marks in the slots of a port stand for.
struct MarkedEndpoints(HashMap<Mark, EndpointAddress>);

impl MarkedEndpoints {
    fn new(service: &ServiceName, port: &ServicePort, marks: Option<&dyn Marks>) -> Self {
        let mut endpoints = HashMap::new();
        if let Some(marks) = marks.filter(|_| port.affinity != Affinity::None) {
            for frontend in &port.frontends {
                for endpoint in port.endpoints.iter().map(|endpoint| endpoint.address) {
                    let mark = marks.mark(service, port, frontend.key, Target::Endpoint(endpoint));
                    endpoints.extend(mark.map(|mark| (mark, endpoint)));
                }
            }
        }
        Self(endpoints)
    }

    fn endpoint(&self, value: Value) -> Option<EndpointAddress> {
        match value {
            Value::Endpoint(endpoint) => Some(endpoint),
            Value::Mark(mark) => self.0.get(&mark).copied(),
            _ => None,
        }
    }
}

/// Which endpoint is in which slot in the kernel, in the table of one family.
struct History<'a> {
    family: Family,
    elements: &'a [Element],
}

impl<'a> History<'a> {
    fn of(found: &'a Found, family: Family) -> Self {
        Self { family, elements: found.content().map_or(&[], |content| &content.elements) }
    }

    /// The slots of a port and pool, by the first of its frontends that has any.
    fn slots(&self, port: &ServicePort, pool: Pool, marked: &MarkedEndpoints) -> Option<Slots> {
        port.frontends.iter().find_map(|frontend| match port.affinity {
            Affinity::None => self.plain(frontend.key, pool).map(Slots::Plain),
            Affinity::ClientIp { .. } => self.sticky(frontend.key, pool, marked).map(Slots::Sticky),
        })
    }

    fn plain(&self, frontend: FrontendKey, pool: Pool) -> Option<Vec<EndpointAddress>> {
        let set = SetName::Endpoints(By::of(frontend));
        let endpoints: Vec<_> = self
            .slots_from(set, frontend, pool)
            .map_while(|value| match value {
                Value::Endpoint(endpoint) => Some(endpoint),
                _ => None,
            })
            .collect();
        Some(endpoints).filter(|endpoints| !endpoints.is_empty())
    }

    fn sticky(&self, frontend: FrontendKey, pool: Pool, marked: &MarkedEndpoints) -> Option<Sticky> {
        let first = first_sticky_slot(pool);
        let (picks, endpoints) = (SetName::StickyPicks(By::of(frontend)), SetName::StickyEndpoints(By::of(frontend)));
        let picks: Vec<u16> = self
            .slots_from(picks, frontend, pool)
            .map_while(|value| match value {
                Value::Code(code) => Tag::of(code).slot.checked_sub(first),
                _ => None,
            })
            .collect();
        let slots = first..=first + picks.iter().max()?;
        let endpoints = slots
            .map(|slot| self.value(endpoints, Key::Remembered(frontend, slot)))
            .map(|there| there.and_then(|value| marked.endpoint(value)))
            .collect();
        Some(Sticky { endpoints, picks })
    }

    /// What the numbers of a pool stand for, from its first one on without a hole: they are one behind the other.
    fn slots_from(&self, set: SetName, frontend: FrontendKey, pool: Pool) -> impl Iterator<Item = Value> {
        let numbered = (first_slot(pool)..).map(move |slot| (self.family, set, Key::Slot(frontend, slot)));
        let first = (self.family, set, Key::Slot(frontend, first_slot(pool)));
        let from = self.elements.partition_point(|element| element.place() < first);
        let behind = self.elements[from..].iter().zip(numbered);
        behind.map_while(|(element, place)| (element.place() == place).then_some(element.value))
    }

    fn value(&self, set: SetName, key: Key) -> Option<Value> {
        value_at(self.elements, (self.family, set, key))
    }
}
