//! Every kind of expression, object and element is written to the kernel and read back equal.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::isolated::{isolated, isolated_with_nft, nft, nft_load};
use switchyard_netlink::nftables::expr::*;
use switchyard_netlink::nftables::object::*;
use switchyard_netlink::nftables::{Batch, CommitError, Nftables, udata};

const NAME: &str = "t";

/// Four bytes, and sixteen.
const SMALL: Reg = Reg::word(0);
const SMALL_TOO: Reg = Reg::word(1);
const LARGE: Reg = Reg::word(4);

/// The name of an expression's variant. A new variant must be given one, and then a rule in [`rules`].
fn variant(expr: &Expr) -> &'static str {
    match expr {
        Expr::Payload { .. } => "payload",
        Expr::PayloadSet { .. } => "payload set",
        Expr::Meta { .. } => "meta",
        Expr::MetaSet { .. } => "meta set",
        Expr::Ct { .. } => "ct",
        Expr::CtSet { .. } => "ct set",
        Expr::Fib { .. } => "fib",
        Expr::Cmp { .. } => "cmp",
        Expr::Bitwise { .. } => "bitwise",
        Expr::Byteorder { .. } => "byteorder",
        Expr::Lookup { .. } => "lookup",
        Expr::NumgenRandom { .. } => "numgen",
        Expr::Immediate { .. } => "immediate",
        Expr::Verdict(_) => "verdict",
        Expr::Nat { .. } => "nat",
        Expr::Masquerade { .. } => "masquerade",
        Expr::Reject(_) => "reject",
        Expr::Dynset { .. } => "dynset",
        Expr::FlowOffload { .. } => "flow offload",
        Expr::Counter(_) => "counter",
        Expr::Unknown { .. } => "unknown",
    }
}

