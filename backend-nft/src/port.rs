//! The seam between programming and the kernel: its two sides are the kernel itself and a fake that refuses what the kernel
//! refuses.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;

use backend_api::{Family, SyncError};
use tracing::{Instrument, trace_span};

use crate::content::{Content, signature};
use crate::probe;
use crate::render::flowtable;
use crate::ruleset::layout::{Encoder, decode, key_bytes};
use crate::ruleset::lower::kernel_family;
use crate::ruleset::{Element, Key, SetName};
use crate::transaction::{Operation, Strange, Transaction, kernel_rule};
use netlink::ReadError;
use netlink::nftables::object::{TABLE_OWNER, TABLE_PERSIST};
use netlink::nftables::{Batch, CommitError, Counter, Flowtable, Nftables, Ownership, Table, Watch};

/// Where our tables are.
pub(crate) trait Port: Debug + Send {
    /// What tells us from other owners of tables, and whether we own those that we make.
    fn owner(&self) -> (u32, Ownership);

    /// The tables of our name.
    fn tables(&mut self) -> impl Future<Output = Result<Vec<Table>, ReadError>> + Send;

    /// Why connections cannot be handed to a flowtable; none where they can.
    fn lacks_flowtables(&mut self) -> impl Future<Output = Result<Option<String>, SyncError>> + Send;

    /// Everything in the table of `family`.
    fn content(&mut self, family: Family) -> impl Future<Output = Result<Content, ReadError>> + Send;

    /// The flowtables in the table of `family`.
    fn flowtables(&mut self, family: Family) -> impl Future<Output = Result<Vec<Flowtable>, ReadError>> + Send;

    /// The counters of the elements at these places; none for one that is not there.
    fn counters(
        &mut self,
        places: &[(Family, SetName, Key)],
    ) -> impl Future<Output = Result<Vec<Option<Counter>>, ReadError>> + Send;

    /// Does all of it or nothing.
    fn commit(&mut self, transaction: &Transaction) -> impl Future<Output = Result<(), CommitError>> + Send;
}

/// The kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The socket.
    pub(crate) nftables: Nftables,
    /// For changes by others.
    pub(crate) watch: Watch,
    /// `NFT_TABLE_F_*` of tables that we make.
    pub(crate) table_flags: u32,
}

impl Kernel {
    /// The flags by which nobody else can touch a table while we live, and it stays when we go.
    pub(crate) const OWNED: u32 = TABLE_OWNER | TABLE_PERSIST;
}

impl Port for Kernel {
    fn owner(&self) -> (u32, Ownership) {
        let ownership = if self.table_flags == Self::OWNED { Ownership::Kept } else { Ownership::None };
        (self.nftables.port(), ownership)
    }

    async fn tables(&mut self) -> Result<Vec<Table>, ReadError> {
        self.nftables.tables().await
    }

    async fn lacks_flowtables(&mut self) -> Result<Option<String>, SyncError> {
        probe::lacks_flowtables(&mut self.nftables).await
    }

    async fn content(&mut self, family: Family) -> Result<Content, ReadError> {
        let of = kernel_family(family);
        let mut content = Content {
            sets: self.nftables.sets(of).await?,
            flowtables: self.nftables.flowtables(of).await?,
            chains: self.nftables.chains(of).await?,
            rules: self.nftables.rules(of).await?,
            ..Content::default()
        };
        for set in SetName::ALL {
            if set == SetName::Affinity || !content.sets.iter().any(|there| there.name == set.as_str()) {
                continue;
            }
            type Found = (Vec<Element>, Vec<Strange>, Vec<(Element, Counter)>);
            let (elements, strange, counters) = self
                .nftables
                .elements(of, set.as_str(), Found::default, |(elements, strange, counters), element| {
                    match decode(family, set, element) {
                        Some(ours) => {
                            elements.push(ours);
                            counters.extend(element.counter.map(|counter| (ours, counter)));
                        }
                        None => {
                            let key_end = element.key_end.map(<[u8]>::to_vec);
                            strange.push(Strange { family, set, key: element.key.to_vec(), key_end });
                        }
                    }
                })
                .await?;
            content.elements.extend(elements);
            content.strange.extend(strange);
            content.counters.extend(counters);
        }
        content.elements.sort_unstable();
        Ok(content)
    }

