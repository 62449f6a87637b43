//! What is in the kernel under our name.
//!
//! Read once when nothing is known: at the start, after an error, after another program's change.

use backend_api::FrontendKey;

use crate::ruleset::{Element, Key, SetName};
use crate::transaction::Strange;
use netlink::nftables::{Chain, Counter, Flowtable, Rule as KernelRule, Set};

/// What is in the place of one of our tables.
#[derive(Debug)]
pub(crate) enum Found {
    /// No table.
    Nothing,
    /// A table of ours, of another layout.
    OfOld,
    /// A table of ours.
    Table(Content),
}

/// One of our tables as it is in the kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    /// Whether it was made to be owned, and has no owner now.
    pub(crate) is_orphan: bool,
    /// Its sets, without elements.
    pub(crate) sets: Vec<Set>,
    /// Its flowtables.
    pub(crate) flowtables: Vec<Flowtable>,
    /// Its chains.
    pub(crate) chains: Vec<Chain>,
    /// Its rules, in order within each chain.
    pub(crate) rules: Vec<KernelRule>,
    /// Elements that can be ours, in order; none of the dynamic map, which the packet path fills.
    pub(crate) elements: Vec<Element>,
    /// Elements that cannot be ours.
    pub(crate) strange: Vec<Strange>,
    /// The counters of those elements that were found, in the order of `elements`.
    pub(crate) counters: Vec<(Element, Counter)>,
}

impl Found {
    /// What is in our table.
    pub(crate) fn content(&self) -> Option<&Content> {
        match self {
            Self::Table(content) => Some(content),
            Self::Nothing | Self::OfOld => None,
        }
    }
}

impl Content {
    /// What services are dialled at.
    pub(crate) fn frontends(&self) -> impl Iterator<Item = FrontendKey> {
        self.elements.iter().filter_map(|element| match (element.set, element.key) {
            (SetName::Services(_), Key::Frontend(frontend)) => Some(frontend),
            _ => None,
        })
    }
}