/// Rules that a chain without a hook takes in any family. Registers are loaded before they are used, which newer
/// kernels insist on.
fn rules(family: Family) -> Vec<Vec<Expr>> {
    let mut rules = Vec::new();
    for key in MetaKey::ALL {
        rules.push(vec![Expr::Meta { key: *key, dreg: LARGE }]);
    }
    for key in [MetaKey::Priority, MetaKey::Mark] {
        rules.push(vec![load(), Expr::MetaSet { key, sreg: SMALL }]);
    }
    for base in PayloadBase::ALL {
        rules.push(vec![Expr::Payload { base: *base, offset: 2, len: 2, dreg: SMALL }]);
        rules.push(vec![load(), Expr::PayloadSet { base: *base, offset: 2, len: 2, sreg: SMALL }]);
    }
    for key in [CtKey::State, CtKey::Direction, CtKey::Status, CtKey::Mark, CtKey::Protocol, CtKey::Labels] {
        rules.push(vec![Expr::Ct { key, direction: None, dreg: LARGE }]);
    }
    let addresses = match family {
        Family::Ipv4 => [CtKey::SrcIp, CtKey::DstIp],
        Family::Ipv6 => [CtKey::SrcIp6, CtKey::DstIp6],
    };
    for key in [CtKey::ProtoSrc, CtKey::ProtoDst].into_iter().chain(addresses) {
        for direction in CtDirection::ALL {
            rules.push(vec![Expr::Ct { key, direction: Some(*direction), dreg: LARGE }]);
        }
    }
    rules.push(vec![load(), Expr::CtSet { key: CtKey::Mark, sreg: SMALL }]);
    rules.push(vec![
        Expr::Immediate { dreg: LARGE, value: vec![1; 16] },
        Expr::CtSet { key: CtKey::Labels, sreg: LARGE },
    ]);
    rules.push(vec![Expr::Fib { result: FibResult::AddrType, flags: FIB_DADDR, dreg: SMALL }]);
    rules.push(vec![Expr::Fib { result: FibResult::Oif, flags: FIB_SADDR | FIB_IIF, dreg: SMALL }]);
    for op in CmpOp::ALL {
        rules.push(vec![load(), Expr::Cmp { op: *op, sreg: SMALL, value: vec![1, 2, 3, 4] }]);
    }
    rules.push(vec![load(), Expr::Bitwise { sreg: SMALL, dreg: SMALL, mask: vec![0xff; 4], xor: vec![0, 0, 0, 1] }]);
    for op in ByteorderOp::ALL {
        rules.push(vec![load(), Expr::Byteorder { op: *op, sreg: SMALL, dreg: SMALL, len: 4, size: 4 }]);
    }
    for expect in [Membership::Present, Membership::Absent] {
        rules.push(vec![load(), Expr::Lookup { set: "set".to_owned(), sreg: SMALL, dreg: None, expect }]);
    }
    for (set, dreg) in [("map", SMALL_TOO), ("verdicts", Reg::VERDICT)] {
        let expect = Membership::Present;
        rules.push(vec![load(), Expr::Lookup { set: set.to_owned(), sreg: SMALL, dreg: Some(dreg), expect }]);
    }
    rules.push(vec![Expr::NumgenRandom { dreg: SMALL, modulus: 3, offset: 7 }]);
    let other = || "other".to_owned();
    for verdict in [Verdict::Accept, Verdict::Drop, Verdict::Continue, Verdict::Return] {
        rules.push(vec![Expr::Verdict(verdict)]);
    }
    rules.push(vec![Expr::Verdict(Verdict::Jump(other()))]);
    rules.push(vec![Expr::Verdict(Verdict::Goto(other()))]);
    for kind in NatKind::ALL {
        for (addr, port, flags) in [(Some(LARGE), None, 0), (Some(LARGE), Some(SMALL), NAT_FULLY_RANDOM)] {
            let address = Expr::Immediate { dreg: LARGE, value: vec![9; 16] };
            rules.push(vec![load(), address, Expr::Nat { kind: *kind, family, addr, port, flags }]);
        }
    }
    rules.push(vec![Expr::Masquerade { flags: 0 }]);
    rules.push(vec![Expr::Masquerade { flags: NAT_FULLY_RANDOM }]);
    rules.push(vec![Expr::Reject(Reject::TcpReset)]);
    let code = if family == Family::Ipv4 { ICMP_PORT_UNREACH } else { ICMPV6_PORT_UNREACH };
    rules.push(vec![Expr::Reject(Reject::Icmp(code))]);
    for op in DynsetOp::ALL {
        let data = if *op == DynsetOp::Delete { None } else { Some(SMALL) };
        let set = if data.is_some() { "affinity" } else { "recent" }.to_owned();
        let timeout = if *op == DynsetOp::Update { Duration::from_secs(90) } else { Duration::ZERO };
        rules.push(vec![load(), Expr::Dynset { op: *op, set, key: SMALL, data, timeout }]);
    }
    rules.push(vec![Expr::Counter(Counter { packets: 7, bytes: 420 })]);
    rules.push(vec![Expr::FlowOffload { flowtable: "fast".to_owned() }]);
    rules
}

fn load() -> Expr {
    Expr::Meta { key: MetaKey::Mark, dreg: SMALL }
}

fn sets() -> Vec<Set> {
    let pair = DataType::concatenation(&[DataType::IPV4_ADDR, DataType::INET_SERVICE]);
    let dynamic = SET_EVAL | SET_TIMEOUT;
    let mut userdata = Vec::new();
    udata::put_str(&mut userdata, udata::SET_COMMENT, "keys with a comment");
    vec![
        Set { userdata, ..Set::new("set", DataType::MARK) },
        Set::map("map", DataType::MARK, DataType::IPV4_ADDR),
        Set { exprs: vec![Expr::Counter(Counter::default())], ..Set::map("counted", pair, pair) },
        Set::verdict_map("verdicts", DataType::MARK),
        Set { flags: SET_INTERVAL, ..Set::new("ranges", DataType::IPV4_ADDR) },
        Set { flags: SET_INTERVAL | SET_CONCAT, fields: vec![4, 2], ..Set::new("pairs", pair) },
        Set { flags: SET_TIMEOUT, timeout: Duration::from_secs(60), ..Set::new("timed", DataType::MARK) },
        Set { flags: dynamic, size: 1024, ..Set::map("affinity", DataType::MARK, DataType::MARK) },
        Set { flags: dynamic, size: 1024, ..Set::new("recent", DataType::MARK) },
    ]
}

