//! Whose a table is: what its comment says, and the flags by which the kernel keeps other programs off it.
//!
//! A restarted process knows our tables by the comment. No other table is ever written.

use backend_api::{Family, SyncError};
use netlink::nftables::object::{TABLE_OWNER, TABLE_PERSIST};
use netlink::nftables::udata::{TABLE_COMMENT, put_str};
use netlink::nftables::{Nftables, Ownership, Table};

use crate::errors::from_commit;
use crate::options::Others;
use crate::ruleset::Delivery;
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
        match comment(&table.userdata).and_then(|comment| comment.strip_prefix(SIGNATURE)) {
            Some(layout) if layout == self.text() => Whose::Ours,
            Some(_) => Whose::OursOfOld,
            None => Whose::Foreign,
        }
    }

    /// The user data of tables that we make: the comment that says they are ours.
    pub(crate) fn userdata(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_str(&mut bytes, TABLE_COMMENT, &format!("{SIGNATURE}{}", self.text()));
        bytes
    }

    /// What the comment says behind the signature. The number is that of the layout's version.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Translating => "1",
            Self::Marking => "1 for ipvs",
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

/// `NFT_TABLE_F_*` of tables that we own so.
pub(crate) fn table_flags(ownership: Ownership) -> u32 {
    match ownership {
        Ownership::Kept => TABLE_OWNER | TABLE_PERSIST,
        Ownership::None => 0,
    }
}

/// Whether a process made `table` to own it, that process is gone, and we would own it. When the owner's socket closes,
/// the kernel takes the one flag away and leaves the other.
pub(crate) fn is_orphan(table: &Table, ownership: Ownership) -> bool {
    ownership == Ownership::Kept && table.flags & (TABLE_OWNER | TABLE_PERSIST) == TABLE_PERSIST
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
    use netlink::nftables as kernel;

    use super::*;

    fn check(comment: Option<&str>, expected: Whose) {
        let mut userdata = Vec::new();
        if let Some(comment) = comment {
            put_str(&mut userdata, TABLE_COMMENT, comment);
        }
        let table = Table { family: kernel::Family::Ipv4, flags: 0, owner: None, userdata };
        assert_eq!(Layout::Translating.whose(&table), expected, "{comment:?}");
    }

    #[test]
    fn a_table_is_ours_if_it_says_so() {
        check(Some("switchyard layout 1"), Whose::Ours);
        check(Some("switchyard layout 0"), Whose::OursOfOld);
        check(Some("switchyard layout 1 for ipvs"), Whose::OursOfOld);
        check(Some("switchyard layout 1 leaving"), Whose::OursOfOld);
        check(Some("switchyard"), Whose::Foreign);
        check(Some("another program's"), Whose::Foreign);
        check(None, Whose::Foreign);
    }

    #[test]
    fn a_table_is_an_orphan_once_its_owner_is_gone_and_only_where_tables_are_owned() {
        let table = |flags| Table { family: kernel::Family::Ipv4, flags, owner: None, userdata: Vec::new() };
        assert!(is_orphan(&table(TABLE_PERSIST), Ownership::Kept));
        assert!(!is_orphan(&table(TABLE_PERSIST), Ownership::None));
        assert!(!is_orphan(&table(TABLE_PERSIST | TABLE_OWNER), Ownership::Kept));
        assert!(!is_orphan(&table(0), Ownership::Kept));
    }
}
