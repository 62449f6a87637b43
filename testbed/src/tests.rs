//! A world does what its plan says, and a probe sees each outcome that there is.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use backend_api::Protocol;

use super::*;

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn patient(protocol: Protocol, to: &str) -> Dial {
    Dial::new(protocol, at(to)).within(Duration::from_secs(5))
}

/// Checks which place answers, and which source it sees.
fn check(world: &World, from: &str, (protocol, to): (Protocol, &str), (name, source): (&str, &str)) {
    match world.dial(from, &patient(protocol, to)) {
        Outcome::Answered(answer) => {
            assert_eq!(
                (answer.name.as_str(), answer.source.ip().to_string().as_str()),
                (name, source),
                "{from} → {to}"
            );
        }
        other => panic!("{from} → {to}/{protocol}: awaited {name}, met: {other}"),
    }
}

#[test]
fn every_place_reaches_every_other_with_its_own_address() {
    if privilege::skip() {
        return;
    }
    let started = Instant::now();
    let world = World::build(&WorldPlan::example()).unwrap();
    eprintln!("built in {:?}", started.elapsed());
    for protocol in Protocol::ALL {
        for (from, to, name, source) in [
            ("mytools", "10.244.2.2:80", "nginx-3", "10.244.2.3"),
            ("mytools", "10.244.0.4:80", "nginx-1", "10.244.2.3"),
            ("mytools", "[fd00:10:244:2::2]:80", "nginx-3", "fd00:10:244:2::3"),
            ("mytools", "[fd00:10:244::4]:80", "nginx-1", "fd00:10:244:2::3"),
            ("nginx-1", "10.244.2.2:80", "nginx-3", "10.244.0.4"),
            ("node2", "10.244.2.2:80", "nginx-3", "10.244.2.1"),
            ("node2", "10.244.1.5:80", "whoami-2", "172.30.0.2"),
            ("outsider", "10.244.2.2:80", "nginx-3", "192.168.67.100"),
            ("outsider", "10.244.0.4:80", "nginx-1", "192.168.67.100"),
            ("outsider", "[fd00:10:244::4]:80", "nginx-1", "fd00:192:168:67::100"),
        ] {
            check(&world, from, (protocol, to), (name, source));
        }
    }
    check(&world, "mytools", (Protocol::Tcp, "192.168.67.8:6443"), ("ctrlnode", "10.244.2.3"));
    eprintln!("in all {:?}", started.elapsed());
}

#[test]
fn untranslated_packets_end_in_the_sink() {
    if privilege::skip() {
        return;
    }
    let world = World::build(&WorldPlan::example()).unwrap();
    for protocol in Protocol::ALL {
        for (from, to, source) in [
            ("mytools", "10.96.0.1:443", "10.244.2.3"),
            ("node2", "10.96.0.1:443", "172.29.0.2"),
            ("outsider", "10.96.0.1:443", "192.168.67.100"),
            ("outsider", "192.168.67.240:8082", "192.168.67.100"),
            ("mytools", "192.168.67.240:8082", "10.244.2.3"),
            ("outsider", "[fd00:192:168:67::240]:8082", "fd00:192:168:67::100"),
            ("mytools", "[fd00:10:96::1]:443", "fd00:10:244:2::3"),
            ("node2", "203.0.113.7:1", "172.29.0.2"),
        ] {
            check(&world, from, (protocol, to), (sink::NAME, source));
        }
    }
}

#[test]
fn the_node_answers_on_each_of_its_addresses() {
    if privilege::skip() {
        return;
    }
    let mut plan = WorldPlan::example();
    plan.node.listens = vec![Listen::tcp(30673), Listen::udp(30673)];
    plan.pods[3].placement = Placement::Interface("cali0".into());
    let world = World::build(&plan).unwrap();
    assert_eq!(world.node_addresses().len(), 10);
    for address in world.node_addresses() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let dial = patient(protocol, &SocketAddr::new(*address, 30673).to_string());
            for from in ["outsider", "mytools", "nginx-1", "nginx-2"] {
                assert_eq!(world.dial(from, &dial).name(), Some("node2"), "{from} → {address}/{protocol}");
            }
        }
    }
}

#[test]
fn a_pod_behind_an_interface_of_its_own_is_reached_from_a_node_address_of_its_own() {
    if privilege::skip() {
        return;
    }
    let mut plan = WorldPlan::example();
    let place = plan.pods.iter().position(|pod| pod.name == "nginx-3").unwrap();
    plan.pods[place].placement = Placement::Interface("cali7".into());
    let world = World::build(&plan).unwrap();
    check(&world, "mytools", (Protocol::Tcp, "10.244.2.2:80"), ("nginx-3", "10.244.2.3"));
    check(&world, "nginx-3", (Protocol::Tcp, "10.244.0.4:80"), ("nginx-1", "10.244.2.2"));
    check(&world, "node2", (Protocol::Tcp, "10.244.2.2:80"), ("nginx-3", "100.64.4.1"));
    check(&world, "node2", (Protocol::Udp, "[fd00:10:244:2::2]:80"), ("nginx-3", "fd64::401"));
}

