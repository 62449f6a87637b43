//! Which endpoints answer which clients: internalTrafficPolicy, externalTrafficPolicy, readiness and termination.
//!
//! As `CategorizeEndpoints` of kube-proxy decides, with its fallback to terminating endpoints (KEP-1669): for the
//! cluster and for the node apart, so that a node whose last pod terminates still serves it.

use backend_api::{Answer, Masquerade, Pool, Pools, Route};

use super::endpoints::Candidate;
use super::node::NodeFacts;
use super::topology::{Preference, preference};
use crate::objects::TrafficPolicy;

/// What a port's policies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policies {
    /// For its cluster address.
    pub(super) internal: TrafficPolicy,
    /// For every other frontend.
    pub(super) external: TrafficPolicy,
    /// Whether it has any other frontend in this family.
    pub(super) externally_accessible: bool,
}

/// What the endpoints of a port come to on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Usable {
    /// For each endpoint, in the order given, the pools that it is in.
    pub(super) pools: Vec<Pools>,
    /// Whether an endpoint is usable anywhere.
    anywhere: bool,
    /// Whether one is on this node.
    here: bool,
}

/// Decides which endpoints are in which pool. Endpoints in a pool that no frontend uses are in none: an externally
/// accessible service uses the cluster's pool for pods and the node whatever its policies are (short circuit).
pub(super) fn usable(candidates: &[Candidate<'_>], policies: Policies, node: &NodeFacts) -> Usable {
    let ready = candidates.iter().filter(|candidate| candidate.ready);
    let stages = Stages {
        preference: preference(ready, node),
        anywhere: stage(candidates.iter()),
        here: stage(candidates.iter().filter(|candidate| node.runs(candidate))),
    };
    let uses_cluster = policies.internal == TrafficPolicy::Cluster || policies.externally_accessible;
    let uses_local = policies.internal == TrafficPolicy::Local
        || (policies.external == TrafficPolicy::Local && policies.externally_accessible);
    let mut pools = Vec::with_capacity(candidates.len());
    for candidate in candidates {
        pools.push(Pools {
            cluster: uses_cluster && stages.cluster_has(candidate, node),
            local: uses_local && stages.local_has(candidate, node),
        });
    }
    Usable { pools, anywhere: stages.anywhere != Stage::Nothing, here: stages.here != Stage::Nothing }
}

/// Which endpoints are used, anywhere in the cluster and on this node.
#[derive(Clone, Copy, Debug)]
struct Stages {
    preference: Preference,
    anywhere: Stage,
    here: Stage,
}

impl Stages {
    fn cluster_has(self, candidate: &Candidate<'_>, node: &NodeFacts) -> bool {
        match self.anywhere {
            Stage::Ready => candidate.ready && self.preference.admits(candidate, node),
            Stage::Terminating => is_draining(candidate),
            Stage::Nothing => false,
        }
    }

    fn local_has(self, candidate: &Candidate<'_>, node: &NodeFacts) -> bool {
        match self.here {
            Stage::Ready => candidate.ready && node.runs(candidate),
            Stage::Terminating => is_draining(candidate) && node.runs(candidate),
            Stage::Nothing => false,
        }
    }
}

impl Usable {
    /// What a client of the cluster address meets.
    pub(super) fn internal(&self, policies: Policies) -> Route {
        Route::Everyone(self.answer(policies.internal))
    }

    /// What a client of any other frontend meets. With policy Local, pods and the node itself are answered as if
    /// they had gone out to the load balancer and come back on whichever node has an endpoint.
    pub(super) fn external(&self, policies: Policies) -> Route {
        let outside = self.answer(policies.external);
        let inside = self.answer(TrafficPolicy::Cluster);
        if inside == outside { Route::Everyone(outside) } else { Route::Split { inside, outside } }
    }

    /// A refusal is final and silence is not: where endpoints exist elsewhere only, the miss is taken for passing, and
    /// the client asks again.
    fn answer(&self, policy: TrafficPolicy) -> Answer {
        match (self.anywhere, policy, self.here) {
            (false, _, _) => Answer::Reject,
            (true, TrafficPolicy::Cluster, _) => Answer::Balance(Pool::Cluster),
            (true, TrafficPolicy::Local, true) => Answer::Balance(Pool::Local),
            (true, TrafficPolicy::Local, false) => Answer::Drop,
        }
    }
}

/// Which of a set of endpoints are used: the ready ones, else those that terminate and still serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Ready,
    Terminating,
    Nothing,
}

fn stage<'a, 'b: 'a>(candidates: impl Iterator<Item = &'a Candidate<'b>>) -> Stage {
    let mut stage = Stage::Nothing;
    for candidate in candidates {
        if candidate.ready {
            return Stage::Ready;
        }
        if is_draining(candidate) {
            stage = Stage::Terminating;
        }
    }
    stage
}

fn is_draining(candidate: &Candidate<'_>) -> bool {
    candidate.serving && candidate.terminating
}

/// From whose address an endpoint sees a connection to any frontend but a cluster address. With policy Local, clients
/// from outside keep their address, which is what the policy is for, and so do pods, whose way back is known; the
/// node's own connections would else carry an address of no use elsewhere.
pub(super) fn masquerade_of_external(policy: TrafficPolicy) -> Masquerade {
    match policy {
        TrafficPolicy::Cluster => Masquerade::Always,
        TrafficPolicy::Local => Masquerade::FromNode,
    }
}