fn flowtable() -> Flowtable {
    Flowtable { name: "fast".to_owned(), priority: 5, flags: 0, devices: BTreeSet::from(["lo".to_owned()]) }
}

fn chains() -> Vec<Chain> {
    let mut chains = vec![Chain::new("other"), Chain::new("c")];
    for (hook, priority) in Hook::ALL.iter().zip(-3..) {
        chains.push(Chain::with_base(format!("filter-{hook:?}"), Base::new("filter", *hook, priority)));
    }
    for hook in [Hook::Prerouting, Hook::Input, Hook::Output, Hook::Postrouting] {
        chains.push(Chain::with_base(format!("nat-{hook:?}"), Base::new("nat", hook, 100)));
    }
    chains.push(Chain::with_base("route", Base::new("route", Hook::Output, -150)));
    chains
}

/// Whether this kernel has flowtables: asked with a batch that cannot succeed.
async fn has_flowtables(nftables: &mut Nftables, family: Family) -> bool {
    let mut batch = Batch::new(NAME);
    batch.put_table(0, &Table::new(family));
    batch.put_flowtable(1, family, &Flowtable { devices: BTreeSet::new(), ..flowtable() });
    batch.remove_chain(2, family, "absent");
    match nftables.commit(&mut batch).await {
        Err(CommitError::Refused(refusals)) => refusals.iter().all(|refusal| refusal.operations != [1]),
        other => panic!("{other:?}"),
    }
}

/// Writes everything. Returns the rules and the flowtables that this kernel has to give back.
async fn build(nftables: &mut Nftables, family: Family) -> (Vec<Vec<Expr>>, Vec<Flowtable>) {
    let (mut rules, mut flowtables) = (rules(family), vec![flowtable()]);
    if !has_flowtables(nftables, family).await {
        eprintln!("left out: this kernel has no flowtables");
        flowtables.clear();
        rules.retain(|exprs| !exprs.iter().any(|expr| matches!(expr, Expr::FlowOffload { .. })));
    }
    let mut batch = Batch::new(NAME);
    batch.put_table(0, &Table::new(family).with_comment("everything"));
    for (operation, set) in (1..).zip(sets()) {
        batch.put_set(operation, family, &set);
    }
    flowtables.iter().for_each(|flowtable| batch.put_flowtable(20, family, flowtable));
    for (operation, chain) in (100..).zip(chains()) {
        batch.put_chain(operation, family, &chain);
    }
    for (operation, exprs) in (1000..).zip(&rules) {
        batch.append_rule(operation, family, &Rule::new("c", exprs.clone()).with_comment("one of many"));
    }
    nftables.commit(&mut batch).await.unwrap();
    (rules, flowtables)
}

fn check_family(family: Family) {
    isolated(|| async {
        let mut nftables = Nftables::open(NAME).unwrap();
        let (wanted, flowtables) = build(&mut nftables, family).await;

        let tables = nftables.tables().await.unwrap();
        assert_eq!(tables, [Table::new(family).with_comment("everything")]);
        assert_eq!(tables[0].comment(), Some("everything"));
        assert_eq!(nftables.sets(family).await.unwrap(), sets());
        assert_eq!(nftables.flowtables(family).await.unwrap(), flowtables);
        assert_eq!(by_name(nftables.chains(family).await.unwrap()), by_name(chains()));

        let found = nftables.rules(family).await.unwrap();
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(&wanted) {
            assert_eq!((&found.exprs, found.chain.as_str(), found.comment()), (wanted, "c", Some("one of many")));
            assert_ne!(found.handle, 0);
        }
        let written: BTreeSet<_> = rules(family).iter().flatten().map(variant).collect();
        assert_eq!(written.len(), 20, "every variant but the unknown: {written:?}");
    });
}

fn by_name(mut chains: Vec<Chain>) -> Vec<Chain> {
    chains.sort_by(|one, other| one.name.cmp(&other.name));
    chains
}

#[test]
fn every_object_and_expression_is_read_back_equal_in_ipv4() {
    check_family(Family::Ipv4);
}

#[test]
fn every_object_and_expression_is_read_back_equal_in_ipv6() {
    check_family(Family::Ipv6);
}

