//! What the chains of our tables are called, and how a name is understood again.
//!
//! Kept apart from the sets' names because these carry numbers: a chain for each size of a pool, and for each slot that
//! remembers clients.

use std::fmt;

use backend_api::Pool;

use super::delivery::Delivery;
use super::name::{By, Tag};

/// A chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ChainName {
    /// Refuses: TCP by RST, all else by ICMP.
    Refuse,
    /// There is no endpoint.
    NoEndpoints,
    /// There is no endpoint on this node, and no other may answer.
    NoLocalEndpoints,
    /// Picks one of so many endpoints.
    Pick(By, Pool, u16),
    /// Picks one of so many slots, then asks what the client is remembered by.
    Sticky(By, Pool, u16),
    /// The slot's turn: `slot`, and `timeout` in seconds.
    Slot(By, Tag),
    /// Sends pods and the node one way, other clients another.
    Split(By),
    /// The way of pods and the node.
    SplitInside(By),
    /// Which sources may dial.
    Guard,
    /// Frontend → chain.
    Services,
    /// What was not translated.
    Undelivered,
    /// Rewrites every source.
    MasqueradeAlways,
    /// Rewrites the source of every client but local pods.
    MasqueradeUnlessPod,
    /// Rewrites the node's own source.
    MasqueradeFromNode,
    /// Rewrites no source.
    MasqueradeNever,
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
    /// Hands established connections to IPVS.
    Deliver,
    /// The way from the node to endpoints on the node itself.
    RouteOutput,
    /// What no virtual server took.
    Unserved,
    /// Takes the mark of established packets away, once they have met IPVS.
    Unmark,
    /// Labels what is forwarded without IPVS.
    Bystander,
    /// Keeps answers that are not IPVS's from it.
    Veil,
    /// Undoes that.
    Unveil,
    /// Hands established connections to the flowtable; there only where that is wanted.
    Fastpath,
}

impl ChainName {
    /// Chains that are always there, however many endpoints services have; those that only tables which mark have come
    /// last.
    const CONSTANT: [Self; 25] = [
        Self::Refuse,
        Self::NoEndpoints,
        Self::NoLocalEndpoints,
        Self::Split(By::Address),
        Self::Split(By::NodePort),
        Self::SplitInside(By::Address),
        Self::SplitInside(By::NodePort),
        Self::Services,
        Self::Undelivered,
        Self::MasqueradeAlways,
        Self::MasqueradeUnlessPod,
        Self::MasqueradeFromNode,
        Self::MasqueradeNever,
        Self::NatPrerouting,
        Self::NatOutput,
        Self::UndeliveredPrerouting,
        Self::UndeliveredOutput,
        Self::NatPostrouting,
        Self::Deliver,
        Self::RouteOutput,
        Self::Unserved,
        Self::Unmark,
        Self::Bystander,
        Self::Veil,
        Self::Unveil,
    ];

    /// Chains that are there once a service has source ranges.
    pub(crate) const GUARDS: [Self; 3] = [Self::Guard, Self::GuardPrerouting, Self::GuardOutput];

    /// Chains that are always there in one kind of tables.
    pub(crate) fn constant(delivery: Delivery) -> impl Iterator<Item = Self> {
        let count = match delivery {
            Delivery::Translate => Self::CONSTANT.len() - 7,
            Delivery::Mark => Self::CONSTANT.len(),
        };
        Self::CONSTANT.into_iter().take(count)
    }

    /// The name of a chain that carries no numbers.
    const fn fixed(self) -> Option<&'static str> {
        Some(match self {
            Self::Pick(..) | Self::Sticky(..) | Self::Slot(..) => return None,
            Self::Refuse => "refuse",
            Self::NoEndpoints => "no-endpoints",
            Self::NoLocalEndpoints => "no-local-endpoints",
            Self::Split(By::Address) => "split",
            Self::Split(By::NodePort) => "node-port-split",
            Self::SplitInside(By::Address) => "split-inside",
            Self::SplitInside(By::NodePort) => "node-port-split-inside",
            Self::Guard => "guard",
            Self::Services => "services",
            Self::Undelivered => "undelivered",
            Self::MasqueradeAlways => "masquerade-always",
            Self::MasqueradeUnlessPod => "masquerade-unless-pod",
            Self::MasqueradeFromNode => "masquerade-from-node",
            Self::MasqueradeNever => "masquerade-never",
            Self::GuardPrerouting => "guard-prerouting",
            Self::GuardOutput => "guard-output",
            Self::NatPrerouting => "nat-prerouting",
            Self::NatOutput => "nat-output",
            Self::UndeliveredPrerouting => "undelivered-prerouting",
            Self::UndeliveredOutput => "undelivered-output",
            Self::NatPostrouting => "nat-postrouting",
            Self::Deliver => "deliver",
            Self::RouteOutput => "route-output",
            Self::Unserved => "unserved",
            Self::Unmark => "unmark",
            Self::Bystander => "bystander",
            Self::Veil => "veil",
            Self::Unveil => "unveil",
            Self::Fastpath => "fastpath",
        })
    }

    /// The chain of that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let named = Self::CONSTANT.into_iter().chain(Self::GUARDS).chain([Self::Fastpath]);
        if let Some(chain) = named.into_iter().find(|chain| chain.fixed() == Some(name)) {
            return Some(chain);
        }
        let (by, rest) = match name.strip_prefix(By::NodePort.prefix()) {
            Some(rest) => (By::NodePort, rest),
            None => (By::Address, name),
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

/// `local-3`, or `3`.
fn sized(rest: &str) -> Option<(Pool, u16)> {
    match rest.strip_prefix("local-") {
        Some(size) => Some((Pool::Local, size.parse().ok()?)),
        None => Some((Pool::Cluster, rest.parse().ok()?)),
    }
}

/// What a pool adds to a name.
fn pool_prefix(pool: Pool) -> &'static str {
    match pool {
        Pool::Cluster => "",
        Pool::Local => "local-",
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Pick(by, pool, size) => write!(f, "{}pick-{}{size}", by.prefix(), pool_prefix(pool)),
            Self::Sticky(by, pool, size) => write!(f, "{}sticky-{}{size}", by.prefix(), pool_prefix(pool)),
            Self::Slot(by, Tag { slot, timeout }) => write!(f, "{}slot-{slot}-{timeout}", by.prefix()),
            constant => f.write_str(constant.fixed().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_parsed_back() {
        for set in crate::ruleset::SetName::ALL {
            assert_eq!(crate::ruleset::SetName::parse(set.as_str()), Some(set));
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
        for chain in
            sized.chain(ChainName::constant(Delivery::Mark)).chain(ChainName::GUARDS).chain([ChainName::Fastpath])
        {
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
