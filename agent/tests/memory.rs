//! Numbers: what memory the agent holds once everything is programmed, objects read one by one as from the API.
//! `cargo test --release -p switchyard-agent --test memory -- --ignored --nocapture --test-threads 1`

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Instant;

use backend_nft::{NftDataplane, Options};
use kubernetes::objects::{Item, read};
use kubernetes::settings::LocalDetector;
use kubernetes::settings::Settings;
use kubernetes::source::{Event, Sender, channel};
use kubernetes::{ClusterState, Inputs, News, Note};
use nix::sched::{CloneFlags, unshare};
use reconcile::{Witness, run};
use tokio::sync::{mpsc, watch};

#[test]
#[ignore = "measures; says nothing about right or wrong"]
fn ten_thousand_services_of_three() {
    measure(10_000, 3);
}

#[test]
#[ignore = "measures; says nothing about right or wrong"]
fn five_thousand_services_of_fifty() {
    measure(5_006, 50);
}

/// How many objects a source tells at a time.
const PAGE: u32 = 500;

/// How many changes are told after the first sync.
const CHANGES: u32 = 20_000;

/// A whole agent's loop, without its sources, in a network namespace of its own.
fn measure(services: u32, endpoints: u32) {
    let measured = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("network namespaces need CAP_SYS_ADMIN");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(programmed(services, endpoints));
    });
    measured.join().unwrap();
}

async fn programmed(services: u32, endpoints: u32) {
    let empty = resident("VmRSS:");
    let (source, objects) = channel();
    let (addresses, found) = watch::channel(None);
    addresses.send_replace(Some(BTreeSet::from(["192.168.67.8".parse().unwrap()])));
    let (tell, mut synced) = mpsc::unbounded_channel();
    let settings = Settings {
        node_name: "worker-0000".parse().unwrap(),
        node_address: None,
        local_traffic: LocalDetector::Bridge("cni0".parse().unwrap()),
        node_ports: "all".parse().unwrap(),
        masquerade_all: false,
        flowtable_after: None,
        budget: kubernetes::settings::Budget::default(),
    };
    let dataplane = Box::new(NftDataplane::open(Options::default()).await.unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let told = async {
        let start = Instant::now();
        tell_all(&source, services, endpoints).await;
        synced.recv().await;
        let rss = (resident("VmRSS:"), resident("VmHWM:"));
        println!(
            "{services} services of {endpoints}: {} kB at the start, {} kB and at most {} kB after {:.3?}",
            empty,
            rss.0,
            rss.1,
            start.elapsed()
        );
        let start = Instant::now();
        for n in 0..CHANGES {
            source.send(vec![slice(n % services, endpoints, n)]).await.unwrap();
            if n % PAGE == PAGE - 1 {
                while synced.recv().await.expect("the loop runs") != n {}
            }
        }
        println!(
            "{CHANGES} changes: {} kB and at most {} kB after {:.3?}",
            resident("VmRSS:"),
            resident("VmHWM:"),
            start.elapsed()
        );
        drop(stop);
    };
    let mut witness = Counting(0, tell);
    let desired = ClusterState::new(settings, Inputs::new(objects, found));
    let looping = run(dataplane, desired, None, &mut witness, async { drop(stopped.await) });
    let (ended, ()) = tokio::join!(looping, told);
    ended.unwrap();
    drop(addresses);
}

/// Tells how many changes are programmed; the first load is none.
struct Counting(u32, mpsc::UnboundedSender<u32>);

impl Witness<ClusterState> for Counting {
    fn hear(&mut self, news: &News<'_>) {
        match news {
            News::Noted(Note::Told(events)) if matches!(events[..], [Event::Changed(_)]) => self.0 += 1,
            News::Synced { .. } | News::Unchanged => drop(self.1.send(self.0.wrapping_sub(1))),
            _ => {}
        }
    }
}

async fn tell_all(source: &Sender, services: u32, endpoints: u32) {
    for first in (0..services).step_by(PAGE as usize) {
        let page = first..(first + PAGE).min(services);
        source.send(page.clone().map(service).collect()).await.unwrap();
        source.send(page.map(|n| slice(n, endpoints, 1)).collect()).await.unwrap();
    }
    source.send(vec![Event::Listed]).await.unwrap();
}

fn event(text: &str) -> Event {
    match read(text).remove(0) {
        Item::Object(object) => Event::Changed(object),
        other => panic!("{other:?}"),
    }
}

fn service(n: u32) -> Event {
    let address = format!("10.{}.{}.{}", 96 + (n >> 16), n >> 8 & 255, n & 255);
    let (tenth, name) = (n % 10, name(n));
    event(&format!(
        r#"{{"apiVersion": "v1", "kind": "Service",
        "metadata": {{"name": "{name}", "namespace": "team-{tenth}", "uid": "5d41402a-bc4b-4a76-b971-{n:012}", "resourceVersion": "{n}",
            "creationTimestamp": "2026-05-01T08:00:00Z", "labels": {{"app": "{name}"}}}},
        "spec": {{"clusterIP": "{address}", "clusterIPs": ["{address}"], "type": "ClusterIP", "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "selector": {{"app": "{name}"}},
            "ports": [{{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}}]}},
        "status": {{"loadBalancer": {{}}}}}}"#
    ))
}

/// The `n`th service's endpoints; `version` moves the first of them.
fn slice(n: u32, endpoints: u32, version: u32) -> Event {
    let mut all = String::new();
    for i in 0..endpoints {
        let pod = (n * endpoints + i) % 0xf0_0000 + if i == 0 { (version % 2) << 20 } else { 0 };
        let address = format!("10.{}.{}.{}", 128 + (pod >> 16) % 100, pod >> 8 & 255, pod & 255);
        let (comma, node, zone) = (if i == 0 { "" } else { "," }, pod % 1000, pod % 3);
        write!(
            all,
            r#"{comma}{{"addresses": ["{address}"], "conditions": {{"ready": true, "serving": true, "terminating": false}},
            "nodeName": "worker-{node:04}", "zone": "eu-central-1{zone}",
            "targetRef": {{"kind": "Pod", "name": "{n}-{i}", "namespace": "default", "uid": "5d41402a-bc4b-4a76-b971-{pod:012}"}}}}"#
        )
        .unwrap();
    }
    let (tenth, name) = (n % 10, name(n));
    event(&format!(
        r#"{{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {{"name": "{name}-x7kq2", "namespace": "team-{tenth}", "uid": "5d41402a-bc4b-4a76-b971-{n:012}", "resourceVersion": "{n}",
            "creationTimestamp": "2026-05-01T08:00:00Z", "labels": {{"kubernetes.io/service-name": "{name}",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}}}},
        "endpoints": [{all}], "ports": [{{"name": "http", "port": 8080, "protocol": "TCP"}}]}}"#
    ))
}

fn name(n: u32) -> String {
    format!("service-{n:05}")
}

/// A line of this process' status, in kB.
fn resident(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|text| text.starts_with(line)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
