//! Tables: a state, a packet, what it must meet.
//!
//! A packet reads `eth0 192.168.67.1 > 10.96.0.1 TCP/80`, or `node …` for one that the node sends, or `… ICMP`. What it
//! meets reads `here elsewhere`, with `*` where the endpoint sees the node's address.

use super::*;
use crate::{Masquerade, NodePortAddresses, Pools, SourceRanges};

const HERE: &str = "10.244.0.4:80";
const ELSEWHERE: &str = "10.244.1.2:80";
const NODE: &str = "192.168.67.8";
const VIP: &str = "10.96.0.1";
const EXTERNAL: &str = "192.168.67.240";

const POD_TO_VIP: &str = "cni0 10.244.0.7 > 10.96.0.1 TCP/80";
const REMOTE_TO_VIP: &str = "eth0 192.168.67.1 > 10.96.0.1 TCP/80";
const NODE_TO_VIP: &str = "node 192.168.67.8 > 10.96.0.1 TCP/80";
const POD_TO_EXTERNAL: &str = "cni0 10.244.0.7 > 192.168.67.240 TCP/80";
const REMOTE_TO_EXTERNAL: &str = "eth0 192.168.67.1 > 192.168.67.240 TCP/80";
const NODE_TO_EXTERNAL: &str = "node 192.168.67.8 > 192.168.67.240 TCP/80";

fn node() -> NodeNetwork {
    let addresses = [NODE, "10.244.0.1", "192.168.68.8"].map(|address| address.parse().unwrap()).into();
    let mut node = NodeNetwork { addresses, ..NodeNetwork::unknown() };
    node.node_ports.v4 = NodePortAddresses::These([NODE.parse().unwrap()].into());
    node.local_traffic.v4 = LocalTraffic::Source("10.244.0.0/16".parse().unwrap());
    node.service_cidrs = ["10.96.0.0/16".parse().unwrap()].into();
    node
}

/// A cluster address, an external address and a node port of TCP port 80, an endpoint here and one elsewhere.
fn web() -> Service {
    let port = ServicePort {
        frontends: vec![
            Frontend::cluster_ip(VIP.parse().unwrap(), Protocol::Tcp, 80),
            Frontend::external(EXTERNAL.parse().unwrap(), Protocol::Tcp, 80),
            Frontend::node_port(Family::V4, Protocol::Tcp, 30080),
        ],
        endpoints: vec![Endpoint::here(HERE.parse().unwrap()), Endpoint::elsewhere(ELSEWHERE.parse().unwrap())],
        ..ServicePort::new(Family::V4, Protocol::Tcp)
    };
    Service::new(ServiceName::new("default", "web"), vec![port])
}

/// `web` with externalTrafficPolicy Local.
fn local_web() -> Service {
    let mut web = web();
    for frontend in &mut web.ports[0].frontends[1..] {
        frontend.route = Route::Split { inside: Answer::Balance(Pool::Cluster), outside: Answer::Balance(Pool::Local) };
        frontend.masquerade = Masquerade::FromNode;
    }
    web
}

fn packet(text: &str) -> Packet {
    let words: Vec<&str> = text.split(' ').collect();
    let [arrival, source, ">", destination, payload] = words[..] else { panic!("not a packet: {text}") };
    let arrival = if arrival == "node" { Arrival::Sent } else { Arrival::Interface(arrival.to_owned()) };
    let payload = match payload.split_once('/') {
        Some((name, port)) => {
            let protocol = Protocol::ALL.into_iter().find(|protocol| protocol.to_string() == name).unwrap();
            Payload::Transport(protocol, port.parse().unwrap())
        }
        None => Payload::Other,
    };
    Packet { arrival, source: source.parse().unwrap(), destination: destination.parse().unwrap(), payload }
}

fn met(judgement: &Judgement) -> String {
    let name = |candidate: &Candidate| {
        let name = match candidate.endpoint.to_string().as_str() {
            HERE => "here".to_owned(),
            ELSEWHERE => "elsewhere".to_owned(),
            other => other.to_owned(),
        };
        match candidate.seen {
            SeenSource::Preserved => name,
            SeenSource::Node => name + "*",
        }
    };
    match &judgement.verdict {
        Verdict::Untouched => "untouched".to_owned(),
        Verdict::Rejected => "rejected".to_owned(),
        Verdict::Dropped => "dropped".to_owned(),
        Verdict::Balanced { candidates, .. } => candidates.iter().map(name).collect::<Vec<_>>().join(" "),
    }
}