#[test]
fn a_closed_port_refuses() {
    if privilege::skip() {
        return;
    }
    let world = World::build(&WorldPlan::example()).unwrap();
    for (protocol, refusal) in [(Protocol::Tcp, Refusal::Reset), (Protocol::Udp, Refusal::PortUnreachable)] {
        for to in ["10.244.2.2:81", "10.244.0.4:81", "[fd00:10:244:2::2]:81", "[fd00:10:244::4]:81"] {
            assert_eq!(world.dial("mytools", &patient(protocol, to)), Outcome::Refused(refusal), "{to}");
        }
    }
}

#[test]
fn an_unused_address_is_unreachable_and_a_black_hole_is_silent() {
    if privilege::skip() {
        return;
    }
    let world = World::build(&WorldPlan::example()).unwrap();
    let dial = |to| patient(Protocol::Udp, to);
    // No machine has this address on the network of machines: the node's ARP fails.
    assert_eq!(world.dial("node2", &dial("192.168.67.77:1")), Outcome::Unreachable);
    // A machine that forwards nothing.
    let brief = dial("192.168.67.8:1").within(Duration::from_millis(50));
    world.place("ctrlnode").unwrap().namespace.sysctl("net/ipv4/icmp_echo_ignore_all", "1").unwrap();
    assert_eq!(probe::ping(&world.place("mytools").unwrap().namespace, brief.to.ip(), brief.deadline), Outcome::Silent);
}

#[test]
fn a_ping_is_answered_by_the_owner_of_the_address() {
    if privilege::skip() {
        return;
    }
    let world = World::build(&WorldPlan::example()).unwrap();
    let mytools = &world.place("mytools").unwrap().namespace;
    for to in ["10.244.2.2", "10.244.0.4", "fd00:10:244:2::2", "10.96.0.1", "fd00:10:96::1"] {
        let to: IpAddr = to.parse().unwrap();
        let outcome = probe::ping(mytools, to, Duration::from_secs(5));
        assert_eq!(outcome.answer().map(|answer| answer.name.clone()), Some(to.to_string()), "{outcome}");
    }
}

#[test]
fn a_held_connection_is_asked_again_until_its_server_ends() {
    if privilege::skip() {
        return;
    }
    let mut world = World::build(&WorldPlan::example()).unwrap();
    for protocol in Protocol::ALL {
        let (mut held, first) = world.open("mytools", &patient(protocol, "10.244.2.2:80")).unwrap();
        assert_eq!(first.source, held.local());
        let again = held.ask();
        assert_eq!(again.answer().map(|a| (a.name.as_str(), a.source)), Some(("nginx-3", first.source)), "{again}");
    }
    let (mut held, _) = world.open("mytools", &patient(Protocol::Tcp, "10.244.2.2:80")).unwrap();
    world.silence("nginx-3");
    assert_eq!(held.ask(), Outcome::Closed);
}

#[test]
fn a_chosen_source_is_kept() {
    if privilege::skip() {
        return;
    }
    let world = World::build(&WorldPlan::example()).unwrap();
    for protocol in Protocol::ALL {
        let dial = patient(protocol, "10.244.2.2:80").from(at("10.244.2.3:5353"));
        let answer = world.dial("mytools", &dial);
        assert_eq!(answer.answer().map(|answer| answer.source), Some(at("10.244.2.3:5353")), "{protocol} {answer}");
    }
    let elsewhere = patient(Protocol::Udp, "10.244.2.2:80").from(at("10.244.2.99:0"));
    assert!(matches!(world.dial("mytools", &elsewhere), Outcome::Failed(_)));
}

#[test]
fn a_second_name_is_refused() {
    if privilege::skip() {
        return;
    }
    let mut plan = WorldPlan::example();
    plan.hosts[0].name = "mytools".into();
    assert!(matches!(World::build(&plan), Err(WorldError::Plan(_))));
}

#[test]
fn a_world_leaves_nothing() {
    if privilege::skip() {
        return;
    }
    let world = World::build(&WorldPlan::example()).unwrap();
    let names: Vec<String> = world.places().map(|place| place.namespace.name().to_owned()).collect();
    drop(world);
    for name in names {
        assert!(!std::path::Path::new("/run/netns").join(&name).exists(), "{name}");
    }
}

