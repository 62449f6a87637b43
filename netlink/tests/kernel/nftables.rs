//! What the kernel does with a batch: transactions, errors that name their operation, dumps, owners, notifications.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use crate::isolated::{isolated, isolated_with_nft, nft};
use nix::errno::Errno;
use switchyard_netlink::nftables::expr::{CmpOp, Membership, MetaKey};
use switchyard_netlink::nftables::object::{SET_EVAL, SET_TIMEOUT, TABLE_KEPT};
use switchyard_netlink::nftables::{
    Batch, Chain, CommitError, Counter, DataType, Element, Expr, Family, Monitor, Nftables, Notification, Ownership,
    Reg, Rule, Set, SetData, Table, Value, Verdict, Watch,
};

const NAME: &str = "switchyard";
const FAMILIES: [Family; 2] = [Family::Ipv4, Family::Ipv6];

fn table(family: Family, flags: u32) -> Table {
    Table::new(family).with_flags(flags)
}

/// `map <name> { type ipv4_addr . inet_service : ipv4_addr; counter; }`
fn map(name: &str) -> Set {
    let key = DataType::concatenation(&[DataType::IPV4_ADDR, DataType::INET_SERVICE]);
    Set { exprs: vec![Expr::Counter(Counter::default())], ..Set::map(name, key, DataType::IPV4_ADDR) }
}

fn key(number: u32) -> [u8; 8] {
    (u64::from(number) << 32 | 80 << 16).to_be_bytes()
}

/// Tables in both families with a map in each.
async fn tables(flags: u32) -> Nftables {
    let mut nftables = Nftables::open(NAME).unwrap();
    let mut batch = Batch::new(NAME);
    for family in FAMILIES {
        batch.put_table(0, &table(family, flags));
        batch.put_set(1, family, &map("m"));
    }
    nftables.commit(&mut batch).await.unwrap();
    nftables
}

async fn count(nftables: &mut Nftables, family: Family) -> usize {
    nftables.elements(family, "m", || 0, |count, _| *count += 1).await.unwrap()
}

fn put(batch: &mut Batch, family: Family, numbers: impl IntoIterator<Item = u32>) {
    let mut elements = batch.put_elements(family, "m");
    for number in numbers {
        elements.push(number, &Element::pair(&key(number), &[10, 0, 0, 1]));
    }
}

#[test]
fn a_hundred_thousand_elements_are_one_transaction() {
    isolated(|| async {
        let mut nftables = tables(0).await;
        let before = nftables.generation().await.unwrap();
        let mut batch = Batch::new(NAME);
        batch.expect_generation(before);
        put(&mut batch, Family::Ipv4, 0..50_000);
        put(&mut batch, Family::Ipv6, 0..50_000);
        nftables.commit(&mut batch).await.unwrap();
        assert_eq!(nftables.generation().await.unwrap(), before + 1);
        for family in FAMILIES {
            assert_eq!(count(&mut nftables, family).await, 50_000);
        }
        let mut batch = Batch::new(NAME);
        let mut elements = batch.remove_elements(Family::Ipv4, "m");
        (0..50_000).for_each(|number| elements.push(number, &Element::key(&key(number))));
        drop(elements);
        nftables.commit(&mut batch).await.unwrap();
        assert_eq!(count(&mut nftables, Family::Ipv4).await, 0);
        assert_eq!(count(&mut nftables, Family::Ipv6).await, 50_000);
    });
}

#[test]
fn a_refused_element_names_its_operation_and_nothing_is_done() {
    isolated(|| async {
        let mut nftables = tables(0).await;
        let mut batch = Batch::new(NAME);
        put(&mut batch, Family::Ipv6, [4321, 30_000]);
        nftables.commit(&mut batch).await.unwrap();

        let mut batch = Batch::new(NAME);
        put(&mut batch, Family::Ipv4, 0..10);
        put(&mut batch, Family::Ipv6, 1000..40_000);
        let Err(CommitError::Refused(refusals)) = nftables.commit(&mut batch).await else { panic!("refused") };
        let operations: Vec<_> = refusals.iter().map(|refusal| (&refusal.operations[..], refusal.errno)).collect();
        assert_eq!(operations, [(&[4321][..], Errno::EEXIST), (&[30_000][..], Errno::EEXIST)]);
        assert_eq!(refusals[0].object, "ip6 switchyard element of set m");
        assert_eq!(count(&mut nftables, Family::Ipv4).await, 0, "the other family's part was not undone");
        assert_eq!(count(&mut nftables, Family::Ipv6).await, 2);
    });
}