#[track_caller]
fn check(node: &NodeNetwork, services: &[Service], cases: &[(&str, &str)]) {
    let mut state = ServiceState::new(node.clone());
    services.iter().for_each(|service| drop(state.upsert(service.clone()).unwrap()));
    for (text, expected) in cases {
        let judgement = judge(&state, &packet(text), None);
        assert_eq!(met(&judgement), *expected, "{text}\n{judgement}");
        assert!(!judgement.reasons.is_empty());
    }
}

#[test]
fn a_frontend_is_address_protocol_and_port() {
    let cases = [
        (POD_TO_VIP, "here elsewhere"),
        ("cni0 10.244.0.7 > 10.96.0.1 TCP/81", "rejected"),
        ("cni0 10.244.0.7 > 10.96.0.1 UDP/80", "rejected"),
        ("cni0 10.244.0.7 > 10.96.0.1 SCTP/80", "rejected"),
        ("cni0 10.244.0.7 > 10.96.0.1 ICMP", "rejected"),
        ("node 192.168.67.8 > 10.96.0.1 TCP/81", "rejected"),
        ("cni0 10.244.0.7 > 10.96.0.2 TCP/80", "dropped"),
        ("node 192.168.67.8 > 10.96.0.2 ICMP", "dropped"),
        ("cni0 10.244.0.7 > 10.97.0.2 TCP/80", "untouched"),
        ("cni0 10.244.0.7 > 192.168.67.240 TCP/81", "untouched"),
        ("cni0 10.244.0.7 > 192.168.67.240 ICMP", "untouched"),
        ("cni0 10.244.0.7 > 10.244.0.4 TCP/80", "untouched"),
        ("cni0 fd00::7 > fd00::1 TCP/80", "untouched"),
    ];
    check(&node(), &[web()], &cases);
}

#[test]
fn the_nodes_own_addresses_are_never_refused() {
    let mut node = node();
    node.addresses.extend([VIP, "10.96.0.2"].map(|address| address.parse::<IpAddr>().unwrap()));
    let cases = [
        (POD_TO_VIP, "here elsewhere"),
        ("cni0 10.244.0.7 > 10.96.0.1 TCP/22", "untouched"),
        ("cni0 10.244.0.7 > 10.96.0.2 TCP/22", "untouched"),
    ];
    check(&node, &[web()], &cases);
}

#[test]
fn node_ports_are_dialled_at_the_selected_addresses_and_never_at_loopback() {
    let (these, mut all, mut none) = (node(), node(), node());
    all.node_ports.v4 = NodePortAddresses::All;
    all.addresses.insert("127.0.0.1".parse().unwrap());
    none.node_ports.v4 = NodePortAddresses::default();
    let packets = [
        "eth0 192.168.67.1 > 192.168.67.8 TCP/30080",
        "cni0 10.244.0.7 > 192.168.68.8 TCP/30080",
        "node 127.0.0.1 > 127.0.0.1 TCP/30080",
        "eth0 192.168.67.1 > 192.168.67.9 TCP/30080",
        "eth0 192.168.67.1 > 192.168.67.8 UDP/30080",
    ];
    let balanced = "here* elsewhere*";
    let untouched = "untouched";
    for (node, expected) in [
        (these, [balanced, untouched, untouched, untouched, untouched]),
        (all, [balanced, balanced, untouched, untouched, untouched]),
        (none, [untouched; 5]),
    ] {
        let cases: Vec<_> = packets.into_iter().zip(expected).collect();
        check(&node, &[web()], &cases);
    }
}

#[test]
fn an_address_is_asked_before_a_node_port() {
    let mut other = web();
    other.name = ServiceName::new("default", "other");
    let key = FrontendKey::address(NODE.parse().unwrap(), Protocol::Tcp, 30080);
    other.ports[0].frontends = vec![Frontend { key, ..Frontend::external(NODE.parse().unwrap(), Protocol::Tcp, 1) }];
    other.ports[0].endpoints = vec![Endpoint::elsewhere("10.244.9.9:80".parse().unwrap())];
    check(&node(), &[web(), other], &[("eth0 192.168.67.1 > 192.168.67.8 TCP/30080", "10.244.9.9:80*")]);
}

#[test]
fn external_policy_decides_strangers_only() {
    let cases = [
        (REMOTE_TO_EXTERNAL, "here"),
        (POD_TO_EXTERNAL, "here elsewhere"),
        (NODE_TO_EXTERNAL, "here* elsewhere*"),
        ("eth0 192.168.67.1 > 192.168.67.8 TCP/30080", "here"),
        ("node 192.168.67.8 > 192.168.67.8 TCP/30080", "here* elsewhere*"),
        ("node 127.0.0.1 > 192.168.67.240 TCP/80", "here* elsewhere*"),
        (REMOTE_TO_VIP, "here* elsewhere*"),
    ];
    check(&node(), &[local_web()], &cases);
    let mut unknown = node();
    unknown.local_traffic.v4 = LocalTraffic::Unknown;
    let cases = [(POD_TO_EXTERNAL, "here"), (NODE_TO_EXTERNAL, "here* elsewhere*")];
    check(&unknown, &[local_web()], &cases);
}

