//! A kernel in memory that refuses what the kernel refuses (`agreement` proves it against the real one).

mod agreement;

use std::collections::{BTreeMap, BTreeSet};

use backend_api::{Family, PerFamily, SyncError};
use nix::errno::Errno;

use crate::content::Content;
use crate::ownership::Layout;
use crate::port::{Counters, Port};
use crate::render::{base, flowtable};
use crate::ruleset::layout::{Encoder, decode, key_bytes};
use crate::ruleset::lower::{kernel_family, kernel_rule};
use crate::ruleset::{By, ChainName, Delivery, Element, FLOWTABLE, Key, SetName, Value};
use crate::transaction::{Operation, Strange, Transaction};
use netlink::ReadError;
use netlink::nftables as kernel;
use netlink::nftables::{Base, Chain, CommitError, Counter, Expr, Flowtable, Ownership, Refusal, Table, Verdict};

/// The kernel, as far as our tables go.
#[derive(Debug, Default)]
pub(crate) struct FakeKernel {
    /// What is there.
    pub(crate) tables: PerFamily<Option<FakeTable>>,
    /// Of which kind they are.
    pub(crate) delivery: Delivery,
    /// Commits until now, refused ones included.
    pub(crate) commits: usize,
    /// Elements with such a key are refused, whatever else is right.
    pub(crate) refuses: Vec<Key>,
    /// Rules in this chain are refused.
    pub(crate) refuses_chain: Option<ChainName>,
    /// Whether it says which element of a message it refuses (Linux 6.0 on does).
    pub(crate) is_vague: bool,
    /// How many clients session affinity remembers.
    pub(crate) remembered: PerFamily<Option<u32>>,
    /// Devices that are there.
    pub(crate) devices: BTreeSet<String>,
    /// Whether there are no flowtables.
    pub(crate) lacks_flowtables: bool,
    /// The next commit fails with this.
    pub(crate) breaks: Option<Errno>,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FakeTable {
    /// Its user data.
    pub(crate) userdata: Vec<u8>,
    /// Its sets, and what is in them.
    pub(crate) sets: BTreeMap<String, BTreeMap<Key, (Value, Counter)>>,
    /// Its flowtables, and their devices.
    pub(crate) flowtables: BTreeMap<String, BTreeSet<String>>,
    /// Its chains, and their rules.
    pub(crate) chains: BTreeMap<String, (Option<Base>, Vec<Vec<Expr>>)>,
}

impl FakeKernel {
    fn table(&mut self, family: Family) -> Result<&mut FakeTable, Errno> {
        self.tables.of_mut(family).as_mut().ok_or(Errno::ENOENT)
    }

