//! A transaction as the batch that the kernel is sent. Pure.

use std::collections::BTreeSet;
use std::iter::Peekable;

use crate::ownership::Layout;
use crate::render::{base, flowtable};
use crate::ruleset::Element;
use crate::ruleset::layout::Encoder;
use crate::ruleset::lower::{kernel_family, kernel_rule};
use crate::transaction::{Operation, Transaction};
use netlink::nftables as kernel;
use netlink::nftables::{Batch, Ownership};

/// The batch for tables called `table`, which are owned so if they come.
pub(crate) fn encode(transaction: &Transaction, table: &str, ownership: Ownership) -> Batch {
    let mut batch = Batch::new(table);
    let mut encoder = Encoder::default();
    let delivery = transaction.delivery;
    let mut operations = (0u32..).zip(transaction.operations()).peekable();
    while let Some((number, operation)) = operations.next() {
        match operation {
            Operation::RemoveTable(family) => batch.remove_table(number, kernel_family(family)),
            Operation::AddTable(family) | Operation::ClaimTable(family) => {
                batch.put_table(number, &Layout::from(delivery).table(family, ownership));
            }
            Operation::AddSet(family, set) => {
                batch.put_set(number, kernel_family(family), &set.kernel_set(family, delivery));
            }
            Operation::AddFlowtable(family) => {
                batch.put_flowtable(number, kernel_family(family), &flowtable(BTreeSet::new()));
            }
            Operation::AddChain(family, chain) => {
                let chain = kernel::Chain { name: chain.to_string(), base: base(chain, delivery) };
                batch.put_chain(number, kernel_family(family), &chain);
            }
            Operation::FlushChain(family, chain) => batch.flush_chain(number, kernel_family(family), chain),
            Operation::RemoveStrange(strange) => {
                let key_end = strange.key_end.as_deref();
                let element = kernel::Element { key_end, ..kernel::Element::key(&strange.key) };
                batch.remove_elements(kernel_family(strange.family), strange.set.as_str()).push(number, &element);
            }
            Operation::AddRule(family, chain, rule) => {
                let rule = kernel_rule(&chain.to_string(), rule, family);
                batch.append_rule(number, kernel_family(family), &rule);
            }
            Operation::RemoveChain(family, chain) => batch.remove_chain(number, kernel_family(family), chain),
            Operation::RemoveSet(family, set) => batch.remove_set(number, kernel_family(family), set),
            Operation::RemoveFlowtable(family, name) => {
                batch.remove_flowtable(number, kernel_family(family), name);
            }
            Operation::RemoveDevice(family, device) => {
                batch.remove_devices(number, kernel_family(family), &flowtable([device.to_owned()].into()));
            }
            Operation::AddDevice(family, device) => {
                batch.put_flowtable(number, kernel_family(family), &flowtable([device.to_owned()].into()));
            }
            Operation::RemoveElement(first) => {
                let mut going = batch.remove_elements(kernel_family(first.family), first.set.as_str());
                let mut next = Some((number, first));
                while let Some((number, element)) = next {
                    let value = kernel::Value::None;
                    going.push(number, &kernel::Element { value, ..encoder.encode(element) });
                    next = next_of_message(&mut operations, first, |operation| match operation {
                        Operation::RemoveElement(element) => Some(element),
                        _ => None,
                    });
                }
            }
            Operation::AddElement(first) => {
                let mut coming = batch.put_elements(kernel_family(first.family), first.set.as_str());
                let mut next = Some((number, first));
                while let Some((number, element)) = next {
                    let counter = transaction.counters.get(&element.place()).copied();
                    coming.push(number, &kernel::Element { counter, ..encoder.encode(element) });
                    next = next_of_message(&mut operations, first, |operation| match operation {
                        Operation::AddElement(element) => Some(element),
                        _ => None,
                    });
                }
            }
        }
    }
    batch
}

/// The next element that travels in one message with `first`: it goes or comes too, in the same set.
fn next_of_message<'a>(
    operations: &mut Peekable<impl Iterator<Item = (u32, Operation<'a>)>>,
    first: &Element,
    element: impl Fn(Operation<'a>) -> Option<&'a Element>,
) -> Option<(u32, &'a Element)> {
    let (number, operation) = operations.next_if(|(_, operation)| {
        element(*operation).is_some_and(|next| (next.family, next.set) == (first.family, first.set))
    })?;
    Some((number, element(operation)?))
}
