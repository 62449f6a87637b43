//! What settings were before us, kept in the kernel: the comment of a table that has nothing else.
//!
//! A file would need a place that outlives us and goes with the network namespace; the kernel has one. A restarted
//! process knows the table by its name and by what its comment begins with. `nft flush ruleset` takes it away: a
//! process that runs puts it back with its next write; to a process that starts later the present values are the
//! originals.

use std::io;

use backend_api::SyncError;
use netlink::Namespace;
use netlink::nftables::{Batch, Family, Nftables, Table};

use super::settings::Values;
use super::{sysctls, timeouts};
use crate::errors::{from_commit, from_read};

/// The table's name, in family `ip`.
pub(crate) const TABLE: &str = "switchyard-originals";

/// What its comment begins with.
const SIGNATURE: &str = "switchyard originals:";

/// `NFT_USERDATA_MAXLEN`, less the TLV's header and the closing 0.
const COMMENT_MAX: usize = 256 - 3;

/// The table in one network namespace.
#[derive(Debug)]
pub(crate) struct OriginalsTable {
    nftables: Nftables,
    /// What is remembered; more than the table says if another program removed it.
    known: Values,
    /// What the table says; none if there is none.
    written: Option<Values>,
}

impl OriginalsTable {
    /// Opens a socket in a network namespace. Within a tokio runtime.
    ///
    /// # Errors
    /// The socket's.
    pub(crate) fn open(namespace: &Namespace) -> io::Result<Self> {
        Ok(Self { nftables: Nftables::open_in(namespace, TABLE)?, known: Values::new(), written: None })
    }

    /// What is remembered. The kernel's word goes before ours: it is the older one.
    ///
    /// # Errors
    /// The kernel's, and that the table is another program's.
    pub(crate) async fn read(&mut self) -> Result<Values, SyncError> {
        let tables = self.nftables.tables().await.map_err(from_read)?;
        let table = tables.iter().find(|table| table.family == Family::Ipv4);
        self.written = match table.map(|table| table.comment().and_then(parse)) {
            Some(None) => {
                let reason = "a table of this name is there that does not say it is ours: rename or remove it";
                return Err(SyncError::Refused { object: object(), reason: reason.to_owned() });
            }
            Some(found) => found,
            None => None,
        };
        if let Some(written) = &self.written {
            self.known.extend(written);
        }
        Ok(self.known.clone())
    }

    /// Remembers these instead; without any the table goes. How many writes that took. To be called after
    /// [`OriginalsTable::read`].
    ///
    /// # Errors
    /// The kernel's; the table is as it was.
    pub(crate) async fn write(&mut self, originals: &Values) -> Result<usize, SyncError> {
        self.known.clone_from(originals);
        let wanted = Some(originals).filter(|originals| !originals.is_empty());
        if self.written.as_ref() == wanted {
            return Ok(0);
        }
        let mut batch = Batch::new(TABLE);
        // A table's comment cannot be changed; both happen at once.
        if self.written.is_some() {
            batch.remove_table(0, Family::Ipv4);
        }
        if let Some(originals) = wanted {
            batch.put_table(1, &table(originals));
        }
        self.nftables.commit(&mut batch).await.map_err(|error| from_commit(object(), error))?;
        self.written = wanted.cloned();
        Ok(1)
    }
}

fn object() -> String {
    format!("table ip {TABLE}")
}

fn table(originals: &Values) -> Table {
    Table::new(Family::Ipv4).with_comment(&print(originals))
}

/// `switchyard originals: ip_forward=0 vs/conntrack=0`
fn print(originals: &Values) -> String {
    let mut text = SIGNATURE.to_owned();
    for (name, value) in originals {
        text += &format!(" {name}={value}");
    }
    debug_assert!(text.len() <= COMMENT_MAX, "comment of {} bytes", text.len());
    text
}

/// What a comment says; none if it is not ours. Names that we do not know are passed over: we could not restore them.
fn parse(comment: &str) -> Option<Values> {
    Some(comment.strip_prefix(SIGNATURE)?.split_whitespace().filter_map(parse_pair).collect())
}

fn parse_pair(word: &str) -> Option<(&'static str, u32)> {
    let (name, value) = word.split_once('=')?;
    Some((names().find(|known| *known == name)?, value.parse().ok()?))
}

fn names() -> impl Iterator<Item = &'static str> {
    sysctls::ALL.iter().map(|sysctl| sysctl.name).chain(timeouts::NAMES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_parsed_and_all_of_it_fits() {
        let all: Values = names().map(|name| (name, u32::MAX)).collect();
        assert_eq!(all.len(), sysctls::ALL.len() + timeouts::NAMES.len(), "a name is there twice");
        for originals in [all, Values::new(), [("ip_forward", 0), ("timeout/tcp", 900)].into()] {
            let table = table(&originals);
            assert!(table.userdata.len() <= 256, "{} bytes", table.userdata.len());
            assert_eq!(table.comment().and_then(parse), Some(originals));
        }
    }

    #[test]
    fn a_comment_is_ours_if_it_says_so() {
        assert_eq!(parse("switchyard originals:"), Some(Values::new()));
        assert_eq!(parse("switchyard originals: ip_forward=0"), Some([("ip_forward", 0)].into()));
        assert_eq!(parse("switchyard originals: later/name=1 ip_forward=x vs/conntrack"), Some(Values::new()));
        assert_eq!(parse("switchyard layout 1"), None);
        assert_eq!(parse(""), None);
    }
}