    fn apply(&mut self, operation: Operation<'_>) -> Result<(), Errno> {
        match operation {
            Operation::RemoveTable(family) => self.tables.of_mut(family).take().map(|_| ()).ok_or(Errno::ENOENT),
            Operation::AddTable(family) => {
                let table = FakeTable {
                    userdata: Layout::from(self.delivery).table(family, Ownership::None).userdata,
                    ..FakeTable::default()
                };
                self.tables.of_mut(family).get_or_insert(table);
                Ok(())
            }
            Operation::ClaimTable(family) => self.table(family).map(|_| ()),
            Operation::AddSet(family, set) => {
                let sets = &mut self.table(family)?.sets;
                if sets.contains_key(set.as_str()) {
                    return Err(Errno::EEXIST);
                }
                sets.insert(set.as_str().to_owned(), BTreeMap::new());
                Ok(())
            }
            Operation::AddChain(family, chain) => {
                let delivery = self.delivery;
                let chains = &mut self.table(family)?.chains;
                if chains.contains_key(&chain.to_string()) {
                    return Err(Errno::EEXIST);
                }
                chains.insert(chain.to_string(), (base(chain, delivery), Vec::new()));
                Ok(())
            }
            Operation::FlushChain(family, chain) => {
                self.table(family)?.chains.get_mut(chain).ok_or(Errno::ENOENT)?.1.clear();
                Ok(())
            }
            Operation::RemoveChain(family, chain) => self.remove_chain(family, chain),
            Operation::RemoveSet(family, set) => self.remove_set(family, set),
            Operation::AddFlowtable(_) if self.lacks_flowtables => Err(Errno::EOPNOTSUPP),
            Operation::AddFlowtable(family) => {
                self.table(family)?.flowtables.entry(FLOWTABLE.to_owned()).or_default();
                Ok(())
            }
            Operation::RemoveFlowtable(family, flowtable) => {
                let table = self.table(family)?;
                let mut exprs = table.chains.values().flat_map(|(_, rules)| rules.iter().flatten());
                if exprs.any(|expr| matches!(expr, Expr::FlowOffload { flowtable: of } if of == flowtable)) {
                    return Err(Errno::EBUSY);
                }
                table.flowtables.remove(flowtable).map(|_| ()).ok_or(Errno::ENOENT)
            }
            Operation::AddDevice(_, device) if !self.devices.contains(device) => Err(Errno::ENOENT),
            Operation::AddDevice(family, device) => {
                let flowtables = &mut self.table(family)?.flowtables;
                flowtables.get_mut(FLOWTABLE).ok_or(Errno::ENOENT)?.insert(device.to_owned());
                Ok(())
            }
            Operation::RemoveDevice(family, device) => {
                let flowtables = &mut self.table(family)?.flowtables;
                let was_there = flowtables.get_mut(FLOWTABLE).is_some_and(|devices| devices.remove(device));
                if was_there { Ok(()) } else { Err(Errno::ENOENT) }
            }
            Operation::RemoveStrange(strange) => {
                let _ = self.table(strange.family)?;
                Err(Errno::ENOENT)
            }
            Operation::AddRule(_, chain, _) if self.refuses_chain == Some(chain) => Err(Errno::EOPNOTSUPP),
            Operation::AddRule(family, chain, rule) => {
                let table = self.table(family)?;
                let exprs = kernel_rule(&chain.to_string(), rule, family).exprs;
                if !exprs.iter().all(|expr| table.has_what_it_names(expr)) {
                    return Err(Errno::ENOENT);
                }
                table.chains.get_mut(&chain.to_string()).ok_or(Errno::ENOENT)?.1.push(exprs);
                Ok(())
            }
            Operation::RemoveElement(element) => {
                let set = self.table(element.family)?.sets.get_mut(element.set.as_str()).ok_or(Errno::ENOENT)?;
                // An interval goes by any address in it: the kernel looks for where the key begins.
                let holds = |key: &&Key| match (key, element.key) {
                    (Key::Source(of, there), Key::Source(frontend, range)) => {
                        *of == frontend && there.contains(range.network())
                    }
                    (there, key) => **there == key,
                };
                let key = *set.keys().find(holds).ok_or(Errno::ENOENT)?;
                set.remove(&key);
                Ok(())
            }
            Operation::AddElement(element) => self.add_element(element),
        }
    }

    fn add_element(&mut self, element: &Element) -> Result<(), Errno> {
        if self.refuses.contains(&element.key) {
            return Err(Errno::EINVAL);
        }
        let table = self.table(element.family)?;
        if let Value::Goto(chain) = element.value
            && !table.chains.contains_key(&chain.to_string())
        {
            return Err(Errno::ENOENT);
        }
        let set = table.sets.get_mut(element.set.as_str()).ok_or(Errno::ENOENT)?;
        if set.contains_key(&element.key) {
            return Err(Errno::EEXIST);
        }
        if let (SetName::Allowed(_), Key::Source(frontend, range)) = (element.set, element.key) {
            // The kernel looks where the new range begins and ends: one inside it goes unnoticed.
            let overlaps = |key: &Key| {
                matches!(key, Key::Source(of, other)
                    if *of == frontend && (other.contains(range.network()) || other.contains(range.last())))
            };
            if set.keys().any(overlaps) {
                return Err(Errno::EEXIST);
            }
        }
        set.insert(element.key, (element.value, Counter::default()));
        Ok(())
    }

