//! Reads one of our tables out of the kernel.

use std::collections::{BTreeMap, HashMap};

use backend_api::Family;

use crate::content::Content;
use crate::likely::likely_keys;
use crate::ruleset::layout::{decode, key_bytes};
use crate::ruleset::lower::kernel_family;
use crate::ruleset::{Element, Key, SetName};
use crate::transaction::Strange;
use netlink::ReadError;
use netlink::nftables::{Counter, Element as KernelElement, Nftables};

/// From so many elements on a set is asked for, where its keys are known: listing costs the square of its size. Both
/// take 45 ms for as many (Linux 6.18), and a listing of 200,000 takes five times what asking does.
pub(crate) const ASKED_FROM: u32 = 35_000;

/// Reads through a socket.
pub(crate) struct Reader<'a> {
    /// The socket.
    pub(crate) nftables: &'a mut Nftables,
    /// See [`ASKED_FROM`].
    pub(crate) asked_from: u32,
}

/// The elements of one set, in order.
#[derive(Default)]
struct Read {
    elements: Vec<Element>,
    strange: Vec<Strange>,
    counters: Vec<(Element, Counter)>,
}

impl Reader<'_> {
    /// Everything in the table of `family`.
    pub(crate) async fn content(&mut self, family: Family) -> Result<Content, ReadError> {
        let of = kernel_family(family);
        let mut content = Content {
            sets: self.nftables.sets(of).await?,
            flowtables: self.nftables.flowtables(of).await?,
            chains: self.nftables.chains(of).await?,
            rules: self.nftables.rules(of).await?,
            ..Content::default()
        };
        let counts: HashMap<String, u32> = self.nftables.counts(of).await?.into_iter().filter_map(told).collect();
        let mut elements = BTreeMap::new();
        for set in SetName::ALL {
            if set == SetName::Affinity || !content.sets.iter().any(|there| there.name == set.as_str()) {
                continue;
            }
            let count = counts.get(set.as_str()).copied().filter(|count| *count >= self.asked_from);
            let likely = count.and_then(|count| Some((count, likely_keys(set, &elements)?)));
            let asked = match likely {
                Some((count, keys)) => self.asked(family, set, count, &keys).await?,
                None => None,
            };
            let read = match asked {
                Some(asked) => asked,
                None => self.listed(family, set).await?,
            };
            content.strange.extend(read.strange);
            content.counters.extend(read.counters);
            elements.insert(set, read.elements);
        }
        content.elements.reserve_exact(elements.values().map(Vec::len).sum());
        // In order: so are the sets, and what is in each.
        content.elements.extend(elements.into_values().flatten());
        Ok(content)
    }

    /// Everything in a set.
    async fn listed(&mut self, family: Family, set: SetName) -> Result<Read, ReadError> {
        let mut read = self
            .nftables
            .elements(kernel_family(family), set.as_str(), Read::default, |read, element| {
                read.add(family, set, element)
            })
            .await?;
        read.elements.sort_unstable();
        Ok(read)
    }

    /// The elements of a set that have these keys; none if it has others as well.
    async fn asked(
        &mut self,
        family: Family,
        set: SetName,
        count: u32,
        keys: &[Key],
    ) -> Result<Option<Read>, ReadError> {
        if keys.len() < count as usize {
            return Ok(None);
        }
        let mut read = Read::default();
        let keys: Vec<_> = keys.iter().map(|key| key_bytes(*key)).collect();
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key[..]).collect();
        self.nftables
            .find(kernel_family(family), set.as_str(), &keys, |_, element| read.add(family, set, element))
            .await?;
        read.elements.sort_unstable();
        let is_whole = read.elements.len() == count as usize;
        tracing::debug!(%family, %set, count, found = read.elements.len(), is_whole, "asked for the elements of a set");
        Ok(is_whole.then_some(read))
    }
}

impl Read {
    fn add(&mut self, family: Family, set: SetName, element: &KernelElement<'_>) {
        match decode(family, set, element) {
            Some(ours) => {
                self.elements.push(ours);
                self.counters.extend(element.counter.map(|counter| (ours, counter)));
            }
            None => {
                let key_end = element.key_end.map(<[u8]>::to_vec);
                self.strange.push(Strange { family, set, key: element.key.to_vec(), key_end });
            }
        }
    }
}

fn told((name, count): (String, Option<u32>)) -> Option<(String, u32)> {
    Some((name, count?))
}