#[test]
fn each_kind_of_operation_is_named_when_refused() {
    isolated(|| async {
        let mut nftables = tables(0).await;
        let mut batch = Batch::new(NAME);
        batch.put_chain(10, Family::Ipv4, &Chain::new("fine"));
        batch.put_set(11, Family::Ipv4, &map("m"));
        batch.remove_chain(12, Family::Ipv6, "absent");
        let lookup =
            Expr::Lookup { set: "absent".to_owned(), sreg: Reg::word(0), dreg: None, expect: Membership::Present };
        let rule = Rule::new("fine", vec![lookup]);
        batch.append_rule(13, Family::Ipv4, &rule);
        batch.remove_elements(Family::Ipv6, "m").push(14, &Element::key(&key(9)));
        let Err(CommitError::Refused(refusals)) = nftables.commit(&mut batch).await else { panic!("refused") };
        let all: Vec<_> = refusals.iter().map(|refusal| (refusal.operations[0], refusal.errno)).collect();
        let absent = Errno::ENOENT;
        assert_eq!(all, [(11, Errno::EEXIST), (12, absent), (13, absent), (14, absent)]);
        let text = CommitError::Refused(refusals).to_string();
        assert!(text.starts_with("ip switchyard set m: kernel refused it: File exists"), "{text}");
        assert_eq!(nftables.chains(Family::Ipv4).await.unwrap(), []);
    });
}

