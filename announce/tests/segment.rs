//! Real packets: nodes, a client and foreign stations as network namespaces on one bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use switchyard_announce::election::{Event, Progress, Station, Wish};
use switchyard_announce::kernel::{Announcer, Bid, Counters, Interfaces, Settings, Told};
use switchyard_announce::wire::Transport;
use switchyard_announce::wire::heartbeat::{Key, Name, Standing};
use testbed::Namespace;
use testbed::links::{End, Link, Links, connect};
use tokio::runtime::Runtime;

const V4: &str = "192.168.67.240";
const V6: &str = "fd00::240";
const PATIENCE: Duration = Duration::from_secs(10);

/// A switch, and stations that are connected to it.
struct Segment {
    runtime: Runtime,
    switch: Namespace,
    bridge: Link,
}

struct Host {
    namespace: Namespace,
    /// At the switch.
    port: Link,
    mac: String,
}

impl Segment {
    fn build() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let switch = Namespace::create("switch").unwrap();
        let bridge = {
            let links = Links::open(&switch, runtime.handle()).unwrap();
            runtime.block_on(async {
                let bridge = links.bridge("br0").await.unwrap();
                links.up(bridge).await.unwrap();
                bridge
            })
        };
        Self { runtime, switch, bridge }
    }

    /// A station with the addresses 192.168.67.N and fd00::N on eth0.
    fn host(&self, number: u8) -> Host {
        let namespace = Namespace::create(&format!("host{number}")).unwrap();
        let port = self.plug(&namespace, "eth0", number, Some(number));
        let mac = namespace.run(|| std::fs::read_to_string("/sys/class/net/eth0/address")).ok();
        // sysfs shows the namespace of its mount, so the link is asked.
        let mac = ip(&namespace, "-o link show dev eth0")
            .split_once("link/ether ")
            .map_or_else(|| mac.unwrap_or_default(), |(_, rest)| rest.split_whitespace().next().unwrap().to_owned());
        Host { namespace, port, mac }
    }

    fn plug(&self, namespace: &Namespace, name: &str, port: u8, number: Option<u8>) -> Link {
        let here = Links::open(&self.switch, self.runtime.handle()).unwrap();
        let there = Links::open(namespace, self.runtime.handle()).unwrap();
        self.runtime.block_on(async {
            let port = format!("{name}-{port}");
            let [here_link, there_link] =
                connect(End { links: &here, name: &port }, End { links: &there, name }).await.unwrap();
            here.attach(here_link, self.bridge).await.unwrap();
            if let Some(number) = number {
                there.address(there_link, ([192, 168, 67, number].into(), 24)).await.unwrap();
                there.address(there_link, (format!("fd00::{number}").parse().unwrap(), 64)).await.unwrap();
            }
            until(
                || (ip(namespace, &format!("-o link show dev {name}")).contains("LOWER_UP")).then_some(()),
                "carrier",
            );
            here_link
        })
    }

    fn set_port(&self, host: &Host, up: bool) {
        let links = Links::open(&self.switch, self.runtime.handle()).unwrap();
        let set = async { if up { links.up(host.port).await } else { links.down(host.port).await } };
        self.runtime.block_on(set).unwrap();
    }
}

fn settings(node: u8) -> Settings {
    Settings::new(Name::new("kubernetes").unwrap(), Name::new(&format!("node-{node}")).unwrap())
}

fn bids(addresses: &[&str], preference: u32) -> BTreeMap<IpAddr, Bid> {
    let mut bids = BTreeMap::new();
    for text in addresses {
        let first = text.parse().unwrap();
        let wish = Wish { preference, standing: Standing::Sound, first };
        bids.insert(first, Bid { wish, interfaces: Interfaces::OnLink });
    }
    bids
}

impl Host {
    fn announce(&self, settings: Settings, addresses: &[&str]) -> (Announcer, Receiver<Told>) {
        let (announcer, told) = self.namespace.run(|| Announcer::start(settings)).unwrap();
        announcer.bid(bids(addresses, 0));
        (announcer, told)
    }

    /// With which hardware address an address answers, if it does within a second.
    fn resolve(&self, address: &str) -> Option<String> {
        ip(&self.namespace, "neigh flush dev eth0");
        self.send(address);
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline {
            let neighbour = self.neighbour(address);
            if let Some(mac) = mac_of(&neighbour) {
                return Some(mac);
            }
            if neighbour.contains("FAILED") {
                return None;
            }
            std::thread::yield_now();
        }
        None
    }

    /// What is cached of an address.
    fn neighbour(&self, address: &str) -> String {
        ip(&self.namespace, &format!("neigh show {address} dev eth0"))
    }

