//! A node whose loop is played by the test, and a client on it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use backend_api::{NodeNetwork, Observed, Report, Scope, ServiceState, SyncError, TurnedAway};
use kubernetes::objects::{Item, read};
use kubernetes::resolve::Resolver;
use kubernetes::settings::Settings;
use kubernetes::source::Event;
use kubernetes::{ClusterState, News, Note};
use reconcile::Witness;
use serde_json::{Value, json};
use switchyard_agent::config::{ByService, ServersConfig, Unbound};
use switchyard_agent::events::{self, Notice};
use switchyard_agent::metrics::{Metrics, Observer};
use switchyard_agent::serving::{Health, Serving, Sources, Unbindable};
use testbed::{Executor, Namespace};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How long anything may take that happens by itself.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const HEALTH: &str = "127.0.0.1:10256";
pub(crate) const METRICS: &str = "127.0.0.1:10249";

/// Servers in a namespace of their own.
pub(crate) struct Node {
    pub(crate) namespace: Namespace,
    executor: Executor,
    pub(crate) config: watch::Sender<ServersConfig>,
    pub(crate) configuration: watch::Sender<Value>,
    notices: mpsc::Receiver<Notice>,
    pub(crate) ended: Option<JoinHandle<Result<Infallible, Unbindable>>>,
    witness: Box<dyn Witness<ClusterState>>,
    resolver: Resolver,
    state: ServiceState,
}

/// A kernel that cannot be read.
#[derive(Debug)]
struct Nothing;

#[async_trait]
impl Observer for Nothing {
    async fn observe(&self, _: &'static str) -> Result<Observed, String> {
        Err("nothing to observe".to_owned())
    }

    async fn refused(&self) -> Result<BTreeMap<TurnedAway, u64>, String> {
        Err("nothing to observe".to_owned())
    }
}

pub(crate) fn servers() -> ServersConfig {
    ServersConfig {
        healthz: Some("0.0.0.0:10256".parse().unwrap()),
        metrics: Some(METRICS.parse().unwrap()),
        unbound: Unbound::Retried,
        connections_by_service: ByService::No,
    }
}

pub(crate) fn settings() -> Settings {
    Settings {
        node_name: "here".parse().unwrap(),
        local_traffic: kubernetes::settings::LocalDetector::ClusterCidrs("".parse().unwrap()),
        node_ports: "all".parse().unwrap(),
        masquerade_all: false,
        flowtable_after: None,
        budget: kubernetes::settings::Budget::default(),
        node_address: None,
    }
}

impl Node {
    /// Where a change may wait for a minute.
    pub(crate) fn new() -> Self {
        Self::with(Health::PATIENCE, servers(), Metrics::new("nftables", Box::new(Nothing)))
    }

    pub(crate) fn patient_for(patience: Duration) -> Self {
        Self::with(patience, servers(), Metrics::new("nftables", Box::new(Nothing)))
    }

    pub(crate) fn configured(config: ServersConfig) -> Self {
        Self::with(Health::PATIENCE, config, Metrics::new("nftables", Box::new(Nothing)))
    }

    pub(crate) fn with(patience: Duration, config: ServersConfig, metrics: Metrics) -> Self {
        let namespace = Namespace::create("serving").unwrap();
        Self::inside(namespace, patience, config, metrics)
    }

    pub(crate) fn inside(namespace: Namespace, patience: Duration, config: ServersConfig, metrics: Metrics) -> Self {
        let executor = namespace.executor().unwrap();
        executor.run(raise_loopback());
        let serving = Serving::new(Health::new("here".parse().unwrap(), patience), metrics);
        let witness = serving.witness();
        let (config, place) = watch::channel(config);
        let (configuration, shown) = watch::channel(json!({"mode": "nftables"}));
        let (outbox, notices) = events::channel();
        let sources = Sources { config: place, configuration: shown, notices: outbox };
        let ended = Some(executor.handle().spawn(serving.serve(sources)));
        let (resolver, state) = (Resolver::new(settings()), ServiceState::new(NodeNetwork::unknown()));
        Self { namespace, executor, config, configuration, notices, ended, witness, resolver, state }
    }

    /// The source tells of these objects, and nothing is programmed yet.
    pub(crate) fn tell(&mut self, texts: &[&str]) {
        let objects = texts.iter().flat_map(|text| read(text)).map(|item| match item {
            Item::Object(object) => Event::Changed(object),
            other => panic!("{other:?}"),
        });
        self.hear(objects.collect());
    }

    pub(crate) fn hear(&mut self, events: Vec<Event>) {
        self.witness.hear(&News::Noted(Note::Told(&events)));
        for event in events {
            match event {
                Event::Changed(object) => self.resolver.upsert(&object),
                Event::Deleted(key) => self.resolver.remove(&key),
                Event::Anew | Event::Listed | Event::Trouble(_) => {}
            }
        }
    }

    /// The source tells that a service, slice or node has gone.
    pub(crate) fn delete(&mut self, text: &str) {
        let Item::Object(object) = read(text).remove(0) else { panic!("{text}") };
        self.hear(vec![Event::Deleted(object.key())]);
    }

    pub(crate) fn listed(&mut self) {
        self.hear(vec![Event::Listed]);
    }

