//! From what is to what shall be: pure, whether "is" is believed or was just read.
//!
//! ```text
//!  Belief, desired ──► Plan::onward   (the size of the change)
//!  Content, desired ─► Plan::adopt    (everything, once)
//!                          └──► Transaction, and the Belief that holds once it is done
//! ```

mod adopt;
mod onward;

use std::collections::BTreeSet;
use std::sync::Arc;

use backend_api::{Failure, FailureKind, Family, NodeNetwork, PerFamily, Service, ServiceName};

use crate::belief::Belief;
use crate::marks::Marks;
use crate::render::{INITIAL_SIZE, beyond_limits, rules};
use crate::ruleset::{ChainName, Delivery, Element, Policy, SetName, Tag, Value};
use crate::transaction::Transaction;

/// What to do, and what will be.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What to do.
    pub(crate) transaction: Transaction,
    /// What will be then.
    pub(crate) belief: Belief,
    /// Services that cannot be programmed, whatever the kernel says; they are absent from `belief`.
    pub(crate) failed: Vec<Failure>,
    /// Services whose form changes, in the form that was believed before; none when nothing was believed.
    pub(crate) changed: Vec<(ServiceName, Option<Arc<Service>>)>,
}

/// What holds for every service.
#[derive(Clone, Debug)]
pub(crate) struct Terms<'a> {
    /// For tables that mark, and only for them.
    pub(crate) marks: Option<&'a dyn Marks>,
    /// The node, without what this kernel cannot do.
    pub(crate) node: Arc<NodeNetwork>,
}

impl Terms<'_> {
    /// What the tables do.
    pub(crate) fn delivery(&self) -> Delivery {
        if self.marks.is_some() { Delivery::Mark } else { Delivery::Translate }
    }
}

/// Why `service` cannot be programmed by us.
pub(crate) fn unfit(service: &Service, marks: Option<&dyn Marks>) -> Option<Failure> {
    let (kind, reason) = match beyond_limits(service) {
        Some(reason) => (FailureKind::Limit, reason),
        None => (FailureKind::Refused, marks?.unfit(&service.name)?),
    };
    Some(Failure::new(service.name.clone(), kind, reason))
}

/// The chains that `elements` lead to and that are not always there.
pub(crate) fn needed_chains(elements: &[Element]) -> PerFamily<BTreeSet<ChainName>> {
    let mut chains = PerFamily::<BTreeSet<ChainName>>::default();
    for element in elements {
        let needed = chains.of_mut(element.family);
        match (element.set, element.value) {
            (SetName::Services(by) | SetName::Inside(by) | SetName::Outside(by), Value::Code(code)) => {
                let sized = Policy::of(code).and_then(|policy| policy.sized_chain(by));
                needed.extend(sized.filter(|chain| is_on_demand(*chain)));
            }
            (SetName::StickyPicks(by), Value::Code(code)) => {
                needed.insert(ChainName::Slot(by, Tag::of(code)));
            }
            (SetName::Restricted(_), _) => needed.extend(ChainName::GUARDS),
            _ => {}
        }
    }
    chains
}

/// Whether a chain comes with the first service that needs it, and stays.
fn is_on_demand(chain: ChainName) -> bool {
    match chain {
        ChainName::Pick(_, _, size) => size > INITIAL_SIZE,
        ChainName::Sticky(..) | ChainName::Slot(..) => true,
        _ => ChainName::GUARDS.contains(&chain),
    }
}

/// Adds a chain with its rules, and the element that leads to it.
fn add_chain(transaction: &mut Transaction, family: Family, chain: ChainName, node: &NodeNetwork) {
    transaction.add_chains.push((family, chain));
    transaction
        .add_rules
        .extend(rules(chain, node, family, transaction.delivery).into_iter().map(|rule| (family, chain, rule)));
}

/// The names that `desired` and `belief` have.
fn all_names(belief: &Belief, desired: &backend_api::ServiceState) -> BTreeSet<ServiceName> {
    let desired = desired.services_unordered().map(|service| service.name.clone());
    belief.services.keys().cloned().chain(desired).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{initial_chains, sized_element};

    #[test]
    fn initial_chains_are_those_that_are_always_there() {
        for delivery in [Delivery::Translate, Delivery::Mark] {
            for chain in initial_chains(delivery) {
                assert!(!is_on_demand(chain));
                assert!(sized_element(Family::V4, chain).is_none() || matches!(chain, ChainName::Pick(..)));
            }
        }
    }
}
