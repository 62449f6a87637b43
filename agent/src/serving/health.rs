//! Whether the proxy works, and whether the node wants traffic: what probes and load balancers ask.
//!
//! The proxy is healthy unless something was told a while ago and is not programmed yet. What a source tells before it has
//! told everything does not count: nothing is to be programmed until then.

use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use kubernetes::objects::{Kind, Node, Object};
use kubernetes::settings::NodeName;
use kubernetes::source::Event;
use kubernetes::{ClusterState, News, Note};
use reconcile::Witness;

/// The taint by which the cluster autoscaler says that it is about to remove a node (KEP-3836).
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// What is known of the proxy's and the node's health.
#[derive(Debug)]
pub struct Health {
    node_name: NodeName,
    /// How long a change may wait.
    patience: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Whether the source has told everything that was there at the start.
    listed: bool,
    /// Since when something waits to be programmed.
    queued: Option<Instant>,
    updated: Option<Timestamp>,
    eligible: bool,
    /// Whether another source takes over that has not told of the node yet.
    node_in_doubt: bool,
}

/// How things are at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether nothing has waited too long.
    pub healthy: bool,
    /// Whether the node is to get traffic from outside.
    pub eligible: bool,
    /// When the kernel was programmed last.
    pub updated: Option<Timestamp>,
}

impl Health {
    /// How long a change may wait unless told otherwise: twice kube-proxy's default `syncPeriod`.
    pub const PATIENCE: Duration = Duration::from_secs(60);

    /// Healthy, and eligible until the node says otherwise.
    pub fn new(node_name: NodeName, patience: Duration) -> Self {
        let state = State { listed: false, queued: None, updated: None, eligible: true, node_in_doubt: false };
        Self { node_name, patience, state: Mutex::new(state) }
    }

    /// How things are `now`.
    pub fn verdict(&self, now: Instant) -> Verdict {
        let state = self.state();
        let healthy = state.queued.is_none_or(|since| now.saturating_duration_since(since) < self.patience);
        Verdict { healthy, eligible: state.eligible, updated: state.updated }
    }

    /// Takes what the loop tells `now`.
    pub fn hear(&self, news: &News<'_>, now: Instant) {
        let mut state = self.state();
        match news {
            News::Noted(Note::Told(events)) => events.iter().for_each(|event| self.told(&mut state, event, now)),
            // Drift and another backend leave everything in doubt; what failed was queued before, or is a repair.
            News::Drifted | News::Succeeded { .. } | News::NotSynced { .. } => state.queue(now),
            News::Unchanged => state.queued = None,
            News::Synced { .. } => {
                state.queued = None;
                state.updated = Some(Timestamp::now());
            }
            News::Noted(Note::Resolved(changes)) if !changes.is_empty() => state.queue(now),
            News::Noted(Note::Resolved(_)) | News::Conflict(_) | News::Syncing | News::Failed { .. } => {}
        }
    }

    fn told(&self, state: &mut State, event: &Event, now: Instant) {
        match event {
            Event::Changed(object) => {
                state.queue(now);
                if let Object::Node(node) = object
                    && *node.metadata.name == *self.node_name.as_str()
                {
                    (state.eligible, state.node_in_doubt) = (is_eligible(node), false);
                }
            }
            Event::Deleted(key) => {
                state.queue(now);
                if key.kind == Kind::Node && *key.name == *self.node_name.as_str() {
                    state.eligible = false;
                }
            }
            Event::Listed => {
                state.listed = true;
                // What the new source does not know says nothing.
                state.eligible |= std::mem::take(&mut state.node_in_doubt);
                state.queue(now);
            }
            Event::Anew => state.node_in_doubt = true,
            Event::Trouble(_) => {}
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state")
    }
}

impl State {
    /// Something waits from now on, if nothing did before.
    fn queue(&mut self, now: Instant) {
        if self.listed {
            self.queued.get_or_insert(now);
        }
    }
}

fn is_eligible(node: &Node) -> bool {
    !node.metadata.is_being_deleted && !node.spec.taints.iter().any(|taint| *taint.key == *TO_BE_DELETED)
}

/// Tells a [`Health`] what the loop does.
#[derive(Debug)]
pub(super) struct Listener(pub(super) std::sync::Arc<Health>);

impl Witness<ClusterState> for Listener {
    fn hear(&mut self, news: &News<'_>) {
        self.0.hear(news, Instant::now());
    }
}
