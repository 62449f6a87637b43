//! What the sets and chains of our table are called.
//!
//! Kept apart because names are the one thing that rules, elements and what the kernel answers must agree on. Both
//! families use the same names, each in its own table.

use std::fmt;

use backend_api::Pool;

/// The name of our tables, one in `ip` and one in `ip6`.
pub const TABLE: &str = "switchyard";

/// What a frontend is looked up by: nearly every map exists for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// Destination address, protocol and port.
    Address,
    /// Protocol and port, on the node's own addresses.
    NodePort,
}

/// How a translated connection's source is rewritten, beyond the default for cluster addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rewrite {
    /// Everybody's.
    Always,
    /// That of whoever is no local pod.
    UnlessPod,
    /// The node's own.
    FromNode,
    /// Nobody's.
    Never,
}

/// A set or a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetName {
    /// Frontend → code of who answers; counts connections.
    Services(By),
    /// Frontend → code of who answers pods and the node, where strangers meet another answer.
    Inside(By),
    /// Frontend → code of who answers strangers.
    Outside(By),
    /// Code → chain; grows with the number of distinct pool sizes only.
    Policies(By),
    /// Frontend and slot → endpoint.
    Endpoints(By),
    /// Frontend → what its clients are remembered by.
    AffinityIds(By),
    /// Frontend and index → timeout and slot, of what remembers its clients.
    StickyPicks(By),
    /// Timeout and slot → chain.
    StickySlots(By),
    /// Frontend and slot → endpoint, of what remembers its clients.
    StickyEndpoints(By),
    /// Frontends that not everybody may dial.
    Restricted(By),
    /// Frontend and the range of sources that may dial it.
    Allowed(By),
    /// Frontends, as dialled, by whose source is rewritten. Node ports that are in none have their clients' sources kept:
    /// there is no set of those.
    Masquerade(By, Rewrite),
    /// Client and service port → slot; filled by the packet path.
    Affinity,
    /// Cluster addresses that services have.
    ClusterIps,
    /// The node's addresses that carry node ports, where they are listed.
    NodeAddresses,
    /// Endpoints on this node, twice each: from itself to itself.
    Hairpin,
}

/// A chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainName {
    /// Refuses: TCP by RST, all else by ICMP.
    Refuse,
    /// Picks one of so many endpoints.
    Pick(By, Pool, u16),
    /// Picks one of so many slots, then asks what the client is remembered by.
    Sticky(By, Pool, u16),
    /// The slot's turn: `slot`, and `timeout` in seconds.
    Slot(By, Tag),
    /// Sends pods and the node one way, strangers another.
    Split(By),
    /// The way of pods and the node.
    SplitInside(By),
    /// Who may dial.
    Guard,
    /// Frontend → chain.
    Services,
    /// What nobody translated.
    Undelivered,
    /// Rewrites the source of whoever is no local pod.
    MasqueradeUnlessPod,
    /// Rewrites the node's own source.
    MasqueradeFromNode,
    /// Entry to `guard`.
    GuardPrerouting,
    /// Entry to `guard`.
    GuardOutput,
    /// Entry to `services`.
    NatPrerouting,
    /// Entry to `services`.
    NatOutput,
    /// Entry to `undelivered`.
    UndeliveredPrerouting,
    /// Entry to `undelivered`.
    UndeliveredOutput,
    /// Source rewriting.
    NatPostrouting,
}

/// A slot of a pool that remembers its clients, and for how long it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// The slot: below [`LOCAL_STICKY_SLOT`] in the cluster-wide pool, from there on in the node's own.
    pub slot: u16,
    /// Seconds, below 2^17.
    pub timeout: u32,
}

/// First slot of [`Pool::Local`] where clients are remembered.
pub const LOCAL_STICKY_SLOT: u16 = 1 << 14;

impl By {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Address, Self::NodePort];

    fn prefix(self) -> &'static str {
        match self {
            Self::Address => "",
            Self::NodePort => "node-port-",
        }
    }
}

impl Rewrite {
    /// Every one, in the order in which they are asked.
    pub const ALL: [Self; 4] = [Self::Always, Self::UnlessPod, Self::FromNode, Self::Never];
}

