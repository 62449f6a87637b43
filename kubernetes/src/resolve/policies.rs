//! Who answers whom: internalTrafficPolicy, externalTrafficPolicy, readiness and termination.
//!
//! As `CategorizeEndpoints` of kube-proxy decides, with its fallback to terminating endpoints (KEP-1669): for the cluster
//! and for the node apart, so that a node whose last pod terminates still serves it.

use backend_api::{Answer, Pool, Pools, Route};

use super::candidates::Candidate;
use super::node::NodeFacts;
use super::topology::preference;
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
    let on_node = |candidate: &Candidate<'_>| node.runs(candidate);
    let ready = candidates.iter().filter(|candidate| candidate.ready);
    let preference = preference(ready.clone(), node);

    let anywhere_stage = stage(candidates.iter());
    let here_stage = stage(candidates.iter().filter(|candidate| on_node(candidate)));
    let uses_cluster = policies.internal == TrafficPolicy::Cluster || policies.externally_accessible;
    let uses_local = policies.internal == TrafficPolicy::Local
        || (policies.external == TrafficPolicy::Local && policies.externally_accessible);

    let in_cluster = |candidate: &Candidate<'_>| match anywhere_stage {
        Stage::Ready => candidate.ready && preference.admits(candidate, node),
        Stage::Terminating => is_draining(candidate),
        Stage::Nothing => false,
    };
    let in_local = |candidate: &Candidate<'_>| match here_stage {
        Stage::Ready => candidate.ready && on_node(candidate),
        Stage::Terminating => is_draining(candidate) && on_node(candidate),
        Stage::Nothing => false,
    };
    let pools = candidates.iter().map(|candidate| Pools {
        cluster: uses_cluster && in_cluster(candidate),
        local: uses_local && in_local(candidate),
    });
    Usable { pools: pools.collect(), anywhere: anywhere_stage != Stage::Nothing, here: here_stage != Stage::Nothing }
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

    /// A refusal is final and silence is not: where endpoints exist elsewhere only, the miss is taken for passing, and the
    /// client asks again.
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
