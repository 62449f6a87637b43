//! nft and this crate mean the same: what nft writes is read without an unknown rest, and what this crate writes nft
//! lists as its own.

use crate::isolated::{isolated_with_nft, nft, nft_load};
use switchyard_netlink::nftables::object::TABLE_KEPT;
use switchyard_netlink::nftables::{Batch, Chain, Expr, Family, Nftables, Ownership, Rule, Set, Table};

const NAME: &str = "switchyard";
const SAMPLE: &str = include_str!("listing.nft");

/// A table with everything in it; elements as the batch that adds them again.
struct Dump {
    table: Table,
    chains: Vec<Chain>,
    rules: Vec<Rule>,
    sets: Vec<Set>,
    elements: Vec<Batch>,
}

async fn dump(nftables: &mut Nftables) -> Vec<Dump> {
    let mut dumps = Vec::new();
    for table in nftables.tables().await.unwrap() {
        let family = table.family;
        let sets = nftables.sets(family).await.unwrap();
        let mut elements = Vec::new();
        for set in &sets {
            let again = nftables.elements(
                family,
                &set.name,
                || Batch::new(NAME),
                |batch, element| {
                    batch.put_elements(family, &set.name).push(0, element);
                },
            );
            elements.push(again.await.unwrap());
        }
        let chains = nftables.chains(family).await.unwrap();
        let rules = nftables.rules(family).await.unwrap();
        dumps.push(Dump { table, chains, rules, sets, elements });
    }
    dumps
}

async fn put_again(nftables: &mut Nftables, dumps: &mut [Dump]) {
    let mut batch = Batch::new(NAME);
    for Dump { table, chains, rules, sets, .. } in dumps.iter() {
        let family = table.family;
        batch.put_table(0, table);
        sets.iter().for_each(|set| batch.put_set(1, family, set));
        chains.iter().for_each(|chain| batch.put_chain(2, family, chain));
        rules.iter().for_each(|rule| batch.append_rule(3, family, rule));
    }
    nftables.commit(&mut batch).await.unwrap();
    for elements in dumps.iter_mut().flat_map(|dump| &mut dump.elements) {
        nftables.commit(elements).await.unwrap();
    }
}

/// Handles are the kernel's, and differ.
fn without_handles(rules: &[Rule]) -> Vec<Rule> {
    rules.iter().map(|rule| Rule { handle: 0, ..rule.clone() }).collect()
}

#[test]
fn what_nft_wrote_is_read_without_a_rest_and_written_the_same() {
    isolated_with_nft(|| async {
        nft_load(&[], SAMPLE).unwrap();
        let listing = nft(&["list", "ruleset"]).unwrap();
        let mut nftables = Nftables::open(NAME).unwrap();
        let mut dumps = dump(&mut nftables).await;
        for rule in dumps.iter().flat_map(|dump| &dump.rules) {
            let unknown = rule.exprs.iter().find(|expr| matches!(expr, Expr::Unknown { .. }));
            assert_eq!(unknown, None, "in {rule:?}");
        }
        nft(&["flush", "ruleset"]).unwrap();
        put_again(&mut nftables, &mut dumps).await;
        assert_eq!(nft(&["list", "ruleset"]).unwrap(), listing);
        for (again, dump) in dump(&mut nftables).await.iter().zip(&dumps) {
            assert_eq!(without_handles(&again.rules), without_handles(&dump.rules));
            assert_eq!((&again.sets, &again.chains, &again.table), (&dump.sets, &dump.chains, &dump.table));
        }
    });
}

/// Why ownership is a choice: nft 1.0.6 does not know `persist`, and what it lists while the table has no owner does
/// not load.
#[test]
fn a_listing_loads_elsewhere_while_the_table_is_owned_and_nowhere_afterwards() {
    isolated_with_nft(|| async {
        if Nftables::open(NAME).unwrap().ownership().await.unwrap() == Ownership::None {
            eprintln!("skipped: this kernel has no NFT_TABLE_F_PERSIST (Linux 6.9)");
            return;
        }
        let mut owned = Nftables::open(NAME).unwrap();
        let mut batch = Batch::new(NAME);
        let flags = TABLE_KEPT;
        batch.put_table(0, &Table::new(Family::Ipv4).with_flags(flags));
        owned.commit(&mut batch).await.unwrap();
        let listing = nft(&["list", "ruleset"]).unwrap();
        assert!(listing.contains("flags owner\n"), "{listing}");
        assert!(nft_load(&["-c"], &listing).unwrap_err().contains("Operation not permitted"));
        isolated_with_nft(|| async {
            nft_load(&["-c"], &listing).unwrap();
        });
        drop(owned);
        let listing = nft(&["list", "ruleset"]).unwrap();
        assert!(listing.contains("flags \n"), "{listing}");
        assert!(nft_load(&["-c"], &listing).unwrap_err().contains("syntax error"));
    });
}
