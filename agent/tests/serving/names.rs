//! Every metric of kube-proxy, and whether it is served here; if not, why.

use std::sync::Arc;

use nix::time::{ClockId, clock_gettime};
use switchyard_agent::metrics::{Afresh, Metrics};
use switchyard_agent::serving::Health;

use super::exposition::Exposition;
use super::given::{METRICS, Node, balanced, servers, slice};

/// What becomes of one.
enum Fate {
    /// It is served, as this type, with these labels besides `le`.
    Served(&'static str, &'static [&'static str]),
    /// It would mean nothing.
    Absent(&'static str),
}

use Fate::{Absent, Served};

const FAMILY: &[&str] = &["ip_family"];
const IPTABLES: Fate = Absent("there are no iptables rules of ours");

const KUBE_PROXY: &[(&str, Fate)] = &[
    ("sync_proxy_rules_duration_seconds", Served("histogram", FAMILY)),
    ("sync_full_proxy_rules_duration_seconds", Served("histogram", FAMILY)),
    ("sync_partial_proxy_rules_duration_seconds", Served("histogram", FAMILY)),
    ("sync_proxy_rules_last_timestamp_seconds", Served("gauge", FAMILY)),
    ("sync_proxy_rules_last_queued_timestamp_seconds", Served("gauge", FAMILY)),
    ("network_programming_duration_seconds", Served("histogram", FAMILY)),
    ("sync_proxy_rules_endpoint_changes_pending", Served("gauge", &[])),
    ("sync_proxy_rules_endpoint_changes_total", Served("counter", &[])),
    ("sync_proxy_rules_service_changes_pending", Served("gauge", &[])),
    ("sync_proxy_rules_service_changes_total", Served("counter", &[])),
    ("sync_proxy_rules_no_local_endpoints_total", Served("gauge", &["ip_family", "traffic_policy"])),
    ("sync_proxy_rules_iptables_total", IPTABLES),
    ("sync_proxy_rules_iptables_last", IPTABLES),
    ("sync_proxy_rules_iptables_restore_failures_total", IPTABLES),
    ("sync_proxy_rules_iptables_partial_restore_failures_total", IPTABLES),
    ("iptables_ct_state_invalid_dropped_packets_total", IPTABLES),
    ("iptables_localhost_nodeports_accepted_packets_total", IPTABLES),
    ("sync_proxy_rules_nftables_sync_failures_total", Served("counter", FAMILY)),
    (
        "sync_proxy_rules_nftables_cleanup_failures_total",
        Absent("what is stale goes in the same transaction; a failure is one of the sync"),
    ),
    ("proxy_healthz_total", Served("counter", &["code"])),
    ("proxy_livez_total", Served("counter", &["code"])),
    ("conntrack_reconciler_sync_duration_seconds", Served("histogram", FAMILY)),
    ("conntrack_reconciler_deleted_entries_total", Served("counter", FAMILY)),
    ("nftables_localhost_nodeport_listeners", Served("gauge", FAMILY)),
    ("nftables_localhost_nodeport_listener_creation_failures_total", Served("counter", FAMILY)),
    ("nftables_localhost_nodeport_rejected_packets_total", Served("counter", &["ip_family", "protocol"])),
];

const PROCESS: &[&str] = &[
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_start_time_seconds",
    "process_open_fds",
    "process_max_fds",
];

fn labels(sample: &str) -> Vec<String> {
    let Some((_, labels)) = sample.split_once('{') else { return Vec::new() };
    let names = labels.trim_end_matches('}').split(',').map(|label| label.split('=').next().unwrap().to_owned());
    let mut names: Vec<String> = names.filter(|name| name != "le").collect();
    names.sort();
    names
}

#[test]
fn every_metric_of_kube_proxy_is_served_with_its_labels_or_has_a_reason() {
    let metrics = Metrics::new("nftables", Box::new(Afresh)).with_localhost(Arc::default());
    let mut node = Node::with(Health::PATIENCE, servers(), metrics);
    node.tell(&[&balanced("web", 31000), &slice("web", "10.0.0.1@here")]);
    node.listed();
    node.sync();
    // The kernel counts a process's time in ticks of a hundredth of a second.
    while clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().tv_nsec() < 20_000_000 {
        std::hint::spin_loop();
    }
    for path in ["/healthz", "/livez"] {
        node.ask(super::given::HEALTH, path);
    }
    let text = node.ask(METRICS, "/metrics").body;
    let read = Exposition::read(&text).unwrap();
    for (name, fate) in KUBE_PROXY {
        let name = format!("kubeproxy_{name}");
        match fate {
            Absent(reason) => assert!(!text.contains(&name), "{name} is absent: {reason}"),
            Served(kind, expected) => {
                assert_eq!(read.types.get(&name).map(String::as_str), Some(*kind), "{name}");
                let base = |sample: &str| sample.split('{').next().unwrap().to_owned();
                let family = |sample: &str| {
                    let base = base(sample);
                    let cut = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| base.strip_suffix(suffix));
                    if *kind == "histogram" { cut.unwrap_or(&base).to_owned() } else { base }
                };
                let samples: Vec<&String> = read.samples.keys().filter(|sample| family(sample) == name).collect();
                assert!(!samples.is_empty(), "{name}");
                assert!(samples.iter().all(|sample| labels(sample) == *expected), "{name}: {samples:?}");
            }
        }
    }
    let named = |name: &&String| KUBE_PROXY.iter().any(|(known, _)| **name == format!("kubeproxy_{known}"));
    let strangers: Vec<&String> =
        read.types.keys().filter(|name| name.starts_with("kubeproxy_")).filter(|name| !named(name)).collect();
    assert_eq!(strangers, Vec::<&String>::new(), "kube-proxy has no such metric");
    for name in PROCESS {
        assert!(read.value(name) > 0.0, "{name}");
    }
    assert!(
        read.types.keys().all(|name| ["kubeproxy_", "switchyard_", "process_"].iter().any(|p| name.starts_with(p)))
    );
}

#[test]
fn buckets_are_kube_proxys() {
    let node = Node::new();
    let read = Exposition::read(&node.ask(METRICS, "/metrics").body).unwrap();
    for name in ["sync_proxy_rules", "sync_full_proxy_rules", "sync_partial_proxy_rules"] {
        let found = read.bounds(&format!("kubeproxy_{name}_duration_seconds"), "ip_family=\"IPv4\"");
        let expected = (0..15).map(|power| format!("{}", 0.001 * f64::from(1 << power))).chain(["+Inf".to_owned()]);
        assert_eq!(found, expected.collect(), "{name}");
    }
    let found = read.bounds("kubeproxy_network_programming_duration_seconds", "ip_family=\"IPv6\"");
    let seconds = (1..60).chain((60..=115).step_by(5)).chain((120..=300).step_by(30)).map(|second| second.to_string());
    let expected = ["0", "0.25", "0.5", "+Inf"].into_iter().map(str::to_owned).chain(seconds);
    assert_eq!(found, expected.collect());
}
