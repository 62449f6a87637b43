//! The fake refuses what the kernel refuses: the same random operations on both.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use netlink::ipvs::{Flags, Forwarding, Ipvs, Thresholds};
use nix::sched::{CloneFlags, unshare};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;

/// Lists of operations that are tried.
const ROUNDS: usize = 60;

fn key() -> impl Strategy<Value = VirtualKey> {
    (1u32..4).prop_map(|number| VirtualKey::Mark { family: netlink::Family::Ipv4, mark: 0x5300_0000 | number })
}

fn server() -> impl Strategy<Value = VirtualServer> {
    let scheduler = prop::sample::select(vec!["rr", "wrr", "mh", "nosuch"]).prop_map(str::to_owned);
    let flags = prop::sample::select(vec![Flags::NONE, Flags::HASH_FALLBACK]);
    (key(), scheduler, flags).prop_map(|(key, scheduler, flags)| VirtualServer {
        key,
        scheduler,
        flags,
        persistence: None,
        engine: None,
    })
}

/// No host has `224.0.0.1`.
fn address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop::sample::select(vec![[10, 244, 0, 1], [10, 244, 0, 2], [224, 0, 0, 1]]);
    ip.prop_map(|ip| SocketAddr::new(ip.into(), 80))
}

fn real() -> impl Strategy<Value = RealServer> {
    (address(), 0u32..3, 0u32..2).prop_map(|(address, weight, upper)| RealServer {
        address,
        forwarding: Forwarding::Masquerade,
        weight,
        thresholds: Thresholds { upper, lower: 0 },
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => server().prop_map(Operation::AddVirtual),
        1 => server().prop_map(Operation::EditVirtual),
        1 => key().prop_map(Operation::RemoveVirtual),
        4 => (key(), real()).prop_map(|(key, real)| Operation::AddReal(key, real)),
        2 => (key(), real()).prop_map(|(key, real)| Operation::EditReal(key, real)),
        2 => (key(), address()).prop_map(|(key, address)| Operation::RemoveReal(key, address)),
    ]
}

#[test]
fn the_fake_and_the_kernel_refuse_the_same() {
    if testbed::privilege::skip() {
        return;
    }
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare());
    });
    thread.join().unwrap();
}

async fn compare() {
    let Ok(mut ipvs) = Ipvs::open().await else {
        eprintln!("skipped: no IPVS in this kernel");
        return;
    };
    // Without an address in the namespace every real server is refused.
    let mut routing = crate::host::Routing::open(&netlink::Namespace::Current).unwrap();
    routing.establish().await.unwrap();
    let mut fake = FakeIpvs::default();
    fake.with(|kernel| kernel.refuses = BTreeSet::from([[224, 0, 0, 1].into()]));
    let mut runner = TestRunner::deterministic();
    for _ in 0..ROUNDS {
        let operations = prop::collection::vec(operation(), 1..20).new_tree(&mut runner).unwrap().current();
        let by_kernel = refused(Port::execute(&mut ipvs, &operations).await.unwrap());
        let by_fake = refused(fake.execute(&operations).await.unwrap());
        assert_eq!(by_fake, by_kernel, "{operations:#?}");
        assert_eq!(content(&mut fake).await, content(&mut ipvs).await, "{operations:#?}");
    }
}

fn refused(refusals: Vec<Refusal>) -> Vec<(usize, Errno)> {
    refusals.into_iter().map(|refusal| (refusal.operation, refusal.errno)).collect()
}

async fn content<P: Port>(port: &mut P) -> BTreeMap<VirtualKey, (VirtualServer, BTreeSet<RealServer>)> {
    let mut content = BTreeMap::new();
    for VirtualServerEntry { server, .. } in port.virtual_servers().await.unwrap() {
        let reals = port.real_servers(&server.key).await.unwrap().into_iter().map(|entry| entry.server);
        content.insert(server.key, (server, reals.collect()));
    }
    content
}