#[test]
fn every_detector_tells_pods_its_own_way() {
    let pod = TrafficClass::Pod;
    let (own, stranger) = (TrafficClass::Node, TrafficClass::Stranger);
    let packets = [
        POD_TO_VIP,
        "veth1 10.244.0.7 > 10.96.0.1 TCP/80",
        "node 10.244.0.1 > 10.96.0.1 TCP/80",
        "cni0 172.16.0.1 > 10.96.0.1 TCP/80",
        REMOTE_TO_VIP,
        NODE_TO_VIP,
        "node 172.16.0.1 > 10.96.0.1 TCP/80",
        "cni0 fd00::7 > fd00::1 TCP/80",
    ];
    let detectors = [
        (LocalTraffic::Unknown, [stranger, stranger, own, stranger, stranger, own, stranger, stranger]),
        (node().local_traffic.v4, [pod, pod, pod, stranger, stranger, own, stranger, stranger]),
        (LocalTraffic::Bridge("cni0".into()), [pod, stranger, own, pod, stranger, own, stranger, stranger]),
        (
            LocalTraffic::InterfacePrefix("".into()),
            [stranger, stranger, own, stranger, stranger, own, stranger, stranger],
        ),
        (
            LocalTraffic::InterfacePrefix("veth".into()),
            [stranger, pod, own, stranger, stranger, own, stranger, stranger],
        ),
    ];
    for (detector, classes) in detectors {
        let mut node = node();
        node.local_traffic.v4 = detector;
        for (text, expected) in packets.into_iter().zip(classes) {
            assert_eq!(class(&node, &packet(text)), expected, "{}: {text}", node.local_traffic.v4);
        }
    }
}

#[test]
fn masquerade_goes_by_class() {
    let who = [POD_TO_VIP, NODE_TO_VIP, REMOTE_TO_VIP];
    let (kept, hidden) = ("here elsewhere", "here* elsewhere*");
    for (masquerade, expected) in [
        (Masquerade::Never, [kept, kept, kept]),
        (Masquerade::Always, [hidden, hidden, hidden]),
        (Masquerade::UnlessPod, [kept, hidden, hidden]),
        (Masquerade::FromNode, [kept, hidden, kept]),
    ] {
        let mut web = web();
        web.ports[0].frontends[0].masquerade = masquerade;
        check(&node(), &[web], &who.into_iter().zip(expected).collect::<Vec<_>>());
    }
}

#[test]
fn an_endpoint_that_dials_itself_sees_the_node() {
    let cases = [
        ("cni0 10.244.0.4 > 10.96.0.1 TCP/80", "here* elsewhere"),
        ("cni0 10.244.0.4 > 192.168.67.240 TCP/80", "here* elsewhere"),
        // Not on this node: what arrives with its source did not come from here.
        ("eth0 10.244.1.2 > 10.96.0.1 TCP/80", "here elsewhere"),
    ];
    check(&node(), &[local_web()], &cases);
}

#[test]
fn source_ranges_come_before_everything() {
    let mut web = web();
    web.ports[0].frontends[1].source_ranges = SourceRanges::Only(vec!["192.168.67.0/30".parse().unwrap()]);
    let cases = [
        (REMOTE_TO_EXTERNAL, "here* elsewhere*"),
        ("eth0 192.168.67.9 > 192.168.67.240 TCP/80", "dropped"),
        (POD_TO_EXTERNAL, "dropped"),
        (NODE_TO_EXTERNAL, "dropped"),
        (POD_TO_VIP, "here elsewhere"),
    ];
    check(&node(), &[web.clone()], &cases);
    web.ports[0].frontends[1].route = Route::Everyone(Answer::Reject);
    web.ports[0].frontends[2].source_ranges = SourceRanges::Only(vec![]);
    let cases = [
        (REMOTE_TO_EXTERNAL, "rejected"),
        (POD_TO_EXTERNAL, "dropped"),
        ("eth0 192.168.67.1 > 192.168.67.8 TCP/30080", "dropped"),
        ("eth0 192.168.67.1 > 192.168.68.8 TCP/30080", "untouched"),
    ];
    check(&node(), &[web], &cases);
}

