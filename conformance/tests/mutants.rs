//! The suite can fail: backends with one fault each, and a scenario that catches it.
//!
//! A mutant is the nftables backend that is told a slightly wrong state, or that breaks a promise.

use std::collections::BTreeMap;

use agent::backend::{Backend, OpenError};
use async_trait::async_trait;
use backend_api::{
    Affinity, Answer, Dataplane, Endpoint, Frontend, Masquerade, NodeNetwork, NodePortAddresses, Observed, PerFamily,
    Pool, Pools, Report, Route, Scope, Service, ServiceName, ServiceState, SourceRanges, SyncError,
};
use switchyard_conformance::scenario::Scenario;
use switchyard_conformance::{Outcome, Promise, Subject, judge, scenarios};

/// What is wrong with a mutant.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Frontend(fn(&mut Frontend)),
    Endpoints(fn(&mut Vec<Endpoint>)),
    Affinity(Affinity),
    Node(fn(&mut NodeNetwork)),
    /// Services are never taken out.
    KeepsServices,
    /// Endpoints that went keep their flows.
    KeepsFlows,
    /// Every sync writes something.
    Flaps,
    /// What is ours stays behind.
    LeavesRules,
}

/// Each fault, and the scenario that notices it.
const MUTANTS: [(&str, Fault, &str); 17] = [
    (
        "never masquerades",
        Fault::Frontend(|it| it.masquerade = Masquerade::Never),
        "node-port/strangers-reach-it-on-the-primary-address",
    ),
    (
        "always masquerades",
        Fault::Frontend(|it| it.masquerade = Masquerade::Always),
        "external-policy/it-governs-node-ports",
    ),
    (
        "takes the node for a pod",
        Fault::Frontend(|it| it.masquerade = Masquerade::Never),
        "cluster-ip/the-node-reaches-every-endpoint",
    ),
    (
        "knows no local pool",
        Fault::Frontend(|it| it.route = everywhere(it.route)),
        "internal-policy/pods-meet-this-node-s-endpoints-alone",
    ),
    (
        "knows no short circuit",
        Fault::Frontend(|it| it.route = unsplit(it.route)),
        "short-circuit/pods-meet-every-endpoint-of-a-load-balancer-address",
    ),
    (
        "drops instead of refusing",
        Fault::Frontend(|it| it.route = Route::Everyone(Answer::Drop)),
        "no-endpoints/a-cluster-address-refuses",
    ),
    (
        "refuses instead of dropping",
        Fault::Frontend(|it| it.route = Route::Everyone(Answer::Reject)),
        "internal-policy/without-a-local-endpoint-packets-are-dropped",
    ),
    (
        "lets every source in",
        Fault::Frontend(|it| it.source_ranges = SourceRanges::Any),
        "source-ranges/only-sources-inside-may-dial-the-load-balancer-address",
    ),
    ("forgets clients", Fault::Affinity(Affinity::None), "affinity/a-client-comes-back-to-the-same-endpoint"),
    (
        "prefers an endpoint",
        Fault::Endpoints(|them| them.iter_mut().take(1).for_each(|it| it.weight = 5)),
        "cluster-ip/endpoints-share-connections-evenly",
    ),
    ("misses an endpoint", Fault::Endpoints(|them| them.truncate(2)), "cluster-ip/pods-reach-every-endpoint"),
    (
        "knows no hairpin",
        Fault::Endpoints(|them| them.iter_mut().for_each(|it| it.on_this_node = false)),
        "hairpin/a-pod-reaches-itself-through-its-cluster-address",
    ),
    (
        "knows no service ranges",
        Fault::Node(|it| it.service_cidrs.clear()),
        "service-cidr/an-unallocated-address-is-dropped",
    ),
    (
        "serves node ports everywhere",
        Fault::Node(|it| it.node_ports = PerFamily { v4: NodePortAddresses::All, v6: NodePortAddresses::All }),
        "node-port/other-addresses-of-the-node-do-not-carry-it-by-default",
    ),
    ("keeps deleted services", Fault::KeepsServices, "cluster-ip/a-deleted-service-is-gone"),
    ("keeps stale flows", Fault::KeepsFlows, "stale-flows/a-client-with-a-fixed-port-follows-its-endpoint"),
    ("writes without need", Fault::Flaps, "cluster-ip/pods-reach-every-endpoint"),
];

fn everywhere(route: Route) -> Route {
    match route {
        Route::Everyone(answer) => Route::Everyone(cluster_wide(answer)),
        Route::Split { inside, outside } => {
            Route::Split { inside: cluster_wide(inside), outside: cluster_wide(outside) }
        }
    }
}

fn cluster_wide(answer: Answer) -> Answer {
    match answer {
        Answer::Balance(_) => Answer::Balance(Pool::Cluster),
        other => other,
    }
}