/// The elements of a set as text, sorted, for a comparison of borrowed values.
async fn listed(nftables: &mut Nftables, set: &str) -> Vec<String> {
    let elements =
        nftables.elements(Family::Ipv4, set, Vec::new, |all, element| all.push(format!("{element:?}"))).await;
    let mut elements = elements.unwrap();
    elements.sort();
    elements
}

async fn check_elements(nftables: &mut Nftables, set: &str, elements: &[Element<'_>]) {
    let mut batch = Batch::new(NAME);
    let mut put = batch.put_elements(Family::Ipv4, set);
    (0..).zip(elements).for_each(|(operation, element)| put.push(operation, element));
    drop(put);
    nftables.commit(&mut batch).await.unwrap();
    let mut wanted: Vec<_> = elements.iter().map(|element| format!("{element:?}")).collect();
    wanted.sort();
    assert_eq!(listed(nftables, set).await, wanted, "set {set}");

    let mut batch = Batch::new(NAME);
    let mut removed = batch.remove_elements(Family::Ipv4, set);
    (0..).zip(elements).for_each(|(operation, element)| {
        removed.push(operation, &Element { value: Value::None, counter: None, ..*element });
    });
    drop(removed);
    nftables.commit(&mut batch).await.unwrap();
    assert_eq!(listed(nftables, set).await, [] as [String; 0], "set {set}");
}

#[test]
fn every_kind_of_element_is_read_back_equal_and_removed_by_its_key() {
    isolated(|| async {
        let mut nftables = Nftables::open(NAME).unwrap();
        build(&mut nftables, Family::Ipv4).await;
        check_elements(&mut nftables, "set", &[Element::key(&[0, 0, 0, 1]), Element::key(&[0, 0, 0, 2])]).await;
        check_elements(&mut nftables, "map", &[Element::pair(&[1; 4], &[10, 0, 0, 1])]).await;
        let counter = Some(Counter { packets: 3, bytes: 180 });
        let counted = Element { counter, ..Element::pair(&[10, 0, 0, 1, 0, 80, 0, 0], &[10, 0, 0, 2, 31, 144, 0, 0]) };
        check_elements(&mut nftables, "counted", &[counted]).await;
        let verdicts = [
            Element::verdict(&[0; 4], Verdict::Accept),
            Element::verdict(&[1; 4], Verdict::Drop),
            Element::verdict(&[2; 4], Verdict::Jump("other")),
            Element::verdict(&[3; 4], Verdict::Goto("other")),
            Element::verdict(&[4; 4], Verdict::Return),
            Element::verdict(&[5; 4], Verdict::Continue),
        ];
        check_elements(&mut nftables, "verdicts", &verdicts).await;
        let end = Element { bound: Bound::End, ..Element::key(&[10, 0, 1, 0]) };
        check_elements(&mut nftables, "ranges", &[Element::key(&[10, 0, 0, 0]), end]).await;
        let key_end: Option<&[u8]> = Some(&[10, 0, 0, 255, 0, 99, 0, 0]);
        let pair = Element { key_end, ..Element::key(&[10, 0, 0, 0, 0, 80, 0, 0]) };
        check_elements(&mut nftables, "pairs", &[pair]).await;
    });
}

/// What this crate does not know is kept as bytes, and written back as it came.
#[test]
fn an_unknown_expression_is_written_back_as_it_came() {
    isolated_with_nft(|| async {
        nft_load(&[], "table ip t { chain c { limit rate 10/second burst 7 packets accept; }; chain d { }; }").unwrap();
        let mut nftables = Nftables::open(NAME).unwrap();
        let rules = nftables.rules(Family::Ipv4).await.unwrap();
        assert!(rules[0].exprs.iter().any(|expr| variant(expr) == "unknown"), "{rules:?}");
        let mut batch = Batch::new(NAME);
        batch.append_rule(0, Family::Ipv4, &Rule { chain: "d".to_owned(), ..rules[0].clone() });
        nftables.commit(&mut batch).await.unwrap();
        let listing = nft(&["list", "chain", "ip", "t", "d"]).unwrap();
        assert!(listing.contains("limit rate 10/second burst 7 packets accept"), "{listing}");
    });
}