async fn refused(count: u32) -> usize {
    let mut nftables = tables(0).await;
    let mut batch = Batch::new(NAME);
    (0..count).for_each(|operation| batch.remove_chain(operation, Family::Ipv4, "absent"));
    match nftables.commit(&mut batch).await {
        Err(CommitError::Refused(refusals)) => refusals.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_kernel_explains_a_refusal_in_words() {
    isolated(|| async {
        let mut nftables = tables(0).await;
        let mut batch = Batch::new(NAME);
        batch.put_chain(1, Family::Ipv4, &Chain::new("c".repeat(300)));
        let Err(CommitError::Refused(refusals)) = nftables.commit(&mut batch).await else { panic!("refused") };
        assert_eq!(refusals[0].operations, [1]);
        assert!(!refusals[0].text.is_empty(), "{:?}", refusals[0]);
        assert!(refusals[0].to_string().ends_with(&format!("({})", refusals[0].text)), "{}", refusals[0]);
    });
}

#[test]
fn thousands_of_refusals_are_all_told() {
    isolated(|| async { assert_eq!(refused(5000).await, 5000) });
}

#[test]
fn refusals_beyond_the_receive_buffer_are_still_a_refusal() {
    isolated(|| async { assert!((5000..60_000).contains(&refused(60_000).await)) });
}

#[test]
fn an_element_tells_how_long_it_lives() {
    isolated(|| async {
        let mut nftables = tables(0).await;
        let mut batch = Batch::new(NAME);
        batch.put_set(0, Family::Ipv4, &Set { flags: SET_TIMEOUT, exprs: Vec::new(), ..map("timed") });
        let life = Duration::from_secs(3 * 60 * 60);
        let key = key(1);
        let element = Element { timeout: Some(life), ..Element::pair(&key, &[10, 0, 0, 1]) };
        batch.put_elements(Family::Ipv4, "timed").push(1, &element);
        nftables.commit(&mut batch).await.unwrap();
        let times = nftables.elements(
            Family::Ipv4,
            "timed",
            || None,
            |times, element| {
                *times = Some((element.timeout, element.expiration));
            },
        );
        let Some((timeout, Some(left))) = times.await.unwrap() else { panic!("an element with an expiration") };
        assert_eq!(timeout, Some(life));
        assert!(left <= life && left > life - Duration::from_secs(60), "{left:?}");
    });
}

#[test]
fn a_foreign_change_fails_the_batch_that_expected_none() {
    isolated_with_nft(|| async {
        let mut nftables = tables(0).await;
        let mut batch = Batch::new(NAME);
        batch.expect_generation(nftables.generation().await.unwrap());
        put(&mut batch, Family::Ipv4, [1]);
        nft(&["add", "table", "ip", "other"]).unwrap();
        assert!(matches!(nftables.commit(&mut batch).await, Err(CommitError::Raced)));
        assert_eq!(count(&mut nftables, Family::Ipv4).await, 0);
        batch.expect_generation(nftables.generation().await.unwrap());
        nftables.commit(&mut batch).await.unwrap();
        assert_eq!(count(&mut nftables, Family::Ipv4).await, 1);
    });
}

#[test]
fn counters_are_read_by_key_and_carried_into_new_elements() {
    isolated(|| async {
        let mut nftables = tables(0).await;
        let carried = Counter { packets: 7, bytes: 420 };
        let mut batch = Batch::new(NAME);
        let mut elements = batch.put_elements(Family::Ipv4, "m");
        for number in 0..1000 {
            let key = key(number);
            elements.push(number, &Element { counter: Some(carried), ..Element::pair(&key, &[10, 0, 0, 1]) });
        }
        elements.push(2000, &Element::pair(&key(2000), &[10, 0, 0, 1]));
        drop(elements);
        nftables.commit(&mut batch).await.unwrap();

        let keys: Vec<_> = (0..1000).chain([3000, 2000]).map(key).collect();
        let keys: Vec<_> = keys.iter().map(|key| &key[..]).collect();
        let counters = nftables.counters(Family::Ipv4, "m", &keys).await.unwrap();
        assert!(counters[..1000].iter().all(|counter| *counter == Some(carried)));
        assert_eq!(counters[1000..], [None, Some(Counter::default())]);

        let mut found = Vec::new();
        nftables
            .find(Family::Ipv4, "m", &keys, |index, element| {
                found.push((index, element.value == Value::Bytes(&[10, 0, 0, 1])))
            })
            .await
            .unwrap();
        assert_eq!(found.len(), 1001);
        assert_eq!(found[1000], (1001, true));
        let counts = nftables.counts(Family::Ipv4).await.unwrap();
        assert!(counts == [("m".to_owned(), Some(1001))] || counts == [("m".to_owned(), None)], "{counts:?}");
    });
}

#[test]
fn what_was_put_is_dumped_equal() {
    isolated(|| async {
        let mut nftables = tables(0).await;
        let affinity = Set {
            flags: SET_TIMEOUT | SET_EVAL,
            timeout: Duration::from_secs(10),
            size: 65536,
            exprs: Vec::new(),
            ..map("affinity")
        };
        let verdicts = Set { data: Some(SetData::Verdict), ..map("verdicts") };
        let chain = Chain::new("c");
        let rule = Rule {
            chain: "c".to_owned(),
            handle: 0,
            exprs: vec![
                Expr::Meta { key: MetaKey::L4Proto, dreg: Reg::word(0) },
                Expr::Cmp { op: CmpOp::Eq, sreg: Reg::word(0), value: vec![6] },
                Expr::Verdict(Verdict::Return),
            ],
            userdata: vec![0, 3, b'h', b'i', 0],
        };
        let mut batch = Batch::new(NAME);
        for family in FAMILIES {
            batch.put_chain(0, family, &chain);
            batch.append_rule(1, family, &rule);
            batch.put_set(2, family, &affinity);
            batch.put_set(3, family, &verdicts);
            let key = key(5);
            let element = Element::verdict(&key, Verdict::Goto("c"));
            batch.put_elements(family, "verdicts").push(4, &element);
        }
        nftables.commit(&mut batch).await.unwrap();
        assert_eq!(nftables.tables().await.unwrap(), FAMILIES.map(|family| table(family, 0)));
        for family in FAMILIES {
            assert_eq!(nftables.chains(family).await.unwrap(), std::slice::from_ref(&chain));
            let rules = nftables.rules(family).await.unwrap();
            assert_eq!(rules, [Rule { handle: rules[0].handle, ..rule.clone() }]);
            assert_eq!(nftables.sets(family).await.unwrap(), [map("m"), affinity.clone(), verdicts.clone()]);
            let verdict = nftables
                .elements(family, "verdicts", String::new, |text, element| *text = format!("{:?}", element.value))
                .await;
            assert_eq!(verdict.unwrap(), r#"Verdict(Goto("c"))"#);
        }
        let mut batch = Batch::new(NAME);
        batch.remove_rule(0, Family::Ipv4, "c", nftables.rules(Family::Ipv4).await.unwrap()[0].handle);
        batch.flush_chain(1, Family::Ipv6, "c");
        batch.flush_set(2, Family::Ipv4, "verdicts");
        nftables.commit(&mut batch).await.unwrap();
        assert_eq!(nftables.rules(Family::Ipv4).await.unwrap(), []);
        assert_eq!(nftables.rules(Family::Ipv6).await.unwrap(), []);
        let mut batch = Batch::new(NAME);
        FAMILIES.iter().for_each(|family| batch.remove_table(0, *family));
        nftables.commit(&mut batch).await.unwrap();
        assert_eq!(nftables.tables().await.unwrap(), []);
    });
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Drops a dump of 60,000 elements after some of them: the runtime makes so long a dump pause.
async fn dump_half(nftables: &mut Nftables) {
    let seen = Cell::new(0);
    let mut dump = pin!(nftables.elements(Family::Ipv4, "m", || (), |(), _| seen.set(seen.get() + 1)));
    while seen.get() == 0 {
        assert!(poll_once(dump.as_mut()).await.is_pending(), "too short to be dropped in the middle");
        tokio::task::yield_now().await;
    }
    assert!(seen.get() < 60_000);
}

#[test]
fn a_dump_that_was_dropped_does_not_disturb_the_next() {
    isolated(|| async {
        let mut nftables = tables(0).await;
        let mut batch = Batch::new(NAME);
        put(&mut batch, Family::Ipv4, 0..60_000);
        nftables.commit(&mut batch).await.unwrap();
        for round in 0..3 {
            dump_half(&mut nftables).await;
            if round == 1 {
                // Reads the rest of the dump while it looks for its own answer.
                let mut batch = Batch::new(NAME);
                put(&mut batch, Family::Ipv6, [1]);
                nftables.commit(&mut batch).await.unwrap();
            }
        }
        assert_eq!(count(&mut nftables, Family::Ipv4).await, 60_000);
    });
}

#[test]
fn an_owned_table_survives_a_flush_and_its_owner() {
    isolated_with_nft(|| async {
        let mut nftables = Nftables::open(NAME).unwrap();
        if nftables.ownership().await.unwrap() == Ownership::None {
            eprintln!("skipped: this kernel has no NFT_TABLE_F_PERSIST (Linux 6.9)");
            return;
        }
        assert_eq!(nft(&["list", "ruleset"]).unwrap(), "", "the probe left something");
        drop(nftables);
        let nftables = tables(TABLE_KEPT).await;
        nft(&["flush", "ruleset"]).unwrap();
        assert!(nft(&["delete", "table", "ip", NAME]).unwrap_err().contains("Operation not permitted"));
        let mut stranger = Nftables::open(NAME).unwrap();
        let seen = stranger.tables().await.unwrap();
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().all(|table| table.owner == Some(nftables.port())), "{seen:?}");
        let mut batch = Batch::new(NAME);
        put(&mut batch, Family::Ipv4, [1]);
        assert!(matches!(stranger.commit(&mut batch).await, Err(CommitError::Refused(_))));

        drop(nftables);
        let seen = stranger.tables().await.unwrap();
        assert_eq!(seen.iter().map(|table| table.owner).collect::<Vec<_>>(), [None, None]);
        let mut adopt = Batch::new(NAME);
        FAMILIES.iter().for_each(|family| adopt.put_table(0, &table(*family, TABLE_KEPT)));
        stranger.commit(&mut adopt).await.unwrap();
        nft(&["flush", "ruleset"]).unwrap();
        stranger.commit(&mut batch).await.unwrap();
        assert_eq!(count(&mut stranger, Family::Ipv4).await, 1);
    });
}

async fn changed(watch: &mut Watch) -> bool {
    tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.is_ok()
}

/// Whether the watch stays silent. What was caused before has been queued before: nothing to wait for.
async fn silent(watch: &mut Watch) -> bool {
    tokio::time::timeout(Duration::from_millis(50), watch.changed()).await.is_err()
}

#[test]
fn only_changes_of_our_table_by_others_are_noticed() {
    isolated_with_nft(|| async {
        let mut nftables = tables(0).await;
        let mut watch = nftables.watch().unwrap();
        // More than the receive buffer holds: left out by the kernel, not by us.
        let mut batch = Batch::new(NAME);
        put(&mut batch, Family::Ipv4, 0..200_000);
        nftables.commit(&mut batch).await.unwrap();
        assert!(silent(&mut watch).await, "our own transaction");
        nft(&["add", "table", "ip", "other"]).unwrap();
        nft(&["add", "chain", "ip", "other", "c"]).unwrap();
        assert!(silent(&mut watch).await, "another table");

        nft(&["add", "chain", "ip6", NAME, "c"]).unwrap();
        assert!(changed(&mut watch).await, "a chain");
        assert!(silent(&mut watch).await, "one report for one change");
        nft(&["delete", "element", "ip", NAME, "m", "{ 0.0.0.7 . 80 }"]).unwrap();
        assert!(changed(&mut watch).await, "an element");
        nft(&["flush", "ruleset"]).unwrap();
        assert!(changed(&mut watch).await, "everything");
        assert!(silent(&mut watch).await);
    });
}

#[test]
fn a_monitor_that_reads_too_slowly_says_so_and_goes_on() {
    isolated(|| async {
        let mut nftables = tables(0).await;
        let mut monitor = Monitor::open().unwrap();
        let mut batch = Batch::new(NAME);
        put(&mut batch, Family::Ipv4, 0..60_000);
        nftables.commit(&mut batch).await.unwrap();
        let error = loop {
            match tokio::time::timeout(Duration::from_secs(5), monitor.receive()).await.expect("an overrun") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.raw_os_error(), Some(Errno::ENOBUFS as i32));
        // What is queued must be read before the kernel queues more.
        while tokio::time::timeout(Duration::from_millis(50), monitor.receive()).await.is_ok() {}
        let mut batch = Batch::new(NAME);
        put(&mut batch, Family::Ipv6, [7]);
        nftables.commit(&mut batch).await.unwrap();
        let mut is_seen = false;
        while !is_seen {
            let mut next =
                tokio::time::timeout(Duration::from_secs(5), monitor.receive()).await.expect("a notification").unwrap();
            is_seen =
                next.any(|change| matches!(change, Notification::Object { family: Family::Ipv6, table: NAME, .. }));
        }
    });
}

/// One element, by another socket, on a thread of its own in this namespace.
fn stranger_puts(number: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut stranger = Nftables::open(NAME).unwrap();
        let mut batch = Batch::new(NAME);
        put(&mut batch, Family::Ipv6, [number]);
        stranger.commit(&mut batch).await.unwrap();
    });
}

#[test]
fn a_change_by_others_beside_a_large_commit_is_noticed() {
    isolated(|| async {
        const MANY: u32 = 1_000;
        let mut nftables = tables(0).await;
        let mut watch = nftables.watch().unwrap();
        let mut batch = Batch::new(NAME);
        put(&mut batch, Family::Ipv4, 0..MANY);
        nftables.commit_unwatched(&mut batch, &mut watch).await.unwrap();
        assert!(silent(&mut watch).await, "our own transaction");
        for round in 1..=40 {
            let mut batch = Batch::new(NAME);
            put(&mut batch, Family::Ipv4, round * MANY..(round + 1) * MANY);
            // Before, between and behind the steps of the commit, as it happens.
            let stranger = std::thread::spawn(move || stranger_puts(round));
            nftables.commit_unwatched(&mut batch, &mut watch).await.unwrap();
            stranger.join().unwrap();
            assert!(changed(&mut watch).await, "round {round}");
            // An innocent change may be suspected besides, but no more often than once.
            let _ = silent(&mut watch).await;
            assert!(silent(&mut watch).await, "round {round}");
        }
        assert_eq!(count(&mut nftables, Family::Ipv4).await, 41 * MANY as usize);
    });
}
