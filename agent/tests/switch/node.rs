//! A node that forwards two services, one of TCP and one of UDP and SCTP, through whichever backend is in force.
//!
//! Drives dataplanes as the reconcile loop does: the former one is closed, the next one syncs everything, and drift of
//! the one in force is repaired.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use backend_api::{
    Cidr, Dataplane, Endpoint, Family, Frontend, LocalTraffic, NodeNetwork, NodePortAddresses, PerFamily, Protocol,
    Scope, Service, ServiceName, ServicePort, ServiceState,
};
use switchyard_agent::backend::Backend;
use switchyard_agent::config::{IpvsConfig, IpvsTimeouts};
use testbed::{Dial, Executor, Held, Outcome, World, WorldPlan};
use tokio::sync::{mpsc, oneshot};

/// A node in a world of its own.
pub(crate) struct Node {
    pub(crate) world: World,
    _executor: Executor,
    orders: mpsc::UnboundedSender<Order>,
}

/// Which backend continues, with which state, and where the end is told.
struct Order {
    successor: Option<Backend>,
    state: ServiceState,
    done: oneshot::Sender<()>,
}

/// Connections that are held open, by what they are.
pub(crate) struct Connections(BTreeMap<String, (Held, String)>);

impl Node {
    /// `None` if this process has no root, or this kernel no IPVS; it prints the reason.
    pub(crate) fn new() -> Option<Self> {
        if testbed::privilege::skip() {
            return None;
        }
        let mut world = World::build(&WorldPlan::example()).unwrap();
        let executor = world.node().namespace.executor().unwrap();
        if let Err(error) = executor.run(Backend::Ipvs.open()) {
            assert!(error.is_unsupported(), "{error}");
            eprintln!("not tested: {error}");
            return None;
        }
        // An endpoint on the node's own address, as an API server on a control-plane node is.
        world.listen("node2", &[testbed::Listen::tcp(8443)]).unwrap();
        let (orders, mut told) = mpsc::unbounded_channel::<Order>();
        executor.handle().spawn(async move {
            let mut dataplane: Option<Box<dyn Dataplane>> = None;
            let mut state = ServiceState::new(NodeNetwork::unknown());
            loop {
                tokio::select! {
                    order = told.recv() => {
                        let Some(order) = order else { return };
                        if let Some(backend) = order.successor {
                            let successor = backend.open_with(&config()).await.unwrap();
                            dataplane = Some(successor);
                        }
                        state = order.state;
                        let report = dataplane.as_mut().unwrap().sync(&state, Scope::All).await.unwrap();
                        assert_eq!(report.failed, []);
                        order.done.send(()).unwrap();
                    }
                    () = drifted(&mut dataplane) => {
                        dataplane.as_mut().unwrap().sync(&state, Scope::All).await.unwrap();
                    }
                }
            }
        });
        Some(Self { world, _executor: executor, orders })
    }

    /// `backend` takes over, and syncs.
    pub(crate) fn run(&self, backend: Backend) {
        self.order(Some(backend), self.state(&[]));
        println!("{} is in force", backend.name());
    }

    /// The backend in force syncs the services without these endpoints.
    pub(crate) fn without(&self, gone: &[&str]) {
        self.order(None, self.state(gone));
    }

    fn order(&self, successor: Option<Backend>, state: ServiceState) {
        let (done, is_done) = oneshot::channel();
        assert!(self.orders.send(Order { successor, state, done }).is_ok(), "the dataplane's task has ended");
        is_done.blocking_recv().expect("the dataplane's task goes on");
    }

    fn state(&self, gone: &[&str]) -> ServiceState {
        let pods = |range: &str| LocalTraffic::Source(range.parse::<Cidr>().unwrap());
        let local_traffic = PerFamily { v4: pods("10.244.0.0/16"), v6: pods("fd00:10:244::/48") };
        let addresses = self.world.node_addresses().clone();
        let node_ports = PerFamily { v4: NodePortAddresses::All, v6: NodePortAddresses::All };
        let mut state =
            ServiceState::new(NodeNetwork { local_traffic, node_ports, addresses, ..NodeNetwork::unknown() });
        let protocols = Protocol::ALL.into_iter().map(|protocol| (protocol, 80, ["nginx-1", "nginx-3", "whoami-3"]));
        for (number, (protocol, port, endpoints)) in (1u16..).zip(protocols) {
            let ports = Family::ALL.map(|family| {
                let here = |name: &str| ["nginx-3", "whoami-3"].contains(&name);
                let endpoints = endpoints.into_iter().filter(|name| !gone.contains(name)).map(|name| {
                    let ip = self.world.place(name).unwrap().address(family).unwrap();
                    let address = SocketAddr::new(ip, port).into();
                    if here(name) { Endpoint::here(address) } else { Endpoint::elsewhere(address) }
                });
                ServicePort {
                    frontends: vec![
                        Frontend::cluster_ip(cluster_ip(family), protocol, 80),
                        Frontend::external(external(family), protocol, 80),
                        Frontend::node_port(family, protocol, NODE_PORT),
                    ],
                    endpoints: endpoints.collect(),
                    ..ServicePort::new(family, protocol)
                }
            });
            let name = ServiceName::new("default", &format!("web-{number}"));
            state.upsert(Service::new(name, ports.into())).unwrap();
        }
        let own = Family::ALL.map(|family| {
            let address = SocketAddr::new(self.world.node().address(family).unwrap(), 8443).into();
            ServicePort {
                frontends: vec![Frontend::cluster_ip(cluster_ip(family), Protocol::Tcp, 443)],
                endpoints: vec![Endpoint::here(address)],
                ..ServicePort::new(family, Protocol::Tcp)
            }
        });
        state.upsert(Service::new(ServiceName::new("default", "kubernetes"), own.into())).unwrap();
        state
    }