#[test]
fn who_has_no_endpoint_is_rejected_or_dropped_as_told() {
    let mut empty = local_web();
    empty.ports[0].endpoints.clear();
    check(&node(), &[empty], &[(POD_TO_VIP, "rejected"), (REMOTE_TO_EXTERNAL, "rejected")]);

    let mut elsewhere = local_web();
    elsewhere.ports[0].endpoints[0].pools = Pools::NONE;
    let cases = [(POD_TO_VIP, "elsewhere"), (REMOTE_TO_EXTERNAL, "rejected"), (POD_TO_EXTERNAL, "elsewhere")];
    check(&node(), &[elsewhere.clone()], &cases);

    let (inside, outside) = (Answer::Balance(Pool::Cluster), Answer::Drop);
    elsewhere.ports[0].frontends[1].route = Route::Split { inside, outside };
    elsewhere.ports[0].frontends[0].route = Route::Everyone(Answer::Drop);
    let cases = [(POD_TO_VIP, "dropped"), (REMOTE_TO_EXTERNAL, "dropped"), (NODE_TO_EXTERNAL, "elsewhere*")];
    check(&node(), &[elsewhere], &cases);

    let mut drained = web();
    drained.ports[0].endpoints.iter_mut().for_each(|endpoint| endpoint.weight = 0);
    check(&node(), &[drained], &[(POD_TO_VIP, "rejected")]);
}

#[test]
fn weights_are_chances() {
    let mut web = web();
    web.ports[0].endpoints[0].weight = 3;
    let mut state = ServiceState::new(node());
    state.upsert(web).unwrap();
    let verdict = judge(&state, &packet(POD_TO_VIP), None).verdict;
    for (endpoint, chance) in [(HERE, 0.75), (ELSEWHERE, 0.25), ("10.244.0.9:80", 0.0)] {
        assert_eq!(verdict.probability(endpoint.parse().unwrap()), chance, "{endpoint}");
    }
    assert_eq!(Verdict::Dropped.probability(HERE.parse().unwrap()), 0.0);
}

#[test]
fn a_remembered_endpoint_answers_alone_while_it_is_in_the_pool() {
    let mut sticky = local_web();
    sticky.ports[0].affinity = Affinity::ClientIp { timeout: 10_800.try_into().unwrap() };
    let mut drained = sticky.clone();
    drained.ports[0].endpoints[1].weight = 0;
    for (service, text, remembered, expected, pool) in [
        (&sticky, POD_TO_VIP, None, "here elsewhere", Some(Pool::Cluster)),
        (&sticky, POD_TO_VIP, Some(ELSEWHERE), "elsewhere", Some(Pool::Cluster)),
        (&sticky, POD_TO_EXTERNAL, Some(ELSEWHERE), "elsewhere", Some(Pool::Cluster)),
        (&sticky, REMOTE_TO_EXTERNAL, Some(ELSEWHERE), "here", Some(Pool::Local)),
        (&sticky, POD_TO_VIP, Some("10.244.0.9:80"), "here elsewhere", Some(Pool::Cluster)),
        (&drained, POD_TO_VIP, Some(ELSEWHERE), "here", Some(Pool::Cluster)),
        (&local_web(), POD_TO_VIP, Some(ELSEWHERE), "here elsewhere", None),
    ] {
        let mut state = ServiceState::new(node());
        state.upsert(service.clone()).unwrap();
        let judgement = judge(&state, &packet(text), remembered.map(|address| address.parse().unwrap()));
        assert_eq!(met(&judgement), expected, "{text} {remembered:?}\n{judgement}");
        let Verdict::Balanced { memory, .. } = &judgement.verdict else { panic!("{judgement}") };
        assert_eq!(memory.as_ref().map(|memory| memory.pool), pool);
    }
    let mut state = ServiceState::new(node());
    state.upsert(sticky).unwrap();
    let memory = |text| match judge(&state, &packet(text), None).verdict {
        Verdict::Balanced { memory, .. } => memory,
        other => panic!("{other}"),
    };
    assert_eq!(memory(POD_TO_VIP), memory(POD_TO_EXTERNAL), "a client has one memory for all frontends of a port");
    assert_ne!(memory(POD_TO_EXTERNAL), memory(REMOTE_TO_EXTERNAL));
}

#[test]
fn a_judgement_reads_as_an_explanation() {
    let mut state = ServiceState::new(node());
    state.upsert(web()).unwrap();
    let expected = "\
destination is frontend 192.168.67.240:80/TCP of service default/web
sender is a stranger (pods are told by source 10.244.0.0/16)
every client is balanced over the endpoints of the cluster
frontend masquerades every client's source: rewritten
balanced over 10.244.0.4:80 (50 %, sees the node's address), 10.244.1.2:80 (50 %, sees the node's address)";
    assert_eq!(judge(&state, &packet(REMOTE_TO_EXTERNAL), None).to_string(), expected);
    assert_eq!(packet(REMOTE_TO_EXTERNAL).to_string(), "eth0: 192.168.67.1 > 192.168.67.240, TCP port 80");
}
