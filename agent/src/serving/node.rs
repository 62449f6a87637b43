//! What the node's health server answers on `/healthz` and `/livez`, as kube-proxy does (KEP-3836).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::any;
use backend_api::Family;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::answer;
use super::health::{Health, Verdict};
use crate::metrics::Metrics;

/// The body.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    /// Of each family that was programmed once.
    status: BTreeMap<String, FamilyStatus>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyStatus {
    last_updated: String,
    healthy: bool,
}

type Sources = Arc<(Arc<Health>, Arc<Metrics>)>;

pub(super) fn router(health: Arc<Health>, metrics: Arc<Metrics>) -> Router {
    Router::new().route("/healthz", any(healthz)).route("/livez", any(livez)).with_state(Arc::new((health, metrics)))
}

/// Whether the node is to get traffic: it also says no when the node is about to go.
async fn healthz(State(sources): State<Sources>) -> Response {
    let (health, metrics) = &*sources;
    let verdict = health.verdict(Instant::now());
    let status = status(verdict.healthy && verdict.eligible);
    metrics.healthz_answered(status.as_u16());
    let body = Body { node_eligible: Some(verdict.eligible), ..Body::new(verdict, Timestamp::now()) };
    answer::json(status, &body)
}

/// Whether the proxy works, whatever becomes of the node.
async fn livez(State(sources): State<Sources>) -> Response {
    let (health, metrics) = &*sources;
    let verdict = health.verdict(Instant::now());
    let status = status(verdict.healthy);
    metrics.livez_answered(status.as_u16());
    answer::json(status, &Body::new(verdict, Timestamp::now()))
}

fn status(well: bool) -> StatusCode {
    if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

impl Body {
    fn new(verdict: Verdict, now: Timestamp) -> Self {
        let Verdict { healthy, updated, eligible: _ } = verdict;
        let of_family = |last: Timestamp| FamilyStatus { last_updated: last.to_string(), healthy };
        let families = Family::ALL.into_iter();
        Self {
            // Old readers take it for a heartbeat: while all is well, now.
            last_updated: if healthy { now.to_string() } else { time(updated) },
            current_time: now.to_string(),
            node_eligible: None,
            healthy,
            // Both families are one commit, so what holds for one holds for the other.
            status: families.filter_map(|family| Some((family.to_string(), of_family(updated?)))).collect(),
        }
    }
}

/// A time, or the one by which Go says never.
fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}
