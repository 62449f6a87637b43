//! The double itself: it refuses what a real API server refuses, and writes down what it is sent.

use axum::http::{Method, Request};
use kube::Client;
use kube::client::Body;
use kubernetes::source::ApiConfig;
use kubernetes::source::api::connect;
use serde_json::{Value, json};
use switchyard_conformance::api::{Api, Offered, Resource};

use crate::followed::service;

async fn connected(api: &Api) -> Client {
    connect(&ApiConfig::of_servers(&api.urls()).unwrap()).await.unwrap()
}

/// The status of the answer, and its text read as JSON.
async fn answer(client: &Client, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string().into_bytes()) };
    let response = client.send(Request::builder().method(method).uri(path).body(body).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let text = response.into_body().collect_bytes().await.unwrap();
    (status, serde_json::from_slice(&text).unwrap_or_default())
}

#[tokio::test]
async fn what_a_real_server_refuses_is_refused() {
    let api = Api::local().await.unwrap();
    api.set(|abilities| abilities.streams = Offered::No);
    let client = connected(&api).await;
    for (method, path, expected) in [
        (Method::GET, "/api/v1/frobs", 404),
        (Method::GET, "/apis/discovery.k8s.io/v1beta1/endpointslices", 404),
        (Method::GET, "/api/v1/endpointslices", 404),
        (Method::GET, "/api/v1/namespaces/default/services/none", 404),
        (Method::GET, "/api/v1/services?labelSelector=a%20b", 400),
        (Method::GET, "/api/v1/services?fieldSelector=spec.ports%3D80", 400),
        (Method::GET, "/api/v1/services?limit=many", 400),
        (Method::GET, "/api/v1/services?continue=nonsense", 400),
        (Method::GET, "/api/v1/services?sendInitialEvents=true", 422),
        (Method::GET, "/api/v1/services?watch=true&sendInitialEvents=true", 422),
        (Method::GET, "/api/v1/services?watch=true&resourceVersionMatch=NotOlderThan", 422),
        (Method::GET, "/api/v1/services?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", 422),
        (Method::GET, "/api/v1/services?watch=true&resourceVersion=999", 504),
        (Method::DELETE, "/api/v1/services", 405),
        (Method::GET, "/api/v1/services", 200),
    ] {
        let (status, text) = answer(&client, method.clone(), path, &Value::Null).await;
        assert_eq!(status, expected, "{method} {path}: {text}");
        if expected != 200 {
            assert_eq!((&text["kind"], &text["code"]), (&json!("Status"), &json!(expected)), "{path}");
        }
    }
}

#[tokio::test]
async fn pages_show_one_version_whatever_happens_meanwhile() {
    let api = Api::local().await.unwrap();
    for name in ["a", "b", "c"] {
        api.put(service(name, 80));
    }
    let client = connected(&api).await;
    let list =
        async |query: &str| answer(&client, Method::GET, &format!("/api/v1/services{query}"), &Value::Null).await;
    let (_, first) = list("?limit=2").await;
    assert_eq!(first["metadata"]["remainingItemCount"], 1);
    api.put(service("aa", 80));
    api.delete(Resource::Services, "default", "c");
    let rest = format!("?limit=2&continue={}", first["metadata"]["continue"].as_str().unwrap());
    let (_, second) = list(&rest).await;
    assert_eq!(second["items"][0]["metadata"]["name"], "c");
    assert_eq!(second["metadata"], json!({"resourceVersion": first["metadata"]["resourceVersion"]}));
    api.compact();
    assert_eq!(list(&rest).await.0, 410);
}

#[tokio::test]
async fn a_status_is_replaced_or_merged_and_events_are_written_down() {
    let api = Api::local().await.unwrap();
    api.put(service("web", 80));
    let client = connected(&api).await;
    let path = "/api/v1/namespaces/default/services/web/status";
    let ingress = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    assert_eq!(answer(&client, Method::PUT, path, &ingress).await.0, 200);
    let (_, changed) = answer(&client, Method::PATCH, path, &json!({"status": {"conditions": []}})).await;
    assert_eq!(changed["status"], json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}, "conditions": []}));
    assert_eq!(changed["spec"]["ports"][0]["port"], 80, "a status changes nothing else");
    for (method, path) in [
        (Method::POST, "/apis/events.k8s.io/v1/namespaces/default/events"),
        (Method::POST, "/api/v1/namespaces/default/events"),
        (Method::PATCH, "/apis/events.k8s.io/v1/namespaces/default/events/a.1"),
    ] {
        assert_eq!(answer(&client, method, path, &json!({"reason": path})).await.0, 201, "{path}");
    }
    assert_eq!(api.events().len(), 3);
}
