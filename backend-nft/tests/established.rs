//! What a packet of an established connection costs: nothing of ours, told by the kernel's own trace.

mod netns;
mod sample;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use backend_api::*;
use netns::{isolated, nft};
use switchyard_nft::{NftDataplane, Options};

/// Traces every packet, ahead of us, and at the end of postrouting says so.
const TRACED: &str = "
table ip tracer {
    chain begin { type filter hook output priority -300; meta nftrace set 1; }
    chain end { type filter hook postrouting priority 300; meta l4proto udp counter; }
}";

const PACKETS: usize = 5;

/// A service on an address of this node, so that loopback is all that packets need.
fn service() -> Service {
    let port = ServicePort {
        frontends: vec![Frontend {
            masquerade: Masquerade::Never, // loopback has no address of a scope that would do
            ..Frontend::cluster_ip([127, 0, 0, 96].into(), Protocol::Udp, 53)
        }],
        endpoints: vec![Endpoint::elsewhere(EndpointAddress::new([127, 0, 0, 1].into(), 5353))],
        ..ServicePort::new(Family::V4, Protocol::Udp)
    };
    Service::new(ServiceName::new("default", "dns"), vec![port])
}

fn ip(arguments: &str) {
    let ended = Command::new("ip").args(arguments.split(' ')).status().expect("ip is installed");
    assert!(ended.success(), "ip {arguments}: {ended}");
}

#[test]
fn an_established_packet_evaluates_none_of_our_rules() {
    isolated(|| async {
        ip("link set lo up");
        let mut state = ServiceState::new(sample::node());
        state.upsert(service()).unwrap();
        let mut dataplane = NftDataplane::open(Options::default()).await.unwrap();
        dataplane.sync(&state, Scope::All).await.unwrap();
        match nft(&["-f", "-"], TRACED) {
            None => return,
            Some(loaded) => loaded.unwrap(),
        };
        let traced = trace(PACKETS, || exchange(PACKETS));
        let ours: Vec<usize> = traced.into_values().collect();
        println!("rules and chains of ours that each packet met: {ours:?}");
        assert!(ours[0] > 0, "the first packet is translated: {ours:?}");
        assert_eq!(ours[1..], [0; PACKETS - 1], "the others meet none of ours");
    });
}

/// A client that dials the service once, sends so many packets, and hears each of them answered.
fn exchange(packets: usize) {
    let server = UdpSocket::bind("127.0.0.1:5353").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect("127.0.0.96:53").unwrap();
    let mut buffer = [0; 16];
    for _ in 0..packets {
        client.send(b"ping").unwrap();
        let (_, from) = server.recv_from(&mut buffer).unwrap();
        server.send_to(b"pong", from).unwrap();
        client.recv(&mut buffer).unwrap();
    }
}

/// What a child prints, line by line; waits for each up to a deadline.
fn lines_of(output: ChildStdout) -> impl Iterator<Item = String> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        lines.map(|line| tell.send(line)).take_while(Result::is_ok).for_each(drop);
    });
    std::iter::from_fn(move || Some(told.recv_timeout(Duration::from_secs(60)).expect("a packet is traced")))
}

/// Ends with the test, however it ends.
struct Monitor(Child);

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How often each packet that `work` had sent to port 5353 met one of our rules or policies, in order of sending.
fn trace(packets: usize, work: impl FnOnce()) -> BTreeMap<usize, usize> {
    let spawned = Command::new("nft").args(["monitor", "trace"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut monitor = Monitor(spawned);
    let mut lines = lines_of(monitor.0.stdout.take().unwrap());
    // It does not say when it listens: a packet that it has traced does.
    let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listens = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !listens.load(Ordering::Relaxed) {
                probe.send_to(b"probe", "127.0.0.1:9").ok();
                std::thread::yield_now();
            }
        });
        assert!(lines.any(|line| line.contains("udp dport 9 ")));
        listens.store(true, Ordering::Relaxed);
    });
    work();
    let (mut order, mut ours) = (Vec::new(), BTreeMap::new());
    let mut ended = 0;
    for line in lines {
        let mut words = line.split_whitespace();
        let (Some("trace"), Some("id"), Some(id)) = (words.next(), words.next(), words.next()) else { continue };
        let id = id.to_owned();
        if line.contains("udp dport 53 ") && !order.contains(&id) {
            order.push(id.clone());
        }
        let Some(at) = order.iter().position(|known| *known == id) else { continue };
        let count = ours.entry(at).or_insert(0);
        *count += usize::from(line.contains(" ip switchyard "));
        ended += usize::from(line.contains("ip tracer end policy"));
        if ended == packets {
            break;
        }
    }
    ours
}
