//! What things cost: printed, not judged, because machines differ. Ignored unless asked for, in release:
//! `cargo test --release -p switchyard-nft --test kernel_speed -- --ignored --nocapture`

mod kernel_netns;

use std::time::{Duration, Instant};

use kernel_netns::in_netns;
use netlink::conntrack::Conntrack;
use netlink::nftables::expr::CtKey;
use netlink::nftables::{
    Base, Batch, Chain, Counter, Element, Expr, Family, Hook, Nftables, Reg, Rule, Set, SetData, Table,
};

const NAME: &str = "switchyard";

/// The shape of the map of endpoints: address, protocol, port, slot to address, port.
fn endpoints(name: &str) -> Set {
    Set {
        name: name.to_owned(),
        flags: 0,
        key_type: (7 << 18) | (12 << 12) | (13 << 6) | 13,
        key_len: 16,
        fields: Vec::new(),
        data: Some(SetData::Value { kind: (7 << 6) | 13, len: 8 }),
        timeout: Duration::ZERO,
        size: 0,
        userdata: Vec::new(),
        exprs: Vec::new(),
    }
}

fn key(number: u32) -> [u8; 16] {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&(0x0a60_0000 + number / 3).to_be_bytes());
    key[4] = 6;
    key[9] = 80;
    key[12..].copy_from_slice(&(number % 3).to_be_bytes());
    key
}

fn put(batch: &mut Batch, set: &str, numbers: std::ops::Range<u32>) {
    let mut elements = batch.put_elements(Family::Ipv4, set);
    for number in numbers {
        let value = [10, 0, 0, number as u8, 0, 80, 0, 0];
        elements.push(number, &Element::pair(&key(number), &value));
    }
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    println!("{what}: {:?} median, {:?} worst of {}", times[times.len() / 2], times[times.len() - 1], times.len());
}

fn measure<T>(times: &mut Vec<Duration>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    times.push(start.elapsed());
    result
}

async fn tables() -> Nftables {
    let mut nftables = Nftables::open(NAME).unwrap();
    let mut batch = Batch::new(NAME);
    batch.put_table(0, &Table { family: Family::Ipv4, flags: 0, owner: None, userdata: Vec::new() });
    batch.put_set(0, Family::Ipv4, &endpoints("endpoints"));
    let counted = Set { exprs: vec![Expr::Counter(Counter::default())], ..endpoints("services") };
    batch.put_set(0, Family::Ipv4, &counted);
    nftables.commit(&mut batch).await.unwrap();
    nftables
}

#[test]
#[ignore = "a measurement"]
fn encoding_committing_and_dumping() {
    in_netns(|| async {
        let mut times = Vec::new();
        for _ in 0..20 {
            measure(&mut times, || put(&mut Batch::new(NAME), "endpoints", 0..100_000));
        }
        report("encode 100,000 elements", &mut times);

        let mut nftables = tables().await;
        let mut batch = Batch::new(NAME);
        put(&mut batch, "endpoints", 0..50_000);
        let start = Instant::now();
        nftables.commit(&mut batch).await.unwrap();
        println!("commit 50,000 elements, {} KiB: {:?}", batch.bytes() >> 10, start.elapsed());

        let mut times = Vec::new();
        for number in 50_000..50_200 {
            let mut batch = Batch::new(NAME);
            put(&mut batch, "endpoints", number..number + 1);
            let start = Instant::now();
            nftables.commit(&mut batch).await.unwrap();
            times.push(start.elapsed());
        }
        report("commit one element beside 50,000", &mut times);

        let mut times = Vec::new();
        for _ in 0..5 {
            let start = Instant::now();
            let dumped = nftables.elements(Family::Ipv4, "endpoints", || 0u32, |count, _| *count += 1).await.unwrap();
            times.push(start.elapsed());
            assert_eq!(dumped, 50_200);
        }
        report("dump 50,200 elements", &mut times);

        for number in 1..4 {
            let mut batch = Batch::new(NAME);
            put(&mut batch, "endpoints", number * 100_000..(number + 1) * 100_000);
            let start = Instant::now();
            nftables.commit(&mut batch).await.unwrap();
            println!("commit 100,000 more: {:?}", start.elapsed());
        }
        let start = Instant::now();
        nftables.elements(Family::Ipv4, "endpoints", || (), |(), _| ()).await.unwrap();
        println!("dump 350,200 elements: {:?}", start.elapsed());

        let mut batch = Batch::new(NAME);
        put(&mut batch, "services", 0..10_000);
        nftables.commit(&mut batch).await.unwrap();
        let keys: Vec<_> = (0..1000).map(key).collect();
        let keys: Vec<_> = keys.iter().map(|key| &key[..]).collect();
        let start = Instant::now();
        nftables.counters(Family::Ipv4, "services", &keys).await.unwrap();
        println!("counters of 1,000 keys: {:?}", start.elapsed());
    });
}

#[test]
#[ignore = "a measurement"]
fn looking_through_flows() {
    in_netns(|| async {
        let mut nftables = tables().await;
        let mut batch = Batch::new(NAME);
        let base = Base { kind: "nat".to_owned(), hook: Hook::Output, priority: -100 };
        batch.put_chain(0, Family::Ipv4, &Chain { name: "c".to_owned(), base: Some(base) });
        let exprs = vec![Expr::Ct { key: CtKey::Status, direction: None, dreg: Reg::word(0) }];
        batch.append_rule(0, Family::Ipv4, &Rule { chain: "c".to_owned(), handle: 0, exprs, userdata: Vec::new() });
        nftables.commit(&mut batch).await.unwrap();
        let mut conntrack = Conntrack::open().unwrap();
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for round in 0..3 {
            let mut flows = Vec::new();
            for (name, protocol) in [("UDP", 17), ("TCP", 6)] {
                flows.clear();
                let start = Instant::now();
                conntrack.flows(Family::Ipv4, protocol, |flow| flows.push(flow)).await.unwrap();
                println!("round {round}: {} {name} flows seen in {:?}", flows.len(), start.elapsed());
            }
            for number in 0..20_000u32 {
                let address = std::net::Ipv4Addr::from(0x7f01_0000 + round * 20_000 + number);
                // Refused by the closed port, which is what the next call reports.
                let _ = client.send_to(b"x", (address, 9));
            }
        }
        let mut flows = Vec::new();
        conntrack.flows(Family::Ipv4, 17, |flow| flows.push(flow)).await.unwrap();
        let start = Instant::now();
        let deleted = conntrack.delete(&flows[..1000]).await.unwrap();
        println!("{deleted} flows deleted in {:?}", start.elapsed());
    });
}
