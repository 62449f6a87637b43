//! The node's health: `/healthz` and `/livez`.

use std::sync::Arc;
use std::time::Duration;

use backend_api::{NodeNetwork, Report, Scope, ServiceState, SyncError};
use kubernetes::{News, Note};
use switchyard_agent::serving::Health;
use tokio::time::Instant;

use super::given::{HEALTH, Node, balanced, settings};

const THIS: &str = "{apiVersion: v1, kind: Node, metadata: {name: here}}";

fn transient() -> SyncError {
    SyncError::Transient { object: "socket".into(), reason: "no buffer space".into() }
}

fn settled() -> Node {
    let mut node = Node::new();
    node.tell(&[&balanced("web", 31000), THIS]);
    node.listed();
    node.sync();
    node
}

#[test]
fn a_healthy_node_says_so_with_kube_proxys_body_and_headers() {
    if testbed::privilege::skip() {
        return;
    }
    let node = settled();
    for (path, eligible) in [("/healthz", true), ("/livez", false)] {
        let answer = node.ask(HEALTH, path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let body = answer.json();
        assert_eq!(body["healthy"], true);
        assert_eq!(body["lastUpdated"], body["currentTime"], "while all is well it is a heartbeat");
        assert!(body["currentTime"].as_str().unwrap().ends_with('Z'), "{body}");
        assert_eq!(body.get("nodeEligible").is_some(), eligible, "{path}");
        let status = body["status"].as_object().unwrap();
        assert_eq!(status.keys().collect::<Vec<_>>(), ["IPv4", "IPv6"]);
        assert!(status.values().all(|family| family["healthy"] == true && family["lastUpdated"].is_string()));
    }
    assert_eq!(node.ask(HEALTH, "/").status, 404);
}

#[test]
fn a_node_that_has_not_synced_yet_is_healthy_and_knows_no_family() {
    if testbed::privilege::skip() {
        return;
    }
    let node = Node::new();
    let answer = node.ask(HEALTH, "/healthz");
    assert_eq!((answer.status, answer.json()["status"].as_object().unwrap().len()), (200, 0));
}

#[test]
fn what_waits_too_long_makes_both_unhealthy_until_it_is_programmed() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::patient_for(Duration::from_millis(50));
    node.tell(&[&balanced("web", 31000)]);
    node.listed();
    node.sync();
    assert_eq!(node.ask(HEALTH, "/healthz").status, 200);
    node.tell(&[&balanced("other", 31001)]);
    node.fail(&transient());
    for path in ["/healthz", "/livez"] {
        node.until("what waits to be late", || node.ask(HEALTH, path).status == 503);
        let body = node.ask(HEALTH, path).json();
        assert_eq!((&body["healthy"], &body["status"]["IPv4"]["healthy"]), (&false.into(), &false.into()));
        assert!(body["lastUpdated"].as_str() < body["currentTime"].as_str(), "{body}");
    }
    node.sync();
    assert_eq!(node.ask(HEALTH, "/livez").status, 200);
}

#[test]
fn a_node_that_is_about_to_be_deleted_is_alive_and_not_eligible() {
    if testbed::privilege::skip() {
        return;
    }
    let tainted = |key: &str| {
        format!(
            "{{apiVersion: v1, kind: Node, metadata: {{name: here}}, spec: {{taints: [{{key: {key}, effect: NoSchedule}}]}}}}"
        )
    };
    let deleting = "{apiVersion: v1, kind: Node, metadata: {name: here, deletionTimestamp: '2026-05-01T08:00:00Z'}}";
    let going = tainted("ToBeDeletedByClusterAutoscaler");
    let mut node = settled();
    let statuses = |node: &Node| ["/healthz", "/livez"].map(|path| node.ask(HEALTH, path).status);
    for (object, expected) in [
        (going.as_str(), [503, 200]),
        (THIS, [200, 200]),
        (tainted("other").as_str(), [200, 200]),
        (deleting, [503, 200]),
        (THIS, [200, 200]),
    ] {
        node.tell(&[object]);
        node.sync();
        assert_eq!(statuses(&node), expected, "{object}");
    }
    node.tell(&[&going.replace("here", "there")]);
    assert_eq!(statuses(&node), [200, 200], "another node's business");
    node.delete(THIS);
    node.sync();
    assert_eq!(statuses(&node), [503, 200]);
    let body = node.ask(HEALTH, "/healthz").json();
    assert_eq!((&body["nodeEligible"], &body["healthy"]), (&false.into(), &true.into()));
}