    /// Every way to dial the services, by what it is.
    pub(crate) fn ways(&self, protocols: &[Protocol]) -> Vec<(String, String, Dial)> {
        let mut ways = Vec::new();
        for from in ["mytools", "nginx-3", "node2", "outsider"] {
            for family in Family::ALL {
                let node = self.world.node().address(family).unwrap();
                for protocol in protocols {
                    let to = [
                        SocketAddr::new(cluster_ip(family), 80),
                        SocketAddr::new(external(family), 80),
                        SocketAddr::new(node, NODE_PORT),
                    ];
                    let own = (*protocol == Protocol::Tcp).then_some(SocketAddr::new(cluster_ip(family), 443));
                    for to in to.into_iter().chain(own) {
                        let dial = Dial::new(*protocol, to).within(Duration::from_secs(5));
                        ways.push((format!("{from} → {to}/{protocol}"), from.to_owned(), dial));
                    }
                }
            }
        }
        ways
    }

    /// Opens a connection each way.
    pub(crate) fn hold(&self, protocols: &[Protocol]) -> Connections {
        let open = |(way, from, dial): (String, String, Dial)| {
            let (held, answer) = self.world.open(&from, &dial).unwrap_or_else(|outcome| panic!("{way}: {outcome}"));
            (way, (held, answer.name))
        };
        Connections(self.ways(protocols).into_iter().map(open).collect())
    }

    /// Dials each way, once; every one is answered.
    pub(crate) fn assert_answers(&self, protocols: &[Protocol]) {
        for (way, from, dial) in self.ways(protocols) {
            let outcome = self.world.dial(&from, &dial);
            assert!(matches!(outcome, Outcome::Answered(_)), "{way}: {outcome}");
        }
    }

    /// Virtual servers, rules, tables and settings, as far as they may be IPVS's.
    pub(crate) fn traces(&self) -> String {
        self.world.node().namespace.run(|| {
            let output = |program: &str, arguments: &[&str]| {
                let output = Command::new(program).args(arguments).output();
                output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
            };
            let servers = fs::read_to_string("/proc/thread-self/net/ip_vs").unwrap();
            let servers: Vec<&str> = servers.lines().skip(3).collect();
            let setting = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/vs/{name}")).unwrap();
            let tables = output("nft", &["list", "tables"]);
            let rules = ["-4", "-6"].map(|family| output("ip", &[family, "rule"]));
            let routes = ["-4", "-6"].map(|family| output("ip", &[family, "route", "show", "table", "21337"]));
            let settings = ["conntrack", "expire_nodest_conn"].map(setting);
            format!("{servers:#?}\n{tables}\n{rules:?}\n{routes:?}\n{settings:?}")
        })
    }

    /// Waits until `traces` are these.
    pub(crate) fn until(&self, awaited: &str, within: Duration, is_so: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + within;
        let mut told = Instant::now();
        loop {
            let traces = self.traces();
            if is_so(&traces) {
                return;
            }
            assert!(Instant::now() < deadline, "waited {within:?} for {awaited}; there is:\n{traces}");
            if told.elapsed() > Duration::from_secs(20) {
                told = Instant::now();
                println!("waiting for {awaited}");
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Connections {
    /// Asks each again; the one that answered first answers.
    pub(crate) fn assert_live(&mut self) {
        for (way, (held, name)) in &mut self.0 {
            let outcome = held.ask();
            assert_eq!(outcome.name(), Some(name.as_str()), "{way}: {outcome}");
        }
    }

    /// Asks each again, and returns those that another endpoint answers now. Each must be answered.
    pub(crate) fn moved(&mut self) -> BTreeMap<String, (String, String)> {
        let mut moved = BTreeMap::new();
        for (way, (held, name)) in &mut self.0 {
            let outcome = held.ask();
            let now = outcome.name().unwrap_or_else(|| panic!("{way}: {outcome}")).to_owned();
            if now != *name {
                moved.insert(way.clone(), (std::mem::replace(name, now.clone()), now));
            }
        }
        moved
    }

    /// How many they are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

async fn drifted(dataplane: &mut Option<Box<dyn Dataplane>>) {
    match dataplane {
        Some(dataplane) => dataplane.drifted().await,
        None => std::future::pending().await,
    }
}

/// UDP is forgotten soon, so that a test need not wait for five minutes.
pub(crate) fn config() -> IpvsConfig {
    let timeouts = IpvsTimeouts { udp: Some(Duration::from_secs(30)), ..IpvsTimeouts::default() };
    IpvsConfig { timeouts, ..IpvsConfig::default() }
}

const NODE_PORT: u16 = 30080;

fn cluster_ip(family: Family) -> IpAddr {
    match family {
        Family::V4 => [10, 96, 0, 80].into(),
        Family::V6 => "fd00:10:96::80".parse().unwrap(),
    }
}

/// Announced by the world: it leads to the node.
fn external(family: Family) -> IpAddr {
    match family {
        Family::V4 => [192, 168, 67, 240].into(),
        Family::V6 => "fd00:192:168:67::240".parse().unwrap(),
    }
}
