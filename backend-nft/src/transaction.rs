//! What is to be changed in our tables, in the one order that the kernel accepts.
//!
//! Phases instead of a list of operations, so that a caller that fills one cannot get the order wrong. Chains exist
//! before what leads to them, elements go before others take their places, and all of it is one batch for both
//! families.

use std::collections::HashMap;

use backend_api::Family;

use crate::ruleset::{ChainName, Delivery, Element, Key, Rule, SetName};
use netlink::nftables::Counter;

/// Changes, all or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transaction {
    /// Of which kind the tables are.
    pub(crate) delivery: Delivery,
    /// Tables of ours that go, with everything in them.
    pub(crate) remove_tables: Vec<Family>,
    /// Tables that come, with every set.
    pub(crate) add_tables: Vec<Family>,
    /// Flowtables that come, without devices.
    pub(crate) add_flowtables: Vec<Family>,
    /// Tables of ours that have no owner any more, to be owned by our socket. Changes nothing in them, and is no write.
    pub(crate) claim_tables: Vec<Family>,
    /// Chains that come.
    pub(crate) add_chains: Vec<(Family, ChainName)>,
    /// Chains whose rules go.
    pub(crate) flush_chains: Vec<(Family, String)>,
    /// Elements that another program put into our sets.
    pub(crate) remove_strange: Vec<Strange>,
    /// Rules, each at the end of its chain.
    pub(crate) add_rules: Vec<(Family, ChainName, Rule)>,
    /// Elements that go; in order.
    pub(crate) remove_elements: Vec<Element>,
    /// Chains that are not ours, and go.
    pub(crate) remove_chains: Vec<(Family, String)>,
    /// Sets that are not ours, and go.
    pub(crate) remove_sets: Vec<(Family, String)>,
    /// Flowtables that go.
    pub(crate) remove_flowtables: Vec<(Family, String)>,
    /// Devices that leave our flowtables.
    pub(crate) remove_devices: Vec<(Family, String)>,
    /// Devices that our flowtables get. One that is not there any more fails everything, so they come by themselves.
    pub(crate) add_devices: Vec<(Family, String)>,
    /// Elements that come; in order.
    pub(crate) add_elements: Vec<Element>,
    /// What the counters of coming elements start with, where not with 0.
    pub(crate) counters: HashMap<(Family, SetName, Key), Counter>,
}

/// An element that we never put there: its set and its key as it is in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Strange {
    /// In which table.
    pub(crate) family: Family,
    /// In which set.
    pub(crate) set: SetName,
    /// Its key.
    pub(crate) key: Vec<u8>,
    /// Where its interval ends.
    pub(crate) key_end: Option<Vec<u8>>,
}