impl SetName {
    /// Every one, in the order in which they are created.
    pub const ALL: [Self; 33] = {
        use By::{Address, NodePort};
        use Rewrite::{Always, FromNode, Never, UnlessPod};
        [
            Self::Services(Address),
            Self::Inside(Address),
            Self::Outside(Address),
            Self::Policies(Address),
            Self::Endpoints(Address),
            Self::AffinityIds(Address),
            Self::StickyPicks(Address),
            Self::StickySlots(Address),
            Self::StickyEndpoints(Address),
            Self::Restricted(Address),
            Self::Allowed(Address),
            Self::Masquerade(Address, Always),
            Self::Masquerade(Address, UnlessPod),
            Self::Masquerade(Address, FromNode),
            Self::Masquerade(Address, Never),
            Self::Services(NodePort),
            Self::Inside(NodePort),
            Self::Outside(NodePort),
            Self::Policies(NodePort),
            Self::Endpoints(NodePort),
            Self::AffinityIds(NodePort),
            Self::StickyPicks(NodePort),
            Self::StickySlots(NodePort),
            Self::StickyEndpoints(NodePort),
            Self::Restricted(NodePort),
            Self::Allowed(NodePort),
            Self::Masquerade(NodePort, Always),
            Self::Masquerade(NodePort, UnlessPod),
            Self::Masquerade(NodePort, FromNode),
            Self::Affinity,
            Self::ClusterIps,
            Self::NodeAddresses,
            Self::Hairpin,
        ]
    };

    /// Its name in the kernel.
    pub fn as_str(self) -> &'static str {
        use By::{Address, NodePort};
        use Rewrite::{Always, FromNode, Never, UnlessPod};
        match self {
            Self::Services(Address) => "services",
            Self::Services(NodePort) => "node-ports",
            Self::Inside(Address) => "services-inside",
            Self::Inside(NodePort) => "node-ports-inside",
            Self::Outside(Address) => "services-outside",
            Self::Outside(NodePort) => "node-ports-outside",
            Self::Policies(Address) => "policies",
            Self::Policies(NodePort) => "node-port-policies",
            Self::Endpoints(Address) => "endpoints",
            Self::Endpoints(NodePort) => "node-port-endpoints",
            Self::AffinityIds(Address) => "affinity-ids",
            Self::AffinityIds(NodePort) => "node-port-affinity-ids",
            Self::StickyPicks(Address) => "sticky-picks",
            Self::StickyPicks(NodePort) => "node-port-sticky-picks",
            Self::StickySlots(Address) => "sticky-slots",
            Self::StickySlots(NodePort) => "node-port-sticky-slots",
            Self::StickyEndpoints(Address) => "sticky-endpoints",
            Self::StickyEndpoints(NodePort) => "node-port-sticky-endpoints",
            Self::Restricted(Address) => "restricted",
            Self::Restricted(NodePort) => "node-port-restricted",
            Self::Allowed(Address) => "allowed",
            Self::Allowed(NodePort) => "node-port-allowed",
            Self::Masquerade(Address, Always) => "masquerade-always",
            Self::Masquerade(Address, UnlessPod) => "masquerade-unless-pod",
            Self::Masquerade(Address, FromNode) => "masquerade-from-node",
            Self::Masquerade(Address, Never) => "masquerade-never",
            Self::Masquerade(NodePort, Always) => "node-port-masquerade-always",
            Self::Masquerade(NodePort, UnlessPod) => "node-port-masquerade-unless-pod",
            Self::Masquerade(NodePort, FromNode) => "node-port-masquerade-from-node",
            Self::Masquerade(NodePort, Never) => "node-port-masquerade-never",
            Self::Affinity => "affinity",
            Self::ClusterIps => "cluster-ips",
            Self::NodeAddresses => "node-addresses",
            Self::Hairpin => "hairpin",
        }
    }

    /// The set of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.as_str() == name)
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = |pool| match pool {
            Pool::Cluster => "",
            Pool::Local => "local-",
        };
        match *self {
            Self::Refuse => f.write_str("refuse"),
            Self::Pick(by, pool, size) => write!(f, "{}pick-{}{size}", by.prefix(), local(pool)),
            Self::Sticky(by, pool, size) => write!(f, "{}sticky-{}{size}", by.prefix(), local(pool)),
            Self::Slot(by, Tag { slot, timeout }) => write!(f, "{}slot-{slot}-{timeout}", by.prefix()),
            Self::Split(by) => write!(f, "{}split", by.prefix()),
            Self::SplitInside(by) => write!(f, "{}split-inside", by.prefix()),
            Self::Guard => f.write_str("guard"),
            Self::Services => f.write_str("services"),
            Self::Undelivered => f.write_str("undelivered"),
            Self::MasqueradeUnlessPod => f.write_str("masquerade-unless-pod"),
            Self::MasqueradeFromNode => f.write_str("masquerade-from-node"),
            Self::GuardPrerouting => f.write_str("guard-prerouting"),
            Self::GuardOutput => f.write_str("guard-output"),
            Self::NatPrerouting => f.write_str("nat-prerouting"),
            Self::NatOutput => f.write_str("nat-output"),
            Self::UndeliveredPrerouting => f.write_str("undelivered-prerouting"),
            Self::UndeliveredOutput => f.write_str("undelivered-output"),
            Self::NatPostrouting => f.write_str("nat-postrouting"),
        }
    }
}

