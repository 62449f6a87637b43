//! Whose a table is: what its comment says, and the flags by which the kernel keeps other programs off it.
//!
//! A restarted process knows our tables by the comment. No other table is ever written.

use backend_api::{Family, SyncError};
use netlink::nftables::{Nftables, Ownership, Table};

use crate::errors::from_commit;
use crate::options::Others;
use crate::ruleset::Delivery;
use crate::ruleset::lower::kernel_family;
use crate::ruleset::name::keyword;

/// What the comment of every table of ours begins with; then comes its layout.
const SIGNATURE: &str = "switchyard layout ";

/// What a table of ours is made like. A table whose comment says another layout was made by another version of us, or
/// by another backend, and is made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Tables `switchyard` that translate.
    Translating,
    /// Tables `switchyard` that mark.
    Marking,
    /// Tables `switchyard-leaving`.
    Leaving,
}

/// Whose a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Ours, of this layout.
    Ours,
    /// Ours, of another layout.
    OursOfOld,
    /// Not provably ours.
    Foreign,
}

impl Layout {
    /// Whose `table` is, going by its comment.
    pub(crate) fn whose(self, table: &Table) -> Whose {
        match table.comment().and_then(|comment| comment.strip_prefix(SIGNATURE)) {
            Some(layout) if layout == self.text() => Whose::Ours,
            Some(_) => Whose::OursOfOld,
            None => Whose::Foreign,
        }
    }

    /// A table as we make it: its comment says that it is ours, and the kernel keeps other programs off it, if it can.
    pub(crate) fn table(self, family: Family, ownership: Ownership) -> Table {
        Table::new(kernel_family(family))
            .with_flags(ownership.table_flags())
            .with_comment(&format!("{SIGNATURE}{}", self.text()))
    }

    /// What the comment says behind the signature. The number is that of the layout's version.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Translating => "2",
            Self::Marking => "2 for ipvs",
            Self::Leaving => "1 leaving",
        }
    }
}

impl From<Delivery> for Layout {
    fn from(delivery: Delivery) -> Self {
        match delivery {
            Delivery::Translate => Self::Translating,
            Delivery::Mark => Self::Marking,
        }
    }
}

/// How we own the tables that we make: as far as this kernel can keep other programs off them, unless they are let in.
pub(crate) async fn ownership(nftables: &mut Nftables, others: Others) -> Result<Ownership, SyncError> {
    match others {
        Others::KeptOut => nftables.ownership().await.map_err(from_commit),
        Others::LetIn => Ok(Ownership::None),
    }
}

/// How errors name a table.
pub(crate) fn table_text(family: Family, name: &str) -> String {
    format!("table {} {name}", keyword(family))
}

/// The error where the place of our table `name` is taken by a table that is not ours.
pub fn foreign_table(family: Family, name: &str) -> SyncError {
    let reason = "a table of this name is there that does not say it is ours: rename or remove it".to_owned();
    SyncError::Refused { object: table_text(family, name), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(comment: Option<&str>, expected: Whose) {
        let table = Table::new(kernel_family(Family::V4));
        let table = match comment {
            Some(comment) => table.with_comment(comment),
            None => table,
        };
        assert_eq!(Layout::Translating.whose(&table), expected, "{comment:?}");
    }

    #[test]
    fn a_table_is_ours_if_it_says_so() {
        check(Some("switchyard layout 2"), Whose::Ours);
        check(Some("switchyard layout 1"), Whose::OursOfOld);
        check(Some("switchyard layout 2 for ipvs"), Whose::OursOfOld);
        check(Some("switchyard layout 1 leaving"), Whose::OursOfOld);
        check(Some("switchyard"), Whose::Foreign);
        check(Some("another program's"), Whose::Foreign);
        check(None, Whose::Foreign);
    }
}