#[test]
fn hundreds_of_probes_take_a_second() {
    if privilege::skip() {
        return;
    }
    let world = World::build(&WorldPlan::example()).unwrap();
    for protocol in Protocol::ALL {
        let started = Instant::now();
        let outcomes = world.dial_many("mytools", &patient(protocol, "10.244.0.4:80"), 500);
        let failed = outcomes.iter().find(|outcome| outcome.name() != Some("nginx-1"));
        assert_eq!(failed, None);
        eprintln!("500 × {protocol}: {:?}", started.elapsed());
        // Half a minute would be an error on any machine.
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}

#[test]
fn a_load_dials_until_it_is_finished() {
    if privilege::skip() {
        return;
    }
    let world = World::build(&WorldPlan::example()).unwrap();
    let load = Load::start(world.place("mytools").unwrap(), &patient(Protocol::Tcp, "10.244.2.2:80")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while load.dialled() < 10 {
        assert!(Instant::now() < deadline, "10 dials awaited, {} made", load.dialled());
        std::thread::yield_now();
    }
    let tally = load.finish().unwrap();
    assert!(tally.answers["nginx-3"] >= 10 && tally.failures.is_empty(), "{tally:?}");
}

/// Gives the node rules by nft, the tool.
fn nft(world: &World, rules: &str) {
    let done = world.node().namespace.run(|| std::process::Command::new("nft").arg(rules).status()).unwrap();
    assert!(done.success());
}

#[test]
fn a_refusal_says_how_it_came() {
    if privilege::skip_without("nft") {
        return;
    }
    let world = World::build(&WorldPlan::example()).unwrap();
    nft(&world, "table inet test { chain c { type filter hook forward priority 0; th dport 80 reject; }; }");
    for to in ["10.244.0.4", "[fd00:10:244::4]"] {
        for protocol in Protocol::ALL {
            let met = world.dial("mytools", &patient(protocol, &format!("{to}:80")));
            assert_eq!(met, Outcome::Refused(Refusal::PortUnreachable), "{to} {protocol}");
        }
        let met = world.dial("mytools", &patient(Protocol::Tcp, &format!("{to}:81")));
        assert_eq!(met, Outcome::Refused(Refusal::Reset), "{to}");
    }
}

#[test]
fn an_unplugged_pod_is_silent() {
    if privilege::skip() {
        return;
    }
    let world = World::build(&WorldPlan::example()).unwrap();
    let brief = patient(Protocol::Tcp, "10.244.2.2:80").within(Duration::from_millis(100));
    assert_eq!(world.dial("mytools", &brief).name(), Some("nginx-3"));
    world.unplug("nginx-3").unwrap();
    assert_eq!(world.dial("mytools", &brief), Outcome::Silent);
}

#[test]
fn the_node_gets_and_loses_an_address() {
    if privilege::skip() {
        return;
    }
    let mut world = World::build(&WorldPlan::example()).unwrap();
    let address: IpAddr = "192.168.67.11".parse().unwrap();
    world.add_node_address(address).unwrap();
    assert!(world.node_addresses().contains(&address));
    let dial = patient(Protocol::Tcp, "192.168.67.11:1");
    assert_eq!(world.dial("outsider", &dial), Outcome::Refused(Refusal::Reset));
    world.remove_node_address(address).unwrap();
    assert!(!world.node_addresses().contains(&address));
    assert!(world.remove_node_address(address).is_err());
}

#[test]
fn a_second_owner_of_a_place_changes_nothing() {
    if privilege::skip() {
        return;
    }
    let world = World::build(&WorldPlan::example()).unwrap();
    let _second = world.node().clone();
    check(&world, "node2", (Protocol::Tcp, "10.244.0.4:80"), ("nginx-1", "172.30.0.2"));
}

#[test]
fn translated_connections_are_tracked_in_every_protocol() {
    if privilege::skip_without("nft") {
        return;
    }
    let world = World::build(&WorldPlan::example()).unwrap();
    let translate = "table inet test {
        chain before { type nat hook prerouting priority -100;
            ip daddr 10.96.0.1 dnat ip to 10.244.0.4; ip6 daddr fd00:10:96::1 dnat ip6 to fd00:10:244::4;
        };
        chain after { type nat hook postrouting priority 100; masquerade; };
    }";
    nft(&world, translate);
    for (to, source) in [("10.96.0.1:80", "172.30.0.2"), ("[fd00:10:96::1]:80", "fd30::2")] {
        for protocol in Protocol::ALL {
            let (mut held, first) = world.open("mytools", &patient(protocol, to)).unwrap();
            let again = held.ask();
            let again = again.answer().unwrap_or_else(|| panic!("{protocol} {to}: {again}"));
            for answer in [&first, again] {
                assert_eq!((answer.name.as_str(), answer.source.ip().to_string().as_str()), ("nginx-1", source));
            }
        }
    }
}