fn unsplit(route: Route) -> Route {
    match route {
        Route::Everyone(answer) | Route::Split { outside: answer, .. } => Route::Everyone(answer),
    }
}

#[test]
fn every_fault_is_noticed() {
    if testbed::privilege::skip() {
        return;
    }
    for mutants in MUTANTS.chunks(4) {
        std::thread::scope(|scope| {
            for (what, fault, scenario) in mutants {
                scope.spawn(move || check(what, *fault, &find(scenario)));
            }
        });
    }
    check("leaves rules behind", Fault::LeavesRules, &find("cluster-ip/pods-reach-every-endpoint"));
}

#[test]
fn a_promise_that_is_declared_as_not_kept_must_not_hold() {
    if testbed::privilege::skip() {
        return;
    }
    let scenario = find("cluster-ip/pods-reach-every-endpoint");
    for promise in [Promise::Steady, Promise::Adopts] {
        let outcome = judge(&Subject::of(Backend::Nftables).without(promise, "a trial"), &scenario).outcome;
        let Outcome::Failed(reason) = outcome else { panic!("{promise}: {outcome:?}") };
        assert!(reason.contains(&format!("{promise}, although")), "{reason}");
    }
    // Every sync of this one writes something, in a new process too.
    let flaps = mutant("writes without need", Fault::Flaps);
    let flaps = flaps.without(Promise::Steady, "it flaps").without(Promise::Adopts, "it flaps");
    assert_eq!(judge(&flaps, &scenario).outcome, Outcome::Passed);
}

fn find(name: &str) -> Scenario {
    let file = scenarios().into_iter().find(|file| file.name() == name);
    file.unwrap_or_else(|| panic!("{name}")).load().unwrap()
}

fn check(what: &str, fault: Fault, scenario: &Scenario) {
    let subject = mutant(what, fault);
    let outcome = judge(&subject, scenario).outcome;
    assert!(matches!(outcome, Outcome::Failed(_)), "a backend that {what}: {} passes", scenario.name());
}

fn mutant(what: &str, fault: Fault) -> Subject {
    Subject::new(what, move |_| async move {
        let inner = Backend::Nftables.open().await?;
        Ok::<_, OpenError>(Mutant { inner, fault, known: BTreeMap::new() })
    })
}

#[derive(Debug)]
struct Mutant {
    inner: Box<dyn Dataplane>,
    fault: Fault,
    /// As told to the backend.
    known: BTreeMap<ServiceName, Service>,
}

impl Mutant {
    fn distort(&mut self, desired: &ServiceState) -> ServiceState {
        let mut node = NodeNetwork::clone(desired.node());
        if let Fault::Node(change) = self.fault {
            change(&mut node);
        }
        let before = std::mem::take(&mut self.known);
        if let Fault::KeepsServices = self.fault {
            self.known = before.clone();
        }
        for service in desired.services() {
            let mut service = Service::clone(service);
            for port in &mut service.ports {
                match self.fault {
                    Fault::Frontend(change) => port.frontends.iter_mut().for_each(change),
                    Fault::Endpoints(change) => change(&mut port.endpoints),
                    Fault::Affinity(affinity) => port.affinity = affinity,
                    Fault::KeepsFlows => {
                        let former = before.get(&service.name).into_iter().flat_map(|service| &service.ports);
                        for endpoint in former.flat_map(|port| &port.endpoints) {
                            if port.endpoints.iter().all(|known| known.address != endpoint.address) {
                                port.endpoints.push(Endpoint { pools: Pools::NONE, ..*endpoint });
                            }
                        }
                        port.endpoints.sort_by_key(|endpoint| endpoint.address);
                    }
                    Fault::Node(_) | Fault::KeepsServices | Fault::Flaps | Fault::LeavesRules => {}
                }
            }
            self.known.insert(service.name.clone(), service);
        }
        let mut state = ServiceState::new(node);
        for service in self.known.values() {
            state.upsert(service.clone()).unwrap();
        }
        state
    }
}

#[async_trait]
impl Dataplane for Mutant {
    fn name(&self) -> &'static str {
        "mutant"
    }

    async fn sync(&mut self, desired: &ServiceState, _: Scope<'_>) -> Result<Report, SyncError> {
        let distorted = self.distort(desired);
        let mut report = self.inner.sync(&distorted, Scope::All).await?;
        if let Fault::Flaps = self.fault {
            report.writes += 1;
        }
        Ok(report)
    }

    async fn observe(&mut self) -> Result<Observed, SyncError> {
        self.inner.observe().await
    }

    async fn remove_all(&mut self) -> Result<(), SyncError> {
        match self.fault {
            Fault::LeavesRules => Ok(()),
            _ => self.inner.remove_all().await,
        }
    }

    async fn drifted(&mut self) {
        self.inner.drifted().await;
    }
}
