//! A conversation with the API, cut at any byte: list, bookmark, changes, on each of the first connections.
//!
//! Between the source and the double stands a proxy that hands over so many bytes of an answer and closes the
//! connection: within a header, a chunk's length, a line, and between them. What is asked afterwards is answered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use kubernetes::objects::{Object, ObjectKey};
use kubernetes::source::{ApiConfig, Event, api, channel};
use serde_json::{Value, json};
use switchyard_conformance::api::{Api, Offered, Resource};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::Receiver;
use tokio::task::{AbortHandle, JoinSet};

use crate::followed::{node, service, service_cidr, slice};

/// How long one conversation may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How many sources there are at once: each mostly waits.
const AT_ONCE: usize = 48;

/// Between two cuts, unless `SWITCHYARD_EVERY_CUT` is set: all of them take a minute and a half on two cores.
const STRIDE: usize = 7;

/// One connection for each kind of objects.
const KINDS: usize = 4;

type State = BTreeMap<ObjectKey, Object>;

#[tokio::test]
async fn a_streamed_conversation_that_is_cut_at_any_byte_ends_as_an_undisturbed_one() {
    cut_everywhere(Offered::Yes).await;
}

#[tokio::test]
async fn a_conversation_in_pages_that_is_cut_at_any_byte_ends_as_an_undisturbed_one() {
    cut_everywhere(Offered::No).await;
}