impl ChainName {
    /// Chains that are always there, however many endpoints anybody has.
    const CONSTANT: [Self; 17] = [
        Self::Refuse,
        Self::Split(By::Address),
        Self::Split(By::NodePort),
        Self::SplitInside(By::Address),
        Self::SplitInside(By::NodePort),
        Self::Guard,
        Self::Services,
        Self::Undelivered,
        Self::MasqueradeUnlessPod,
        Self::MasqueradeFromNode,
        Self::GuardPrerouting,
        Self::GuardOutput,
        Self::NatPrerouting,
        Self::NatOutput,
        Self::UndeliveredPrerouting,
        Self::UndeliveredOutput,
        Self::NatPostrouting,
    ];

    /// The chain of that name.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(chain) = Self::CONSTANT.into_iter().find(|chain| chain.to_string() == name) {
            return Some(chain);
        }
        let (by, rest) = match name.strip_prefix(By::NodePort.prefix()) {
            Some(rest) => (By::NodePort, rest),
            None => (By::Address, name),
        };
        let sized = |rest: &str| match rest.strip_prefix("local-") {
            Some(size) => Some((Pool::Local, size.parse().ok()?)),
            None => Some((Pool::Cluster, rest.parse().ok()?)),
        };
        let chain = if let Some(rest) = rest.strip_prefix("pick-") {
            sized(rest).map(|(pool, size)| Self::Pick(by, pool, size))
        } else if let Some(rest) = rest.strip_prefix("sticky-") {
            sized(rest).map(|(pool, size)| Self::Sticky(by, pool, size))
        } else {
            let (slot, timeout) = rest.strip_prefix("slot-")?.split_once('-')?;
            Some(Self::Slot(by, Tag { slot: slot.parse().ok()?, timeout: timeout.parse().ok()? }))
        };
        // `pick-03` would name `pick-3` too.
        chain.filter(|chain| chain.to_string() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_parsed_back() {
        for set in SetName::ALL {
            assert_eq!(SetName::parse(set.as_str()), Some(set));
        }
        let sized = By::ALL.into_iter().flat_map(|by| {
            [
                ChainName::Pick(by, Pool::Cluster, 3),
                ChainName::Pick(by, Pool::Local, 65535),
                ChainName::Sticky(by, Pool::Cluster, 1),
                ChainName::Sticky(by, Pool::Local, 64),
                ChainName::Slot(by, Tag { slot: 16389, timeout: 10800 }),
            ]
        });
        for chain in sized.chain(ChainName::CONSTANT) {
            assert_eq!(ChainName::parse(&chain.to_string()), Some(chain));
        }
    }

    #[test]
    fn other_names_are_not_ours() {
        for name in ["pick-03", "pick-", "pick-70000", "slot-1", "mine", ""] {
            assert_eq!(ChainName::parse(name), None, "{name:?}");
        }
    }
}
