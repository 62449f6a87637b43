//! The node's health, and what is answered on `/healthz` and `/livez`, as kube-proxy does (KEP-3836).
//!
//! ```text
//! News ─► HealthWitness ─► Health ─► verdict now ─► /healthz: the agent works and the node wants traffic
//!                                                └► /livez: the agent works
//! ```
//!
//! The agent is healthy unless a change was received a while ago and is not programmed yet. Changes before the source's
//! list is complete do not count: nothing is to be programmed until then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::any;
use backend_api::Family;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::http;
use crate::metrics::Metrics;
use kubernetes::objects::{Kind, Node, Object};
use kubernetes::settings::NodeName;
use kubernetes::source::Event;
use kubernetes::{ClusterState, News, Note};
use reconcile::Witness;

/// The taint by which the cluster autoscaler says that it is about to remove a node (KEP-3836).
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// What is known of the agent's and the node's health.
#[derive(Debug)]
pub struct Health {
    node_name: NodeName,
    /// How long a change may wait.
    patience: Duration,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    /// Whether the source has listed every object that existed at the start.
    listed: bool,
    /// Since when a change waits to be programmed.
    queued: Option<Instant>,
    updated: Option<Timestamp>,
    eligible: bool,
    /// Whether a new source takes over and has not mentioned the node yet.
    node_in_doubt: bool,
}

/// The health at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether no change has waited too long.
    pub healthy: bool,
    /// Whether the node is to get traffic from outside.
    pub eligible: bool,
    /// When the kernel was programmed last.
    pub updated: Option<Timestamp>,
}

impl Health {
    /// How long a change may wait by default: twice kube-proxy's default `syncPeriod`.
    pub const PATIENCE: Duration = Duration::from_secs(60);

    /// Healthy, and eligible until the node says otherwise.
    pub fn new(node_name: NodeName, patience: Duration) -> Self {
        let known = Known { listed: false, queued: None, updated: None, eligible: true, node_in_doubt: false };
        Self { node_name, patience, known: Mutex::new(known) }
    }

    /// The health at `now`.
    pub fn verdict(&self, now: Instant) -> Verdict {
        let known = self.lock();
        let healthy = known.queued.is_none_or(|since| now.saturating_duration_since(since) < self.patience);
        Verdict { healthy, eligible: known.eligible, updated: known.updated }
    }

    /// Takes the loop's news, which came at `now`.
    pub fn hear(&self, news: &News<'_>, now: Instant) {
        let mut known = self.lock();
        match news {
            News::Noted(Note::Told(events)) => events.iter().for_each(|event| self.told(&mut known, event, now)),
            // After drift or a change of the backend nothing is known to be programmed. A sync that failed is either
            // of a change that is queued already, or a repair.
            News::Drifted | News::Succeeded { .. } | News::NotSynced { .. } => known.queue(now),
            News::Unchanged => known.queued = None,
            News::Synced { .. } => {
                known.queued = None;
                known.updated = Some(Timestamp::now());
            }
            News::Noted(Note::Resolved(changes)) if !changes.is_empty() => known.queue(now),
            News::Noted(Note::Resolved(_)) | News::Conflict(_) | News::Syncing | News::Failed { .. } => {}
        }
    }

    fn told(&self, known: &mut Known, event: &Event, now: Instant) {
        match event {
            Event::Changed(object) => {
                known.queue(now);
                if let Object::Node(node) = object
                    && *node.metadata.name == *self.node_name.as_str()
                {
                    (known.eligible, known.node_in_doubt) = (is_eligible(node), false);
                }
            }
            Event::Deleted(key) => {
                known.queue(now);
                if key.kind == Kind::Node && *key.name == *self.node_name.as_str() {
                    known.eligible = false;
                }
            }
            Event::Listed => {
                known.listed = true;
                // That the new source does not have the Node object is no reason to refuse traffic.
                known.eligible |= std::mem::take(&mut known.node_in_doubt);
                known.queue(now);
            }
            Event::Anew => known.node_in_doubt = true,
            Event::Trouble(_) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics while it holds it")
    }
}

impl Known {
    /// A change waits from now on, if none did before.
    fn queue(&mut self, now: Instant) {
        if self.listed {
            self.queued.get_or_insert(now);
        }
    }
}

fn is_eligible(node: &Node) -> bool {
    !node.metadata.is_being_deleted && !node.spec.taints.iter().any(|taint| *taint.key == *TO_BE_DELETED)
}

/// Passes the loop's news to a [`Health`].
#[derive(Debug)]
pub(super) struct HealthWitness(pub(super) Arc<Health>);

impl Witness<ClusterState> for HealthWitness {
    fn hear(&mut self, news: &News<'_>) {
        self.0.hear(news, Instant::now());
    }
}

/// What both paths read.
type Answering = Arc<(Arc<Health>, Arc<Metrics>)>;

/// Answers `/healthz` and `/livez`.
pub(super) fn router(health: Arc<Health>, metrics: Arc<Metrics>) -> Router {
    Router::new().route("/healthz", any(healthz)).route("/livez", any(livez)).with_state(Arc::new((health, metrics)))
}

/// Whether the node is to get traffic: 503 also when the node is about to be deleted.
async fn healthz(State(answering): State<Answering>) -> Response {
    let (health, metrics) = &*answering;
    let verdict = health.verdict(Instant::now());
    let code = status_code(verdict.healthy && verdict.eligible);
    metrics.healthz_answered(code.as_u16());
    let body = HealthBody { node_eligible: Some(verdict.eligible), ..HealthBody::new(verdict, Timestamp::now()) };
    http::json(code, &body)
}

/// Whether the agent works, even if the node is about to be deleted.
async fn livez(State(answering): State<Answering>) -> Response {
    let (health, metrics) = &*answering;
    let verdict = health.verdict(Instant::now());
    let code = status_code(verdict.healthy);
    metrics.livez_answered(code.as_u16());
    http::json(code, &HealthBody::new(verdict, Timestamp::now()))
}

fn status_code(healthy: bool) -> StatusCode {
    if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// The body of the answer, as kube-proxy writes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HealthBody {
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

impl HealthBody {
    fn new(verdict: Verdict, now: Timestamp) -> Self {
        let Verdict { healthy, updated, eligible: _ } = verdict;
        Self {
            // Old readers take this time for a heartbeat, so it is now while the agent is healthy.
            last_updated: if healthy { now.to_string() } else { time_or_never(updated) },
            current_time: now.to_string(),
            node_eligible: None,
            healthy,
            // Both families are one commit, so what holds for one holds for the other.
            status: updated.map_or_else(BTreeMap::new, |last| status_of_families(last, healthy)),
        }
    }
}

fn status_of_families(last: Timestamp, healthy: bool) -> BTreeMap<String, FamilyStatus> {
    Family::ALL.map(|family| (family.to_string(), FamilyStatus { last_updated: last.to_string(), healthy })).into()
}

/// A time, or Go's zero time, which means never.
fn time_or_never(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}