async fn cut_everywhere(streams: Offered) {
    let (expected, length) = converse(streams, u64::MAX, None).await;
    assert!(expected.len() == 6 && length > 1000, "{length} bytes, {:?}", expected.keys());
    let mut running = JoinSet::new();
    let stride = if std::env::var_os("SWITCHYARD_EVERY_CUT").is_some() { 1 } else { STRIDE };
    for at in (0..=length).step_by(stride) {
        if running.len() == AT_ONCE {
            running.join_next().await.expect("some run").expect("a conversation ends well");
        }
        let expected = expected.clone();
        running.spawn(async move {
            converse(streams, at, Some(expected)).await;
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("a conversation ends well");
    }
}

/// What was told in the end where each of the first connections is cut after `at` bytes, and the most bytes that one
/// of them handed over. Returns when that is as `expected`.
async fn converse(streams: Offered, at: u64, expected: Option<State>) -> (State, u64) {
    let api = Api::local().await.unwrap();
    api.set(|abilities| abilities.streams = streams);
    for object in before() {
        api.put(object);
    }
    let proxy = Proxy::before(api.urls()[0].trim_start_matches("http://").parse().unwrap(), at).await;
    let (sender, told) = channel();
    let config = ApiConfig::of_servers(&[format!("http://{}", proxy.address)]).unwrap();
    let source = tokio::spawn(api::watch_api(config, "node2".parse().unwrap(), sender));
    let mut told = Told { at, told, state: State::new(), listed: false };
    told.until("the list", |told| told.listed).await;

    api.put(service("web", 81));
    api.put(slice("web", &["10.244.2.3"]));
    api.delete(Resource::Services, "default", "gone");
    api.delete(Resource::EndpointSlices, "default", "gone-1");
    let version = api.put(service_cidr("10.97.0.0/16"));
    for (resource, kind) in [(Resource::Services, "Service"), (Resource::EndpointSlices, "EndpointSlice")] {
        api.interject(resource, &bookmark(kind, version));
    }
    for object in last() {
        api.put(object);
    }
    // A list that is asked for anew tells in the order of names, a watch in that of the changes.
    told.until("the last object of each kind", |told| last().iter().all(|object| told.holds(object))).await;
    // It is followed on.
    api.put(service("end", 91));
    told.until("one more change", |told| told.port("end") == 91).await;
    if let Some(expected) = expected {
        told.until("the state of an undisturbed source", |told| told.state == expected).await;
    }
    source.abort();
    (told.state, proxy.longest.load(Ordering::Relaxed))
}

fn before() -> [Value; 6] {
    [
        service("web", 80),
        service("gone", 70),
        slice("web", &["10.244.2.2"]),
        slice("gone", &["10.244.2.7"]),
        node("node2"),
        service_cidr("10.96.0.0/16"),
    ]
}

/// Of each kind the last one that is put, which is told after all else of its kind.
fn last() -> [Value; 4] {
    let mut node = node("node2");
    node["spec"]["podCIDRs"] = json!(["10.244.3.0/24"]);
    [service("end", 90), slice("end", &["10.244.2.9"]), node, service_cidr("10.98.0.0/16")]
}

fn bookmark(kind: &str, version: u64) -> String {
    json!({"type": "BOOKMARK", "object": {"kind": kind, "metadata": {"resourceVersion": version.to_string()}}})
        .to_string()
}

/// What a source tells, and what it must never tell.
struct Told {
    at: u64,
    told: Receiver<Vec<Event>>,
    state: State,
    listed: bool,
}

impl Told {
    async fn until(&mut self, awaited: &str, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            let events = tokio::time::timeout(DEADLINE, self.told.recv()).await;
            let at = self.at;
            let events = events.unwrap_or_else(|_| {
                panic!("cut after {at} bytes: waited in vain for {awaited}, told were {:?}", self.state.keys())
            });
            for event in events.expect("the source runs") {
                self.take(event);
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Changed(object) => {
                let key = object.key();
                if let (Some(Object::Service(former)), Object::Service(now)) = (self.state.get(&key), &object) {
                    let (former, now) = (former.spec.ports[0].port, now.spec.ports[0].port);
                    assert!(former <= now, "cut after {} bytes: {key} went back from {former} to {now}", self.at);
                }
                self.state.insert(key, object);
            }
            Event::Deleted(key) => {
                assert!(key.name.starts_with("gone"), "cut after {} bytes: {key} was removed", self.at);
                assert!(self.state.remove(&key).is_some(), "cut after {} bytes: {key} was not told", self.at);
            }
            Event::Listed => self.listed = true,
            Event::Anew => panic!("cut after {} bytes: everything was removed", self.at),
            Event::Trouble(_) => {}
        }
    }

    /// Whether this object was told as it is.
    fn holds(&self, object: &Value) -> bool {
        self.state.values().any(|told| match told {
            Object::Service(service) => is_named(object, "Service", &service.metadata.name),
            Object::EndpointSlice(slice) => is_named(object, "EndpointSlice", &slice.metadata.name),
            Object::Node(node) => {
                is_named(object, "Node", &node.metadata.name)
                    && object["spec"]["podCIDRs"][0] == *node.spec.pod_cidrs[0].to_string()
            }
            Object::ServiceCidr(cidr) => {
                is_named(object, "ServiceCIDR", &cidr.metadata.name)
                    && object["spec"]["cidrs"][0] == *cidr.spec.cidrs[0].to_string()
            }
            _ => false,
        })
    }

    fn port(&self, name: &str) -> i64 {
        let ports = self.state.values().filter_map(|object| match object {
            Object::Service(service) if *service.metadata.name == *name => Some(service.spec.ports[0].port),
            _ => None,
        });
        ports.sum()
    }
}

fn is_named(object: &Value, kind: &str, name: &str) -> bool {
    object["kind"] == kind && object["metadata"]["name"] == name
}

/// Stands before a server, and ends with this.
struct Proxy {
    address: SocketAddr,
    /// The most bytes of answers that one of the first connections has handed over.
    longest: Arc<AtomicU64>,
    accepting: AbortHandle,
}

impl Proxy {
    async fn before(server: SocketAddr, cut_after: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let longest = Arc::new(AtomicU64::new(0));
        let told = longest.clone();
        let accepting = tokio::spawn(async move {
            // Connections end with the proxy.
            let mut connections = JoinSet::new();
            let accepted = AtomicUsize::new(0);
            while let Ok((client, _)) = listener.accept().await {
                let first = accepted.fetch_add(1, Ordering::Relaxed) < KINDS;
                let cut_after = if first { cut_after } else { u64::MAX };
                connections.spawn(hand_over(client, server, cut_after, told.clone()));
            }
        });
        Self { address, longest, accepting: accepting.abort_handle() }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn hand_over(mut client: TcpStream, server: SocketAddr, cut_after: u64, longest: Arc<AtomicU64>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let answer = async {
        let (mut handed, mut bytes) = (0, [0; 4096]);
        while handed < cut_after
            && let Ok(read @ 1..) = from_server.read(&mut bytes).await
        {
            let some = read.min(usize::try_from(cut_after - handed).unwrap_or(read));
            if to_client.write_all(&bytes[..some]).await.is_err() {
                return;
            }
            handed += some as u64;
            if cut_after == u64::MAX {
                longest.fetch_max(handed, Ordering::Relaxed);
            }
        }
    };
    tokio::select! {
        () = answer => {}
        _ = copy(&mut from_client, &mut to_server) => {}
    }
}
