//! The real side of [`Port`]: our tables in the kernel.

use backend_api::{Family, SyncError};
use tracing::{Instrument, trace_span};

use crate::content::Content;
use crate::encode::encode;
use crate::port::Port;
use crate::probe;
use crate::ruleset::layout::{decode, key_bytes};
use crate::ruleset::lower::kernel_family;
use crate::ruleset::{Element, Key, SetName};
use crate::transaction::{Strange, Transaction};
use netlink::ReadError;
use netlink::nftables::{CommitError, Counter, Flowtable, Nftables, Ownership, Table, Watch};

/// The kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// The socket.
    pub(crate) nftables: Nftables,
    /// For changes by others.
    pub(crate) watch: Watch,
    /// How we own tables that we make.
    pub(crate) ownership: Ownership,
}

impl Port for Kernel {
    fn owner(&self) -> (u32, Ownership) {
        (self.nftables.port(), self.ownership)
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
            type Decoded = (Vec<Element>, Vec<Strange>, Vec<(Element, Counter)>);
            let (elements, strange, counters) = self
                .nftables
                .elements(of, set.as_str(), Decoded::default, |(elements, strange, counters), element| {
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
        let mut batch = trace_span!("encode").in_scope(|| encode(transaction, self.nftables.table(), self.ownership));
        self.nftables.commit_unwatched(&mut batch, &mut self.watch).instrument(trace_span!("kernel")).await
    }
}
