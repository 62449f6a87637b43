//! From what we believe to be in the kernel: the cost is the size of the change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backend_api::{Failure, Family, NodeNetwork, PerFamily, Scope, Service, ServiceName, ServiceState};
use tracing::trace_span;

use super::{Plan, Terms, add_chain, all_names, is_on_demand, needed_chains, unfit};
use crate::belief::{Belief, Programmed};
use crate::diff::diff;
use crate::render::{fastpath, initial_chains, node_elements, rules, sized_element};
use crate::ruleset::{ChainName, Element, FLOWTABLE};
use crate::transaction::Transaction;

impl Plan {
    /// What leads from `belief` to `desired`. Services that `excluded` names are taken for absent.
    pub(crate) fn onward(
        mut belief: Belief,
        desired: &ServiceState,
        scope: Scope<'_>,
        terms: &Terms<'_>,
        excluded: &BTreeSet<ServiceName>,
    ) -> Self {
        let node_before = std::mem::replace(&mut belief.node, terms.node.clone());
        let node_changed = *node_before != *belief.node;
        let rerender = Family::ALL
            .iter()
            .any(|family| node_before.cluster_masquerade(*family) != belief.node.cluster_masquerade(*family));
        let mut change = Change::new(&node_before, terms, rerender);
        let all;
        let names = match scope {
            Scope::Services(names) if !node_changed => names,
            Scope::Services(_) | Scope::All => {
                all = changed_names(&belief, desired, rerender);
                &all
            }
        };
        let rendering = trace_span!("render").entered();
        for name in names {
            change.service(&mut belief, name, desired, excluded);
        }
        drop(rendering);
        let _diffing = trace_span!("diff").entered();
        let failed = std::mem::take(&mut change.failed);
        let changed = std::mem::take(&mut change.changed);
        // Those that come with this change are filled for the new node.
        let chains = if node_changed { belief.chains.clone() } else { PerFamily::default() };
        let mut transaction = change.transaction(&mut belief);
        if node_changed {
            chains_of_node(&mut transaction, &chains, &node_before, &belief.node);
            fastpath_of_node(&mut transaction, &node_before, &belief.node);
        }
        Plan { transaction, belief, failed, changed }
    }
}

/// The services whose form is not the one that was programmed.
fn changed_names(belief: &Belief, desired: &ServiceState, rerender: bool) -> BTreeSet<ServiceName> {
    if rerender {
        return all_names(belief, desired);
    }
    let gone = belief.services.keys().filter(|name| desired.service(name).is_none());
    let others = desired
        .services_unordered()
        .filter(|service| belief.services.get(&service.name).is_none_or(|programmed| programmed.service != **service));
    gone.chain(others.map(|service| &service.name)).cloned().collect()
}

/// Elements of everything that changes, before and after.
struct Change<'a> {
    node_before: &'a NodeNetwork,
    rerender: bool,
    terms: &'a Terms<'a>,
    before: Vec<Element>,
    after: Vec<Element>,
    /// How many services more, or less, need an element that several may need.
    shared: BTreeMap<Element, i64>,
    failed: Vec<Failure>,
    changed: Vec<(ServiceName, Option<Arc<Service>>)>,
}

impl<'a> Change<'a> {
    fn new(node_before: &'a NodeNetwork, terms: &'a Terms<'a>, rerender: bool) -> Self {
        let (node, delivery) = (&terms.node, terms.delivery());
        let (before, after) = if *node_before == **node {
            (Vec::new(), Vec::new())
        } else {
            (node_elements(node_before, delivery), node_elements(node, delivery))
        };
        Self {
            node_before,
            rerender,
            terms,
            before,
            after,
            shared: BTreeMap::new(),
            failed: Vec::new(),
            changed: Vec::new(),
        }
    }

