//! Every metric: kube-proxy's are served under their names or have a reason why not, and docs/metrics.md lists them
//! all.
//!
//! Needs no root. `UPDATE_DOCS=1 cargo nextest run -p switchyard-agent -E 'test(the_page_lists_every_metric)'` writes
//! the page.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backend_api::{
    Conflict, Failure, FailureKind, FrontendKey, NodeNetwork, Observed, Protocol, Report, Scope, ServiceName,
    ServiceState, SyncError, TurnedAway,
};
use kubernetes::objects::{Item, read};
use kubernetes::resolve::Resolver;
use kubernetes::source::{Event, Trouble};
use kubernetes::{News, Note};
use nix::time::{ClockId, clock_gettime};
use reconcile::Witness;
use switchyard_agent::announce::Announcing;
use switchyard_agent::config::{ByService, Config};
use switchyard_agent::metrics::{Metrics, Observer};

use super::exposition::Exposition;
use super::given::{balanced, settings, slice};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");

/// What becomes of a metric of kube-proxy's.
enum Fate {
    /// It is served, as this type, with these labels besides `le`.
    Served(&'static str, &'static [&'static str]),
    /// It is not, for this reason.
    Absent(&'static str),
}

use Fate::{Absent, Served};

const FAMILY: &[&str] = &["ip_family"];
const IPTABLES: Fate = Absent("Switchyard has no iptables rules");

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
        Absent("stale objects are removed in the transaction of the sync, so such a failure is one of the sync"),
    ),
    ("proxy_healthz_total", Served("counter", &["code"])),
    ("proxy_livez_total", Served("counter", &["code"])),
    ("conntrack_reconciler_sync_duration_seconds", Served("histogram", FAMILY)),
    ("conntrack_reconciler_deleted_entries_total", Served("counter", FAMILY)),
    ("nftables_localhost_nodeport_listeners", Served("gauge", FAMILY)),
    ("nftables_localhost_nodeport_listener_creation_failures_total", Served("counter", FAMILY)),
    ("nftables_localhost_nodeport_rejected_packets_total", Served("counter", &["ip_family", "protocol"])),
];

/// What kube-proxy serves of its libraries and of its language, by the first letters of the names.
const ABSENT_GROUPS: &[(&str, &str)] = &[
    ("go_", "the agent is not a Go program"),
    ("rest_client_", "the agent does not use kube-proxy's client library"),
    ("kubernetes_build_info", "the version is in `switchyard_build_info`"),
];

const PROCESS: &[&str] = &[
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "process_start_time_seconds",
    "process_open_fds",
    "process_max_fds",
];

/// Every label, and its values.
const LABELS: &[(&str, &str)] = &[
    ("backend", "`nftables` or `ipvs`"),
    ("code", "the HTTP status code, for example `200`"),
    ("ip_family", "`IPv4` or `IPv6`"),
    ("problem", "what is wrong with the object, for example `port_number`"),
    ("protocol", "`TCP`, `UDP` or `SCTP`"),
    ("reason", "why a packet was refused or dropped, see [operating](operating.md#what-is-programmed)"),
    ("result", "`done`, or the kind of error: `raced`, `transient`, `refused`, `unsupported`, `other`"),
    ("scope", "`all` services, or those that `changed`"),
    ("service", "namespace and name, or `(others)`"),
    (
        "state",
        "`holding`: this node answers; `standing_in`: for a node that has paused; `following`: another node answers; \
         `blocked`: a foreign station has the address; `without_interface`: no interface is in its network; `down`, \
         `listening`, `probing`",
    ),
    ("traffic_policy", "`internal` or `external`"),
    ("version", "the version of the agent"),
];

/// A kernel that counts nothing.
#[derive(Debug)]
struct Idle;

#[async_trait]
impl Observer for Idle {
    async fn observe(&self, _: &'static str) -> Result<Observed, String> {
        Ok(Observed::default())
    }

