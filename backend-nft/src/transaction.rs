//! What is to be changed in our tables, in the one order that the kernel accepts.
//!
//! Phases instead of a list of operations, so that a caller that fills one cannot get the order wrong. Chains exist
//! before what leads to them, elements go before others take their places, and all of it is one batch for both
//! families.

use std::collections::{BTreeMap, HashMap, HashSet};

use backend_api::{Family, FrontendKey};

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

    /// The same as several transactions of about `most` elements each. In between every frontend is as it was before or
    /// as it will be, never half of each: what several share comes first, then frontends, and what nothing leads to any
    /// more goes last.
    pub(crate) fn parts(&self, most: usize) -> Vec<Transaction> {
        let Self { delivery, remove_chains, remove_sets, remove_flowtables, remove_devices, add_devices, .. } = self;
        let mut frontends = BTreeMap::<FrontendKey, (Vec<Element>, Vec<Element>)>::new();
        let (mut first, mut last) = (self.clone(), Transaction { delivery: *delivery, ..Transaction::default() });
        for element in first.add_elements.extract_if(.., |element| element.key.frontend().is_some()) {
            frontends.entry(element.key.frontend().expect("just asked")).or_default().1.push(element);
        }
        for element in first.remove_elements.extract_if(.., |element| element.key.frontend().is_some()) {
            frontends.entry(element.key.frontend().expect("just asked")).or_default().0.push(element);
        }
        let replaced: HashSet<_> = first.add_elements.iter().map(Element::place).collect();
        last.remove_elements =
            first.remove_elements.extract_if(.., |element| !replaced.contains(&element.place())).collect();
        last.remove_chains = remove_chains.clone();
        last.remove_sets = remove_sets.clone();
        last.remove_flowtables = remove_flowtables.clone();
        last.remove_devices = remove_devices.clone();
        last.add_devices = add_devices.clone();
        first.remove_chains.clear();
        first.remove_sets.clear();
        first.remove_flowtables.clear();
        first.remove_devices.clear();
        first.add_devices.clear();
        let empty = Transaction { delivery: *delivery, counters: self.counters.clone(), ..Transaction::default() };
        let mut parts = vec![first, empty.clone()];
        for (go, come) in frontends.into_values() {
            if parts.last().is_some_and(|part| !part.is_empty() && part.len() + go.len() + come.len() > most) {
                parts.push(empty.clone());
            }
            let part = parts.last_mut().expect("there are two from the start");
            part.remove_elements.extend(go);
            part.add_elements.extend(come);
        }
        parts.push(last);
        parts.retain(|part| !part.is_empty());
        for part in &mut parts {
            part.remove_elements.sort_unstable();
            part.add_elements.sort_unstable();
        }
        parts
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

    /// Whatever the size, the parts are the whole, and one frontend is in one part.
    #[test]
    fn parts_are_the_whole_and_divide_no_frontend() {
        let mut whole = everything();
        whole.remove_elements = (1..40).map(|port| frontend(port, 1)).collect();
        whole.add_elements = (1..40).flat_map(|port| [frontend(port, 2), slot(port, 0), slot(port, 1)]).collect();
        whole.add_elements.extend([shared(1), shared(2)]);
        whole.remove_elements.extend([shared(2), shared(3)]);
        for most in [1, 7, 30, 1_000] {
            let parts = whole.parts(most);
            assert_eq!(parts.iter().map(Transaction::len).sum::<usize>(), whole.len());
            for port in 1..40 {
                let counts = parts.iter().map(|part| elements_of(part, at(port))).filter(|count| *count > 0);
                assert_eq!(counts.collect::<Vec<_>>(), [4], "{port}, {most}");
            }
            let (first, last) = (&parts[0], &parts[parts.len() - 1]);
            assert_eq!((first.add_elements.len(), first.remove_elements.len()), (2, 1), "what is replaced, at once");
            assert_eq!(last.remove_elements, [shared(3)]);
            assert!(first.remove_chains.is_empty() && !last.remove_chains.is_empty());
        }
    }

    fn at(port: u16) -> FrontendKey {
        FrontendKey::address([10, 96, 0, 1].into(), Protocol::Tcp, port)
    }

    fn frontend(port: u16, code: u32) -> Element {
        Element::maps(Family::V4, SetName::Services(By::Address), Key::Frontend(at(port)), Value::Code(Code(code)))
    }

    fn slot(port: u16, slot: u32) -> Element {
        Element::maps(Family::V4, SetName::Services(By::Address), Key::Slot(at(port), slot), Value::Code(Code(0)))
    }

    fn shared(code: u32) -> Element {
        Element::maps(Family::V4, SetName::Policies(By::Address), Key::Code(Code(code)), Value::Code(Code(1)))
    }

    fn elements_of(part: &Transaction, key: FrontendKey) -> usize {
        part.remove_elements.iter().chain(&part.add_elements).filter(|e| e.key.frontend() == Some(key)).count()
    }

    #[test]
    fn an_element_that_goes_and_comes_again_keeps_its_count() {
        assert_eq!(everything().recounted(), [everything().add_elements[0].place()]);
    }
}
