//! Endpoint weights, which Kubernetes objects cannot say and embedders need: shares, and draining by weight 0.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use backend_api::{
    Affinity, Dataplane, Endpoint, Family, Frontend, NodeNetwork, Protocol, Scope, Service, ServiceName, ServicePort,
    ServiceState,
};
use switchyard_conformance::under_test;
use testbed::{Dial, Executor, Tally, World};

const VIP: &str = "10.96.0.80:80";

/// A world with a dataplane in its node.
struct Lab {
    executor: Executor,
    world: World,
    dataplane: Option<Box<dyn Dataplane>>,
}

impl Lab {
    fn new() -> Self {
        let world = World::build(&switchyard_conformance::plan()).unwrap();
        let executor = world.node().namespace.executor().unwrap();
        let dataplane = executor.run(async { under_test().open().await.unwrap() });
        Self { executor, world, dataplane: Some(dataplane) }
    }

    /// Programs one service over `nginx-node1` and `nginx-node2` with these weights.
    fn program(&mut self, weights: [u16; 2], affinity: Affinity) {
        let mut state = ServiceState::new(NodeNetwork::unknown());
        state.upsert(service(weights, affinity)).unwrap();
        let mut dataplane = self.dataplane.take().unwrap();
        self.dataplane = Some(self.executor.run(async move {
            let report = dataplane.sync(&state, Scope::All).await.unwrap();
            assert!(report.failed.is_empty(), "{report:?}");
            assert_eq!(dataplane.sync(&state, Scope::All).await.unwrap().writes, 0);
            let mut other = under_test().open().await.unwrap();
            assert_eq!(other.sync(&state, Scope::All).await.unwrap().writes, 0, "a new process");
            dataplane
        }));
    }

    fn dial(&self, times: usize) -> Tally {
        self.world.dial_many("mytools", &dial(), times).into_iter().collect()
    }
}

fn dial() -> Dial {
    Dial::new(Protocol::Tcp, VIP.parse().unwrap()).within(Duration::from_secs(5))
}

fn service([remote, local]: [u16; 2], affinity: Affinity) -> Service {
    let vip: SocketAddr = VIP.parse().unwrap();
    let port = ServicePort {
        affinity,
        frontends: vec![Frontend::cluster_ip(vip.ip(), Protocol::Tcp, vip.port())],
        endpoints: vec![
            Endpoint { weight: remote, ..Endpoint::elsewhere("10.244.1.2:80".parse().unwrap()) },
            Endpoint { weight: local, ..Endpoint::here("10.244.2.2:80".parse().unwrap()) },
        ],
        ..ServicePort::new(Family::V4, Protocol::Tcp)
    };
    Service::new(ServiceName::new("default", "web"), vec![port])
}

fn check(tally: &Tally, weights: [u32; 2]) {
    assert_eq!(tally.failures, [], "{tally:?}");
    let weights = BTreeMap::from([("nginx-node1".to_owned(), weights[0]), ("nginx-node2".to_owned(), weights[1])]);
    let evenness = tally.evenness(&weights).unwrap();
    assert!(evenness.is_even(), "{weights:?}: {:?} {evenness:?}", tally.answers);
}

#[test]
fn shares_follow_weights() {
    if testbed::privilege::skip() {
        return;
    }
    let mut lab = Lab::new();
    for weights in [[1, 3], [5, 1], [100, 100], [2, 6]] {
        lab.program(weights, Affinity::None);
        check(&lab.dial(400), weights.map(u32::from));
    }
}

#[test]
fn sticky_clients_keep_their_endpoint_while_weights_change() {
    if testbed::privilege::skip() {
        return;
    }
    let mut lab = Lab::new();
    let affinity = Affinity::ClientIp { timeout: 3600.try_into().unwrap() };
    lab.program([1, 1], affinity);
    let first = lab.dial(5);
    assert_eq!((first.answers.len(), first.failures.len()), (1, 0), "{first:?}");
    for weights in [[1, 9], [9, 1], [3, 2]] {
        lab.program(weights, affinity);
        let again = lab.dial(5);
        assert!(again.answers.keys().eq(first.answers.keys()), "{weights:?}: {again:?}, awaited as {first:?}");
    }
}

#[test]
fn weight_0_keeps_what_is_established_and_gets_nothing_new() {
    if testbed::privilege::skip() {
        return;
    }
    let mut lab = Lab::new();
    lab.program([1, 0], Affinity::None);
    let (mut held, answer) = lab.world.open("mytools", &dial()).unwrap();
    assert_eq!(answer.name, "nginx-node1");
    lab.program([0, 1], Affinity::None);
    let after = lab.dial(20);
    assert_eq!(after.answers, BTreeMap::from([("nginx-node2".to_owned(), 20)]), "{after:?}");
    assert_eq!(held.ask().name(), Some("nginx-node1"));
    lab.program([0, 0], Affinity::None);
    assert_eq!(lab.dial(1).failures.len(), 1, "nobody is left for new connections");
    assert_eq!(held.ask().name(), Some("nginx-node1"));
}