    async fn refused(&self) -> Result<BTreeMap<TurnedAway, u64>, String> {
        Ok(BTreeMap::new())
    }
}

/// Metrics of an agent to which everything has happened that leads to a sample.
fn exercised() -> Metrics {
    let metrics = Metrics::new("nftables", Box::new(Idle)).with_localhost(Arc::default());
    let config = Config::new("n".parse().unwrap());
    let metrics = metrics.with_announcing(Announcing::new(&config));
    let mut recorder = metrics.recorder();
    let bad = balanced("bad", 31005).replace("NodePort: 31005", "NodePort: 70000");
    let mut resolver = Resolver::new(settings());
    let mut events = Vec::new();
    for text in [&balanced("web", 31000), &slice("web", "10.0.0.1@here"), &bad] {
        let Item::Object(object) = read(text).remove(0) else { panic!("{text}") };
        resolver.upsert(&object);
        events.push(Event::Changed(object));
    }
    events.push(Event::Listed);
    events.push(Event::Trouble(Trouble { place: "a.yaml".into(), line: None, object: None, reason: "odd".into() }));
    recorder.hear(&News::Noted(Note::Told(&events)));
    let changes = resolver.resolve();
    recorder.hear(&News::Noted(Note::Resolved(&changes)));
    let mut state = ServiceState::new(NodeNetwork::unknown());
    changes.apply(&mut state);
    let (web, bad) = (ServiceName::new("default", "web"), ServiceName::new("default", "bad"));
    let frontend = FrontendKey::address([192, 0, 2, 1].into(), Protocol::Tcp, 80);
    recorder.hear(&News::Conflict(&Conflict { frontend, owner: web, loser: bad.clone() }));
    let (scope, took) = (Scope::All, Duration::from_millis(3));
    recorder.hear(&News::NotSynced { error: &SyncError::Raced { object: "table".into() }, scope, took });
    let mut report = Report::default();
    report.failed = vec![Failure::new(bad.clone(), FailureKind::Refused, "odd")];
    recorder.hear(&News::Synced { state: &state, scope, report: &report, took });
    recorder.hear(&News::Failed { service: &bad, reason: "odd" });
    metrics.healthz_answered(200);
    metrics.livez_answered(200);
    // The kernel counts a process's time in ticks of a hundredth of a second.
    while clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().tv_nsec() < 20_000_000 {
        std::hint::spin_loop();
    }
    metrics
}

async fn exposition() -> Exposition {
    Exposition::read(&exercised().text(ByService::AtMost(1)).await).unwrap()
}

#[tokio::test]
async fn every_metric_of_kube_proxy_is_served_with_its_labels_or_has_a_reason() {
    let read = exposition().await;
    for (name, fate) in KUBE_PROXY {
        let name = format!("kubeproxy_{name}");
        match fate {
            Absent(reason) => assert!(!read.types.contains_key(&name), "{name} is absent: {reason}"),
            Served(kind, expected) => {
                assert_eq!(read.types.get(&name).map(String::as_str), Some(*kind), "{name}");
                let samples = read.samples_of(&name);
                assert!(!samples.is_empty(), "{name}");
                assert!(samples.iter().all(|sample| labels(sample) == *expected), "{name}: {samples:?}");
            }
        }
    }
    let strangers = read.types.keys().filter_map(|name| name.strip_prefix("kubeproxy_"));
    let strangers: Vec<&str> = strangers.filter(|name| KUBE_PROXY.iter().all(|(known, _)| name != known)).collect();
    assert_eq!(strangers, [""; 0], "kube-proxy has no such metric");
    for name in PROCESS {
        assert!(read.value(name) > 0.0, "{name}");
    }
    assert!(
        read.types.keys().all(|name| ["kubeproxy_", "switchyard_", "process_"].iter().any(|p| name.starts_with(p)))
    );
}

#[tokio::test]
async fn buckets_are_kube_proxys() {
    let read = exposition().await;
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

#[tokio::test]
async fn the_page_lists_every_metric() {
    let metrics = exercised();
    let read = Exposition::read(&metrics.text(ByService::AtMost(1)).await).unwrap();
    for name in registered(&metrics) {
        let is_served = read.types.keys().any(|served| {
            let served = served.strip_suffix("_total").filter(|_| !name.ends_with("_total")).unwrap_or(served);
            served == name || served.ends_with(&format!("_{name}"))
        });
        assert!(is_served, "{name}: let it happen in `exercised`, so that the page has it");
    }
    let page = page(&read);
    if std::env::var("UPDATE_DOCS").is_ok_and(|value| value == "1") {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(written == page, "docs/metrics.md is not current; write it with UPDATE_DOCS=1:\n{page}");
}

/// The names in the registry, without prefix and `_total`: a family without samples is not in the text.
fn registered(metrics: &Metrics) -> BTreeSet<String> {
    let shown = format!("{metrics:?}");
    let names = shown.split("Descriptor { name: \"").skip(1);
    let names: BTreeSet<String> = names.map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    assert!(names.len() > 30, "the registry is shown in another form: {shown}");
    names
}

fn page(read: &Exposition) -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         <!-- Generated from the agent's registry by the test `the_page_lists_every_metric`. Do not edit:\n     \
         UPDATE_DOCS=1 cargo nextest run -p switchyard-agent -E 'test(the_page_lists_every_metric)' -->\n\n\
         The agent serves metrics in Prometheus' text format, by default at `http://127.0.0.1:10249/metrics`.\n\
         [Configuration](configuration.md) says how to change the address.\n\
         [Operating](operating.md#metrics-and-alerts) says which of them are worth an alert.\n\n\
         - [kube-proxy's metrics](#kube-proxys-metrics)\n\
         - [Switchyard's metrics](#switchyards-metrics)\n\
         - [The process](#the-process)\n\
         - [Labels](#labels)\n\
         - [Metrics of kube-proxy that are absent](#metrics-of-kube-proxy-that-are-absent)\n\n\
         ## kube-proxy's metrics\n\n\
         These have the names, types, labels and buckets of kube-proxy, so its dashboards and alerts can be used.\n\
         One sync programs both families, so it is counted in each.\n\
         Those of node ports on localhost have the names of kube-proxy 1.37 (KEP-6032).\n\n",
    );
    add_section(&mut page, read, "kubeproxy_");
    page += "\n## Switchyard's metrics\n\nkube-proxy does not have these.\n\
             `switchyard_refused_connections_total` is absent while its counters cannot be read from the kernel.\n\n";
    add_section(&mut page, read, "switchyard_");
    page += "\n## The process\n\nThese have the names that Prometheus' client libraries use, as in kube-proxy.\n\n";
    add_section(&mut page, read, "process_");
    page += "\n## Labels\n\n| label | values |\n|---|---|\n";
    for (label, values) in LABELS {
        writeln!(page, "| `{label}` | {values} |").unwrap();
    }
    page += "\n## Metrics of kube-proxy that are absent\n\n\
             `/metrics/slis` is not served.\n\n| metric | why |\n|---|---|\n";
    for (name, fate) in KUBE_PROXY {
        if let Absent(reason) = fate {
            writeln!(page, "| `kubeproxy_{name}` | {reason} |").unwrap();
        }
    }
    for (prefix, reason) in ABSENT_GROUPS {
        assert!(!read.types.keys().any(|name| name.starts_with(prefix)), "{prefix}");
        let dots = if prefix.ends_with('_') { "…" } else { "" };
        writeln!(page, "| `{prefix}{dots}` | {reason} |").unwrap();
    }
    page
}

fn add_section(page: &mut String, read: &Exposition, prefix: &str) {
    *page += "| metric | type | labels | meaning |\n|---|---|---|---|\n";
    let mut histograms = String::new();
    for (name, kind) in read.types.iter().filter(|(name, _)| name.starts_with(prefix)) {
        let samples = read.samples_of(name);
        let labels: BTreeSet<String> = samples.iter().flat_map(|sample| labels(sample)).collect();
        for label in &labels {
            assert!(LABELS.iter().any(|(known, _)| known == label), "{name}: say what the label {label} is");
        }
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join(", ") };
        writeln!(page, "| `{name}` | {kind} | {labels} | {} |", read.helps[name].trim_end_matches('.')).unwrap();
        if kind == "histogram" {
            writeln!(histograms, "| `{name}` | {} |", bounds(&samples)).unwrap();
        }
    }
    if !histograms.is_empty() {
        write!(page, "\n| histogram | upper bounds of the buckets |\n|---|---|\n{histograms}").unwrap();
    }
}

fn labels(sample: &str) -> Vec<String> {
    let Some((_, labels)) = sample.split_once('{') else { return Vec::new() };
    let names = labels.trim_end_matches('}').split(',').map(|label| label.split('=').next().unwrap().to_owned());
    let mut names: Vec<String> = names.filter(|name| name != "le").collect();
    names.sort();
    names
}

/// The finite bounds of a histogram, in order; those at equal distances or of equal ratios in a few words.
fn bounds(samples: &[&str]) -> String {
    let bounds = samples.iter().filter_map(|sample| sample.split_once("le=\"")?.1.split('"').next()?.parse().ok());
    let mut bounds: Vec<f64> = bounds.filter(|bound: &f64| bound.is_finite()).collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    let mut words = Vec::new();
    let mut rest = &bounds[..];
    while let [first, ..] = rest {
        let (sums, products) = (run(rest, |a, b| b - a), run(rest, |a, b| b / a));
        let length = sums.max(products);
        if length < 5 {
            words.push(first.to_string());
            rest = &rest[1..];
            continue;
        }
        let last = rest[length - 1];
        words.push(if sums >= products {
            format!("{first} to {last} in steps of {}", rest[1] - first)
        } else {
            format!("{first} to {last}, each {} times the one before", rest[1] / first)
        });
        rest = &rest[length..];
    }
    words.join(", ")
}

/// How many of the first values are one relation apart.
fn run(values: &[f64], relation: impl Fn(f64, f64) -> f64) -> usize {
    let relations = values.windows(2).map(|pair| relation(pair[0], pair[1]));
    let first = relations.clone().next().unwrap_or_default();
    1 + relations.take_while(|other| (other - first).abs() < 1e-9 * first.abs().max(1.0)).count()
}

#[test]
fn bounds_are_told_in_a_few_words() {
    let samples = |bounds: &[&str]| bounds.iter().map(|bound| format!("a{{le=\"{bound}\"}}")).collect::<Vec<_>>();
    for (given, expected) in [
        (&["1", "2", "4", "+Inf"][..], "1, 2, 4"),
        (&["0", "1", "2", "3", "4", "5", "10"], "0 to 5 in steps of 1, 10"),
        (&["0", "1", "4", "16", "64", "256"], "0, 1 to 256, each 4 times the one before"),
    ] {
        let given = samples(given);
        assert_eq!(bounds(&given.iter().map(String::as_str).collect::<Vec<_>>()), expected);
    }
}