    fn remove_chain(&mut self, family: Family, chain: &str) -> Result<(), Errno> {
        let table = self.table(family)?;
        if !table.chains.contains_key(chain) {
            return Err(Errno::ENOENT);
        }
        if table.leads_to(chain) {
            return Err(Errno::EBUSY);
        }
        table.chains.remove(chain);
        Ok(())
    }

    fn remove_set(&mut self, family: Family, set: &str) -> Result<(), Errno> {
        let table = self.table(family)?;
        if !table.sets.contains_key(set) {
            return Err(Errno::ENOENT);
        }
        let mut exprs = table.chains.values().flat_map(|(_, rules)| rules.iter().flatten());
        if exprs
            .any(|expr| matches!(expr, Expr::Lookup { set: name, .. } | Expr::Dynset { set: name, .. } if name == set))
        {
            return Err(Errno::EBUSY);
        }
        table.sets.remove(set);
        Ok(())
    }
}

impl FakeTable {
    fn has_what_it_names(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Lookup { set, .. } | Expr::Dynset { set, .. } => self.sets.contains_key(set),
            Expr::FlowOffload { flowtable } => self.flowtables.contains_key(flowtable),
            Expr::Verdict(Verdict::Goto(chain) | Verdict::Jump(chain)) => self.chains.contains_key(chain),
            _ => true,
        }
    }

    fn leads_to(&self, chain: &str) -> bool {
        let others = self.chains.iter().filter(|(name, _)| *name != chain);
        let mut exprs = others.flat_map(|(_, (_, rules))| rules.iter().flatten());
        let mut values = self.sets.values().flat_map(BTreeMap::values);
        exprs.any(|expr| matches!(expr, Expr::Verdict(Verdict::Goto(to) | Verdict::Jump(to)) if to == chain))
            || values.any(|(value, _)| matches!(value, Value::Goto(to) if to.to_string() == chain))
    }

    /// The set of that name, if it is of ours.
    pub(crate) fn set(&mut self, set: SetName) -> &mut BTreeMap<Key, (Value, Counter)> {
        self.sets.get_mut(set.as_str()).expect("a set of ours")
    }
}

impl Port for FakeKernel {
    fn owner(&self) -> (u32, Ownership) {
        (1, Ownership::None)
    }

    async fn tables(&mut self) -> Result<Vec<Table>, ReadError> {
        let tables = Family::ALL.into_iter().filter_map(|family| {
            let userdata = self.tables.of(family).as_ref()?.userdata.clone();
            Some(Table { userdata, ..Table::new(kernel_family(family)) })
        });
        Ok(tables.collect())
    }

    async fn content(&mut self, family: Family, _: Counters) -> Result<Content, ReadError> {
        let flowtables = self.flowtables(family).await?;
        let Some(table) = self.tables.of(family) else { return Ok(Content::default()) };
        let mut content = Content { flowtables, ..Content::default() };
        let mut encoder = Encoder::default();
        for (name, elements) in &table.sets {
            let Some(set) = SetName::parse(name) else {
                content
                    .sets
                    .push(kernel::Set { name: name.clone(), ..SetName::ClusterIps.kernel_set(family, self.delivery) });
                continue;
            };
            content.sets.push(set.kernel_set(family, self.delivery));
            for (key, (value, counter)) in elements {
                let element = Element { family, set, key: *key, value: *value };
                // Through the bytes, as from the kernel.
                match decode(family, set, &encoder.encode(&element)) {
                    Some(decoded) => {
                        content.elements.push(decoded);
                        content.counters.extend(set.counts().then_some((decoded, *counter)));
                    }
                    None => {
                        content.strange.push(Strange { family, set, key: key_bytes(*key), key_end: None });
                    }
                }
            }
        }
        content.elements.sort_unstable();
        for (name, (base, rules)) in &table.chains {
            content.chains.push(Chain { name: name.clone(), base: base.clone() });
            content.rules.extend(rules.iter().map(|exprs| kernel::Rule {
                chain: name.clone(),
                handle: 1,
                exprs: exprs.clone(),
                userdata: Vec::new(),
            }));
        }
        Ok(content)
    }

