//! What this kernel must have, tried on a table that is never committed.
//!
//! Kept apart because what is optional, or built as a module, is named here once: a kernel that lacks it is told from a
//! mistake of ours before anything is written.

use std::collections::BTreeSet;

use backend_api::{Family, NodeNetwork, Pool, SyncError};

use crate::errors::from_commit;
use crate::render::{base, flowtable, rules};
use crate::ruleset::lower::{kernel_family, kernel_rule};
use crate::ruleset::{By, ChainName, Delivery, Rule, SetName, Statement, Tag};
use netlink::nftables::{Batch, Chain, CommitError, Nftables, Refusal, Table};

/// Tries everything that a rule or a set of ours needs.
///
/// # Errors
/// [`SyncError::Unsupported`] with the first that is missing, by the name of its kernel option; others as they are.
pub(crate) async fn probe(nftables: &mut Nftables, delivery: Delivery) -> Result<(), SyncError> {
    let mut batch = Batch::new(&format!("{}-try-{}", nftables.table(), nftables.port()));
    let mut features = Vec::new();
    for family in Family::ALL {
        put(&mut batch, &mut features, family, delivery);
    }
    match missing(nftables, batch, &features).await? {
        Some((feature, refusal)) => {
            Err(SyncError::Unsupported { feature: feature.to_owned(), reason: refusal.to_string() })
        }
        None => Ok(()),
    }
}

/// Tries what handing connections to a flowtable needs; the kernel options that are missing, if any are.
///
/// # Errors
/// As [`probe`], for other reasons than the question.
pub(crate) async fn lacks_flowtables(nftables: &mut Nftables) -> Result<Option<String>, SyncError> {
    let mut batch = Batch::new(&format!("{}-try-{}", nftables.table(), nftables.port()));
    let mut features = Vec::new();
    for family in Family::ALL {
        let of = kernel_family(family);
        let chain = ChainName::Fastpath;
        batch.put_table(name(&mut features, "nf_tables"), &Table::new(of));
        batch.put_flowtable(
            name(&mut features, "CONFIG_NF_FLOW_TABLE, CONFIG_NF_FLOW_TABLE_INET"),
            of,
            &flowtable(BTreeSet::new()),
        );
        let chain = Chain { name: chain.to_string(), base: base(chain, Delivery::Translate) };
        batch.put_chain(name(&mut features, "nf_tables"), of, &chain);
        let rule = kernel_rule(&chain.name, &Rule(vec![Statement::HandOver]), family);
        batch.append_rule(name(&mut features, "CONFIG_NFT_FLOW_OFFLOAD"), of, &rule);
    }
    match missing(nftables, batch, &features).await {
        Ok(missing) => Ok(missing.map(|(feature, refusal)| format!("{feature}: {refusal}"))),
        Err(SyncError::Unsupported { feature, reason }) => Ok(Some(format!("{feature}: {reason}"))),
        Err(error) => Err(error),
    }
}

/// The number of an operation that tries `feature`.
fn name(features: &mut Vec<&'static str>, feature: &'static str) -> u32 {
    features.push(feature);
    features.len() as u32 - 1
}

/// The first of `features` that the kernel refuses, each tried by the operation of its number.
async fn missing(
    nftables: &mut Nftables,
    mut batch: Batch,
    features: &[&'static str],
) -> Result<Option<(&'static str, Refusal)>, SyncError> {
    // Refused by every kernel: nothing of the above ever comes to be.
    let never = features.len() as u32;
    batch.remove_chain(never, kernel_family(Family::V4), "absent");
    let refusals = match nftables.commit(&mut batch).await {
        Err(CommitError::Refused(refusals)) => refusals,
        Err(error) => return Err(from_commit(error)),
        Ok(()) => return Ok(None),
    };
    Ok(refusals.into_iter().find_map(|refusal| {
        let operation = *refusal.operations.first().filter(|operation| **operation != never)?;
        Some((*features.get(operation as usize)?, refusal))
    }))
}

fn put(batch: &mut Batch, features: &mut Vec<&'static str>, family: Family, delivery: Delivery) {
    let of = kernel_family(family);
    batch.put_table(name(features, "nf_tables"), &Table::new(of));
    let sets = [
        (SetName::Services(By::Address), "nf_tables: maps that count"),
        (SetName::Allowed(By::Address), "nf_tables: ranges in concatenations (Linux 5.6)"),
        (SetName::Affinity, "nf_tables: maps that rules fill"),
        (SetName::Policies(By::Address), "nf_tables: verdict maps"),
        (SetName::AffinityIds(By::Address), "nf_tables: maps"),
        (SetName::Endpoints(By::Address), "nf_tables: maps"),
        (SetName::StickyEndpoints(By::Address), "nf_tables: maps"),
    ];
    for (set, feature) in sets {
        batch.put_set(name(features, feature), of, &set.kernel_set(family, delivery));
    }
    let chains = [
        (ChainName::NatOutput, "CONFIG_NFT_NAT"),
        (ChainName::NatPostrouting, "CONFIG_NFT_NAT"),
        (ChainName::Pick(By::Address, Pool::Cluster, 2), "CONFIG_NFT_NUMGEN, CONFIG_NFT_NAT"),
        (ChainName::Slot(By::Address, Tag { slot: 0, timeout: 1 }), "CONFIG_NFT_HASH"),
        (ChainName::Refuse, "CONFIG_NFT_REJECT"),
        (ChainName::Split(By::Address), "CONFIG_NFT_FIB"),
        (ChainName::MasqueradeUnlessPod, "CONFIG_NFT_MASQ"),
        (ChainName::MasqueradeFromNode, "CONFIG_NFT_CT"),
    ];
    let marking = [
        (ChainName::RouteOutput, "nf_tables: chains of type route"),
        (ChainName::Deliver, "CONFIG_NF_CONNTRACK_LABELS"),
    ];
    let marking = marking.into_iter().filter(|_| delivery == Delivery::Mark);
    for (chain, feature) in chains.into_iter().chain(marking) {
        batch.put_chain(name(features, feature), of, &Chain { name: chain.to_string(), base: base(chain, delivery) });
        for rule in trial(chain, family, delivery) {
            let rule = kernel_rule(&chain.to_string(), &rule, family);
            batch.append_rule(name(features, feature), of, &rule);
        }
    }
}

/// Rules that use what the chain stands for, and nothing that is not in the table.
fn trial(chain: ChainName, family: Family, delivery: Delivery) -> Vec<Rule> {
    match chain {
        ChainName::Deliver
        | ChainName::Pick(..)
        | ChainName::Slot(..)
        | ChainName::Refuse
        | ChainName::MasqueradeUnlessPod => rules(chain, &NodeNetwork::unknown(), family, delivery),
        ChainName::Split(_) => vec![Rule(vec![Statement::SourceIsLocal, Statement::DestinationIsNotLocal])],
        ChainName::MasqueradeFromNode => vec![Rule(vec![Statement::NotTranslated, Statement::Accept])],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::isolated;

    #[test]
    fn this_kernel_has_everything_and_nothing_is_left_behind() {
        isolated(|| async {
            let mut nftables = Nftables::open("switchyard").unwrap();
            let before = nftables.generation().await.unwrap();
            probe(&mut nftables, Delivery::Translate).await.unwrap();
            assert_eq!(nftables.generation().await.unwrap(), before);
        });
    }

    #[test]
    fn every_operation_of_the_trial_has_a_name() {
        let mut batch = Batch::new("switchyard");
        let mut features = Vec::new();
        put(&mut batch, &mut features, Family::V4, Delivery::Mark);
        assert_eq!(batch.len(), features.len());
    }
}
