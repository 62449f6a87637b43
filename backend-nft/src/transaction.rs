//! What is to be changed in our tables, in the one order that the kernel accepts.
//!
//! Phases instead of a list of operations: whoever fills one cannot get the order wrong. Chains are there before what leads to
//! them, elements go before others take their places, and all of it is one batch for both families.

use std::collections::HashMap;

use backend_api::Family;

use crate::ruleset::{ChainName, Delivery, Element, Key, Rule, SetName};
use netlink::nftables::{Counter, Rule as KernelRule};

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
    /// Tables of ours that nobody owns any more, to be owned by our socket. Changes nothing in them, and is no write.
    pub(crate) claim_tables: Vec<Family>,
    /// Chains that come.
    pub(crate) add_chains: Vec<(Family, ChainName)>,
    /// Chains whose rules go.
    pub(crate) flush_chains: Vec<(Family, String)>,
    /// What somebody else put into our sets.
    pub(crate) remove_strange: Vec<Strange>,
    /// Rules, each at the end of its chain.
    pub(crate) add_rules: Vec<(Family, ChainName, Rule)>,
    /// Elements that go; in order.
    pub(crate) remove_elements: Vec<Element>,
    /// Chains of somebody else that go.
    pub(crate) remove_chains: Vec<(Family, String)>,
    /// Sets of somebody else that go.
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
        let tables = self.remove_tables.iter().map(|family| Operation::RemoveTable(*family));
        let added = self.add_tables.iter().flat_map(|family| {
            let sets = SetName::of(self.delivery).map(|set| Operation::AddSet(*family, set));
            std::iter::once(Operation::AddTable(*family)).chain(sets)
        });
        tables
            .chain(added)
            .chain(self.add_flowtables.iter().map(|family| Operation::AddFlowtable(*family)))
            .chain(self.claim_tables.iter().map(|family| Operation::ClaimTable(*family)))
            .chain(self.add_chains.iter().map(|(family, chain)| Operation::AddChain(*family, *chain)))
            .chain(self.flush_chains.iter().map(|(family, chain)| Operation::FlushChain(*family, chain)))
            .chain(self.remove_strange.iter().map(Operation::RemoveStrange))
            .chain(self.add_rules.iter().map(|(family, chain, rule)| Operation::AddRule(*family, *chain, rule)))
            .chain(self.remove_elements.iter().map(Operation::RemoveElement))
            .chain(self.remove_chains.iter().map(|(family, chain)| Operation::RemoveChain(*family, chain)))
            .chain(self.remove_sets.iter().map(|(family, set)| Operation::RemoveSet(*family, set)))
            .chain(self.remove_flowtables.iter().map(|(family, name)| Operation::RemoveFlowtable(*family, name)))
            .chain(self.remove_devices.iter().map(|(family, device)| Operation::RemoveDevice(*family, device)))
            .chain(self.add_devices.iter().map(|(family, device)| Operation::AddDevice(*family, device)))
            .chain(self.add_elements.iter().map(Operation::AddElement))
    }

    /// How many operations: what a report calls writes.
    pub(crate) fn len(&self) -> usize {
        self.remove_tables.len()
            + self.add_tables.len() * (1 + SetName::of(self.delivery).count())
            + self.add_flowtables.len()
            + self.add_chains.len()
            + self.flush_chains.len()
            + self.remove_strange.len()
            + self.add_rules.len()
            + self.remove_elements.len()
            + self.remove_chains.len()
            + self.remove_sets.len()
            + self.remove_flowtables.len()
            + self.remove_devices.len()
            + self.add_devices.len()
            + self.add_elements.len()
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

/// The rule as the kernel is given it, and gives it back.
pub(crate) fn kernel_rule(family: Family, chain: ChainName, rule: &Rule) -> KernelRule {
    KernelRule {
        chain: chain.to_string(),
        handle: 0,
        exprs: crate::ruleset::lower::lower(rule, family),
        userdata: Vec::new(),
    }
}
