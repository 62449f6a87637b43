//! The metrics server, and what the numbers say of what happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use backend_api::{
    Cleaning, Conflict, Failure, FailureKind, NodeNetwork, Observed, PerFamily, Report, ServiceName, ServiceState,
    SyncError, TurnedAway,
};
use kubernetes::News;
use kubernetes::source::{Event, Trouble};
use serde_json::json;
use switchyard_agent::config::{ByService, ServersConfig};
use switchyard_agent::metrics::{Metrics, Observer};
use switchyard_agent::serving::Health;

use super::exposition::Exposition;
use super::given::{HEALTH, METRICS, Node, balanced, servers, settings, slice, slice_since};

fn numbers(node: &Node) -> Exposition {
    Exposition::read(&node.ask(METRICS, "/metrics").body).unwrap()
}

#[track_caller]
fn check(node: &Node, expected: &[(&str, f64)]) {
    let numbers = numbers(node);
    for (sample, value) in expected {
        assert_eq!(numbers.value(sample), *value, "{sample}");
    }
}

fn settled() -> Node {
    let mut node = Node::new();
    node.tell(&[&balanced("web", 31000), &slice("web", "10.0.0.1@here 10.0.0.2@there")]);
    node.listed();
    node.sync();
    node
}

#[test]
fn each_path_answers_as_kube_proxys_does() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = settled();
    let metrics = node.ask(METRICS, "/metrics");
    assert_eq!((metrics.status, metrics.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    let mode = node.ask(METRICS, "/proxyMode");
    assert_eq!((mode.status, mode.body.as_str()), (200, "nftables"));
    assert_eq!(mode.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(node.ask(METRICS, "/healthz").body, "ok");
    node.configuration.send_replace(json!({"mode": "ipvs"}));
    assert_eq!(node.ask(METRICS, "/configz").json(), json!({"kubeproxy.config.k8s.io": {"mode": "ipvs"}}));
    assert!(node.ask(METRICS, "/statusz").body.contains("backend: nftables\n"));
    for path in ["/debug/pprof/", "/debug/pprof/profile", "/", "/metricsx"] {
        assert_eq!(node.ask(METRICS, path).status, 404, "{path}");
    }
    node.news(&News::Succeeded { dataplane: "ipvs" });
    assert_eq!(node.ask(METRICS, "/proxyMode").body, "ipvs");
    assert_eq!(numbers(&node).value("switchyard_backend_info{backend=\"ipvs\"}"), 1.0);
}

#[test]
fn a_sync_is_counted_by_scope_and_in_both_families() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = settled();
    node.tell(&[&slice("web", "10.0.0.1@here")]);
    node.sync();
    check(
        &node,
        &[
            ("kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}", 2.0),
            ("kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"}", 1.0),
            ("kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"}", 1.0),
            ("kubeproxy_sync_partial_proxy_rules_duration_seconds_bucket{le=\"0.002\",ip_family=\"IPv4\"}", 0.0),
            ("kubeproxy_sync_partial_proxy_rules_duration_seconds_bucket{le=\"0.004\",ip_family=\"IPv4\"}", 1.0),
            ("switchyard_syncs_total{scope=\"all\",result=\"done\"}", 1.0),
            ("switchyard_syncs_total{scope=\"changed\",result=\"done\"}", 1.0),
            ("switchyard_writes_total", 6.0),
            ("switchyard_sync_writes_count", 2.0),
            ("switchyard_netlink_sent_bytes_total", 200.0),
        ],
    );
    let synced = numbers(&node).value("kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"}");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - 60.0..=now).contains(&synced), "{synced}");
}

#[test]
fn changes_wait_until_they_are_programmed() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = settled();
    let queued = |node: &Node| {
        numbers(node).value("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv4\"}")
    };
    let before = queued(&node);
    node.tell(&[&slice("web", "10.0.0.1@here"), &slice("web", ""), &balanced("other", 31001)]);
    check(
        &node,
        &[
            ("kubeproxy_sync_proxy_rules_endpoint_changes_pending", 2.0),
            ("kubeproxy_sync_proxy_rules_endpoint_changes_total", 3.0),
            ("kubeproxy_sync_proxy_rules_service_changes_pending", 1.0),
            ("kubeproxy_sync_proxy_rules_service_changes_total", 2.0),
        ],
    );
    assert!(queued(&node) > before);
    node.fail(&SyncError::Raced { object: "table".into() });
    check(&node, &[("kubeproxy_sync_proxy_rules_endpoint_changes_pending", 2.0)]);
    node.tell(&["{apiVersion: v1, kind: Node, metadata: {name: here}}"]);
    node.sync();
    check(
        &node,
        &[
            ("kubeproxy_sync_proxy_rules_endpoint_changes_pending", 0.0),
            ("kubeproxy_sync_proxy_rules_service_changes_pending", 0.0),
            ("kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family=\"IPv6\"}", 1.0),
            ("switchyard_syncs_total{scope=\"all\",result=\"raced\"}", 1.0),
        ],
    );
}

