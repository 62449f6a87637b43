//! Which of the node's addresses carry node ports, as configured: which ones that are changes with the
//! node's addresses.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
        /// The node's addresses in these. One within 127.0.0.0/8 or ::1/128 asks for node ports on localhost.
        ranges: BTreeSet<Cidr>,
    },
}

impl Default for NodePortSelection {
    fn default() -> Self {
        Self::Chosen { primary: true, ranges: BTreeSet::new() }
    }
}

/// What a Node object says of the node's own address of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrimaryAddress {
    /// This one.
    Named(IpAddr),
    /// There is none among its addresses.
    NotNamed,
    /// There is no Node object.
    Unknown,
}

/// Why a text selects no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?}: must be `primary`, `all`, `localhost` or ranges such as 192.168.0.0/16, separated by commas")]
pub struct SelectionError(String);

impl NodePortSelection {
    /// What this means on a node whose Node object says this of its addresses and which owns `owned`.
    ///
    /// As kube-proxy does, a family for which nothing was given has all addresses: no range, if ranges alone were
    /// given; no primary address, if the Node object names none.
    pub fn on_node(
        &self,
        primary: &PerFamily<PrimaryAddress>,
        owned: &BTreeSet<IpAddr>,
    ) -> PerFamily<NodePortAddresses> {
        PerFamily {
            v4: self.in_family(Family::V4, primary.v4, owned),
            v6: self.in_family(Family::V6, primary.v6, owned),
        }
    }

    fn in_family(&self, family: Family, primary: PrimaryAddress, owned: &BTreeSet<IpAddr>) -> NodePortAddresses {
        let Self::Chosen { primary: with_primary, ranges } = self else { return NodePortAddresses::All };
        let ranges: Vec<_> = ranges.iter().filter(|range| range.family() == family).collect();
        let (first, nothing_given) = match primary {
            _ if !with_primary => (None, ranges.is_empty()),
            PrimaryAddress::Named(address) => (Some(address), false),
            PrimaryAddress::NotNamed => (None, ranges.iter().all(|range| is_loopback(**range))),
            PrimaryAddress::Unknown => (None, false),
        };
        if nothing_given || ranges.iter().any(|range| range.prefix() == 0) {
            return NodePortAddresses::All;
        }
        let in_range = owned.iter().copied().filter(|address| ranges.iter().any(|range| range.contains(*address)));
        NodePortAddresses::These(first.into_iter().chain(in_range).collect())
    }

    /// Whether the Node object's addresses count.
    pub fn needs_node_object(&self) -> bool {
        matches!(self, Self::Chosen { primary: true, .. })
    }

    /// Whether a range within the loopback addresses of `family` was given.
    pub fn asks_for_localhost(&self, family: Family) -> bool {
        match self {
            Self::All => false,
            Self::Chosen { ranges, .. } => ranges.iter().any(|range| range.family() == family && is_loopback(*range)),
        }
    }

    /// Whether `address` would carry node ports if this node had it, whatever its Node object says.
    pub fn names(&self, address: IpAddr) -> bool {
        match self {
            Self::All => true,
            Self::Chosen { ranges, .. } => ranges.iter().any(|range| range.contains(address)),
        }
    }

    /// What either selects.
    pub fn and(self, other: Self) -> Self {
        let (mut both, more) = (self.into_parts(), other.into_parts());
        both.1.extend(more.1);
        Self::of(both.0 || more.0, both.1)
    }

    /// Localhost of `family` too.
    pub fn with_localhost(self, family: Family) -> Self {
        if self.asks_for_localhost(family) {
            return self;
        }
        let (primary, mut ranges) = self.into_parts();
        ranges.insert(loopback(family));
        Self::of(primary, ranges)
    }

    /// As kube-proxy's list has it.
    pub fn words(&self) -> Vec<String> {
        let (primary, ranges) = self.clone().into_parts();
        let primary = primary.then(|| "primary".to_owned());
        primary.into_iter().chain(ranges.iter().map(ToString::to_string)).collect()
    }

    /// Every selection has one form, so that equal ones are equal.
    fn of(primary: bool, ranges: BTreeSet<Cidr>) -> Self {
        let everywhere = Family::ALL.map(everything);
        if everywhere.iter().any(|all| !ranges.contains(all)) {
            return Self::Chosen { primary, ranges };
        }
        // Others are in these; loopbacks alone say something more.
        let given = Self::Chosen { primary: false, ranges };
        let loopbacks = Family::ALL.into_iter().filter(|family| given.asks_for_localhost(*family)).map(loopback);
        let ranges: BTreeSet<_> = everywhere.into_iter().chain(loopbacks).collect();
        if ranges.len() == everywhere.len() { Self::All } else { Self::Chosen { primary: false, ranges } }
    }

    fn into_parts(self) -> (bool, BTreeSet<Cidr>) {
        match self {
            Self::All => (false, Family::ALL.map(everything).into()),
            Self::Chosen { primary, ranges } => (primary, ranges),
        }
    }
}

