//! The fake refuses what the kernel refuses: the same random transactions on both.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use backend_api::{Cidr, EndpointAddress, Family, FrontendKey, NodeNetwork, Pool, Protocol};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::FakeKernel;
use crate::ahead::Ahead;
use crate::content::Content;
use crate::kernel::Kernel;
use crate::netns::isolated;
use crate::port::{Counters, Port};
use crate::render::rules;
use crate::ruleset::{By, ChainName, Code, Delivery, Element, Key, Policy, Rule, SetName, Statement, TABLE, Value};
use crate::transaction::Transaction;
use netlink::nftables::{CommitError, Expr, Nftables, Ownership};

/// So many are accepted, and so many refused.
const ROUNDS: usize = 30;

fn frontend() -> impl Strategy<Value = FrontendKey> {
    (1u8..4).prop_map(|host| FrontendKey::address(Ipv4Addr::new(10, 96, 0, host).into(), Protocol::Tcp, 80))
}

fn chain() -> impl Strategy<Value = ChainName> {
    (1u16..4).prop_map(|size| ChainName::Pick(By::Address, Pool::Cluster, size))
}

fn element() -> impl Strategy<Value = Element> {
    let maps = |set, key, value| Element::maps(Family::V4, set, key, value);
    let code = (frontend(), 0u32..2).prop_map(move |(frontend, code)| {
        maps(SetName::Services(By::Address), Key::Frontend(frontend), Value::Code(Code(code)))
    });
    let endpoint = (frontend(), 0u32..3, 1u8..3).prop_map(move |(frontend, slot, host)| {
        let endpoint = EndpointAddress::new(Ipv4Addr::new(10, 244, 0, host).into(), 80);
        maps(SetName::Endpoints(By::Address), Key::Slot(frontend, slot), Value::Endpoint(endpoint))
    });
    // Such that every overlap is one at a first or last address: others go unnoticed, and removing is ambiguous then.
    let ranges = vec!["10.0.0.0/24", "10.0.0.0/27", "10.0.0.0/32", "10.0.0.224/27", "10.0.0.255/32"];
    let source = (frontend(), prop::sample::select(ranges)).prop_map(move |(frontend, range)| {
        let range: Cidr = range.parse().unwrap();
        maps(SetName::Allowed(By::Address), Key::Source(frontend, range), Value::None)
    });
    let policy = (1u16..4, chain()).prop_map(move |(size, chain)| {
        let key = Key::Code(Policy::Pick(Pool::Cluster, size).code());
        maps(SetName::Policies(By::Address), key, Value::Goto(chain))
    });
    prop_oneof![3 => code, 3 => endpoint, 3 => source, 1 => policy]
}

fn rule() -> impl Strategy<Value = (ChainName, Rule)> {
    let goto = (chain(), chain()).prop_map(|(from, to)| (from, Rule(vec![Statement::Goto(to)])));
    let pick = chain()
        .prop_map(|chain| (chain, rules(chain, &NodeNetwork::unknown(), Family::V4, Delivery::Translate)[1].clone()));
    prop_oneof![goto, pick]
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let few = |most| 0..most;
    (
        prop::collection::vec(chain(), few(2)),
        prop::collection::vec(chain(), few(2)),
        prop::collection::vec(rule(), few(2)),
        prop::collection::vec(element(), few(3)),
        prop::collection::vec(chain(), few(2)),
        prop::collection::vec(element(), few(5)),
    )
        .prop_map(|(add, flush, rules, remove_elements, remove, add_elements)| Transaction {
            add_chains: add.into_iter().map(|chain| (Family::V4, chain)).collect(),
            flush_chains: flush.into_iter().map(|chain| (Family::V4, chain.to_string())).collect(),
            add_rules: rules.into_iter().map(|(chain, rule)| (Family::V4, chain, rule)).collect(),
            remove_elements,
            remove_chains: remove.into_iter().map(|chain| (Family::V4, chain.to_string())).collect(),
            add_elements,
            ..Transaction::default()
        })
}

/// Chains that lead back to themselves are refused by the kernel only; we never render one.
fn is_round(transaction: &Transaction, fake: &FakeKernel) -> bool {
    let mut edges: BTreeSet<(String, String)> = BTreeSet::new();
    for (_, from, rule) in &transaction.add_rules {
        if let [Statement::Goto(to)] = rule.0.as_slice() {
            edges.insert((from.to_string(), to.to_string()));
        }
    }
    if let Some(table) = &fake.tables.v4 {
        for (from, (_, rules)) in &table.chains {
            for expr in rules.iter().flatten() {
                if let Expr::Verdict(netlink::nftables::Verdict::Goto(to)) = expr {
                    edges.insert((from.clone(), to.clone()));
                }
            }
        }
    }
    // A number for each chain that grows along every edge: there is none if and only if some lead back.
    edges.iter().any(|(from, to)| from >= to)
}

fn outcome(result: Result<(), CommitError>) -> Result<(), BTreeSet<(Vec<u32>, i32)>> {
    match result {
        Ok(()) => Ok(()),
        Err(CommitError::Refused(refusals)) => {
            Err(refusals.into_iter().map(|refusal| (refusal.operations, refusal.errno as i32)).collect())
        }
        Err(error) => panic!("{error}"),
    }
}

async fn compare() {
    let nftables = Nftables::open(TABLE).unwrap();
    let watch = nftables.watch().unwrap();
    let mut kernel = Kernel { nftables, watch: Some(watch), ownership: Ownership::None, ahead: Ahead::Nothing };
    let mut fake = FakeKernel::default();
    let first = Transaction { add_tables: vec![Family::V4], ..Transaction::default() };
    kernel.commit(&first).await.unwrap();
    fake.commit(&first).await.unwrap();
    let mut runner = TestRunner::deterministic();
    let (mut accepted, mut refused) = (0, 0);
    while accepted < ROUNDS || refused < ROUNDS {
        let mut transaction = transaction().new_tree(&mut runner).unwrap().current();
        transaction.add_elements.sort();
        transaction.remove_elements.sort();
        if transaction.is_empty() || is_round(&transaction, &fake) {
            continue;
        }
        let (real, ours) = (outcome(kernel.commit(&transaction).await), outcome(fake.commit(&transaction).await));
        assert_eq!(real, ours, "{:#?}", transaction.operations().collect::<Vec<_>>());
        *(if ours.is_ok() { &mut accepted } else { &mut refused }) += 1;
        let (real, ours) = (
            kernel.content(Family::V4, Counters::Current).await.unwrap(),
            fake.content(Family::V4, Counters::Current).await.unwrap(),
        );
        assert_eq!(real.elements, ours.elements);
        assert_eq!(chains(&real), chains(&ours));
    }
}

/// The names of the chains, and the rules by chain.
fn chains(content: &Content) -> (BTreeSet<String>, Vec<(String, Vec<Expr>)>) {
    let rules = content.rules.iter().map(|rule| (rule.chain.clone(), rule.exprs.clone()));
    let mut rules: Vec<_> = rules.collect();
    rules.sort_by(|one, other| one.0.cmp(&other.0));
    (content.chains.iter().map(|chain| chain.name.clone()).collect(), rules)
}

#[test]
fn the_fake_refuses_what_the_kernel_refuses() {
    isolated(compare);
}