    /// Something that makes the kernel look for the address.
    fn send(&self, address: &str) {
        let address: IpAddr = address.parse().unwrap();
        self.namespace.run(|| {
            let any: IpAddr = if address.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
            let socket = UdpSocket::bind((any, 0)).unwrap();
            let _ = socket.send_to(b"hello", (address, 9));
        });
    }
}

fn mac_of(neighbour: &str) -> Option<String> {
    neighbour.split_once("lladdr ").and_then(|(_, rest)| rest.split_whitespace().next()).map(str::to_owned)
}

fn ip(namespace: &Namespace, arguments: &str) -> String {
    let output = namespace.run(|| Command::new("ip").args(arguments.split_whitespace()).output()).unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What `look` sees before the deadline.
fn until<T>(mut look: impl FnMut() -> Option<T>, what: &str) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited for: {what}");
        std::thread::sleep(Duration::from_millis(1)); // between two looks
    }
}

fn holds(announcer: &Announcer, address: &str) -> bool {
    let address: IpAddr = address.parse().unwrap();
    let all = announcer.snapshot().addresses;
    all.iter().any(|state| state.address == address && matches!(state.progress, Progress::Holding(_)))
}

fn until_held(announcers: &[&Announcer], address: &str) -> usize {
    until(|| announcers.iter().position(|announcer| holds(announcer, address)), "a holder")
}

fn until_told(told: &Receiver<Told>, wanted: impl Fn(&Event) -> bool) -> Event {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let event = told.recv_timeout(left).expect("the event is told").event;
        if wanted(&event) {
            return event;
        }
    }
}

#[test]
fn the_holder_answers_and_no_other_address_does() {
    if testbed::privilege::skip_without("ip") {
        return;
    }
    let segment = Segment::build();
    let [node, client] = [8, 1].map(|number| segment.host(number));
    let (announcer, _told) = node.announce(settings(8), &[V4, V6]);
    until_held(&[&announcer], V4);
    until_held(&[&announcer], V6);
    for address in [V4, V6] {
        assert_eq!(client.resolve(address), Some(node.mac.clone()), "{address}");
    }
    for address in ["192.168.67.241", "fd00::241"] {
        assert_eq!(client.resolve(address), None, "{address}");
    }
    // Unicast solicitations, as a client sends them after a while: the entry is confirmed, not looked for anew.
    for address in [V4, V6] {
        client.resolve(address).unwrap();
        ip(&client.namespace, &format!("neigh change {address} dev eth0 lladdr {} nud probe", node.mac));
        client.send(address);
        until(|| client.neighbour(address).contains("REACHABLE").then_some(()), "a confirmed entry");
    }
    assert!(announcer.snapshot().interfaces["eth0"].answered >= 4);
    drop(announcer);
    assert_eq!(client.resolve(V4), None, "what does not run does not answer");
}

#[test]
fn another_node_holds_within_a_second_and_clients_follow() {
    if testbed::privilege::skip_without("ip") {
        return;
    }
    let segment = Segment::build();
    let [one, two, client] = [8, 9, 1].map(|number| segment.host(number));
    let nodes = [&one, &two];
    let announcers = nodes.map(|node| node.announce(settings(node.mac.as_bytes()[16]), &[V4, V6]).0);
    let all: Vec<&Announcer> = announcers.iter().collect();
    let holder = until_held(&all, V4);
    until_held(&all, V6);
    until(|| all.iter().all(|one| one.snapshot().interfaces["eth0"].peers == 1).then_some(()), "both hear each other");
    let other = 1 - holder;
    assert!(!holds(all[other], V4));
    assert_eq!(client.resolve(V4), Some(nodes[holder].mac.clone()));
    let cached = client.neighbour(V4);
    let cut = Instant::now();
    segment.set_port(nodes[holder], false);
    until(|| (mac_of(&client.neighbour(V4)) == Some(nodes[other].mac.clone())).then_some(()), "the client's new entry");
    let gap = cut.elapsed();
    println!("the client's entry ({}) moved after {gap:?}", cached.trim());
    assert!(gap < Duration::from_secs(1), "{gap:?}");
    // It comes back: nothing moves, and the one that was cut off ends.
    segment.set_port(nodes[holder], true);
    until(|| all.iter().all(|one| one.snapshot().interfaces["eth0"].peers == 1).then_some(()), "both hear each other");
    until(|| (holds(all[holder], V4) != holds(all[other], V4)).then_some(()), "one holder");
}

