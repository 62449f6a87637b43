//! Endpoint weights, which Kubernetes objects cannot say and embedders need: shares, and draining by weight 0.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use backend_api::{
    Affinity, Dataplane, Endpoint, Family, Frontend, NodeNetwork, Protocol, Scope, Service, ServiceName, ServicePort,
    ServiceState,
};
use testbed::{Dial, Executor, Tally, World};

use crate::{Promise, Subject};

const VIP: &str = "10.96.0.80:80";

/// A claim about weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim {
    /// New connections are shared by weight.
    SharesFollowWeights,
    /// Clients with session affinity keep their endpoint while weights change.
    StickyClientsStay,
    /// An endpoint of weight 0 keeps its connections and gets no new ones.
    Weight0Drains,
}

impl Claim {
    /// Every claim.
    pub const ALL: [Self; 3] = [Self::SharesFollowWeights, Self::StickyClientsStay, Self::Weight0Drains];
}

/// Tries every claim with `subject`, each in a world of its own. Blocks; needs root.
///
/// # Errors
/// The first claim that does not hold, and what was met.
pub fn run(subject: &Subject) -> Result<(), String> {
    Claim::ALL.into_iter().try_for_each(|claim| check(subject, claim))
}

/// Tries one claim with `subject`.
///
/// # Errors
/// What was met, if the claim does not hold.
pub fn check(subject: &Subject, claim: Claim) -> Result<(), String> {
    let mut lab = Lab::new(subject).map_err(|error| format!("{claim:?}: {error}"))?;
    let checked = match claim {
        Claim::SharesFollowWeights => lab.shares_follow_weights(),
        Claim::StickyClientsStay => lab.sticky_clients_stay(),
        Claim::Weight0Drains => lab.weight_0_drains(),
    };
    checked.map_err(|error| format!("{claim:?}: {error}"))
}

/// A world with a dataplane in its node.
struct Lab {
    subject: Subject,
    dataplane: Option<Box<dyn Dataplane>>,
    executor: Executor,
    // After the executor: its tasks are in the world's namespaces.
    world: World,
}

impl Lab {
    fn new(subject: &Subject) -> Result<Self, String> {
        let world = World::build(&crate::plan()).map_err(|error| error.to_string())?;
        let executor = world.node().namespace.executor().map_err(|error| error.to_string())?;
        let subject = subject.clone();
        let opening = subject.clone();
        let dataplane = executor.run(async move { opening.open().await }).map_err(|error| error.to_string())?;
        Ok(Self { subject, dataplane: Some(dataplane), executor, world })
    }

    fn shares_follow_weights(&mut self) -> Result<(), String> {
        for weights in [[1, 3], [5, 1], [100, 100], [2, 6]] {
            self.program(weights, Affinity::None)?;
            let tally = self.dial(400);
            demand(tally.failures.is_empty(), "no failures", &tally)?;
            let names = ["nginx-node1", "nginx-node2"].map(str::to_owned);
            let shares: BTreeMap<_, _> = names.into_iter().zip(weights.map(u32::from)).collect();
            let evenness = tally.evenness(&shares).ok_or("no answers")?;
            demand(evenness.is_even(), &format!("shares of {weights:?}"), &(&tally.answers, evenness))?;
        }
        Ok(())
    }

    fn sticky_clients_stay(&mut self) -> Result<(), String> {
        let affinity = Affinity::ClientIp { timeout: 3600.try_into().expect("not 0") };
        self.program([1, 1], affinity)?;
        let first = self.dial(5);
        demand(first.answers.len() == 1 && first.failures.is_empty(), "one endpoint", &first)?;
        for weights in [[1, 9], [9, 1], [3, 2]] {
            self.program(weights, affinity)?;
            let again = self.dial(5);
            let same = again.answers.keys().eq(first.answers.keys());
            demand(same, &format!("{weights:?}: the endpoint of {:?}", first.answers), &again)?;
        }
        Ok(())
    }

    fn weight_0_drains(&mut self) -> Result<(), String> {
        self.program([1, 0], Affinity::None)?;
        let (mut held, answer) = self.world.open("mytools", &dial()).map_err(|outcome| outcome.to_string())?;
        demand(answer.name == "nginx-node1", "a connection to nginx-node1", &answer)?;
        self.program([0, 1], Affinity::None)?;
        let after = self.dial(20);
        let moved = after.answers == BTreeMap::from([("nginx-node2".to_owned(), 20)]);
        demand(moved, "new connections to nginx-node2 only", &after)?;
        let outcome = held.ask();
        demand(outcome.name() == Some("nginx-node1"), "the held connection at nginx-node1", &outcome)?;
        self.program([0, 0], Affinity::None)?;
        let none = self.dial(1);
        demand(none.failures.len() == 1, "no endpoint for new connections", &none)?;
        let outcome = held.ask();
        demand(outcome.name() == Some("nginx-node1"), "the held connection at nginx-node1 still", &outcome)
    }

    /// Programs one service over `nginx-node1` and `nginx-node2` with these weights.
    fn program(&mut self, weights: [u16; 2], affinity: Affinity) -> Result<(), String> {
        let mut state = ServiceState::new(NodeNetwork::unknown());
        state.upsert(service(weights, affinity)).map_err(|flaw| flaw.to_string())?;
        let mut dataplane = self.dataplane.take().ok_or("an earlier sync failed")?;
        let subject = self.subject.clone();
        let programmed = self.executor.run(async move {
            let report = dataplane.sync(&state, Scope::All).await.map_err(|error| error.to_string())?;
            demand(report.failed.is_empty(), "no failed service", &report)?;
            let again = dataplane.sync(&state, Scope::All).await.map_err(|error| error.to_string())?;
            demand(again.writes == 0 || !subject.keeps(Promise::Steady), "no write for the same state", &again)?;
            if subject.keeps(Promise::Adopts) {
                let mut other = subject.open().await.map_err(|error| error.to_string())?;
                let adopted = other.sync(&state, Scope::All).await.map_err(|error| error.to_string())?;
                demand(adopted.writes == 0, "no write by a new process", &adopted)?;
            }
            Ok::<_, String>(dataplane)
        });
        self.dataplane = Some(programmed?);
        Ok(())
    }

    fn dial(&self, times: usize) -> Tally {
        self.world.dial_many("mytools", &dial(), times).into_iter().collect()
    }
}

fn demand(holds: bool, awaited: &str, met: &dyn Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("awaited: {awaited}; came: {met:?}")) }
}

fn dial() -> Dial {
    Dial::new(Protocol::Tcp, VIP.parse().expect("an address and a port")).within(Duration::from_secs(5))
}

fn service([remote, local]: [u16; 2], affinity: Affinity) -> Service {
    let vip: SocketAddr = VIP.parse().expect("an address and a port");
    let elsewhere = Endpoint::elsewhere("10.244.1.2:80".parse().expect("an address and a port"));
    let here = Endpoint::here("10.244.2.2:80".parse().expect("an address and a port"));
    let port = ServicePort {
        affinity,
        frontends: vec![Frontend::cluster_ip(vip.ip(), Protocol::Tcp, vip.port())],
        endpoints: vec![Endpoint { weight: remote, ..elsewhere }, Endpoint { weight: local, ..here }],
        ..ServicePort::new(Family::V4, Protocol::Tcp)
    };
    Service::new(ServiceName::new("default", "web"), vec![port])
}
