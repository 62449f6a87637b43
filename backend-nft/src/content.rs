//! What is in the kernel under our name, and whether it is ours.
//!
//! Read once when nothing is known: at the start, after an error, after somebody else's change.

use backend_api::Family;

use crate::ruleset::{Delivery, Element, TABLE};
use crate::transaction::Strange;
use netlink::nftables::udata::TABLE_COMMENT;
use netlink::nftables::{Chain, Counter, Flowtable, Rule as KernelRule, Set, Table};

/// The layout of our tables. Another number means: made by another version of us, to be made anew.
const LAYOUT: &str = "1";

/// What tables that mark say besides: they are made anew when another backend takes over.
const FOR_IPVS: &str = " for ipvs";

/// What tables say besides that hold what a backend which is gone has left.
const LEAVING: &str = " leaving";

/// What every table of ours says of itself; then comes the layout.
const SIGNATURE: &str = "switchyard layout ";

/// One of our tables as it is in the kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    /// Whether it was made to be owned, and nobody owns it now.
    pub(crate) is_orphan: bool,
    /// Its sets, without elements.
    pub(crate) sets: Vec<Set>,
    /// Its flowtables.
    pub(crate) flowtables: Vec<Flowtable>,
    /// Its chains.
    pub(crate) chains: Vec<Chain>,
    /// Its rules, in order within each chain.
    pub(crate) rules: Vec<KernelRule>,
    /// What can be ours, in order; of the dynamic map nothing, it is the packet path's.
    pub(crate) elements: Vec<Element>,
    /// What cannot.
    pub(crate) strange: Vec<Strange>,
    /// The counters of those elements that were found, in the order of `elements`.
    pub(crate) counters: Vec<(Element, Counter)>,
}

/// Whose a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Ours, of this layout.
    Ours,
    /// Ours, of another layout.
    OursOfOld,
    /// Somebody else's, or nobody knows.
    Strange,
}

/// Whose `table` is: it says so itself, in the comment that we put there.
pub(crate) fn whose(table: &Table, delivery: Delivery) -> Whose {
    whose_of(table, &layout(delivery))
}

/// Whose a table is that holds what a backend has left.
pub(crate) fn whose_leaving(table: &Table) -> Whose {
    whose_of(table, &format!("{LAYOUT}{LEAVING}"))
}

fn whose_of(table: &Table, layout: &str) -> Whose {
    match comment(&table.userdata).and_then(|comment| comment.strip_prefix(SIGNATURE)) {
        Some(said) if said == layout => Whose::Ours,
        Some(_) => Whose::OursOfOld,
        None => Whose::Strange,
    }
}

/// The layout of one kind of our tables.
pub(crate) fn layout(delivery: Delivery) -> String {
    match delivery {
        Delivery::Translate => LAYOUT.to_owned(),
        Delivery::Mark => format!("{LAYOUT}{FOR_IPVS}"),
    }
}

/// The user data of our tables.
pub(crate) fn signature(delivery: Delivery) -> Vec<u8> {
    saying(&layout(delivery))
}

/// The user data of tables that hold what a backend has left.
pub(crate) fn leaving_signature() -> Vec<u8> {
    saying(&format!("{LAYOUT}{LEAVING}"))
}

fn saying(layout: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    netlink::nftables::udata::put_str(&mut bytes, TABLE_COMMENT, &format!("{SIGNATURE}{layout}"));
    bytes
}

/// How errors name a table.
pub(crate) fn table_text(family: Family) -> String {
    table_text_of(family, TABLE)
}

/// How errors name a table of another name.
pub(crate) fn table_text_of(family: Family, name: &str) -> String {
    format!("table {} {name}", crate::ruleset::rule::keyword(family))
}

/// The comment in a table's user data.
fn comment(mut userdata: &[u8]) -> Option<&str> {
    loop {
        let [kind, length, rest @ ..] = userdata else { return None };
        let payload = rest.get(..usize::from(*length))?;
        if *kind == TABLE_COMMENT {
            return std::str::from_utf8(payload).ok()?.strip_suffix('\0');
        }
        userdata = &rest[payload.len()..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink::nftables as kernel;

    fn check(comment: Option<&str>, expected: Whose) {
        let mut userdata = Vec::new();
        if let Some(comment) = comment {
            kernel::udata::put_str(&mut userdata, TABLE_COMMENT, comment);
        }
        let table = Table { family: kernel::Family::Ipv4, flags: 0, owner: None, userdata };
        assert_eq!(whose(&table, Delivery::Translate), expected, "{comment:?}");
    }

    #[test]
    fn a_table_is_ours_if_it_says_so() {
        check(Some("switchyard layout 1"), Whose::Ours);
        check(Some("switchyard layout 0"), Whose::OursOfOld);
        check(Some("switchyard layout 1 for ipvs"), Whose::OursOfOld);
        check(Some("switchyard"), Whose::Strange);
        check(Some("somebody else's"), Whose::Strange);
        check(None, Whose::Strange);
    }
}