#[test]
fn an_update_moves_nothing_and_a_drain_moves_all() {
    if testbed::privilege::skip_without("ip") {
        return;
    }
    let segment = Segment::build();
    let [one, two, client] = [8, 9, 1].map(|number| segment.host(number));
    let (first, _told) = one.announce(settings(1), &[V4]);
    until_held(&[&first], V4);
    let (second, _told) = two.announce(settings(2), &[V4]);
    until(|| (second.snapshot().interfaces.get("eth0")?.peers == 1).then_some(()), "the second hears the first");
    let following = Progress::Following(Name::new("node-1"));
    until(
        || second.snapshot().addresses.iter().any(|state| state.progress == following).then_some(()),
        "the second follows",
    );
    first.pause(Duration::from_secs(10));
    // The second answers with the first's hardware address, for its kernel forwards.
    until(|| (client.resolve(V4)? == one.mac).then_some(()), "an answer for the paused node");
    let (first, _told) = one.announce(settings(1), &[V4]);
    until_held(&[&first], V4);
    assert!(!holds(&second, V4));
    first.leave();
    until_held(&[&second], V4);
    until(|| (!holds(&first, V4)).then_some(()), "the first ends");
    assert_eq!(client.resolve(V4), Some(two.mac.clone()));
}

#[test]
fn a_foreign_station_is_named_and_not_fought() {
    if testbed::privilege::skip_without("ip") {
        return;
    }
    let segment = Segment::build();
    let [node, foreign, client] = [8, 20, 1].map(|number| segment.host(number));
    ip(&foreign.namespace, &format!("addr add {V4}/24 dev eth0"));
    ip(&foreign.namespace, &format!("addr add {V6}/64 dev eth0 nodad"));
    let (announcer, told) = node.announce(settings(8), &[V4, V6]);
    let mut blocked = BTreeSet::new();
    while blocked.len() < 2 {
        let event = until_told(&told, |event| matches!(event, Event::Blocked { .. } | Event::Holds { .. }));
        let Event::Blocked { address, mac, station } = event else { panic!("{event:?}") };
        assert_eq!((mac.to_string(), station), (foreign.mac.clone(), Station::Unknown));
        blocked.insert(address);
    }
    assert_eq!(client.resolve(V4), Some(foreign.mac.clone()));
    ip(&foreign.namespace, &format!("addr del {V4}/24 dev eth0"));
    ip(&foreign.namespace, &format!("addr del {V6}/64 dev eth0"));
    until_held(&[&announcer], V4);
    until_held(&[&announcer], V6);
    // It comes while the address is held: duplicate address detection sees us, and ARP is defended against.
    ip(&foreign.namespace, &format!("addr add {V6}/64 dev eth0"));
    until(|| ip(&foreign.namespace, "-6 addr show dev eth0").contains("dadfailed").then_some(()), "a failed detection");
    ip(&foreign.namespace, &format!("addr add {V4}/24 dev eth0"));
    let claim = format!("-c 1 -A -I eth0 -s {V4} {V4}");
    let arping = foreign.namespace.run(|| Command::new("arping").args(claim.split_whitespace()).output());
    if arping.is_ok() {
        until_told(&told, |event| matches!(event, Event::Conflict { .. }));
        assert!(holds(&announcer, V4));
    }
}

#[test]
fn an_interface_may_come_late_and_go_and_change_its_mac() {
    if testbed::privilege::skip_without("ip") {
        return;
    }
    let segment = Segment::build();
    let client = segment.host(1);
    let namespace = Namespace::create("late").unwrap();
    let (announcer, _told) = namespace.run(|| Announcer::start(settings(8))).unwrap();
    announcer.bid(bids(&[V4], 0));
    until(|| (!announcer.snapshot().without_interface.is_empty()).then_some(()), "no interface");
    segment.plug(&namespace, "eth0", 8, Some(8));
    until_held(&[&announcer], V4);
    let first = client.resolve(V4).unwrap();
    ip(&namespace, "link set eth0 address 02:aa:00:00:00:01");
    until(|| (mac_of(&client.neighbour(V4))? == "02:aa:00:00:00:01").then_some(()), "the new MAC at the client");
    assert_ne!(first, "02:aa:00:00:00:01");
    ip(&namespace, "link set eth0 down");
    until(|| (!holds(&announcer, V4)).then_some(()), "nothing is held");
    ip(&namespace, "link set eth0 up");
    until_held(&[&announcer], V4);
    ip(&namespace, "link del eth0");
    until(|| (!announcer.snapshot().without_interface.is_empty()).then_some(()), "no interface");
    assert!(announcer.is_running());
}

#[test]
fn of_two_interfaces_in_one_segment_one_answers() {
    if testbed::privilege::skip_without("ip") {
        return;
    }
    let segment = Segment::build();
    let [node, client] = [8, 1].map(|number| segment.host(number));
    segment.plug(&node.namespace, "eth1", 8, Some(18));

    let (announcer, _told) = node.announce(settings(8), &[V4]);
    until_held(&[&announcer], V4);
    until(
        || (announcer.snapshot().interfaces.values().filter(|one| one.peers == 1).count() == 2).then_some(()),
        "the interfaces hear each other",
    );
    let states = announcer.snapshot().addresses.into_iter();
    let holding = states.filter(|state| matches!(state.progress, Progress::Holding(_)));
    let [mac] = &holding.map(|state| state.mac.to_string()).collect::<Vec<_>>()[..] else { panic!("one holds") };
    assert_eq!(client.resolve(V4).as_ref(), Some(mac));
}

