//! One backend takes over from the other while connections are open: none is lost, none is refused, and in the end
//! nothing is left of the former one. Needs IPVS: `cargo run -p switchyard-conformance --bin vm -- --tests agent` has
//! it.

mod node;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use backend_api::Protocol;
use switchyard_agent::backend::Backend;
use testbed::Outcome;

use self::node::Node;

const ALL: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// TIME_WAIT in IPVS takes two minutes, and UDP's timeout is shorter.
const ENDED: Duration = Duration::from_secs(200);

#[test]
fn connections_outlive_both_changes_of_the_backend_and_nothing_is_left_when_they_end() {
    let Some(node) = Node::new() else { return };
    node.run(Backend::Nftables);
    let nothing = node.traces();
    let mut translated = node.hold(&ALL);
    println!("{} connections stand", translated.len());

    node.run(Backend::Ipvs);
    translated.assert_live();
    // An SCTP association that no side shuts down is tracked for a quarter of an hour, so there is none here.
    let mut balanced = node.hold(&[Protocol::Tcp, Protocol::Udp]);
    node.assert_answers(&[Protocol::Tcp]);

    node.run(Backend::Nftables);
    translated.assert_live();
    balanced.assert_live();
    node.assert_answers(&ALL);
    node.until("every virtual server to drain", Duration::from_secs(60), |traces| {
        // `  -> 0AF40202:0050      Masq    1      4          0`
        !traces.contains("Masq    1") && traces.contains("switchyard-leaving")
    });
    balanced.assert_live();

    // A restart in the middle: the next process knows it from the kernel.
    node.run(Backend::Nftables);
    translated.assert_live();
    balanced.assert_live();

    drop(balanced);
    node.until("nothing of IPVS to be left", ENDED, |traces| traces == nothing);
    translated.assert_live();
    node.assert_answers(&ALL);
}

#[test]
fn new_connections_never_fail_while_backends_change() {
    let Some(node) = Node::new() else { return };
    node.run(Backend::Ipvs);
    let over = AtomicBool::new(false);
    let ways = node.ways(&[Protocol::Tcp]);
    let dialled = std::thread::scope(|scope| {
        let mut clients = Vec::new();
        for client in ["mytools", "node2", "outsider"] {
            let ways: Vec<_> = ways.iter().filter(|(_, from, _)| from == client).collect();
            let (node, over) = (&node, &over);
            clients.push(scope.spawn(move || {
                let (mut dialled, mut failed) = (0, Vec::new());
                while !over.load(Ordering::Relaxed) {
                    for (way, from, dial) in &ways {
                        let outcome = node.world.dial(from, dial);
                        dialled += 1;
                        if !matches!(outcome, Outcome::Answered(_)) {
                            failed.push(format!("{way}: {outcome}"));
                        }
                    }
                }
                (dialled, failed)
            }));
        }
        for _ in 0..10 {
            node.run(Backend::Nftables);
            node.run(Backend::Ipvs);
        }
        over.store(true, Ordering::Relaxed);
        let mut all = 0;
        for client in clients {
            let (dialled, failed) = client.join().unwrap();
            assert!(failed.is_empty(), "of {dialled}: {failed:#?}");
            all += dialled;
        }
        all
    });
    println!("{dialled} connections, and none failed");
    assert!(dialled > 100, "only {dialled} were dialled");
}

#[test]
fn ipvs_that_comes_back_goes_on_with_what_it_left() {
    let Some(node) = Node::new() else { return };
    node.run(Backend::Ipvs);
    let mut held = node.hold(&ALL);
    let before = servers(&node);
    node.run(Backend::Nftables);
    held.assert_live();
    node.run(Backend::Ipvs);
    held.assert_live();
    assert_eq!(servers(&node), before, "the same virtual servers, and each endpoint with its weight");
    assert!(!node.traces().contains("switchyard-leaving"));
    node.assert_answers(&ALL);
}

#[test]
fn flows_move_when_their_endpoint_goes_and_stay_otherwise() {
    let Some(node) = Node::new() else { return };
    node.run(Backend::Ipvs);
    let mut flows = node.hold(&[Protocol::Udp]);
    node.run(Backend::Nftables);
    flows.assert_live();
    node.without(&["nginx-1"]);
    let moved = flows.moved();
    assert!(moved.values().all(|(before, now)| before == "nginx-1" && now != "nginx-1"), "{moved:#?}");
    assert!(!moved.is_empty(), "no flow was at nginx-1");
    flows.assert_live();
}

/// Virtual and real servers without their connections.
fn servers(node: &Node) -> Vec<String> {
    let text = node.world.node().namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/ip_vs").unwrap());
    let without_counts = |line: &str| line.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
    let mut servers: Vec<_> = text.lines().map(without_counts).collect();
    servers.sort();
    servers
}
