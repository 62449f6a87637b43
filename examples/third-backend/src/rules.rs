//! From a state to the text of a table. Pure: it can be tested without a kernel.

use std::collections::BTreeSet;
use std::fmt::Display;

use backend_api::{
    Answer, Family, Frontend, FrontendKey, FrontendKind, LocalTraffic, NodeNetwork, NodePortAddresses, Protocol,
    ServicePort, ServiceState, SourceRanges, TrafficClass,
};

/// What the first packet of a connection carries from translation to masquerading.
const MASQUERADE: &str = "0x4000";

/// The chains of the table, without the table itself.
pub(crate) fn table(state: &ServiceState) -> String {
    let node = state.node();
    let (mut guard, mut addresses, mut node_ports) = (String::new(), String::new(), String::new());
    let mut hairpins = BTreeSet::new();
    for port in state.services().flat_map(|service| &service.ports) {
        for frontend in &port.frontends {
            let Some(dialled) = dialled(node, port.family, frontend.key) else { continue };
            if let SourceRanges::Only(ranges) = &frontend.source_ranges {
                let outside = if ranges.is_empty() { String::new() } else { source(port.family, "!=", ranges) };
                guard += &format!("{dialled} ct state new {outside} drop\n");
            }
            let services = match frontend.key {
                FrontendKey::Address { .. } => &mut addresses,
                FrontendKey::NodePort { .. } => &mut node_ports,
            };
            for (class, from) in classes(node, port.family) {
                *services += &format!("{dialled} {from} {}\n", verdict(port, frontend, class));
            }
        }
        // A pod that meets itself would otherwise answer itself directly, past the node.
        for endpoint in port.endpoints.iter().filter(|endpoint| endpoint.on_this_node) {
            let (ip, address) = (ip(port.family), endpoint.address.ip);
            hairpins.insert(format!("ct status dnat {ip} saddr {address} {ip} daddr {address} masquerade\n"));
        }
    }
    let hairpins: String = hairpins.into_iter().collect();
    let undelivered = undelivered(state);
    // The guard comes before any translation: source ranges are about the address that the client dialled.
    format!(
        "chain guard {{\n{guard}}}\n\
         chain services {{\n{addresses}{node_ports}}}\n\
         chain guard-in {{ type filter hook prerouting priority -110; jump guard; }}\n\
         chain guard-out {{ type filter hook output priority -110; jump guard; }}\n\
         chain translate-in {{ type nat hook prerouting priority -100; jump services; }}\n\
         chain translate-out {{ type nat hook output priority -100; jump services; }}\n\
         chain leave {{ type nat hook postrouting priority 100;\n\
         meta mark & {MASQUERADE} != 0 masquerade\n{hairpins}}}\n\
         chain undelivered-in {{ type filter hook forward priority 0;\n{undelivered}}}\n\
         chain undelivered-out {{ type filter hook output priority 0;\n{undelivered}}}\n"
    )
}

/// Matches packets to a frontend; nothing if no address carries it.
fn dialled(node: &NodeNetwork, family: Family, key: FrontendKey) -> Option<String> {
    let (ip, protocol, port) = (ip(family), protocol(key.protocol()), key.port());
    Some(match key {
        FrontendKey::Address { address, .. } => format!("{ip} daddr {address} {protocol} dport {port}"),
        FrontendKey::NodePort { .. } => match node.node_ports.of(family) {
            NodePortAddresses::All => {
                format!("fib daddr type local {ip} daddr != {} {protocol} dport {port}", loopback(family))
            }
            NodePortAddresses::These(some) if some.is_empty() => return None,
            NodePortAddresses::These(some) => format!("{ip} daddr {{ {} }} {protocol} dport {port}", list(some)),
        },
    })
}

/// The kinds of clients, each with what tells it. The first that matches decides.
fn classes(node: &NodeNetwork, family: Family) -> Vec<(TrafficClass, String)> {
    let pod = match node.local_traffic.of(family) {
        LocalTraffic::Unknown => None,
        LocalTraffic::Source(range) => Some(source(family, "", [range])),
        LocalTraffic::Bridge(name) => Some(format!("iifname \"{name}\"")),
        LocalTraffic::InterfacePrefix(prefix) => Some(format!("iifname \"{prefix}*\"")),
    };
    let mut classes: Vec<_> = pod.map(|pod| (TrafficClass::Pod, pod)).into_iter().collect();
    classes.push((TrafficClass::Node, "fib saddr type local".to_owned()));
    classes.push((TrafficClass::Stranger, String::new()));
    classes
}

/// What a client of this class meets.
fn verdict(port: &ServicePort, frontend: &Frontend, class: TrafficClass) -> String {
    let answer = frontend.route.answer(class);
    let endpoints: Vec<_> = match answer {
        Answer::Balance(pool) => port.pool(pool).map(|endpoint| endpoint.address).collect(),
        Answer::Reject | Answer::Drop => Vec::new(),
    };
    if answer == Answer::Drop {
        return "drop".to_owned();
    }
    if endpoints.is_empty() {
        return if port.protocol == Protocol::Tcp { "reject with tcp reset" } else { "reject" }.to_owned();
    }
    // In turns, not at random: so that clients that should be remembered are certain to be sent elsewhere, and the gap
    // that is declared for that never closes by chance.
    let mark = if frontend.masquerade.applies_to(class) { MASQUERADE } else { "0" };
    let map = endpoints.iter().enumerate().map(|(number, to)| format!("{number} : {} . {}", to.ip, to.port));
    let (count, map) = (endpoints.len(), list(map));
    format!("meta mark set {mark} dnat {} to numgen inc mod {count} map {{ {map} }}", ip(port.family))
}

/// New connections to service addresses that no rule has translated: a known address refuses, an unknown one is silent.
fn undelivered(state: &ServiceState) -> String {
    let mut known = BTreeSet::new();
    for frontend in state.services().flat_map(|service| &service.ports).flat_map(|port| &port.frontends) {
        if let (FrontendKind::ClusterIp, FrontendKey::Address { address, .. }) = (frontend.kind, frontend.key) {
            known.insert(address);
        }
    }
    let mut rules = String::new();
    for address in known {
        rules += &format!("{} daddr {address} ct state new reject\n", ip(Family::of(address)));
    }
    for range in &state.node().service_cidrs {
        rules += &format!("{} daddr {range} ct state new drop\n", ip(range.family()));
    }
    rules
}

fn source(family: Family, relation: &str, ranges: impl IntoIterator<Item = impl Display>) -> String {
    format!("{} saddr {relation} {{ {} }}", ip(family), list(ranges))
}

fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn loopback(family: Family) -> &'static str {
    match family {
        Family::V4 => "127.0.0.0/8",
        Family::V6 => "::1",
    }
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}
