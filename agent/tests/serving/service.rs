//! Health of services: what load balancers are answered on `healthCheckNodePort`.

use backend_api::ServiceName;
use serde_json::json;
use switchyard_agent::events::Notice;

use super::given::{Node, balanced, slice};

const PORT: &str = "127.0.0.1:31000";

fn node(endpoints: &str) -> Node {
    let mut node = Node::new();
    node.tell(&[&balanced("web", 31000), &slice("web", endpoints)]);
    node.listed();
    node.sync();
    node
}

#[test]
fn endpoints_here_are_told_in_body_status_and_weight_on_any_path() {
    if testbed::privilege::skip() {
        return;
    }
    let node = node("10.0.0.1@here 10.0.0.2@there 10.0.0.3@here 10.0.0.4@here/draining");
    for path in ["/", "/healthz", "/any/thing?x=y"] {
        let answer = node.ask(PORT, path);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-load-balancing-endpoint-weight"), "2");
        let expected = json!({
            "service": {"namespace": "default", "name": "web"}, "localEndpoints": 2, "serviceProxyHealthy": true
        });
        assert_eq!(answer.json(), expected);
    }
}

#[test]
fn a_node_without_ready_endpoints_answers_503_and_still_forwards() {
    if testbed::privilege::skip() {
        return;
    }
    let node = node("10.0.0.1@there 10.0.0.2@here/draining");
    let answer = node.ask(PORT, "/");
    assert_eq!((answer.status, answer.header("x-load-balancing-endpoint-weight")), (503, "0"));
    assert_eq!(answer.json()["localEndpoints"], 0);
}

#[test]
fn each_family_tells_its_own_endpoints() {
    if testbed::privilege::skip() {
        return;
    }
    let node = node("10.0.0.1@here");
    assert_eq!(node.ask("[::1]:31000", "/").json()["localEndpoints"], 0);
    assert_eq!(node.ask(PORT, "/").json()["localEndpoints"], 1);
}

#[test]
fn an_unhealthy_agent_answers_503_and_a_node_that_is_deleted_does_not() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::patient_for(std::time::Duration::from_millis(50));
    node.tell(&[&balanced("web", 31000), &slice("web", "10.0.0.1@here")]);
    node.listed();
    node.sync();
    let going = "{apiVersion: v1, kind: Node, metadata: {name: here, deletionTimestamp: '2026-05-01T08:00:00Z'}}";
    node.tell(&[going]);
    node.sync();
    assert_eq!(node.ask(PORT, "/").status, 200);
    node.delete(going);
    node.sync();
    assert_eq!(node.ask(PORT, "/").status, 200, "load balancers that use this port decide by it alone");
    node.tell(&[&slice("web", "10.0.0.1@here 10.0.0.2@here")]);
    node.until("the proxy to be unhealthy", || node.ask(PORT, "/").status == 503);
    let body = node.ask(PORT, "/").json();
    assert_eq!((&body["serviceProxyHealthy"], &body["localEndpoints"]), (&false.into(), &1.into()));
}

#[test]
fn counts_change_once_they_are_programmed_and_not_before() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = node("10.0.0.1@here");
    let told = |node: &Node| node.ask(PORT, "/").json()["localEndpoints"].as_u64().unwrap();
    node.tell(&[&slice("web", "10.0.0.1@here 10.0.0.2@here")]);
    node.fail(&backend_api::SyncError::Raced { object: "table".into() });
    assert_eq!(told(&node), 1);
    node.tell(&[&slice("web", "10.0.0.1@here 10.0.0.3@here")]);
    node.sync();
    assert_eq!(told(&node), 2);
}

#[test]
fn servers_move_with_their_port_and_close_with_their_service() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = node("10.0.0.1@here");
    assert_eq!(node.ask(PORT, "/").status, 200);
    node.tell(&[&balanced("web", 31001)]);
    node.sync();
    assert_eq!(node.ask("127.0.0.1:31001", "/").status, 200);
    assert!(node.try_ask(PORT, "/").is_none(), "the old port is closed");
    node.tell(&[&balanced("web", 31001).replace("externalTrafficPolicy: Local", "externalTrafficPolicy: Cluster")]);
    node.sync();
    node.until("the port to close with the policy", || node.try_ask("127.0.0.1:31001", "/").is_none());
    node.tell(&[&balanced("web", 31002)]);
    node.sync();
    assert_eq!(node.ask("127.0.0.1:31002", "/").status, 200);
    node.delete(&balanced("web", 31002));
    node.sync();
    node.until("the port to close with the service", || node.try_ask("127.0.0.1:31002", "/").is_none());
}

#[test]
fn two_services_swap_their_ports() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::new();
    let (a, bb) = (slice("a", "10.0.0.1@here"), slice("bb", "10.0.0.2@here"));
    node.tell(&[&balanced("a", 31000), &balanced("bb", 31001), &a, &bb]);
    node.listed();
    node.sync();
    let service_at = |node: &Node, at: &str| node.ask(at, "/").json()["service"]["name"].as_str().unwrap().to_owned();
    assert_eq!([service_at(&node, PORT), service_at(&node, "127.0.0.1:31001")], ["a", "bb"]);
    node.tell(&[&balanced("a", 31001), &balanced("bb", 31000)]);
    node.sync();
    node.until("the ports to be swapped", || {
        [PORT, "127.0.0.1:31001"].map(|at| node.try_ask(at, "/").map(|answer| answer.json()["service"]["name"].clone()))
            == [Some("bb".into()), Some("a".into())]
    });
    assert!(!node.has_notice(), "no port was missed on the way");
}

#[test]
fn a_port_that_is_taken_is_told_once_and_opened_when_it_is_free() {
    if testbed::privilege::skip() {
        return;
    }
    let mut node = Node::new();
    let taken = node.namespace.run(|| std::net::TcpListener::bind("0.0.0.0:31000").unwrap());
    node.tell(&[&balanced("web", 31000), &slice("web", "10.0.0.1@here")]);
    node.listed();
    node.sync();
    let Notice::HealthCheckNotStarted { service, port, reason } = node.notice() else { panic!("another notice") };
    assert_eq!((service, port), (ServiceName::new("default", "web"), 31000));
    assert!(reason.starts_with("0.0.0.0:31000 cannot be bound: "), "{reason}");
    drop(taken);
    node.until("the port to be opened", || node.try_ask(PORT, "/").is_some_and(|answer| answer.status == 200));
    assert!(!node.has_notice());
}