#[test]
fn programming_takes_from_the_trigger_to_the_sync_and_older_triggers_do_not_count() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = settled();
    let name = "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"}";
    node.tell(&[&slice_since("web", "10.0.0.3@here", "2020-05-01T08:00:00Z")]);
    node.sync();
    check(&node, &[(name, 0.0)]);
    let now = |secs| {
        let since = SystemTime::now() + Duration::from_secs(secs);
        jiff::Timestamp::try_from(since).unwrap().to_string()
    };
    node.tell(&[&slice_since("web", "10.0.0.4@here", &now(0))]);
    check(&node, &[(name, 0.0)]);
    node.sync();
    check(
        &node,
        &[
            (name, 1.0),
            ("kubeproxy_network_programming_duration_seconds_bucket{le=\"20\",ip_family=\"IPv4\"}", 1.0),
            ("kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv6\"}", 0.0),
        ],
    );
    node.tell(&[&slice_since("web", "10.0.0.5@here", &now(100))]);
    node.sync();
    check(&node, &[("kubeproxy_network_programming_duration_seconds_bucket{le=\"0\",ip_family=\"IPv4\"}", 1.0)]);
}

#[test]
fn services_that_miss_local_endpoints_are_counted_while_they_do() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = settled();
    let missed = |family, policy| {
        format!(
            "kubeproxy_sync_proxy_rules_no_local_endpoints_total{{ip_family=\"{family}\",traffic_policy=\"{policy}\"}}"
        )
    };
    let values = |node: &Node| {
        let numbers = numbers(node);
        ["internal", "external"].map(|policy| numbers.value(&missed("IPv4", policy)))
    };
    assert_eq!(values(&node), [0.0, 0.0]);
    node.tell(&[&slice("web", "10.0.0.2@there"), &balanced("other", 31001), &slice("other", "10.0.0.3@there")]);
    node.sync();
    assert_eq!(values(&node), [0.0, 2.0]);
    node.delete(&balanced("other", 31001));
    node.tell(&[&slice("web", "10.0.0.2@there 10.0.0.1@here")]);
    node.sync();
    assert_eq!(values(&node), [0.0, 0.0]);
    check(&node, &[(&missed("IPv6", "external"), 0.0)]);
}

#[test]
fn what_is_programmed_and_what_is_refused_is_counted_as_it_changes() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = settled();
    // A ClusterIP of each family and one load-balancer address; two endpoints.
    check(&node, &[("switchyard_services", 1.0), ("switchyard_frontends", 3.0), ("switchyard_endpoints", 2.0)]);
    let other = ServiceName::new("default", "other");
    node.tell(&[&balanced("other", 31001)]);
    let failed = vec![Failure::new(other.clone(), FailureKind::Refused, "odd")];
    let mut report = Report::default();
    report.failed = failed;
    node.sync_with(&report);
    node.news(&News::Failed { service: &other, reason: "odd" });
    check(
        &node,
        &[
            ("switchyard_services", 1.0),
            ("switchyard_refused_services", 1.0),
            ("switchyard_service_refusals_total", 1.0),
        ],
    );
    node.tell(&[&slice("web", "")]);
    node.sync();
    check(&node, &[("switchyard_refused_services", 1.0), ("switchyard_endpoints", 0.0)]);
    node.delete(&balanced("other", 31001));
    node.sync();
    check(&node, &[("switchyard_refused_services", 0.0), ("switchyard_services", 1.0)]);
}

#[test]
fn a_service_that_is_too_large_counts_as_refused_before_anything_is_synced() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = settled();
    node.limit_services_to(3);
    node.resolve();
    check(&node, &[("switchyard_refused_services", 1.0)]);
    node.limit_services_to(100);
    node.resolve();
    check(&node, &[("switchyard_refused_services", 0.0)]);
}

#[test]
fn stale_flows_are_counted_in_the_family_where_they_were_looked_for() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = settled();
    node.tell(&[&slice("web", "10.0.0.1@here")]);
    let mut report = Report::default();
    let cleaning = Cleaning { deleted: 3, took: Duration::from_millis(3) };
    report.add_cleanings(PerFamily { v4: Some(cleaning), v6: None });
    assert_eq!(report.flows_deleted, 3);
    node.sync_with(&report);
    check(
        &node,
        &[
            ("kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=\"IPv4\"}", 3.0),
            ("kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=\"IPv6\"}", 0.0),
            ("kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family=\"IPv4\"}", 1.0),
            ("kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family=\"IPv6\"}", 0.0),
        ],
    );
}