/// One operation, as it is numbered when the kernel refuses it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation<'a> {
    /// A table goes.
    RemoveTable(Family),
    /// A table comes.
    AddTable(Family),
    /// Our flowtable comes.
    AddFlowtable(Family),
    /// A table is owned from now on.
    ClaimTable(Family),
    /// One of its sets.
    AddSet(Family, SetName),
    /// A chain comes.
    AddChain(Family, ChainName),
    /// A chain is emptied.
    FlushChain(Family, &'a str),
    /// A strange element goes.
    RemoveStrange(&'a Strange),
    /// A rule comes.
    AddRule(Family, ChainName, &'a Rule),
    /// An element goes.
    RemoveElement(&'a Element),
    /// A strange chain goes.
    RemoveChain(Family, &'a str),
    /// A strange set goes.
    RemoveSet(Family, &'a str),
    /// A flowtable goes.
    RemoveFlowtable(Family, &'a str),
    /// A device leaves our flowtable.
    RemoveDevice(Family, &'a str),
    /// Our flowtable gets a device.
    AddDevice(Family, &'a str),
    /// An element comes.
    AddElement(&'a Element),
}

impl Transaction {
    /// Every operation, in the order in which the kernel is told.
    pub(crate) fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        // Every field by its name, so that a new one does not compile before it has its place in the order.
        let Self {
            delivery,
            remove_tables,
            add_tables,
            add_flowtables,
            claim_tables,
            add_chains,
            flush_chains,
            remove_strange,
            add_rules,
            remove_elements,
            remove_chains,
            remove_sets,
            remove_flowtables,
            remove_devices,
            add_devices,
            add_elements,
            counters: _,
        } = self;
        let remove_tables = remove_tables.iter().map(|family| Operation::RemoveTable(*family));
        let add_tables = add_tables.iter().flat_map(|family| {
            let sets = SetName::of(*delivery).map(|set| Operation::AddSet(*family, set));
            std::iter::once(Operation::AddTable(*family)).chain(sets)
        });
        remove_tables
            .chain(add_tables)
            .chain(add_flowtables.iter().map(|family| Operation::AddFlowtable(*family)))
            .chain(claim_tables.iter().map(|family| Operation::ClaimTable(*family)))
            .chain(add_chains.iter().map(|(family, chain)| Operation::AddChain(*family, *chain)))
            .chain(flush_chains.iter().map(|(family, chain)| Operation::FlushChain(*family, chain)))
            .chain(remove_strange.iter().map(Operation::RemoveStrange))
            .chain(add_rules.iter().map(|(family, chain, rule)| Operation::AddRule(*family, *chain, rule)))
            .chain(remove_elements.iter().map(Operation::RemoveElement))
            .chain(remove_chains.iter().map(|(family, chain)| Operation::RemoveChain(*family, chain)))
            .chain(remove_sets.iter().map(|(family, set)| Operation::RemoveSet(*family, set)))
            .chain(remove_flowtables.iter().map(|(family, name)| Operation::RemoveFlowtable(*family, name)))
            .chain(remove_devices.iter().map(|(family, device)| Operation::RemoveDevice(*family, device)))
            .chain(add_devices.iter().map(|(family, device)| Operation::AddDevice(*family, device)))
            .chain(add_elements.iter().map(Operation::AddElement))
    }

    /// How many operations: what a report calls writes. Summed, because counting them would visit every element.
    pub(crate) fn len(&self) -> usize {
        let Self {
            delivery,
            remove_tables,
            add_tables,
            add_flowtables,
            claim_tables: _,
            add_chains,
            flush_chains,
            remove_strange,
            add_rules,
            remove_elements,
            remove_chains,
            remove_sets,
            remove_flowtables,
            remove_devices,
            add_devices,
            add_elements,
            counters: _,
        } = self;
        remove_tables.len()
            + add_tables.len() * (1 + SetName::of(*delivery).count())
            + add_flowtables.len()
            + add_chains.len()
            + flush_chains.len()
            + remove_strange.len()
            + add_rules.len()
            + remove_elements.len()
            + remove_chains.len()
            + remove_sets.len()
            + remove_flowtables.len()
            + remove_devices.len()
            + add_devices.len()
            + add_elements.len()
    }

    /// The kernel need not be told anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0 && self.claim_tables.is_empty()
    }

    /// The places whose counters will be lost unless they are read first: elements that go and come again.
    pub(crate) fn recounted(&self) -> Vec<(Family, SetName, Key)> {
        let places: std::collections::HashSet<_> =
            self.remove_elements.iter().filter(|element| element.set.counts()).map(Element::place).collect();
        self.add_elements.iter().map(Element::place).filter(|place| places.contains(place)).collect()
    }
}

#[cfg(test)]
mod tests {
    use backend_api::{FrontendKey, Protocol};

    use super::*;
    use crate::ruleset::{By, Code, Value};

    /// One of everything.
    fn everything() -> Transaction {
        let (family, text) = (Family::V4, "x".to_owned());
        let key = Key::Frontend(FrontendKey::node_port(family, Protocol::Tcp, 80));
        let element = Element::maps(family, SetName::Services(By::NodePort), key, Value::Code(Code(0)));
        Transaction {
            delivery: Delivery::Translate,
            remove_tables: vec![family],
            add_tables: vec![family],
            add_flowtables: vec![family],
            claim_tables: vec![family],
            add_chains: vec![(family, ChainName::Refuse)],
            flush_chains: vec![(family, text.clone())],
            remove_strange: vec![Strange { family, set: SetName::Hairpin, key: Vec::new(), key_end: None }],
            add_rules: vec![(family, ChainName::Refuse, Rule(Vec::new()))],
            remove_elements: vec![element],
            remove_chains: vec![(family, text.clone())],
            remove_sets: vec![(family, text.clone())],
            remove_flowtables: vec![(family, text.clone())],
            remove_devices: vec![(family, text.clone())],
            add_devices: vec![(family, text)],
            add_elements: vec![element],
            counters: HashMap::new(),
        }
    }

    #[test]
    fn every_operation_is_a_write_but_a_claim() {
        let transaction = everything();
        let claims = transaction.operations().filter(|operation| matches!(operation, Operation::ClaimTable(_)));
        assert_eq!(transaction.len() + claims.count(), transaction.operations().count());
    }

    #[test]
    fn a_claim_alone_is_told_and_is_no_write() {
        let claim = Transaction { claim_tables: vec![Family::V6], ..Transaction::default() };
        assert_eq!((claim.len(), claim.is_empty()), (0, false));
        assert!(Transaction::default().is_empty());
    }

    #[test]
    fn an_element_that_goes_and_comes_again_keeps_its_count() {
        assert_eq!(everything().recounted(), [everything().add_elements[0].place()]);
    }
}
