//! Measures the way from the Kubernetes API to the kernel:
//! `cargo run --release -p switchyard-conformance --bin api_latency`.
//!
//! ```text
//! this process: source ► resolve ► reconcile ► nftables (timed)      another: the API server double
//!                  ▲ HTTP over the loopback interface of a namespace of their own ▲
//! ```
//!
//! Two processes, so that the agent's memory is its own. A change's time begins before the double stores it, and ends
//! when the sync that holds it has been committed.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent::backend::Backend;
use agent::node::watch_addresses;
use async_trait::async_trait;
use backend_api::{Dataplane, Observed, Report, Scope, ServiceState, SyncError};
use clap::Parser;
use kubernetes::settings::NodeName;
use kubernetes::settings::Settings;
use kubernetes::source::ApiConfig;
use kubernetes::source::{api, channel};
use kubernetes::{ClusterState, Inputs};
use serde_json::{Value, json};
use switchyard_conformance::api::Api;
use testbed::World;
use tokio::sync::watch;

/// Measures time to first sync, memory, and the time from an EndpointSlice event to the kernel's commit.
#[derive(Debug, Parser)]
#[command(name = "api_latency")]
struct Flags {
    /// How many services there are.
    #[arg(long, default_value_t = 10_000)]
    services: usize,
    /// How many endpoints each has.
    #[arg(long, default_value_t = 3)]
    endpoints: usize,
    /// How many changes are measured, with pauses and under load.
    #[arg(long, default_value_t = 300)]
    changes: usize,
    /// Be the API server: for this program's own use.
    #[arg(long, hide = true)]
    serve: bool,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// A commit: when, and of which services; of none in particular at first.
type Commit = (Duration, BTreeSet<String>);

fn main() -> ExitCode {
    let flags = Flags::parse();
    let outcome = if flags.serve { serve(&flags) } else { measure(&flags) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("api_latency: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(flags: &Flags) -> Result<(), Failed> {
    let world = World::build(&switchyard_conformance::plan())?;
    let namespace = &world.node().namespace;
    let mut double = namespace.run(|| Double::start(flags))?;
    let executor = namespace.executor()?;
    println!("before the agent starts: {}", memory());

    let (committed, commits) = mpsc::channel();
    let masters = vec![double.url.clone()];
    let started = now();
    executor.handle().spawn(agent(masters, committed));
    let (first, _) = commits.recv_timeout(Duration::from_secs(300))?;
    println!(
        "{} services, {} endpoints: first sync after {:.2} s; {}",
        flags.services,
        flags.services * flags.endpoints,
        (first - started).as_secs_f64(),
        memory()
    );
    for (name, rate) in [("idle, 10 changes a second", 10), ("under 100 changes a second", 100)] {
        let latencies = double.change(flags.changes.max(rate), rate, &commits)?;
        report(name, latencies);
    }
    println!("after all changes: {}", memory());
    Ok(())
}

/// A whole agent, whose commits are told.
async fn agent(masters: Vec<String>, committed: mpsc::Sender<Commit>) -> Result<(), Failed> {
    let node_name: NodeName = "node2".parse()?;
    let inner = Backend::Nftables.open().await?;
    let (told, objects) = channel();
    let (found, addresses) = watch::channel(None);
    let config = ApiConfig::of_servers(&masters)?;
    let _following =
        [tokio::spawn(api::watch_api(config, node_name.clone(), told)), tokio::spawn(watch_addresses(found))];
    let settings = Settings {
        node_name,
        node_address: None,
        local_traffic: kubernetes::settings::LocalDetector::ClusterCidrs("10.244.0.0/16".parse()?),
        node_ports: "all".parse()?,
        masquerade_all: false,
        flowtable_after: None,
        budget: kubernetes::settings::Budget::default(),
    };
    let dataplane = Box::new(Timed { inner, committed });
    let inputs = Inputs::new(objects, addresses);
    Ok(reconcile::run(dataplane, ClusterState::new(settings, inputs), None, &mut (), std::future::pending()).await?)
}

/// Tells of every commit.
#[derive(Debug)]
struct Timed {
    inner: Box<dyn Dataplane>,
    committed: mpsc::Sender<Commit>,
}

#[async_trait]
impl Dataplane for Timed {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn sync(&mut self, desired: &ServiceState, scope: Scope<'_>) -> Result<Report, SyncError> {
        let report = self.inner.sync(desired, scope).await?;
        let names = match scope {
            Scope::All => BTreeSet::new(),
            Scope::Services(names) => names.iter().map(|name| name.name.to_string()).collect(),
        };
        // The receiver is gone at the end.
        let _ = self.committed.send((now(), names));
        Ok(report)
    }

    async fn observe(&mut self) -> Result<Observed, SyncError> {
        self.inner.observe().await
    }

    async fn remove_all(&mut self) -> Result<(), SyncError> {
        self.inner.remove_all().await
    }

    async fn drifted(&mut self) {
        self.inner.drifted().await;
    }
}

/// The API server double, in a process of its own.
struct Double {
    process: Child,
    orders: ChildStdin,
    lines: mpsc::Receiver<String>,
    url: String,
}

impl Double {
    fn start(flags: &Flags) -> Result<Self, Failed> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["--serve", "--services", &flags.services.to_string(), "--endpoints", &flags.endpoints.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take().expect("piped above");
        let output = BufReader::new(process.stdout.take().expect("piped above"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let url = lines.recv_timeout(Duration::from_secs(120))?;
        Ok(Self { process, orders, lines, url })
    }

    /// Has it make so many changes, so many a second, and returns how long each took to be committed.
    fn change(&mut self, count: usize, rate: usize, commits: &mpsc::Receiver<Commit>) -> Result<Vec<Duration>, Failed> {
        writeln!(self.orders, "{count} {rate}")?;
        let mut begun = HashMap::new();
        for _ in 0..count {
            let line = self.lines.recv_timeout(Duration::from_secs(60))?;
            let (name, at) = line.split_once(' ').ok_or("no change")?;
            begun.insert(name.to_owned(), Duration::from_nanos(at.parse()?));
        }
        let mut latencies = Vec::new();
        while latencies.len() < count {
            let (at, names) = commits.recv_timeout(Duration::from_secs(60))?;
            let done = names.iter().filter_map(|name| begun.remove(name));
            latencies.extend(done.map(|begun| at.saturating_sub(begun)));
        }
        Ok(latencies)
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The double's own process: prints its address, then makes changes as it is told to.
fn serve(flags: &Flags) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let api = runtime.block_on(Api::local())?;
    for number in 0..flags.services {
        api.put(service(number));
        api.put(slice(number, flags.endpoints, 0));
    }
    println!("{}", api.urls()[0]);
    let mut next = 0;
    for order in std::io::stdin().lines() {
        let order = order?;
        let (count, rate) = order.split_once(' ').ok_or("no order")?;
        let pause = Duration::from_secs(1) / rate.parse::<u32>()?;
        for _ in 0..count.parse::<usize>()? {
            // Each another service, so that a name says which change it was.
            let (number, turn) = (next % flags.services, next / flags.services + 1);
            next += 1;
            let changed = slice(number, flags.endpoints, turn);
            println!("{} {}", name(number), now().as_nanos());
            api.put(changed);
            std::thread::sleep(pause);
        }
    }
    Ok(())
}

fn name(number: usize) -> String {
    format!("service-{number}")
}

fn service(number: usize) -> Value {
    let address = format!("10.96.{}.{}", number / 250, number % 250 + 1);
    json!({
        "kind": "Service",
        "metadata": metadata(&name(number), &json!({"app": name(number)})),
        "spec": {
            "clusterIP": address, "clusterIPs": [address], "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack", "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
            "selector": {"app": name(number)}, "sessionAffinity": "None", "type": "ClusterIP"
        },
        "status": {"loadBalancer": {}},
    })
}

/// With another last endpoint at each turn.
fn slice(number: usize, endpoints: usize, turn: usize) -> Value {
    json!({
        "kind": "EndpointSlice",
        "metadata": metadata(&format!("{}-abcde", name(number)), &json!({"kubernetes.io/service-name": name(number)})),
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": (0..endpoints).map(|index| endpoint(number, endpoints, turn, index)).collect::<Vec<_>>(),
    })
}

fn endpoint(number: usize, endpoints: usize, turn: usize, index: usize) -> Value {
    let low = number * endpoints + index;
    let third = if index + 1 == endpoints { 128 * (turn % 2) } else { 0 };
    let address = format!("10.{}.{}.{}", 128 + low / 25_000, low / 200 % 125 + third, low % 200 + 1);
    json!({
        "addresses": [address], "conditions": {"ready": true, "serving": true, "terminating": false},
        "nodeName": format!("node{}", low % 100), "zone": "a",
        "targetRef": {"kind": "Pod", "namespace": "default", "name": format!("{}-{index}", name(number)), "uid": "u"},
    })
}

/// As large as a cluster's.
fn metadata(name: &str, labels: &Value) -> Value {
    let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}}}, "f:selector": {}, "f:type": {}}});
    json!({
        "name": name, "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": labels,
        "managedFields": [{"apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields, "manager": "kubectl", "operation": "Update", "time": "2026-01-01T00:00:00Z"}],
    })
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970")
}

/// What this process holds now, and held at most.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    format!("RSS {} MiB (at most {} MiB)", mebibytes(&status, "VmRSS"), mebibytes(&status, "VmHWM"))
}

fn mebibytes(status: &str, field: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(field));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or_default() / 1024
}

fn report(name: &str, mut latencies: Vec<Duration>) {
    latencies.sort();
    println!(
        "event to commit, {name}: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms ({} changes)",
        milliseconds_at(0.5, &latencies),
        milliseconds_at(0.99, &latencies),
        milliseconds_at(1.0, &latencies),
        latencies.len()
    );
}

fn milliseconds_at(part: f64, sorted: &[Duration]) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0
}
