//! What the metrics server answers: numbers, the backend's name, and the configuration in effect.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::routing::any;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::http;
use crate::config::ServersConfig;
use crate::metrics::Metrics;

/// The name under which kube-proxy shows its configuration.
const GROUP: &str = "kubeproxy.config.k8s.io";

/// The content type of Prometheus' text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the paths read.
#[derive(Debug)]
pub(super) struct MetricsSources {
    pub(super) metrics: Arc<Metrics>,
    pub(super) config: watch::Receiver<ServersConfig>,
    /// The configuration, as its file would say it.
    pub(super) configuration: watch::Receiver<Value>,
}

/// Answers each path; any other, profiles included, with 404.
pub(super) fn router(sources: MetricsSources) -> Router {
    Router::new()
        .route("/metrics", any(metrics))
        .route("/proxyMode", any(mode))
        .route("/healthz", any(async || http::text("ok")))
        .route("/configz", any(configuration))
        .route("/statusz", any(status))
        .with_state(Arc::new(sources))
}

async fn metrics(State(sources): State<Arc<MetricsSources>>) -> Response<Body> {
    let by_service = sources.config.borrow().connections_by_service;
    let text = sources.metrics.text(by_service).await;
    http::with_type(StatusCode::OK, PROMETHEUS, text)
}

async fn mode(State(sources): State<Arc<MetricsSources>>) -> Response<Body> {
    http::text(sources.metrics.backend())
}

async fn configuration(State(sources): State<Arc<MetricsSources>>) -> Response<Body> {
    let value = sources.configuration.borrow().clone();
    http::json(StatusCode::OK, &json!({ GROUP: value }))
}

/// For people: what runs here, and since when.
async fn status(State(sources): State<Arc<MetricsSources>>) -> Response<Body> {
    let metrics = &sources.metrics;
    http::text(format!(
        "switchyard {}\nbackend: {}\nup: {} s\n",
        env!("CARGO_PKG_VERSION"),
        metrics.backend(),
        metrics.uptime().as_secs()
    ))
}
