//! What resolving costs: a whole cluster, one change, and reading what the API sends.
//!
//! `cargo bench -p switchyard-kubernetes`

use std::time::Duration;

use backend_api::{NodeNetwork, ServiceState};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use switchyard_kubernetes::objects::{Item, Object, read};
use switchyard_kubernetes::resolve::Resolver;
use switchyard_kubernetes::settings::{LocalDetector, Settings};
use switchyard_kubernetes::source::list_watch::{ListWatch, Resource};

const SERVICES: u32 = 1_000;
const ENDPOINTS: u32 = 3;

fn settings() -> Settings {
    Settings::new("node1".parse().unwrap(), LocalDetector::NodeCidrs)
}

fn service(n: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": format!("web-{n}"), "namespace": "shop"},
           "spec": {"clusterIP": format!("10.96.{}.{}", n / 250, n % 250 + 1), "ports": [{"name": "http", "port": 80}]}})
}

/// The endpoints of `service(n)`; `generation` makes them others.
fn slice(n: u32, generation: u32) -> Value {
    let mut endpoints = Vec::new();
    for i in 0..ENDPOINTS {
        let pod = n * ENDPOINTS + i;
        let address = format!("10.{}.{}.{}", 200 + generation, pod / 250, pod % 250 + 1);
        let conditions = json!({"ready": true, "serving": true, "terminating": false});
        endpoints.push(json!({"addresses": [address], "conditions": conditions, "nodeName": format!("node{}", i % 50),
                              "targetRef": {"kind": "Pod", "name": format!("web-{pod}")}}));
    }
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
           "metadata": {"name": format!("web-{n}-x"), "namespace": "shop", "resourceVersion": n.to_string(),
                        "labels": {"kubernetes.io/service-name": format!("web-{n}")}},
           "endpoints": endpoints, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]})
}

fn object(value: Value) -> Object {
    match read(&value.to_string()).remove(0) {
        Item::Object(object) => object,
        other => panic!("{other:?}"),
    }
}

fn cluster() -> Vec<Object> {
    (0..SERVICES).flat_map(|n| [object(service(n)), object(slice(n, 0))]).collect()
}

fn resolve_everything(criterion: &mut Criterion) {
    let objects = cluster();
    criterion.bench_function("1,000 services of 3 endpoints, from nothing to a state", |bencher| {
        bencher.iter_batched(
            || Resolver::new(settings()),
            |mut resolver| {
                objects.iter().for_each(|object| resolver.upsert(object));
                let mut state = ServiceState::new(NodeNetwork::unknown());
                resolver.resolve().apply(&mut state);
                assert_eq!(state.len(), SERVICES as usize);
                (resolver, state)
            },
            BatchSize::PerIteration,
        );
    });
}

fn resolve_one_change(criterion: &mut Criterion) {
    let mut resolver = Resolver::new(settings());
    let mut state = ServiceState::new(NodeNetwork::unknown());
    cluster().iter().for_each(|object| resolver.upsert(object));
    resolver.resolve().apply(&mut state);
    let slices = [object(slice(500, 1)), object(slice(500, 0))];
    let mut next = slices.iter().cycle();
    criterion.bench_function("one slice changed among 1,000 services", |bencher| {
        bencher.iter(|| {
            resolver.upsert(next.next().expect("a cycle has no end"));
            let applied = resolver.resolve().apply(&mut state);
            assert_eq!(applied.touched.len(), 1);
        });
    });
}

fn read_a_page(criterion: &mut Criterion) {
    let items: Vec<_> = (0..SERVICES).map(|n| slice(n, 0)).collect();
    let list = json!({"kind": "EndpointSliceList", "metadata": {"resourceVersion": "1"}, "items": items}).to_string();
    criterion.bench_function("1,000 slices read from the API's JSON", |bencher| {
        bencher.iter(|| {
            let mut events = Vec::new();
            let mut slices = ListWatch::new(Resource::slices(), "API".to_owned());
            slices.page(list.as_bytes(), &mut events).unwrap();
            assert_eq!(events.len(), SERVICES as usize);
            events
        });
    });
}

criterion_group! {
    name = resolve;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = resolve_everything, resolve_one_change, read_a_page
}
criterion_main!(resolve);
