//! What things cost: printed, not judged, because machines differ. Ignored unless asked for, in release:
//! `cargo test --release -p switchyard-netlink --test kernel speed -- --ignored --nocapture`

use std::time::{Duration, Instant};

use crate::isolated::isolated;
use switchyard_netlink::conntrack::Conntrack;
use switchyard_netlink::nftables::expr::CtKey;
use switchyard_netlink::nftables::{
    Base, Batch, Chain, Counter, DataType, Element, Expr, Family, Hook, Nftables, Reg, Rule, Set, Table,
};

const NAME: &str = "switchyard";

/// A map of the shape address, protocol, port, slot to address, port.
fn endpoints(name: &str) -> Set {
    let key = [DataType::IPV4_ADDR, DataType::INET_PROTO, DataType::INET_SERVICE, DataType::INET_SERVICE];
    let value = [DataType::IPV4_ADDR, DataType::INET_SERVICE];
    Set::map(name, DataType::concatenation(&key), DataType::concatenation(&value))
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
    batch.put_table(0, &Table::new(Family::Ipv4));
    batch.put_set(0, Family::Ipv4, &endpoints("endpoints"));
    let counted = Set { exprs: vec![Expr::Counter(Counter::default())], ..endpoints("services") };
    batch.put_set(0, Family::Ipv4, &counted);
    nftables.commit(&mut batch).await.unwrap();
    nftables
}

#[test]
#[ignore = "a measurement"]
fn encoding_committing_and_dumping() {
    isolated(|| async {
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

        let keys: Vec<_> = (100_000..400_000).map(key).collect();
        let keys: Vec<_> = keys.iter().map(|key| &key[..]).collect();
        let (start, mut found) = (Instant::now(), 0);
        nftables.find(Family::Ipv4, "endpoints", &keys, |_, _| found += 1).await.unwrap();
        println!("{found} of them by their keys: {:?}", start.elapsed());

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
    isolated(|| async {
        let mut nftables = tables().await;
        let mut batch = Batch::new(NAME);
        let base = Base::new("nat", Hook::Output, -100);
        batch.put_chain(0, Family::Ipv4, &Chain::with_base("c", base));
        let exprs = vec![Expr::Ct { key: CtKey::Status, direction: None, dreg: Reg::word(0) }];
        batch.append_rule(0, Family::Ipv4, &Rule::new("c", exprs));
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