    fn service(
        &mut self,
        belief: &mut Belief,
        name: &ServiceName,
        desired: &ServiceState,
        excluded: &BTreeSet<ServiceName>,
    ) {
        let mut wanted = desired.service(name).filter(|_| !excluded.contains(name));
        if let Some(failure) = wanted.and_then(|service| unfit(service, self.terms.marks)) {
            self.failed.push(failure);
            wanted = None;
        }
        let before = belief.services.remove(name);
        if let (Some(before), Some(service)) = (&before, wanted)
            && !self.rerender
            && Arc::ptr_eq(&before.service, service)
        {
            belief.services.insert(name.clone(), before.clone());
            return;
        }
        self.changed.push((name.clone(), before.as_ref().map(|before| before.service.clone())));
        let after = wanted.map(|service| match &before {
            Some(before) => before.next(service, self.terms.marks),
            None => Programmed::new(service, |_, _| None, self.terms.marks),
        });
        if let Some(before) = &before {
            let mut shared = BTreeSet::new();
            before.elements(self.node_before, &mut self.before, &mut shared);
            self.count(shared, -1);
        }
        if let Some(after) = after {
            let mut shared = BTreeSet::new();
            after.elements(&self.terms.node, &mut self.after, &mut shared);
            self.count(shared, 1);
            belief.services.insert(name.clone(), after);
        }
    }

    fn count(&mut self, shared: BTreeSet<Element>, by: i64) {
        for element in shared {
            *self.shared.entry(element).or_insert(0) += by;
        }
    }

    fn transaction(mut self, belief: &mut Belief) -> Transaction {
        self.before.sort_unstable();
        self.after.sort_unstable();
        let mut transaction = Transaction { delivery: self.terms.delivery(), ..Transaction::default() };
        for family in Family::ALL {
            for chain in needed_chains(&self.after).of(family) {
                if belief.chains.of_mut(family).insert(*chain) {
                    debug_assert!(is_on_demand(*chain));
                    add_chain(&mut transaction, family, *chain, &self.terms.node);
                    self.after.extend(sized_element(family, *chain));
                }
            }
        }
        self.after.sort_unstable();
        (transaction.remove_elements, transaction.add_elements) = diff(self.before, self.after);
        for (element, by) in &self.shared {
            for _ in 0..by.unsigned_abs() {
                if *by > 0 && belief.shared.need(element) {
                    transaction.add_elements.push(*element);
                } else if *by < 0 && belief.shared.release(element) {
                    transaction.remove_elements.push(*element);
                }
            }
        }
        transaction.add_elements.sort_unstable();
        transaction.remove_elements.sort_unstable();
        transaction
    }
}

/// Chains whose rules say something else on the new node: emptied and filled again. Those with a size never do.
fn chains_of_node(
    transaction: &mut Transaction,
    on_demand: &PerFamily<BTreeSet<ChainName>>,
    before: &NodeNetwork,
    after: &NodeNetwork,
) {
    for family in Family::ALL {
        let chains = initial_chains(transaction.delivery).chain(on_demand.of(family).iter().copied());
        for chain in chains.filter(|chain| sized_element(family, *chain).is_none()) {
            refill(transaction, (family, chain), before, after);
        }
    }
}

/// The flowtable and the chain that leads there come, go, or hand over earlier or later.
fn fastpath_of_node(transaction: &mut Transaction, before: &NodeNetwork, after: &NodeNetwork) {
    let delivery = transaction.delivery;
    for family in Family::ALL {
        match (fastpath(before, delivery), fastpath(after, delivery)) {
            (None, None) => {}
            (None, Some(chain)) => {
                transaction.add_flowtables.push(family);
                add_chain(transaction, family, chain, after);
            }
            (Some(chain), None) => {
                transaction.flush_chains.push((family, chain.to_string()));
                transaction.remove_chains.push((family, chain.to_string()));
                transaction.remove_flowtables.push((family, FLOWTABLE.to_owned()));
            }
            (Some(chain), Some(_)) => refill(transaction, (family, chain), before, after),
        }
    }
}

fn refill(
    transaction: &mut Transaction,
    (family, chain): (Family, ChainName),
    before: &NodeNetwork,
    after: &NodeNetwork,
) {
    let now = rules(chain, after, family, transaction.delivery);
    if rules(chain, before, family, transaction.delivery) != now {
        transaction.flush_chains.push((family, chain.to_string()));
        transaction.add_rules.extend(now.into_iter().map(|rule| (family, chain, rule)));
    }
}
