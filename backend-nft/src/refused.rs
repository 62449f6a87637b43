//! How many connections our rules turned away, and why.
//!
//! Kept apart from observing frontends because it is cheap: the rules are a fixed number, so a caller that wants
//! nothing else reads them as often as it likes, beside a dataplane that runs ([`RefusedConnections`]).

use std::collections::BTreeMap;

use backend_api::{Family, SyncError, TurnedAway};

use crate::errors::{from_open, from_read};
use crate::ruleset::lower::kernel_family;
use crate::ruleset::{ChainName, TABLE};
use netlink::Namespace;
use netlink::nftables::{Expr, Nftables, Rule, Verdict};

/// Reads the counters of the tables `switchyard` of one network namespace, whichever backend has them.
#[derive(Debug)]
pub struct RefusedConnections {
    nftables: Nftables,
}

impl RefusedConnections {
    /// Opens a socket in the network namespace of this thread. Within a tokio runtime.
    ///
    /// # Errors
    /// [`SyncError::Unsupported`] where the process lacks something.
    pub fn open() -> Result<Self, SyncError> {
        Self::open_in(&Namespace::Current)
    }

    /// Opens a socket in a network namespace. Within a tokio runtime.
    ///
    /// # Errors
    /// [`SyncError::Unsupported`] where the process lacks something.
    pub fn open_in(namespace: &Namespace) -> Result<Self, SyncError> {
        Ok(Self { nftables: Nftables::open_in(namespace, TABLE).map_err(from_open)? })
    }

    /// First packets that were turned away until now, by why; reasons without any are left out.
    ///
    /// # Errors
    /// As [`backend_api::Dataplane::observe`].
    pub async fn read(&mut self) -> Result<BTreeMap<TurnedAway, u64>, SyncError> {
        let mut counted = BTreeMap::new();
        for family in Family::ALL {
            let rules = self.nftables.rules(kernel_family(family)).await.map_err(from_read)?;
            refused(&rules, &mut counted);
        }
        Ok(counted)
    }
}

/// Adds what these rules have counted.
pub(crate) fn refused(rules: &[Rule], into: &mut BTreeMap<TurnedAway, u64>) {
    for rule in rules {
        let counted = rule.exprs.iter().find_map(|expr| match expr {
            Expr::Counter(counter) => Some(counter.packets),
            _ => None,
        });
        if let Some(packets) = counted.filter(|packets| *packets > 0)
            && let Some(reason) = reason(rule)
        {
            *into.entry(reason).or_insert(0) += packets;
        }
    }
}

/// Why a rule of ours that counts turns packets away.
fn reason(rule: &Rule) -> Option<TurnedAway> {
    let drops = matches!(rule.exprs.last(), Some(Expr::Verdict(Verdict::Drop)));
    match ChainName::parse(&rule.chain)? {
        ChainName::Guard => Some(TurnedAway::SourceRanges),
        ChainName::NoEndpoints => Some(TurnedAway::NoEndpoints),
        ChainName::NoLocalEndpoints => Some(TurnedAway::NoLocalEndpoints),
        ChainName::Undelivered if drops => Some(TurnedAway::UnallocatedAddress),
        ChainName::Undelivered => Some(TurnedAway::WrongPort),
        ChainName::Unserved | ChainName::NatPostrouting => Some(TurnedAway::Unserved),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use backend_api::{Cidr, NodeNetwork};

    use super::*;
    use crate::render::{initial_chains, rules};
    use crate::ruleset::Delivery;
    use crate::ruleset::lower::kernel_rule;
    use netlink::nftables::Counter;

    /// Every rule that counts, in a table where each has counted 1.
    fn counting(delivery: Delivery) -> Vec<Rule> {
        let range: Cidr = "10.96.0.0/12".parse().unwrap();
        let node = NodeNetwork { service_cidrs: [range].into(), ..NodeNetwork::unknown() };
        let all = initial_chains(delivery).chain(ChainName::GUARDS).flat_map(|chain| {
            let of_chain = rules(chain, &node, Family::V4, delivery);
            of_chain.into_iter().map(move |rule| kernel_rule(&chain.to_string(), &rule, Family::V4))
        });
        let counted = all.filter_map(|mut rule| {
            let counter = rule.exprs.iter_mut().find(|expr| matches!(expr, Expr::Counter(_)))?;
            *counter = Expr::Counter(Counter { packets: 1, bytes: 60 });
            Some(rule)
        });
        counted.collect()
    }

    #[test]
    fn every_rule_that_counts_has_a_reason_and_every_reason_a_rule() {
        for delivery in [Delivery::Translate, Delivery::Mark] {
            let rules = counting(delivery);
            let mut counted = BTreeMap::new();
            refused(&rules, &mut counted);
            assert_eq!(counted.values().sum::<u64>(), rules.len() as u64);
            let expected = TurnedAway::ALL.into_iter().filter(|reason| match delivery {
                Delivery::Translate => *reason != TurnedAway::Unserved,
                Delivery::Mark => true,
            });
            assert!(counted.keys().copied().eq(expected), "{counted:?}");
        }
    }

    #[test]
    fn a_reason_that_no_packet_met_is_left_out() {
        let mut rules = counting(Delivery::Translate);
        rules.retain(|rule| rule.chain == "guard");
        let mut counted = BTreeMap::new();
        refused(&rules, &mut counted);
        assert_eq!(counted, BTreeMap::from([(TurnedAway::SourceRanges, 2)]));
    }
}