#[test]
fn a_new_source_without_the_node_object_leaves_the_node_eligible() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = settled();
    node.delete(THIS);
    node.sync();
    node.hear(vec![kubernetes::source::Event::Anew]);
    assert_eq!(node.ask(HEALTH, "/healthz").status, 503, "what was told holds until the new source has listed");
    node.listed();
    assert_eq!(node.ask(HEALTH, "/healthz").status, 200);
}

#[test]
fn health_is_asked_for_over_both_families_though_one_is_written() {
    if testbed::privilege::skip() {
        return;
    }
    let node = Node::new();
    assert_eq!(node.ask("[::1]:10256", "/healthz").status, 200);
}

/// A health to which things happen at a time.
struct At {
    health: Health,
    start: Instant,
}

impl At {
    fn hear(&self, seconds: u64, news: &News<'_>) {
        self.health.hear(news, self.start + Duration::from_secs(seconds));
    }

    fn is_healthy(&self, seconds: u64) -> bool {
        self.health.verdict(self.start + Duration::from_secs(seconds)).healthy
    }
}

fn synced<'a>(state: &'a ServiceState, report: &'a Report) -> News<'a> {
    News::Synced { state, scope: Scope::All, report, took: Duration::ZERO }
}

fn changed() -> [kubernetes::source::Event; 1] {
    let kubernetes::objects::Item::Object(object) = kubernetes::objects::read(&balanced("web", 1)).remove(0) else {
        panic!()
    };
    [kubernetes::source::Event::Changed(object)]
}

#[tokio::test]
async fn a_change_may_wait_for_twice_the_sync_period_and_the_oldest_counts() {
    let at = At { health: Health::new("here".parse().unwrap(), Health::PATIENCE), start: Instant::now() };
    let (state, report) = (ServiceState::new(NodeNetwork::unknown()), Report::default());
    at.hear(0, &News::Noted(Note::Told(&changed())));
    assert!(at.is_healthy(1000), "a list that takes long is nothing that could be programmed");
    at.hear(1000, &News::Noted(Note::Told(&[kubernetes::source::Event::Listed])));
    at.hear(1030, &News::Noted(Note::Told(&changed())));
    assert!(at.is_healthy(1059) && !at.is_healthy(1060));
    at.hear(1061, &News::NotSynced { error: &transient(), scope: Scope::All, took: Duration::ZERO });
    assert!(!at.is_healthy(1061));
    at.hear(1062, &synced(&state, &report));
    assert!(at.is_healthy(5000));
}

#[tokio::test]
async fn what_changes_nothing_does_not_wait_and_drift_does() {
    let at = At { health: Health::new("here".parse().unwrap(), Health::PATIENCE), start: Instant::now() };
    at.hear(0, &News::Noted(Note::Told(&[kubernetes::source::Event::Listed])));
    at.hear(1, &News::Unchanged);
    assert!(at.is_healthy(100));
    at.hear(100, &News::Drifted);
    assert!(at.is_healthy(159) && !at.is_healthy(160));
}

/// The file source tells as the API's does.
#[tokio::test]
async fn a_whole_loop_over_files_is_healthy_once_it_has_synced() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("web.yaml"), balanced("web", 31000)).unwrap();
    let (told, objects) = kubernetes::source::channel();
    let (addresses, found) = tokio::sync::watch::channel(None);
    addresses.send_replace(Some(Default::default()));
    tokio::spawn(kubernetes::source::files::watch_folder(folder.path().to_owned(), told));
    let health = Arc::new(Health::new("here".parse().unwrap(), Health::PATIENCE));
    let mut witness = Listening(health.clone());
    let inputs = kubernetes::Inputs::new(objects, found);
    let desired = kubernetes::ClusterState::new(settings(), inputs);
    let stop = async {
        while health.verdict(Instant::now()).updated.is_none() {
            tokio::task::yield_now().await;
        }
    };
    let run = reconcile::run(Box::new(backend_api::Fake::default()), desired, None, &mut witness, stop);
    tokio::time::timeout(Duration::from_secs(20), run).await.expect("a sync is heard of").unwrap();
    drop(addresses);
    assert!(health.verdict(Instant::now() + Duration::from_secs(3600)).healthy, "nothing waits any more");
}

struct Listening(Arc<Health>);

impl reconcile::Witness<kubernetes::ClusterState> for Listening {
    fn hear(&mut self, news: &News<'_>) {
        self.0.hear(news, Instant::now());
    }
}