    async fn lacks_flowtables(&mut self) -> Result<Option<String>, SyncError> {
        Ok(self.lacks_flowtables.then(|| "CONFIG_NF_FLOW_TABLE".to_owned()))
    }

    async fn flowtables(&mut self, family: Family) -> Result<Vec<Flowtable>, ReadError> {
        let Some(table) = self.tables.of(family) else { return Ok(Vec::new()) };
        let ours = table.flowtables.iter();
        Ok(ours.map(|(name, devices)| Flowtable { name: name.clone(), ..flowtable(devices.clone()) }).collect())
    }

    async fn counters(&mut self, places: &[(Family, SetName, Key)]) -> Result<Vec<Option<Counter>>, ReadError> {
        let counter = |(family, set, key): &(Family, SetName, Key)| {
            let (_, counter) = self.tables.of(*family).as_ref()?.sets.get(set.as_str())?.get(key)?;
            Some(*counter)
        };
        Ok(places.iter().map(counter).collect())
    }

    async fn remembered(&mut self, family: Family) -> Result<Option<u32>, ReadError> {
        Ok(*self.remembered.of(family))
    }

    async fn commit(&mut self, transaction: &Transaction) -> Result<(), CommitError> {
        self.commits += 1;
        if let Some(errno) = self.breaks.take() {
            return Err(CommitError::Whole { errno, text: String::new() });
        }
        let before = self.tables.clone();
        let mut refusals = Vec::new();
        let mut refused_message = None;
        for (number, operation) in (0u32..).zip(transaction.operations()) {
            // The kernel reads a message up to the first element that it refuses.
            let own_message = message_of(&operation);
            if own_message.is_some() && own_message == refused_message {
                continue;
            }
            if let Err(errno) = self.apply(operation) {
                refused_message = own_message;
                let operations = if self.is_vague { message(transaction, number) } else { vec![number] };
                refusals.push(Refusal { operations, object: format!("{operation:?}"), errno, text: String::new() });
            }
        }
        if !refusals.is_empty() {
            self.tables = before;
            return Err(CommitError::Refused(refusals));
        }
        for (family, set, key) in transaction.counters.keys() {
            let counter = transaction.counters[&(*family, *set, *key)];
            if let Some(table) = self.tables.of_mut(*family)
                && let Some(element) = table.set(*set).get_mut(key)
            {
                element.1 = counter;
            }
        }
        Ok(())
    }
}

/// What the elements of a message have in common: whether they come or go, and where.
fn message_of(operation: &Operation<'_>) -> Option<(bool, Family, SetName)> {
    match operation {
        Operation::AddElement(element) => Some((true, element.family, element.set)),
        Operation::RemoveElement(element) => Some((false, element.family, element.set)),
        _ => None,
    }
}

/// The operations that travel in one message with this one.
fn message(transaction: &Transaction, number: u32) -> Vec<u32> {
    let operations: Vec<_> = transaction.operations().map(|operation| message_of(&operation)).collect();
    let this = operations[number as usize];
    match this {
        Some(_) => (0..).zip(&operations).filter(|(_, other)| **other == this).map(|(number, _)| number).collect(),
        None => vec![number],
    }
}

/// The frontends' map of a family, for tests that look inside.
pub(crate) const SERVICES: SetName = SetName::Services(By::Address);
