//! Node ports on localhost: `127.0.0.1:nodePort` and `[::1]:nodePort`, forwarded in user space.
//!
//! ```text
//! News::Synced ──► Plan (pure) ──► Mailbox ──► listeners ──► tcp: accept, choose, relay both ways
//!                  which ports     latest      bind          udp: one flow for each client
//!                                              retry      └─ AffinityTable
//! ```
//!
//! The kernel does not route packets of 127.0.0.0/8 out of the node unless `route_localnet` is set, and that would open
//! services that listen on loopback alone to the network. So no rewriting of packets can serve these clients. Endpoints
//! see the node's address as source.
//!
//! **Invariant:** nothing listens where no endpoint would answer, so that such a client is refused by the kernel
//! (`tests/localhost: without_endpoints_nothing_listens`).

mod affinity;
mod counts;
mod listeners;
mod plan;
mod tcp;
mod udp;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use backend_api::{EndpointAddress, Family, PerFamily, Protocol};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

pub use counts::Counts;
pub use plan::{NodePort, Plan, PortEndpoints};

use self::affinity::AffinityTable;
use self::listeners::Mailbox;
use crate::descriptors::Descriptors;
use kubernetes::settings::NodePortSelection;
use kubernetes::{ClusterState, News};
use reconcile::Witness;

/// Whether node ports of a family are answered on its loopback address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OnLocalhost {
    /// They are not.
    #[default]
    Closed,
    /// They are.
    Open,
}

impl OnLocalhost {
    /// What a selection of node port addresses asks for.
    pub fn of(node_ports: &NodePortSelection) -> PerFamily<Self> {
        PerFamily { v4: Self::of_family(node_ports, Family::V4), v6: Self::of_family(node_ports, Family::V6) }
    }

    fn of_family(node_ports: &NodePortSelection, family: Family) -> Self {
        if node_ports.asks_for_localhost(family) { Self::Open } else { Self::Closed }
    }
}

/// How much is forwarded at the same time, and how long the agent waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections; one more is reset.
    pub connections: usize,
    /// UDP flows; a datagram of one more is dropped.
    pub flows: usize,
    /// How long an endpoint may take to accept a connection.
    pub connect: Duration,
    /// How long a UDP flow may be idle if its client has not sent again after an answer.
    pub flow_idle: Duration,
    /// How long a UDP flow may be idle if its client has.
    pub stream_idle: Duration,
}

/// Where descriptors are not short.
impl Default for Limits {
    fn default() -> Self {
        Self::within(&Descriptors::within(u64::MAX))
    }
}

impl Limits {
    /// As many as `descriptors` allow; the times of flows are those of connection tracking.
    pub fn within(descriptors: &Descriptors) -> Self {
        Self {
            connections: descriptors.connections,
            flows: descriptors.flows,
            connect: Duration::from_secs(10),
            flow_idle: Duration::from_secs(30),
            stream_idle: Duration::from_secs(120),
        }
    }
}

/// Node ports on localhost, before they are put to work.
#[derive(Debug)]
pub struct Localhost {
    mailbox: Arc<Mailbox>,
    shared: Arc<Shared>,
}

/// What all listeners share.
#[derive(Debug)]
struct Shared {
    limits: Limits,
    descriptors: Descriptors,
    counts: Arc<Counts>,
    connections: Arc<Semaphore>,
    flows: Arc<Semaphore>,
    affinity: Mutex<AffinityTable>,
}

impl Localhost {
    /// Nothing listens yet. Listeners will use no more than their share of `descriptors`.
    pub fn new(limits: Limits, descriptors: Descriptors) -> Self {
        let shared = Shared {
            limits,
            descriptors,
            counts: Arc::default(),
            connections: Arc::new(Semaphore::new(limits.connections)),
            flows: Arc::new(Semaphore::new(limits.flows)),
            affinity: Mutex::default(),
        };
        Self { mailbox: Arc::default(), shared: Arc::new(shared) }
    }

    /// For metrics.
    pub fn counts(&self) -> Arc<Counts> {
        self.shared.counts.clone()
    }

    /// Hears what is programmed.
    pub fn witness(&self) -> impl Witness<ClusterState> + 'static {
        PlanWitness { plan: Plan::default(), mailbox: self.mailbox.clone() }
    }

    /// Listens and forwards for as long as it is polled, in the network namespace of the runtime's threads, where
    /// `wanted` says so. When it is dropped every listener closes; what was forwarded goes on.
    pub async fn serve(self, wanted: watch::Receiver<PerFamily<OnLocalhost>>) {
        listeners::keep_open(&self.mailbox, wanted, self.shared).await;
    }
}

/// Keeps the plan, and posts its changes.
#[derive(Debug)]
struct PlanWitness {
    plan: Plan,
    mailbox: Arc<Mailbox>,
}

impl Witness<ClusterState> for PlanWitness {
    fn hear(&mut self, news: &News<'_>) {
        if let News::Synced { state, scope, .. } = *news {
            self.mailbox.post(self.plan.update(state, scope));
        }
    }
}

impl Shared {
    /// The endpoint for a new connection or flow, now.
    fn choose(&self, endpoints: &PortEndpoints) -> EndpointAddress {
        let mut affinity = self.affinity.lock().expect("nothing panics while it holds the table");
        affinity.choose(endpoints, Instant::now(), dice())
    }

    fn rejected(&self, port: NodePort) {
        self.counts.rejected_one(port.family, port.protocol);
    }
}

/// A random number.
fn dice() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(Protocol::Tcp)
}