    async fn flowtables(&mut self, family: Family) -> Result<Vec<Flowtable>, ReadError> {
        self.nftables.flowtables(kernel_family(family)).await
    }

    async fn counters(&mut self, places: &[(Family, SetName, Key)]) -> Result<Vec<Option<Counter>>, ReadError> {
        let mut counters = Vec::with_capacity(places.len());
        for run in places.chunk_by(|one, next| (one.0, one.1) == (next.0, next.1)) {
            let (family, set, _) = run[0];
            let keys: Vec<Vec<u8>> = run.iter().map(|(.., key)| key_bytes(*key)).collect();
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            counters.extend(self.nftables.counters(kernel_family(family), set.as_str(), &keys).await?);
        }
        Ok(counters)
    }

    async fn commit(&mut self, transaction: &Transaction) -> Result<(), CommitError> {
        let mut batch = trace_span!("encode").in_scope(|| self.batch(transaction));
        self.nftables.commit_unwatched(&mut batch, &mut self.watch).instrument(trace_span!("kernel")).await
    }
}

impl Kernel {
    fn batch(&self, transaction: &Transaction) -> Batch {
        let mut batch = Batch::new(self.nftables.table());
        let mut encoder = Encoder::default();
        // Elements follow each other by set, so that one message holds many.
        let mut operations = (0u32..).zip(transaction.operations()).peekable();
        while let Some((number, operation)) = operations.next() {
            match operation {
                Operation::RemoveTable(family) => batch.remove_table(number, kernel_family(family)),
                Operation::AddTable(family) | Operation::ClaimTable(family) => {
                    let (family, flags) = (kernel_family(family), self.table_flags);
                    batch.put_table(
                        number,
                        &Table { family, flags, owner: None, userdata: signature(transaction.delivery) },
                    );
                }
                Operation::AddSet(family, set) => {
                    batch.put_set(number, kernel_family(family), &set.kernel_set(family, transaction.delivery));
                }
                Operation::AddFlowtable(family) => {
                    batch.put_flowtable(number, kernel_family(family), &flowtable(BTreeSet::new()));
                }
                Operation::AddChain(family, chain) => {
                    let base = crate::render::base(chain, transaction.delivery);
                    let chain = netlink::nftables::Chain { name: chain.to_string(), base };
                    batch.put_chain(number, kernel_family(family), &chain);
                }
                Operation::FlushChain(family, chain) => batch.flush_chain(number, kernel_family(family), chain),
                Operation::RemoveStrange(strange) => {
                    let key_end = strange.key_end.as_deref();
                    let element =
                        netlink::nftables::Element { key_end, ..netlink::nftables::Element::key(&strange.key) };
                    batch.remove_elements(kernel_family(strange.family), strange.set.as_str()).push(number, &element);
                }
                Operation::AddRule(family, chain, rule) => {
                    batch.append_rule(number, kernel_family(family), &kernel_rule(family, chain, rule));
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
                        let encoded = encoder.encode(element);
                        let value = netlink::nftables::Value::None;
                        going.push(number, &netlink::nftables::Element { value, ..encoded });
                        next = operations
                            .next_if(
                                |(_, next)| matches!(next, Operation::RemoveElement(next) if same_set(first, next)),
                            )
                            .and_then(|(number, next)| match next {
                                Operation::RemoveElement(next) => Some((number, next)),
                                _ => None,
                            });
                    }
                }
                Operation::AddElement(first) => {
                    let mut coming = batch.put_elements(kernel_family(first.family), first.set.as_str());
                    let mut next = Some((number, first));
                    while let Some((number, element)) = next {
                        let counter = transaction.counters.get(&element.place()).copied();
                        coming.push(number, &netlink::nftables::Element { counter, ..encoder.encode(element) });
                        next = operations
                            .next_if(|(_, next)| matches!(next, Operation::AddElement(next) if same_set(first, next)))
                            .and_then(|(number, next)| match next {
                                Operation::AddElement(next) => Some((number, next)),
                                _ => None,
                            });
                    }
                }
            }
        }
        batch
    }
}

fn same_set(one: &Element, other: &Element) -> bool {
    (one.family, one.set) == (other.family, other.set)
}
