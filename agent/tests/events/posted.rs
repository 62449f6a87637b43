//! What an API server is sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use backend_api::ServiceName;
use kubernetes::objects::{Item, read};
use kubernetes::source::Event;
use serde_json::Value;
use switchyard_agent::events::{Notice, Outbox, Uids, channel, post};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// An API server that takes events, and what it was sent.
#[derive(Clone, Default)]
struct Recorded {
    requests: Arc<Mutex<Vec<(String, String, Value)>>>,
    /// What it answers instead, as long as that is something.
    instead: Arc<Mutex<Option<StatusCode>>>,
}

struct Posting {
    recorded: Recorded,
    outbox: Outbox,
    uids: Uids,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Posting {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn record(State(recorded): State<Recorded>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let object: Value = serde_json::from_slice(&body).unwrap_or_default();
    recorded.requests.lock().unwrap().push((parts.method.to_string(), parts.uri.path().to_owned(), object));
    let instead = *recorded.instead.lock().unwrap();
    match instead {
        Some(status) => status.into_response(),
        None => ([("content-type", "application/json")], body).into_response(),
    }
}

impl Posting {
    async fn start() -> Self {
        let recorded = Recorded::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = axum::serve(listener, Router::new().fallback(record).with_state(recorded.clone()));
        let server = tokio::spawn(async move { server.await.unwrap() });
        let client = kube::Client::try_from(kube::Config::new(url.parse().unwrap())).unwrap();
        let (outbox, notices) = channel();
        let uids = Uids::default();
        let posting = tokio::spawn(post(notices, client, "node2".parse().unwrap(), uids.clone()));
        Self { recorded, outbox, uids, tasks: [server, posting] }
    }

    /// What was sent, once there are so many.
    async fn sent(&self, count: usize) -> Vec<(String, String, Value)> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let sent = self.recorded.requests.lock().unwrap().clone();
            if sent.len() >= count {
                return sent;
            }
            assert!(Instant::now() < deadline, "waited in vain for {count} requests: {sent:?}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

fn refused(service: &str, reason: &str) -> Notice {
    Notice::ServiceRefused { service: ServiceName::new("prod", service), reason: reason.to_owned() }
}

fn string<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

#[tokio::test]
async fn the_node_is_told_of_the_start_as_by_kube_proxy() {
    let posting = Posting::start().await;
    posting.outbox.leave(Notice::Started);
    let (method, path, event) = posting.sent(1).await.remove(0);
    assert_eq!((method.as_str(), path.as_str()), ("POST", "/apis/events.k8s.io/v1/namespaces/default/events"));
    for (pointer, expected) in [
        ("/apiVersion", "events.k8s.io/v1"),
        ("/kind", "Event"),
        ("/type", "Normal"),
        ("/reason", "Starting"),
        ("/action", "StartKubeProxy"),
        ("/regarding/kind", "Node"),
        ("/regarding/name", "node2"),
        ("/regarding/uid", "node2"),
        ("/reportingController", "switchyard"),
        ("/reportingInstance", "node2"),
    ] {
        assert_eq!(string(&event, pointer), expected, "{pointer} of {event}");
    }
    assert!(string(&event, "/metadata/name").starts_with("node2."), "{event}");
    assert!(!string(&event, "/eventTime").is_empty(), "{event}");
}

#[tokio::test]
async fn a_service_is_named_with_its_uid_in_its_own_namespace() {
    let posting = Posting::start().await;
    let text = "{apiVersion: v1, kind: Service, metadata: {name: web, namespace: prod, uid: 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0}}";
    let Item::Object(service) = read(text).remove(0) else { panic!("no service") };
    posting.uids.hear(&[Event::Changed(service)]);
    posting.outbox.leave(refused("web", "map services: kernel refused element"));
    posting.outbox.leave(refused("unknown", "no"));
    let sent = posting.sent(2).await;
    assert_eq!(sent[0].1, "/apis/events.k8s.io/v1/namespaces/prod/events");
    for (pointer, expected) in [
        ("/metadata/namespace", "prod"),
        ("/type", "Warning"),
        ("/reason", "ServiceRefused"),
        ("/regarding/apiVersion", "v1"),
        ("/regarding/kind", "Service"),
        ("/regarding/namespace", "prod"),
        ("/regarding/name", "web"),
        ("/regarding/uid", "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"),
        ("/note", "service cannot be programmed, all others are: map services: kernel refused element"),
    ] {
        assert_eq!(string(&sent[0].2, pointer), expected, "{pointer} of {}", sent[0].2);
    }
    assert_eq!(sent[1].2.pointer("/regarding/uid"), None);
}

#[tokio::test]
async fn a_flood_of_one_cause_is_one_event_and_a_long_note_is_cut_where_the_api_cuts() {
    let posting = Posting::start().await;
    for _ in 0..100 {
        posting.outbox.leave(refused("web", &"ö".repeat(2000)));
    }
    posting.sent(1).await;
    // The outbox is a queue: what comes behind the flood comes after it.
    posting.outbox.leave(refused("last", ""));
    let sent = posting.sent(2).await;
    let names: Vec<_> = sent.iter().map(|(_, _, event)| string(event, "/regarding/name")).collect();
    assert_eq!(names, ["web", "last"]);
    let note = string(&sent[0].2, "/note");
    assert!(note.len() <= 1024 && note.len() > 1000, "{}", note.len());
}

#[tokio::test]
async fn an_event_that_the_api_refuses_is_dropped_and_later_ones_are_posted() {
    let posting = Posting::start().await;
    *posting.recorded.instead.lock().unwrap() = Some(StatusCode::FORBIDDEN);
    posting.outbox.leave(refused("one", ""));
    posting.outbox.leave(refused("other", ""));
    posting.sent(2).await;
    *posting.recorded.instead.lock().unwrap() = None;
    posting.outbox.leave(refused("third", ""));
    let sent = posting.sent(3).await;
    assert_eq!(string(&sent[2].2, "/regarding/name"), "third");
}
