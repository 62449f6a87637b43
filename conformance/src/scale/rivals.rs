//! The rules that ours are compared with, written here as text for `nft -f`. Pure.
//!
//! The shape is what matters, and the shape alone is taken from elsewhere: chains of their own for each service and
//! each endpoint, reached by a verdict map, beside filter chains that look at each new connection, as kube-proxy's
//! nftables mode has it (KEP-3866).

use std::fmt::Write;
use std::net::Ipv4Addr;

use super::cluster::{Cluster, ENDPOINT_PORT, FRONTEND_PORT, First, POD_RANGE};

/// The table of chains.
const CHAINS: &str = "chains";

/// One rule that translates the first service to its first endpoint: no table of services can be faster.
pub(super) fn single_dnat(cluster: Cluster) -> String {
    let (from, to) = (cluster.frontend(0), cluster.endpoint(0, 0, First::Home));
    format!(
        "table ip single {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr {from} tcp dport {FRONTEND_PORT} dnat to {to}:{ENDPOINT_PORT}
  }}
}}
"
    )
}

/// One rule that translates every service to any endpoint: dialled as ours are, it shows what dialling many addresses
/// costs by itself.
pub(super) fn single_dnat_for_all(cluster: Cluster) -> String {
    let (from, from_last) = (cluster.frontend(0), cluster.frontend(cluster.services - 1));
    let last = cluster.endpoint(cluster.services - 1, cluster.endpoints - 1, First::Home);
    let to = cluster.endpoint(0, 0, First::Home);
    format!(
        "table ip single {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr {} tcp dport {FRONTEND_PORT} dnat to {}:{ENDPOINT_PORT}
  }}
}}
",
        range(from, from_last),
        range(to, last)
    )
}

/// nft takes a range of one address for a mistake.
fn range(first: Ipv4Addr, last: Ipv4Addr) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// A chain for each service, and one for each of its endpoints.
pub(super) fn chain_per_service(cluster: Cluster) -> String {
    let mut text = format!("table ip {CHAINS} {{\n");
    write_base(&mut text);
    for service in 0..cluster.services {
        for index in 0..cluster.endpoints {
            let endpoint = cluster.endpoint(service, index, First::Home);
            let (name, hairpin, rule) = (endpoint_chain(endpoint), hairpin_rule(endpoint), endpoint_rule(endpoint));
            let _ = writeln!(text, "  chain {name} {{\n    {hairpin}\n    {rule}\n  }}");
        }
        let rule = balance(cluster, service, First::Home);
        let address = cluster.frontend(service);
        let _ = writeln!(text, "  chain service-{service} {{\n    {}\n    {rule}\n  }}", masquerade_rule(address));
    }
    text.push_str("  map services {\n    type ipv4_addr . inet_proto . inet_service : verdict\n    elements = {\n");
    for service in 0..cluster.services {
        let address = cluster.frontend(service);
        let _ = writeln!(text, "      {address} . tcp . {FRONTEND_PORT} : goto service-{service},");
    }
    text.push_str("    }\n  }\n}\n");
    text.push_str(&format!("table ip {CHAINS} {{\n  set cluster-ips {{\n    type ipv4_addr\n    elements = {{\n"));
    for service in 0..cluster.services {
        let _ = writeln!(text, "      {},", cluster.frontend(service));
    }
    text.push_str("    }\n  }\n}\n");
    text
}

fn write_base(text: &mut String) {
    text.push_str(
        "  chain mark-for-masquerade {
    meta mark set meta mark or 0x4000
  }
  chain services {
    ip daddr . meta l4proto . th dport vmap @services
  }
  map refused {
    type ipv4_addr . inet_proto . inet_service : verdict
  }
  map firewalled {
    type ipv4_addr . inet_proto . inet_service : verdict
  }
  set cluster-ips {
    type ipv4_addr
  }
  chain firewall-check {
    ip daddr . meta l4proto . th dport vmap @firewalled
  }
  chain endpoints-check {
    ip daddr . meta l4proto . th dport vmap @refused
  }
  chain cluster-ips-check {
    ip daddr @cluster-ips reject
  }
  chain filter-prerouting {
    type filter hook prerouting priority dstnat - 10; policy accept;
    ct state new jump firewall-check
  }
  chain filter-input {
    type filter hook input priority filter; policy accept;
    ct state new jump endpoints-check
  }
  chain filter-forward {
    type filter hook forward priority filter; policy accept;
    ct state new jump endpoints-check
    ct state new jump cluster-ips-check
  }
  chain filter-output {
    type filter hook output priority filter; policy accept;
    ct state new jump endpoints-check
    ct state new jump cluster-ips-check
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    jump services
  }
  chain output {
    type nat hook output priority -100; policy accept;
    jump services
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    meta mark & 0x4000 == 0 return
    meta mark set meta mark xor 0x4000
    masquerade fully-random
  }
",
    );
}

/// What turns the shape from one state of a service into another: its first endpoint is replaced.
pub(super) fn change(cluster: Cluster, service: u32, to: First) -> String {
    let from = match to {
        First::Home => First::StandIn,
        First::StandIn => First::Home,
    };
    let (new, old) = (cluster.endpoint(service, 0, to), cluster.endpoint(service, 0, from));
    let (new_chain, old_chain) = (endpoint_chain(new), endpoint_chain(old));
    format!(
        "add chain ip {CHAINS} {new_chain}
add rule ip {CHAINS} {new_chain} {hairpin}
add rule ip {CHAINS} {new_chain} {rule}
flush chain ip {CHAINS} service-{service}
add rule ip {CHAINS} service-{service} {masquerade}
add rule ip {CHAINS} service-{service} {balance}
flush chain ip {CHAINS} {old_chain}
delete chain ip {CHAINS} {old_chain}
",
        hairpin = hairpin_rule(new),
        rule = endpoint_rule(new),
        masquerade = masquerade_rule(cluster.frontend(service)),
        balance = balance(cluster, service, to),
    )
}

fn endpoint_chain(endpoint: Ipv4Addr) -> String {
    format!("endpoint-{:08x}", u32::from(endpoint))
}

fn hairpin_rule(endpoint: Ipv4Addr) -> String {
    format!("ip saddr {endpoint} jump mark-for-masquerade")
}

fn endpoint_rule(endpoint: Ipv4Addr) -> String {
    format!("meta l4proto tcp dnat to {endpoint}:{ENDPOINT_PORT}")
}

fn masquerade_rule(address: Ipv4Addr) -> String {
    format!("ip daddr {address} tcp dport {FRONTEND_PORT} ip saddr != {POD_RANGE} jump mark-for-masquerade")
}

/// An anonymous verdict map for each service, over a random number.
fn balance(cluster: Cluster, service: u32, first: First) -> String {
    let chains = (0..cluster.endpoints)
        .map(|index| format!("{index} : goto {}", endpoint_chain(cluster.endpoint(service, index, first))));
    format!("numgen random mod {} vmap {{ {} }}", cluster.endpoints, chains.collect::<Vec<_>>().join(", "))
}