#[test]
fn nodes_with_different_keys_do_not_listen_to_each_other_and_transports_may_differ() {
    if testbed::privilege::skip_without("ip") {
        return;
    }
    let segment = Segment::build();
    let [one, two, three] = [8, 9, 10].map(|number| segment.host(number));
    let (first, _told) = one.announce(keyed(1, b"one", Transport::Multicast), &[V4]);
    let (second, _told) = two.announce(keyed(2, b"one", Transport::Broadcast), &[V4]);
    let (third, _told) = three.announce(keyed(3, b"other", Transport::Multicast), &["192.168.67.241"]);
    until(|| (counters(&first).peers == 1 && counters(&second).peers == 1).then_some(()), "the same key");
    until(|| (counters(&third).heartbeats_refused > 3).then_some(()), "refused heartbeats");
    assert_eq!(counters(&third).peers, 0);
}

fn keyed(node: u8, key: &[u8], transport: Transport) -> Settings {
    let mut settings = settings(node);
    settings.key = Some(Key::new(key));
    settings.transport = transport;
    settings
}

fn counters(announcer: &Announcer) -> Counters {
    announcer.snapshot().interfaces.get("eth0").copied().unwrap_or_default()
}

/// The share of a core that the thread takes for 100,000 ARP requests a second that are not for it, and for as many
/// that are for an address near those that it bids for.
#[test]
#[ignore = "a measurement"]
fn foreign_arp_costs_a_bounded_share() {
    let segment = Segment::build();
    let [node, foreign] = [8, 20].map(|number| segment.host(number));
    let (announcer, _told) = node.announce(settings(8), &[V4, "192.168.67.242"]);
    until_held(&[&announcer], V4);
    for target in ["192.168.67.9", "192.168.67.241", V4] {
        let before = (announcer.snapshot().interfaces["eth0"], cpu_of_thread("announce"), Instant::now());
        let sent = foreign.namespace.run(|| flood(target.parse().unwrap(), Duration::from_secs(3)));
        until(|| (before.2.elapsed() > Duration::from_millis(3100)).then_some(()), "an idle thread");
        let after = (announcer.snapshot().interfaces["eth0"], cpu_of_thread("announce"));
        println!(
            "{target}: {} frames/s, {} passed/s, {:.1} % of a core",
            sent / 3,
            (after.0.received - before.0.received) / 3,
            (after.1 - before.1) * 100.0 / 3.0
        );
    }
}

/// Sends ARP requests, 1,000 each 10 ms.
fn flood(target: std::net::Ipv4Addr, time: Duration) -> u64 {
    use nix::sys::socket::{LinkAddr, SockaddrLike};
    use std::os::fd::AsRawFd;
    let protocol = socket2::Protocol::from(i32::from(0x0806_u16.to_be()));
    let socket = socket2::Socket::new(socket2::Domain::PACKET, socket2::Type::RAW, Some(protocol)).unwrap();
    let eth0 = nix::ifaddrs::getifaddrs()
        .unwrap()
        .find(|interface| {
            interface.interface_name == "eth0" && interface.address.is_some_and(|a| a.as_link_addr().is_some())
        })
        .unwrap();
    let address = eth0.address.unwrap();
    let link: &LinkAddr = address.as_link_addr().unwrap();
    nix::sys::socket::bind(socket.as_raw_fd(), link as &dyn SockaddrLike).unwrap();
    let mac = switchyard_announce::wire::Mac(link.addr().unwrap());
    let arp = switchyard_announce::wire::Arp {
        sender: [192, 168, 67, 20].into(),
        ..switchyard_announce::wire::Arp::probe(mac, target)
    };
    let frame = switchyard_announce::wire::Frame {
        destination: switchyard_announce::wire::Mac::BROADCAST,
        source: mac,
        ether_type: switchyard_announce::wire::EtherType::Arp,
        payload: &arp.encode(),
    }
    .encode();
    let (begin, mut sent) = (Instant::now(), 0);
    while begin.elapsed() < time {
        if sent < begin.elapsed().as_micros() as u64 / 10 {
            sent += u64::from(socket.send(&frame).is_ok());
        } else {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    sent
}

/// In seconds.
fn cpu_of_thread(name: &str) -> f64 {
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if let Some((head, rest)) = stat.rsplit_once(") ")
            && head.ends_with(&format!("({name}"))
        {
            let fields: Vec<u64> = rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
            return (fields[11] + fields[12]) as f64 / 100.0;
        }
    }
    0.0
}