/// Every address of a family.
fn everything(family: Family) -> Cidr {
    let unspecified = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    Cidr::new(unspecified, 0).expect("no prefix is shorter")
}

/// What is localhost in a family.
fn loopback(family: Family) -> Cidr {
    match family {
        Family::V4 => Cidr::new(Ipv4Addr::LOCALHOST.into(), 8).expect("8 is a prefix of IPv4"),
        Family::V6 => Cidr::host(Ipv6Addr::LOCALHOST.into()),
    }
}

/// Whether a range lies within the loopback addresses of its family.
fn is_loopback(range: Cidr) -> bool {
    let within = loopback(range.family());
    range.prefix() >= within.prefix() && within.contains(range.network())
}

impl FromStr for NodePortSelection {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, SelectionError> {
        let mut primary = false;
        let mut ranges = BTreeSet::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "all" => ranges.extend(Family::ALL.map(everything)),
                "localhost" => ranges.extend(Family::ALL.map(loopback)),
                "primary" => primary = true,
                range => {
                    ranges.insert(range.parse().map_err(|_| SelectionError(text.to_owned()))?);
                }
            }
        }
        if ranges.is_empty() { Ok(Self::default()) } else { Ok(Self::of(primary, ranges)) }
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
        let named = |address: &str| PrimaryAddress::Named(address.parse().unwrap());
        let primary = PerFamily::new(named("192.168.67.8"), named("fd00::8"));
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
            ("172.16.0.0/12,::/0", these(""), all.clone()),
            ("localhost", these(""), these("")),
            ("localhost,primary", these("192.168.67.8"), these("fd00::8")),
            ("localhost,all", all.clone(), all.clone()),
            ("127.0.0.0/8", these(""), all),
        ];
        for (text, v4, v6) in cases {
            let selection: NodePortSelection = text.parse().unwrap();
            assert_eq!(selection.on_node(&primary, &owned), PerFamily { v4, v6 }, "{text:?}");
        }
    }

    #[test]
    fn localhost_is_wanted_by_its_name_and_by_ranges_within_it() {
        for (text, v4, v6) in [
            ("", false, false),
            ("all", false, false),
            ("0.0.0.0/0,::/0", false, false),
            ("localhost", true, true),
            ("primary,localhost", true, true),
            ("all,localhost", true, true),
            ("all,::1/128", false, true),
            ("127.0.0.0/8", true, false),
            ("127.0.0.1/32,192.168.0.0/16", true, false),
            ("126.0.0.0/7,::/64", false, false),
        ] {
            let selection: NodePortSelection = text.parse().unwrap();
            let open = Family::ALL.map(|family| selection.asks_for_localhost(family));
            assert_eq!(open, [v4, v6], "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_parsed_again_and_equal_selections_have_one_form() {
        for text in
            ["", "primary", "all", "localhost", "all,localhost", "all,127.0.0.1/32,10.0.0.0/8", "primary,::1/128"]
        {
            let selection: NodePortSelection = text.parse().unwrap();
            assert_eq!(selection.words().join(",").parse(), Ok(selection), "{text:?}");
        }
        for (one, other) in [("all", "0.0.0.0/0,::/0"), ("all,primary", "all,10.0.0.0/8"), ("", "primary")] {
            assert_eq!(one.parse::<NodePortSelection>(), other.parse(), "{one:?}, {other:?}");
        }
    }

    #[test]
    fn a_family_that_the_node_object_does_not_name_has_all_addresses_and_none_without_the_object() {
        let owned = addresses("192.168.67.8 10.0.0.1 fd00::8").into_iter().collect();
        let on_node = |text: &str, v6| {
            let selection: NodePortSelection = text.parse().unwrap();
            assert!(selection.needs_node_object());
            selection.on_node(&PerFamily::new(PrimaryAddress::Named("192.168.67.8".parse().unwrap()), v6), &owned)
        };
        let v4 = these("192.168.67.8");
        for (text, not_named, unknown) in [
            ("primary", NodePortAddresses::All, these("")),
            ("primary,localhost", NodePortAddresses::All, these("")),
            ("primary,fd00::/64", these("fd00::8"), these("fd00::8")),
            ("primary,fd01::/64", these(""), these("")),
        ] {
            let expected = PerFamily { v4: v4.clone(), v6: not_named };
            assert_eq!(on_node(text, PrimaryAddress::NotNamed), expected, "{text:?}");
            let expected = PerFamily { v4: v4.clone(), v6: unknown };
            assert_eq!(on_node(text, PrimaryAddress::Unknown), expected, "{text:?}");
        }
    }

    #[test]
    fn other_words_are_refused() {
        for text in ["eth0", "10.0.0.1", "primary 10.0.0.0/8"] {
            assert_eq!(text.parse::<NodePortSelection>(), Err(SelectionError(text.into())));
        }
    }
}
