//! A node on which a backend programs the kernel and localhost is served beside it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backend_api::{
    Change, Dataplane, Endpoint, Family, Frontend, NodeNetwork, NodePortAddresses, PerFamily, Protocol, Scope, Service,
    ServiceName, ServicePort, ServiceState,
};
use kubernetes::{ClusterState, News};
use reconcile::Witness;
use switchyard_agent::backend::Backend;
use switchyard_agent::descriptors::Descriptors;
use switchyard_agent::localhost::{Counts, Limits, Localhost, OnLocalhost};
use testbed::{Dial, Executor, Outcome, Refusal, World, WorldPlan};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long anything may take that happens by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The node port of every test; those of other tests are in other worlds.
pub(crate) const NODE_PORT: u16 = 30_080;
/// Pods that answer with their names on port 80, and their numbers in the pods' network.
pub(crate) const PODS: [(&str, &str); 3] = [("nginx-1", "0:4"), ("nginx-2", "1:2"), ("nginx-3", "2:2")];

pub(crate) struct Node {
    pub(crate) world: World,
    pub(crate) executor: Executor,
    pub(crate) state: ServiceState,
    pub(crate) counts: Arc<Counts>,
    pub(crate) wanted: watch::Sender<PerFamily<OnLocalhost>>,
    dataplane: Box<dyn Dataplane>,
    witness: Box<dyn Witness<ClusterState>>,
    served: JoinHandle<()>,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::with(Backend::Nftables, Limits::default()).unwrap()
    }

    /// None where the kernel cannot run the backend.
    pub(crate) fn with(backend: Backend, limits: Limits) -> Option<Self> {
        let world = World::build(&WorldPlan::example()).unwrap();
        let executor = world.node().namespace.executor().unwrap();
        let dataplane = match executor.run(backend.open()) {
            Err(error) if error.is_unsupported() => {
                eprintln!("not tested: {error}");
                return None;
            }
            opened => opened.unwrap(),
        };
        let (wanted, asked) = watch::channel(PerFamily { v4: OnLocalhost::Open, v6: OnLocalhost::Open });
        let localhost = Localhost::new(limits, Descriptors::within(1024));
        let (counts, witness) = (localhost.counts(), Box::new(localhost.witness()));
        let served = executor.handle().spawn(localhost.serve(asked));
        let network = NodeNetwork {
            node_ports: PerFamily { v4: NodePortAddresses::All, v6: NodePortAddresses::All },
            addresses: world.node_addresses().clone(),
            ..NodeNetwork::unknown()
        };
        let state = ServiceState::new(network);
        let mut node = Self { world, executor, state, counts, wanted, dataplane, witness, served };
        node.sync(None);
        Some(node)
    }

    /// Programs the kernel, and tells the witness as the loop does.
    fn sync(&mut self, change: Option<&Change>) {
        let scope = change.map_or(Scope::All, |change| Scope::Services(&change.touched));
        let (dataplane, state) = (&mut self.dataplane, &self.state);
        let report = futures_executor(&self.executor, dataplane.sync(state, scope));
        self.witness.hear(&News::Synced { state, scope, report: &report, took: Duration::ZERO });
    }

    pub(crate) fn put(&mut self, service: Service) {
        let change = self.state.upsert(service).unwrap();
        self.sync(Some(&change));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        let change = self.state.remove(&ServiceName::new("default", name));
        self.sync(Some(&change));
    }

    pub(crate) fn dial(&self, family: Family, protocol: Protocol) -> Outcome {
        self.world.dial("node2", &dial(family, protocol))
    }

    /// The names that answer so many times in a row.
    pub(crate) fn names(&self, (family, protocol): Combination, count: usize) -> Vec<String> {
        let outcomes = self.world.dial_many("node2", &dial(family, protocol), count);
        let name = |outcome: &Outcome| outcome.name().map_or_else(|| outcome.to_string(), str::to_owned);
        outcomes.iter().map(name).collect()
    }

    /// Waits until a new client is answered by one of these alone.
    pub(crate) fn until_answered(&self, (family, protocol): Combination, names: &[&str]) {
        until(&format!("{family} {protocol} to be answered by {names:?}"), || {
            self.dial(family, protocol).name().is_some_and(|name| names.contains(&name))
        });
    }

    /// Waits until a client meets what it would if nothing listened.
    pub(crate) fn until_refused(&self, (family, protocol): Combination) {
        let refusal = match protocol {
            Protocol::Tcp => Refusal::Reset,
            Protocol::Udp | Protocol::Sctp => Refusal::PortUnreachable,
        };
        until(&format!("{family} {protocol} to be refused by {refusal:?}"), || {
            self.dial(family, protocol) == Outcome::Refused(refusal)
        });
    }

    pub(crate) fn listeners(&self) -> (u64, u64) {
        (self.counts.listeners(Family::V4), self.counts.listeners(Family::V6))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.served.abort();
    }
}

pub(crate) type Combination = (Family, Protocol);

/// Both protocols in both families.
pub(crate) const COMBINATIONS: [Combination; 4] = [
    (Family::V4, Protocol::Tcp),
    (Family::V4, Protocol::Udp),
    (Family::V6, Protocol::Tcp),
    (Family::V6, Protocol::Udp),
];

/// Service `web` with a node port of each combination, answered by these pods.
pub(crate) fn web(pods: &[&str]) -> Service {
    service("web", NODE_PORT, pods)
}

pub(crate) fn service(name: &str, node_port: u16, pods: &[&str]) -> Service {
    let port = |(family, protocol)| ServicePort {
        frontends: vec![Frontend::node_port(family, protocol, node_port)],
        endpoints: pods.iter().map(|pod| endpoint(pod, family)).collect(),
        ..ServicePort::new(family, protocol)
    };
    Service::new(ServiceName::new("default", name), COMBINATIONS.map(port).into())
}

/// Port 80 of a pod.
pub(crate) fn endpoint(pod: &str, family: Family) -> Endpoint {
    let (_, place) = PODS.iter().find(|(name, _)| *name == pod).unwrap();
    let (node, last) = place.split_once(':').unwrap();
    let text = match family {
        Family::V4 => format!("10.244.{node}.{last}:80"),
        Family::V6 => format!("[fd00:10:244:{node}::{last}]:80"),
    };
    Endpoint::elsewhere(text.parse().unwrap())
}

/// A dial of the node port at the family's loopback address.
pub(crate) fn dial(family: Family, protocol: Protocol) -> Dial {
    Dial::new(protocol, localhost(family, NODE_PORT))
}

pub(crate) fn localhost(family: Family, port: u16) -> SocketAddr {
    match family {
        Family::V4 => ([127, 0, 0, 1], port).into(),
        Family::V6 => (std::net::Ipv6Addr::LOCALHOST, port).into(),
    }
}

pub(crate) fn until(awaited: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {awaited}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a sync, which borrows, to its end.
fn futures_executor<T>(executor: &Executor, sync: impl Future<Output = Result<T, backend_api::SyncError>> + Send) -> T
where
    T: Send,
{
    // The dataplane's sockets were opened inside: any thread may use them.
    std::thread::scope(|scope| scope.spawn(|| executor.handle().block_on(sync)).join().unwrap().unwrap())
}