#[test]
fn troubles_warnings_conflicts_and_drift_are_counted() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = settled();
    let frontend = backend_api::FrontendKey::NodePort {
        family: backend_api::Family::V4,
        protocol: backend_api::Protocol::Tcp,
        port: 30080,
    };
    let (owner, loser) = (ServiceName::new("default", "a"), ServiceName::new("default", "b"));
    node.news(&News::Conflict(&Conflict { frontend, owner, loser }));
    let trouble = Trouble { place: "a.yaml".into(), line: Some(1), object: None, reason: "odd".into() };
    node.hear(vec![Event::Trouble(trouble)]);
    node.tell(&[&balanced("bad", 31005).replace("NodePort: 31005", "NodePort: 70000")]);
    node.sync();
    node.news(&News::Drifted);
    check(&node, &[("switchyard_drift_repaired_total", 0.0)]);
    node.tell(&[&balanced("more", 31003)]);
    node.sync();
    check(
        &node,
        &[
            ("switchyard_frontend_conflicts_total", 1.0),
            ("switchyard_source_troubles_total", 1.0),
            ("switchyard_warnings_total{problem=\"port_number\"}", 1.0),
            ("switchyard_drift_repaired_total", 1.0),
            (concat!("switchyard_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1.0),
        ],
    );
}

#[test]
fn probes_are_counted_by_their_answers() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = settled();
    for _ in 0..2 {
        node.ask(HEALTH, "/healthz");
    }
    node.delete("{apiVersion: v1, kind: Node, metadata: {name: here}}");
    node.ask(HEALTH, "/healthz");
    node.ask(HEALTH, "/livez");
    check(
        &node,
        &[
            ("kubeproxy_proxy_healthz_total{code=\"200\"}", 2.0),
            ("kubeproxy_proxy_healthz_total{code=\"503\"}", 1.0),
            ("kubeproxy_proxy_livez_total{code=\"200\"}", 1.0),
        ],
    );
}

/// A kernel in which every frontend was dialled seven times; counts how often it is read.
#[derive(Debug)]
struct Dialled(ServiceState, Arc<AtomicUsize>);

#[async_trait]
impl Observer for Dialled {
    async fn observe(&self, backend: &'static str) -> Result<Observed, String> {
        assert_eq!(backend, "nftables");
        self.1.fetch_add(1, Ordering::SeqCst);
        let mut observed = Observed::expected(&self.0);
        for frontend in observed.frontends.values_mut() {
            frontend.connections = 7;
        }
        Ok(observed)
    }

    async fn refused(&self) -> Result<BTreeMap<TurnedAway, u64>, String> {
        Ok([(TurnedAway::NoEndpoints, 5)].into())
    }
}

#[test]
fn refused_connections_are_counted_by_reason_if_they_can_be_read() {
    if testbed::privilege::skip() {
        return;
    }
    let metrics =
        Metrics::new("nftables", Box::new(Dialled(ServiceState::new(NodeNetwork::unknown()), Arc::default())));
    let node = Node::with(Health::PATIENCE, servers(), metrics);
    for reason in TurnedAway::ALL {
        let expected = if reason == TurnedAway::NoEndpoints { 5.0 } else { 0.0 };
        check(&node, &[(&format!("switchyard_refused_connections_total{{reason=\"{}\"}}", reason.name()), expected)]);
    }
    let unread = numbers(&Node::new()).types;
    assert!(!unread.contains_key("switchyard_refused_connections_total"), "what is not known is not zero");
}

#[test]
fn connections_by_service_are_bounded_off_by_default_and_not_read_at_every_scrape() {
    if testbed::privilege::skip() {
        return;
    }
    let services = [balanced("a", 31000), balanced("bb", 31001), balanced("ccc", 31002)];
    let texts: Vec<&str> = services.iter().map(String::as_str).collect();
    // What the kernel would hold.
    let mut resolver = kubernetes::resolve::Resolver::new(settings());
    for text in &texts {
        let kubernetes::objects::Item::Object(object) = kubernetes::objects::read(text).remove(0) else {
            panic!("{text}")
        };
        resolver.upsert(&object);
    }
    let mut state = ServiceState::new(NodeNetwork::unknown());
    resolver.resolve().apply(&mut state);
    let looked = Arc::new(AtomicUsize::new(0));
    let metrics = Metrics::new("nftables", Box::new(Dialled(state, looked.clone())));
    let mut node = Node::with(Health::PATIENCE, servers(), metrics);
    node.tell(&texts);
    node.listed();
    node.sync();
    let connections = |node: &Node| {
        let samples = numbers(node).samples;
        let of = samples.into_iter().filter(|(name, _)| name.starts_with("switchyard_service_connections"));
        of.map(|(name, value)| (name.split('"').nth(1).unwrap().to_owned(), value)).collect::<Vec<_>>()
    };
    assert_eq!(connections(&node), []);
    assert_eq!(looked.load(Ordering::SeqCst), 0);
    node.config.send_modify(|config| {
        *config = ServersConfig { connections_by_service: ByService::AtMost(2), ..servers() };
    });
    let expected = [("(others)", 21.0), ("default/a", 21.0), ("default/bb", 21.0)];
    let expected = expected.map(|(name, value)| (name.to_owned(), value));
    node.until("connections to be told", || connections(&node) == expected);
    assert_eq!(connections(&node), expected);
    assert_eq!(looked.load(Ordering::SeqCst), 1, "a second scrape within seconds reads what the first has read");
    node.config.send_modify(|config| config.connections_by_service = ByService::AtMost(3));
    node.until("no service to be among the others", || {
        connections(&node).len() == 3 && connections(&node)[0].0 == "default/a"
    });
}
