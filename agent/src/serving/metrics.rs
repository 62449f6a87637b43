//! What the metrics server answers: numbers, the backend's name, and the configuration that is in force.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Response, StatusCode};
use axum::routing::any;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::answer;
use crate::config::ServersConfig;
use crate::metrics::Metrics;

/// The name under which kube-proxy shows its configuration.
const GROUP: &str = "kubeproxy.config.k8s.io";

/// Which Prometheus knows as the text format.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What is shown.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) metrics: Arc<Metrics>,
    pub(super) config: watch::Receiver<ServersConfig>,
    /// The configuration, as its file would say it.
    pub(super) configuration: watch::Receiver<Value>,
}

/// Anything else, profiles included, is 404.
pub(super) fn router(shown: Shown) -> Router {
    Router::new()
        .route("/metrics", any(metrics))
        .route("/proxyMode", any(mode))
        .route("/healthz", any(async || answer::text("ok")))
        .route("/configz", any(configuration))
        .route("/statusz", any(status))
        .with_state(Arc::new(shown))
}

async fn metrics(State(shown): State<Arc<Shown>>) -> Response<Body> {
    let by_service = shown.config.borrow().connections_by_service;
    let text = shown.metrics.text(by_service).await;
    answer::with_type(StatusCode::OK, PROMETHEUS, text)
}

async fn mode(State(shown): State<Arc<Shown>>) -> Response<Body> {
    answer::text(shown.metrics.backend())
}

async fn configuration(State(shown): State<Arc<Shown>>) -> Response<Body> {
    let value = shown.configuration.borrow().clone();
    answer::json(StatusCode::OK, &json!({ GROUP: value }))
}

/// For people: what runs here, and since when.
async fn status(State(shown): State<Arc<Shown>>) -> Response<Body> {
    let metrics = &shown.metrics;
    answer::text(format!(
        "switchyard {}\nbackend: {}\nup: {} s\n",
        env!("CARGO_PKG_VERSION"),
        metrics.backend(),
        metrics.uptime().as_secs()
    ))
}
