//! Somebody else's nftables table, which must be the same before and after a scenario.

use agent::world::Namespace;

use super::listing::{nft, ruleset};

/// A foreign table with what ours is made of: chains at our priorities, a map, a set.
const TABLE: &str = "table inet foreign {
    map ports { type inet_service : ipv4_addr; elements = { 7777 : 192.0.2.7 }; }
    set names { type ipv4_addr; elements = { 192.0.2.8 }; }
    chain prerouting { type nat hook prerouting priority dstnat; ip daddr @names counter accept; }
    chain forward { type filter hook forward priority filter; policy accept; }
}
";

/// What stood in the namespace before the agent came.
#[derive(Debug)]
pub(super) struct Foreign {
    before: String,
}

impl Foreign {
    /// Makes the table.
    pub(super) fn plant(namespace: &Namespace) -> Result<Self, String> {
        // Not skipped: a check that is left out in silence looks like one that passed.
        nft(namespace, &["-f", "-"], TABLE)
            .ok_or("nft: not installed, others' rules cannot be watched without it")??;
        Ok(Self { before: ruleset(namespace)? })
    }

    /// What is another than before.
    pub(super) fn difference(&self, namespace: &Namespace) -> Option<String> {
        let before = &self.before;
        match ruleset(namespace) {
            Ok(after) if after == *before => None,
            Ok(after) => Some(format!("before:\n{before}\nafter remove_all:\n{after}")),
            Err(error) => Some(error),
        }
    }
}
