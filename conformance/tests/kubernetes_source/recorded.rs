//! Lists as API servers print them, and those of a cluster where one is at hand.

use std::collections::BTreeSet;
use std::path::PathBuf;

use axum::Router;
use axum::http::{StatusCode, Uri};
use kubernetes::objects::{Object, ObjectKey};
use kubernetes::source::ApiConfig;
use kubernetes::source::{Event, api, channel};
use tokio::net::TcpListener;

/// The variable that names the kubeconfig of a cluster to read from.
const KUBECONFIG: &str = "SWITCHYARD_KUBECONFIG";

const LISTS: [(&str, &str); 4] = [
    ("/api/v1/services", include_str!("recorded/services.json")),
    ("/apis/discovery.k8s.io/v1/endpointslices", include_str!("recorded/endpointslices.json")),
    ("/api/v1/nodes", include_str!("recorded/nodes.json")),
    ("/apis/networking.k8s.io/v1/servicecidrs", include_str!("recorded/servicecidrs.json")),
];

/// What a source tells until everything has been listed.
async fn told(config: ApiConfig, node: &str) -> Vec<Event> {
    let (sender, mut told) = channel();
    let following = tokio::spawn(api::watch_api(config, node.parse().unwrap(), sender));
    let mut events = Vec::new();
    while !events.contains(&Event::Listed) {
        events.extend(told.recv().await.expect("the source runs"));
    }
    following.abort();
    events
}

/// Answers lists as they were recorded, and no watch: as a server that cannot stream, it is asked for pages.
async fn replay(uri: Uri) -> (StatusCode, &'static str) {
    let watched = uri.query().is_some_and(|query| query.contains("watch=true"));
    match LISTS.iter().find(|(path, _)| *path == uri.path()) {
        Some((_, text)) if !watched => (StatusCode::OK, text),
        Some(_) => (StatusCode::UNPROCESSABLE_ENTITY, "{}"),
        None => (StatusCode::NOT_FOUND, "{}"),
    }
}

#[tokio::test]
async fn lists_are_read_as_api_servers_print_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let masters = vec![format!("http://{}", listener.local_addr().unwrap())];
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(replay)).await });
    let events = told(ApiConfig::of_servers(&masters).unwrap(), "node2").await;
    let objects: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Changed(object) => Some(object),
            _ => None,
        })
        .collect();
    let names: BTreeSet<_> = objects.iter().map(|object| object.key().to_string()).collect();
    let expected = [
        "EndpointSlice shop/web-empty",
        "EndpointSlice shop/web-x7k2p",
        "Node node2",
        "Service default/kubernetes",
        "Service shop/outside",
        "Service shop/web",
        "ServiceCIDR kubernetes",
    ];
    assert!(names.iter().eq(expected), "{names:?}");
    // As `kubectl get` prints the same: one reader for both sources.
    for (_, list) in LISTS {
        for item in kubernetes::objects::read(list) {
            let kubernetes::objects::Item::Object(object) = item else { panic!("{item:?}") };
            assert!(objects.contains(&&object), "{object:?}");
        }
    }
}

#[tokio::test]
async fn a_real_cluster_is_read_whole() {
    let Some(kubeconfig) = std::env::var_os(KUBECONFIG).map(PathBuf::from) else {
        eprintln!("not tested: {KUBECONFIG} names no cluster");
        return;
    };
    let config = ApiConfig { kubeconfig: Some(kubeconfig), ..ApiConfig::default() };
    let client = kubernetes::source::api::connect(&config).await.unwrap();
    let services: kube::Api<k8s_openapi::api::core::v1::Service> = kube::Api::all(client);
    let listed = services.list(&kube::api::ListParams::default().fields("spec.clusterIP!=None")).await.unwrap();
    let events = told(config, "switchyard-no-such-node").await;
    let troubles: Vec<_> = events.iter().filter(|event| matches!(event, Event::Trouble(_))).collect();
    let allowed = "ServiceCIDRs cannot be listed";
    assert!(troubles.iter().all(|event| format!("{event:?}").contains(allowed)), "{troubles:?}");
    let told: BTreeSet<ObjectKey> = events
        .iter()
        .filter_map(|event| match event {
            Event::Changed(object @ Object::Service(_)) => Some(object.key()),
            _ => None,
        })
        .collect();
    for service in listed.items {
        let (namespace, name) = (service.metadata.namespace.unwrap(), service.metadata.name.unwrap());
        let foreign = service.metadata.labels.unwrap_or_default();
        if !foreign.contains_key("service.kubernetes.io/service-proxy-name") {
            assert!(told.iter().any(|key| *key.namespace == namespace && *key.name == name), "{namespace}/{name}");
        }
    }
}