    /// Programs what was told; what that did.
    pub(crate) fn sync(&mut self) {
        let mut report = Report::default();
        (report.writes, report.bytes_sent) = (3, 100);
        self.sync_with(&report);
    }

    pub(crate) fn sync_with(&mut self, report: &Report) {
        let applied = self.resolve();
        let scope = applied.scope();
        if matches!(scope, Scope::Services(touched) if touched.is_empty()) {
            return self.witness.hear(&News::Unchanged);
        }
        self.witness.hear(&News::Syncing);
        let state = &self.state;
        self.witness.hear(&News::Synced { state, scope, report, took: Duration::from_millis(3) });
    }

    /// Tries to program what was told.
    pub(crate) fn fail(&mut self, error: &SyncError) {
        self.resolve();
        self.witness.hear(&News::Syncing);
        self.witness.hear(&News::NotSynced { error, scope: Scope::All, took: Duration::from_millis(3) });
    }

    pub(crate) fn news(&mut self, news: &News<'_>) {
        self.witness.hear(news);
    }

    /// Services may have this many elements at most from now on.
    pub(crate) fn limit_services_to(&mut self, elements: u32) {
        let of_service = elements.try_into().unwrap();
        let budget = kubernetes::settings::Budget { of_service, ..kubernetes::settings::Budget::default() };
        self.resolver.set_settings(Settings { budget, ..settings() });
    }

    pub(crate) fn resolve(&mut self) -> kubernetes::resolve::Applied {
        let changes = self.resolver.resolve();
        self.witness.hear(&News::Noted(Note::Resolved(&changes)));
        changes.apply(&mut self.state)
    }

    /// Asks as soon as a server listens.
    pub(crate) fn ask(&self, at: &str, path: &str) -> Answer {
        let mut answer = None;
        self.until(&format!("{at} to answer"), || {
            answer = self.try_ask(at, path);
            answer.is_some()
        });
        answer.unwrap()
    }

    /// None where no server listens.
    pub(crate) fn try_ask(&self, at: &str, path: &str) -> Option<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        self.namespace.run(|| {
            let mut stream = connect(at).ok()?;
            stream.write_all(request.as_bytes()).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Answer::read(&answer)
        })
    }

    pub(crate) fn connect(&self, at: &str) -> TcpStream {
        self.namespace.run(|| connect(at).unwrap())
    }

    pub(crate) fn until(&self, awaited: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "awaited in vain: {awaited}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The next notice.
    pub(crate) fn notice(&mut self) -> Notice {
        let mut notice = None;
        let deadline = Instant::now() + PATIENCE;
        while notice.is_none() {
            assert!(Instant::now() < deadline, "awaited in vain: a notice");
            notice = self.notices.try_recv().ok();
            std::thread::sleep(Duration::from_millis(1));
        }
        notice.unwrap()
    }

    pub(crate) fn has_notice(&mut self) -> bool {
        !self.notices.is_empty()
    }

    /// Why the servers ended.
    pub(crate) fn end(&mut self) -> String {
        let ended = self.ended.take().unwrap();
        self.executor.run(async move { ended.await.unwrap().unwrap_err().to_string() })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(ended) = &self.ended {
            ended.abort();
        }
    }
}

/// A namespace is made with its loopback down.
async fn raise_loopback() {
    let (connection, handle, _) = rtnetlink::new_connection().unwrap();
    let connection = tokio::spawn(connection);
    handle.link().set(rtnetlink::LinkUnspec::new_with_index(1).up().build()).execute().await.unwrap();
    connection.abort();
}

fn connect(at: &str) -> std::io::Result<TcpStream> {
    let at: SocketAddr = at.parse().unwrap();
    let stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What a server answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        Some(Self { status, headers, body: body.to_owned() })
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// A load balancer's service with this health check port.
pub(crate) fn balanced(name: &str, port: u16) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{type: LoadBalancer, \
         externalTrafficPolicy: Local, healthCheckNodePort: {port}, clusterIPs: [10.96.0.{}, 'fd00::{}'], \
         ports: [{{port: 80}}]}}, status: {{loadBalancer: {{ingress: [{{ip: 192.0.2.{}}}]}}}}}}",
        name.len(),
        name.len(),
        name.len()
    )
}

/// Its endpoints: words as `10.0.0.1@here`, `/draining` behind it for one that terminates.
pub(crate) fn slice(service: &str, endpoints: &str) -> String {
    slice_since(service, endpoints, "banana")
}

/// With the time of the change that they are about.
pub(crate) fn slice_since(service: &str, endpoints: &str, since: &str) -> String {
    let endpoints: Vec<String> = endpoints
        .split_whitespace()
        .map(|word| {
            let (word, state) = word.split_once('/').unwrap_or((word, "ready"));
            let (address, node) = word.split_once('@').unwrap();
            let ready = state == "ready";
            format!(
                "{{addresses: [{address}], nodeName: {node}, conditions: {{ready: {ready}, serving: true, terminating: {}}}}}",
                !ready
            )
        })
        .collect();
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {{name: {service}-1, \
         annotations: {{endpoints.kubernetes.io/last-change-trigger-time: '{since}'}}, \
         labels: {{kubernetes.io/service-name: {service}}}}}, endpoints: [{}], ports: [{{port: 80}}]}}",
        endpoints.join(", ")
    )
}
