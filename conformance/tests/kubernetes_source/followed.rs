//! A followed API, what was told of it, and objects as a cluster has them.

use std::time::Duration;

use kubernetes::objects::Object;
use kubernetes::source::{ApiConfig, Event, Reads, SourceChoice, SourceConfig, channel, follow_choice};
use serde_json::{Value, json};
use switchyard_conformance::api::Api;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// A source that follows a double.
pub(crate) struct Followed {
    pub(crate) api: Api,
    pub(crate) choice: watch::Sender<SourceChoice>,
    told: Receiver<Vec<Event>>,
    seen: Vec<String>,
}

impl Followed {
    /// Follows `api`, with this much of its usual configuration changed.
    pub(crate) fn with(api: Api, change: impl FnOnce(&mut ApiConfig)) -> Self {
        Self::reading(api, Reads::Forwarding, change)
    }

    /// The same for what objects are needed for.
    pub(crate) fn reading(api: Api, reads: Reads, change: impl FnOnce(&mut ApiConfig)) -> Self {
        let mut config = ApiConfig::of_servers(&api.urls()).unwrap();
        change(&mut config);
        let (sender, told) = channel();
        let source = SourceConfig::Kubernetes(config);
        let (choice, choices) = watch::channel(SourceChoice { source, node_name: "node2".parse().unwrap(), reads });
        tokio::spawn(follow_choice(choices, sender));
        Self { api, choice, told, seen: Vec::new() }
    }

    /// Follows `api`, which holds what it holds.
    pub(crate) fn of(api: Api) -> Self {
        Self::with(api, |_| {})
    }

    /// Follows `api`, whose objects have been told.
    pub(crate) async fn listed(api: Api) -> Self {
        let mut followed = Self::of(api);
        followed.until("listed").await;
        followed
    }

    /// Waits until something is told whose words contain `awaited`, and returns all that was told until then.
    pub(crate) async fn until(&mut self, awaited: &str) -> Vec<String> {
        while !self.seen.iter().any(|word| is_awaited(word, awaited)) {
            match tokio::time::timeout(DEADLINE, self.told.recv()).await {
                Ok(Some(events)) => self.seen.extend(events.iter().map(words)),
                _ => panic!("{awaited:?} was not told, but {:?}; asked: {:#?}", self.seen, self.api.requests()),
            }
        }
        std::mem::take(&mut self.seen)
    }

    /// The next batch as it was told.
    pub(crate) async fn batch(&mut self) -> Vec<String> {
        let batch = tokio::time::timeout(DEADLINE, self.told.recv()).await.expect("a batch in time");
        batch.expect("the source runs").iter().map(words).collect()
    }

    /// What was told since, without waiting.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        while let Ok(events) = self.told.try_recv() {
            self.seen.extend(events.iter().map(words));
        }
        std::mem::take(&mut self.seen)
    }

    /// The requests of a kind of objects, by the end of its path.
    pub(crate) fn asked(&self, plural: &str) -> Vec<String> {
        let asked = self.api.requests().into_iter();
        asked.filter(|line| line.split('?').next().is_some_and(|path| path.ends_with(plural))).collect()
    }
}

fn is_awaited(word: &str, awaited: &str) -> bool {
    if awaited == "listed" { word == awaited } else { word.contains(awaited) }
}

/// Waits until `holds`.
pub(crate) async fn until(awaited: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {awaited}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An event in a few words: `web:80`, `-Service shop/web`, `listed`, `! …`.
fn words(event: &Event) -> String {
    match event {
        Event::Changed(Object::Service(service)) => {
            format!("{}:{}", service.metadata.name, service.spec.ports.first().map_or(0, |port| port.port))
        }
        Event::Changed(other) => other.key().to_string(),
        Event::Deleted(key) => format!("-{key}"),
        Event::Anew => "anew".to_owned(),
        Event::Listed => "listed".to_owned(),
        Event::Trouble(trouble) => format!("! {trouble}"),
    }
}

/// A service as a cluster has it.
pub(crate) fn service(name: &str, port: u16) -> Value {
    json!({"kind": "Service", "metadata": {"name": name, "namespace": "default"},
           "spec": {"clusterIP": "10.96.0.80", "clusterIPs": ["10.96.0.80"], "ports": [{"port": port, "protocol": "TCP"}]}})
}

/// A slice of a service's endpoints.
pub(crate) fn slice(service: &str, addresses: &[&str]) -> Value {
    let endpoints: Vec<_> =
        addresses.iter().map(|address| json!({"addresses": [address], "conditions": {"ready": true}})).collect();
    json!({"kind": "EndpointSlice", "addressType": "IPv4",
           "metadata": {"name": format!("{service}-1"), "namespace": "default",
                        "labels": {"kubernetes.io/service-name": service}},
           "ports": [{"name": "", "port": 80, "protocol": "TCP"}], "endpoints": endpoints})
}

/// A node.
pub(crate) fn node(name: &str) -> Value {
    json!({"kind": "Node", "metadata": {"name": name}, "spec": {"podCIDRs": ["10.244.2.0/24"]},
           "status": {"addresses": [{"type": "InternalIP", "address": "192.168.67.10"}]}})
}

/// A ServiceCIDR.
pub(crate) fn service_cidr(cidr: &str) -> Value {
    json!({"kind": "ServiceCIDR", "metadata": {"name": "kubernetes"}, "spec": {"cidrs": [cidr]}})
}
