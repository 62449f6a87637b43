//! Which of the node's addresses carry node ports, as configured: which ones that are changes with the
//! node's addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use backend_api::{Cidr, Family, NodePortAddresses, PerFamily};

/// `--nodeport-addresses`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortSelection {
    /// Every address of the node.
    All,
    /// The words and ranges that were given.
    Chosen {
        /// The addresses of the node's Node object: the first of each family.
        primary: bool,
        /// The node's addresses in these.
        ranges: BTreeSet<Cidr>,
    },
}

/// Why a text selects no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: must be `primary`, `all` or ranges such as 192.168.0.0/16, separated by commas")]
pub struct SelectionError(String);

impl NodePortSelection {
    /// What this means on a node whose Node object has `primary` addresses and which owns `owned`.
    ///
    /// As kube-proxy does, a family that no range was given for has all addresses, if ranges alone were given.
    pub fn on_node(&self, primary: &[IpAddr], owned: &BTreeSet<IpAddr>) -> PerFamily<NodePortAddresses> {
        let of = |family| match self {
            Self::All => NodePortAddresses::All,
            Self::Chosen { primary: with_primary, ranges } => {
                let ranges: Vec<_> = ranges.iter().filter(|range| range.family() == family).collect();
                if ranges.iter().any(|range| range.prefix() == 0) || (ranges.is_empty() && !with_primary) {
                    return NodePortAddresses::All;
                }
                let first = primary.iter().filter(|_| *with_primary).find(|address| Family::of(**address) == family);
                let in_range = owned.iter().filter(|address| ranges.iter().any(|range| range.contains(**address)));
                NodePortAddresses::These(first.into_iter().chain(in_range).copied().collect())
            }
        };
        PerFamily { v4: of(Family::V4), v6: of(Family::V6) }
    }

    /// Whether the Node object's addresses count.
    pub fn needs_node_object(&self) -> bool {
        matches!(self, Self::Chosen { primary: true, .. })
    }
}

impl FromStr for NodePortSelection {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, SelectionError> {
        let mut all = false;
        let mut primary = false;
        let mut ranges = BTreeSet::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "all" => all = true,
                "primary" => primary = true,
                range => {
                    ranges.insert(range.parse().map_err(|_| SelectionError(text.to_owned()))?);
                }
            }
        }
        Ok(match (all, primary || ranges.is_empty()) {
            (true, _) => Self::All,
            (false, primary) => Self::Chosen { primary, ranges },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<IpAddr> {
        text.split_whitespace().map(|address| address.parse().unwrap()).collect()
    }

    fn these(text: &str) -> NodePortAddresses {
        NodePortAddresses::These(addresses(text).into_iter().collect())
    }

    #[test]
    fn words_and_ranges_select_addresses() {
        let primary = addresses("192.168.67.8 fd00::8 192.168.68.8");
        let owned = addresses("192.168.67.8 192.168.68.8 10.0.0.1 fd00::8 fd01::8").into_iter().collect();
        let all = NodePortAddresses::All;
        let cases = [
            ("", these("192.168.67.8"), these("fd00::8")),
            ("primary", these("192.168.67.8"), these("fd00::8")),
            ("all", all.clone(), all.clone()),
            ("primary,all", all.clone(), all.clone()),
            ("192.168.0.0/16,fd01::/64", these("192.168.67.8 192.168.68.8"), these("fd01::8")),
            ("192.168.0.0/16", these("192.168.67.8 192.168.68.8"), all.clone()),
            ("0.0.0.0/0,fd01::/64", all.clone(), these("fd01::8")),
            ("primary,10.0.0.0/8", these("192.168.67.8 10.0.0.1"), these("fd00::8")),
            ("172.16.0.0/12,::/0", these(""), all),
        ];
        for (text, v4, v6) in cases {
            let selection: NodePortSelection = text.parse().unwrap();
            assert_eq!(selection.on_node(&primary, &owned), PerFamily { v4, v6 }, "{text:?}");
        }
    }

    #[test]
    fn without_a_node_object_primary_selects_nothing() {
        let selection: NodePortSelection = "primary".parse().unwrap();
        assert!(selection.needs_node_object());
        let owned = addresses("192.168.67.8").into_iter().collect();
        assert_eq!(selection.on_node(&[], &owned), PerFamily { v4: these(""), v6: these("") });
    }

    #[test]
    fn other_words_are_refused() {
        for text in ["localhost", "10.0.0.1", "primary 10.0.0.0/8"] {
            assert_eq!(text.parse::<NodePortSelection>(), Err(SelectionError(text.into())));
        }
    }
}
