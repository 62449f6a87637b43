//! Node ports on localhost: `127.0.0.1:nodePort` and `[::1]:nodePort`, forwarded in user space.
//!
//! ```text
//! News::Synced ──► Plan (pure) ──► Board ──► doors ──► tcp: accept, choose, relay both ways
//!                  what listens    latest    bind      udp: one flow for each client
//!                                            retry  └─ Memory: session affinity
//! ```
//!
//! The kernel does not route packets of 127.0.0.0/8 out of the node unless `route_localnet` opens services that listen
//! on loopback alone to the network, so no rewriting of packets can serve them. Endpoints see the node's address as
//! source.
//!
//! **Invariant:** nothing listens where a client would not be answered, so that it meets the kernel's own refusal
//! (`tests/localhost: without_endpoints_nothing_listens`).

mod answerer;
mod board;
mod counts;
mod doors;
mod memory;
mod plan;
mod task;
mod tcp;
mod udp;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backend_api::{EndpointAddress, Family, PerFamily, Protocol};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

pub use answerer::Answerer;
pub use counts::Counts;
pub use plan::{NodePort, Plan};

use self::board::Board;
use self::memory::Memory;
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
        let of = |family| if node_ports.asks_for_localhost(family) { Self::Open } else { Self::Closed };
        PerFamily { v4: of(Family::V4), v6: of(Family::V6) }
    }
}

/// How much is forwarded at the same time, and how long is waited for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections; one more is reset.
    pub connections: usize,
    /// UDP flows; a datagram of one more is dropped.
    pub flows: usize,
    /// For an endpoint to accept a connection.
    pub connect: Duration,
    /// For more of a UDP flow that has not gone back and forth and on.
    pub flow_idle: Duration,
    /// For more of a UDP flow that has.
    pub stream_idle: Duration,
}

/// Connections use two descriptors, flows one; the times of flows are those of connection tracking.
impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            flows: 4096,
            connect: Duration::from_secs(10),
            flow_idle: Duration::from_secs(30),
            stream_idle: Duration::from_secs(120),
        }
    }
}

/// Node ports on localhost, before they are put to work.
#[derive(Debug)]
pub struct Localhost {
    board: Arc<Board>,
    shared: Arc<Shared>,
}

/// What all listeners share.
#[derive(Debug)]
struct Shared {
    limits: Limits,
    counts: Arc<Counts>,
    connections: Arc<Semaphore>,
    flows: Arc<Semaphore>,
    memory: Mutex<Memory>,
}

impl Localhost {
    /// Nothing listens yet.
    pub fn new(limits: Limits) -> Self {
        let shared = Shared {
            limits,
            counts: Arc::default(),
            connections: Arc::new(Semaphore::new(limits.connections)),
            flows: Arc::new(Semaphore::new(limits.flows)),
            memory: Mutex::default(),
        };
        Self { board: Arc::default(), shared: Arc::new(shared) }
    }

    /// For metrics.
    pub fn counts(&self) -> Arc<Counts> {
        self.shared.counts.clone()
    }

    /// Hears what is programmed.
    pub fn witness(&self) -> impl Witness<ClusterState> + 'static {
        Listener { plan: Plan::default(), board: self.board.clone() }
    }

    /// Listens and forwards for as long as it is polled, in the network namespace of the runtime's threads, where `wanted`
    /// says so. When it is dropped every listener closes; what was forwarded goes on.
    pub async fn serve(self, wanted: watch::Receiver<PerFamily<OnLocalhost>>) {
        doors::keep(&self.board, wanted, self.shared).await;
    }
}

/// The witness.
#[derive(Debug)]
struct Listener {
    plan: Plan,
    board: Arc<Board>,
}

impl Witness<ClusterState> for Listener {
    fn hear(&mut self, news: &News<'_>) {
        if let News::Synced { state, scope, .. } = *news {
            self.board.post(self.plan.update(state, scope));
        }
    }
}

impl Shared {
    /// The endpoint for a new connection or flow, now.
    fn choose(&self, answerer: &Answerer) -> EndpointAddress {
        let mut memory = self.memory.lock().expect("nothing panics while it holds the memory");
        memory.choose(answerer, Instant::now(), dice())
    }

    fn rejected(&self, port: NodePort) {
        self.counts.rejected_one(port.family, port.protocol);
    }
}

impl NodePort {
    /// Where it listens.
    fn address(self) -> SocketAddr {
        let loopback: IpAddr = match self.family {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        };
        SocketAddr::new(loopback, self.port)
    }
}

/// A number by chance.
fn dice() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(Protocol::Tcp)
}
