//! What the sets and chains of our table are called.
//!
//! Kept apart because names are the one thing that rules, elements and what the kernel answers must agree on. Both
//! families use the same names, each in its own table.

use std::fmt;

use backend_api::{Family, FrontendKey};

use super::delivery::Delivery;

/// The name of our tables, one in `ip` and one in `ip6`.
pub(crate) const TABLE: &str = "switchyard";

/// The name of the flowtable in each, where connections are handed over.
pub(crate) const FLOWTABLE: &str = "fastpath";

/// What a frontend is looked up by: nearly every map exists for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum By {
    /// Destination address, protocol and port.
    Address,
    /// Protocol and port, on the node's own addresses.
    NodePort,
}

/// A set or a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum SetName {
    /// Frontend → code of its answer; counts connections.
    Services(By),
    /// Frontend → code of the answer for pods and the node, where other clients meet another answer.
    Inside(By),
    /// Frontend → code of the answer for other clients.
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
    /// Frontends that only some sources may dial.
    Restricted(By),
    /// Frontend and the range of sources that may dial it.
    Allowed(By),
    /// Frontend, as dialled → code of its masquerade; cluster addresses that are treated as most are have none.
    Masquerade(By),
    /// Code → chain.
    MasqueradePolicies,
    /// Client and service port → slot; filled by the packet path.
    Affinity,
    /// Cluster addresses that services have.
    ClusterIps,
    /// The node's addresses that carry node ports, where they are listed.
    NodeAddresses,
    /// Endpoints on this node, twice each: from itself to itself.
    Hairpin,
    /// Every address that the node owns.
    OwnAddresses,
}

/// A slot of a pool that remembers its clients, and for how long it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tag {
    /// The slot: below [`LOCAL_STICKY_SLOT`] in the cluster-wide pool, from there on in the node's own.
    pub(crate) slot: u16,
    /// Seconds, below 2^17.
    pub(crate) timeout: u32,
}

/// `ip` or `ip6`.
pub(crate) fn keyword(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// First slot of [`backend_api::Pool::Local`] where clients are remembered.
pub(crate) const LOCAL_STICKY_SLOT: u16 = 1 << 14;

impl By {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Address, Self::NodePort];

    /// What `frontend` is looked up by.
    pub(crate) fn of(frontend: FrontendKey) -> Self {
        match frontend {
            FrontendKey::Address { .. } => Self::Address,
            FrontendKey::NodePort { .. } => Self::NodePort,
        }
    }

    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Address => "",
            Self::NodePort => "node-port-",
        }
    }
}

impl SetName {
    /// Every one, in the order in which they are created; what only tables which mark have comes last.
    pub(crate) const ALL: [Self; 30] = {
        use By::{Address, NodePort};
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
            Self::Masquerade(Address),
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
            Self::Masquerade(NodePort),
            Self::MasqueradePolicies,
            Self::Affinity,
            Self::ClusterIps,
            Self::NodeAddresses,
            Self::Hairpin,
            Self::OwnAddresses,
        ]
    };

    /// Those of one kind of tables.
    pub(crate) fn of(delivery: Delivery) -> impl Iterator<Item = Self> {
        let count = match delivery {
            Delivery::Translate => Self::ALL.len() - 1,
            Delivery::Mark => Self::ALL.len(),
        };
        Self::ALL.into_iter().take(count)
    }

    /// Its name in the kernel.
    pub(crate) fn as_str(self) -> &'static str {
        use By::{Address, NodePort};
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
            Self::Masquerade(Address) => "masquerades",
            Self::Masquerade(NodePort) => "node-port-masquerades",
            Self::MasqueradePolicies => "masquerade-policies",
            Self::Affinity => "affinity",
            Self::ClusterIps => "cluster-ips",
            Self::NodeAddresses => "node-addresses",
            Self::Hairpin => "hairpin",
            Self::OwnAddresses => "own-addresses",
        }
    }

    /// The set of that name.
    #[cfg(test)]
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.as_str() == name)
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
