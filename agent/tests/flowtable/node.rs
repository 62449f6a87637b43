//! A node that forwards one service, to servers that take and send in bulk.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use backend_api::*;
use backend_nft::{NftDataplane, Options, Others};
use netlink::conntrack::Conntrack;
use netlink::nftables::{Flowtable, Nftables};
use switchyard_agent::node::watch_links;
use testbed::links::Links;
use testbed::{Executor, Namespace, World, WorldPlan};
use tokio::sync::watch;

/// Where servers take and send in bulk.
pub(crate) const BULK: u16 = 9000;
pub(crate) const CLUSTER_PORT: u16 = 80;
pub(crate) const NODE_PORT: u16 = 30080;

/// So much goes each way at a time: a hundred packets and more, even where segments are put together.
const AMOUNT: usize = 8 << 20;

/// `IPS_OFFLOAD` (linux/netfilter/nf_conntrack_common.h)
const OFFLOAD: u32 = 1 << 14;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn cluster_ip(family: Family) -> IpAddr {
    match family {
        Family::V4 => [10, 96, 0, 80].into(),
        Family::V6 => "fd00:10:96::80".parse().unwrap(),
    }
}

/// A node in a world of its own.
pub(crate) struct Node {
    world: World,
    executor: Executor,
    dataplane: Option<NftDataplane>,
    endpoints: Vec<&'static str>,
    links: watch::Receiver<kubernetes::Links>,
    pretended: Option<String>,
}

/// A connection and what it is known by.
pub(crate) struct Connection {
    stream: TcpStream,
    from: SocketAddr,
    to: SocketAddr,
}

impl Node {
    /// `None` if this process has no root, or this kernel no flowtables; it prints the reason.
    pub(crate) fn new() -> Option<Self> {
        if testbed::privilege::skip() {
            return None;
        }
        let mut node = Self::on_any_kernel();
        match node.sync(Some(1)).warnings.first() {
            Some(warning) => {
                eprintln!("not tested: {warning}");
                None
            }
            None => Some(node),
        }
    }

    pub(crate) fn on_any_kernel() -> Self {
        let world = World::build(&WorldPlan::example()).unwrap();
        for name in ["nginx-1", "nginx-3"] {
            let place = world.place(name).unwrap();
            place.addresses.iter().for_each(|address| serve(&place.namespace, SocketAddr::new(*address, BULK)));
        }
        let executor = world.node().namespace.executor().unwrap();
        let (found, links) = watch::channel(None);
        executor.handle().spawn(watch_links(watch::channel(true).1, found));
        let endpoints = vec!["nginx-1", "nginx-3"];
        let mut node = Self { world, executor, dataplane: None, endpoints, links, pretended: None };
        node.restart();
        node.until("links to be known", |node| node.links.borrow().is_some());
        node
    }

    /// Another process takes over.
    pub(crate) fn restart(&mut self) {
        self.dataplane = None;
        let options = Options::default().others(Others::LetIn);
        self.dataplane = Some(self.executor.run(NftDataplane::open(options)).unwrap());
    }

    /// Programs the service, with connections handed over after so many packets.
    pub(crate) fn sync(&mut self, after: Option<u32>) -> Report {
        let state = self.state(after);
        self.with_dataplane(async move |dataplane| dataplane.sync(&state, Scope::All).await.unwrap())
    }

    pub(crate) fn observed(&mut self) -> Observed {
        self.with_dataplane(async |dataplane| dataplane.observe().await.unwrap())
    }

    pub(crate) fn remove_all(&mut self) {
        self.with_dataplane(async |dataplane| dataplane.remove_all().await.unwrap());
    }

    /// Waits until a change by another program is noticed.
    pub(crate) fn drifted(&mut self) {
        self.with_dataplane(async |dataplane| {
            tokio::time::timeout(PATIENCE, dataplane.drifted()).await.expect("a change by another program");
        });
    }

    fn with_dataplane<T: Send + 'static>(
        &mut self,
        act: impl AsyncFnOnce(&mut NftDataplane) -> T + Send + 'static,
    ) -> T {
        let mut dataplane = self.dataplane.take().unwrap();
        let (dataplane, outcome) = self.world.node().namespace.run(|| {
            let runtime = self.executor.handle();
            let outcome = runtime.block_on(act(&mut dataplane));
            (dataplane, outcome)
        });
        self.dataplane = Some(dataplane);
        outcome
    }

    fn state(&self, after: Option<u32>) -> ServiceState {
        let mut devices = self.links.borrow().clone().unwrap_or_default();
        devices.extend(self.pretended.clone().map(|name| (9999, name)));
        let offload = after.and_then(NonZeroU32::new).map(|after| Offload { after, devices });
        let pods = |range: &str| LocalTraffic::Source(range.parse().unwrap());
        let mut state = ServiceState::new(NodeNetwork {
            local_traffic: PerFamily { v4: pods("10.244.0.0/16"), v6: pods("fd00:10:244::/48") },
            node_ports: PerFamily { v4: NodePortAddresses::All, v6: NodePortAddresses::All },
            addresses: self.world.node_addresses().clone(),
            offload,
            ..NodeNetwork::unknown()
        });
        let ports = Family::ALL.map(|family| {
            let endpoint = |name: &&str| {
                let address = SocketAddr::new(self.endpoint(name, family), BULK).into();
                if *name == "nginx-3" { Endpoint::here(address) } else { Endpoint::elsewhere(address) }
            };
            ServicePort {
                frontends: vec![
                    Frontend::cluster_ip(cluster_ip(family), Protocol::Tcp, CLUSTER_PORT),
                    Frontend::node_port(family, Protocol::Tcp, NODE_PORT),
                ],
                endpoints: self.endpoints.iter().map(endpoint).collect(),
                ..ServicePort::new(family, Protocol::Tcp)
            }
        });
        state.upsert(Service::new(ServiceName::new("default", "bulk"), ports.into())).unwrap();
        state
    }

    /// The service has none any more.
    pub(crate) fn remove_endpoints(&mut self) {
        self.endpoints.clear();
    }

    pub(crate) fn endpoint(&self, name: &str, family: Family) -> IpAddr {
        self.world.place(name).unwrap().address(family).unwrap()
    }

    pub(crate) fn address(&self, family: Family) -> IpAddr {
        self.world.node().address(family).unwrap()
    }

    /// Rules of another program translate this port of the node.
    pub(crate) fn others_translate(&self, port: u16, to: &str) {
        let [v4, v6] = Family::ALL.map(|family| SocketAddr::new(self.endpoint(to, family), BULK));
        let table = |family: &str, to: SocketAddr| {
            format!(
                "table {family} others {{ chain pre {{ type nat hook prerouting priority -100;\n\
                 tcp dport {port} dnat to {to};\n}}\n\
                 chain post {{ type nat hook postrouting priority 100;\n ct status dnat masquerade;\n}}\n}}\n"
            )
        };
        self.feed(&["-f", "-"], &(table("ip", v4) + &table("ip6", v6)));
    }

    /// A new link, once it is known.
    pub(crate) fn add_link(&mut self, name: &str) {
        let (runtime, namespace) = (self.world.runtime(), &self.world.node().namespace);
        let links = Links::open(namespace, runtime).unwrap();
        namespace.run(|| runtime.block_on(links.bridge(name)).map(drop)).unwrap();
        self.until("the new link to be known", |node| node.has_link(name));
    }

    /// Takes it away, until that is known.
    pub(crate) fn remove_link(&mut self, name: &str) {
        let delete = || Command::new("ip").args(["link", "delete", name]).status().unwrap();
        assert!(self.world.node().namespace.run(delete).success());
        self.until("the link to be forgotten", |node| !node.has_link(name));
    }

    /// A link that is known and not there.
    pub(crate) fn pretend_link(&mut self, name: &str) {
        self.pretended = Some(name.to_owned());
    }

    fn has_link(&self, name: &str) -> bool {
        self.links.borrow().iter().flatten().any(|(_, link)| link == name)
    }

    /// The devices of each of our flowtables.
    pub(crate) fn devices(&self) -> Vec<BTreeSet<String>> {
        let flowtables = self.executor.run(async {
            let mut nftables = Nftables::open("switchyard").unwrap();
            let mut all: Vec<Flowtable> = Vec::new();
            for family in [netlink::nftables::Family::Ipv4, netlink::nftables::Family::Ipv6] {
                all.extend(nftables.flowtables(family).await.unwrap());
            }
            all
        });
        flowtables.into_iter().map(|flowtable| flowtable.devices).collect()
    }

    /// Dials from a place.
    pub(crate) fn open(&self, from: &str, to: SocketAddr) -> Connection {
        let place = self.world.place(from).unwrap();
        let stream = place.namespace.run(|| TcpStream::connect_timeout(&to, PATIENCE));
        let stream = stream.unwrap_or_else(|error| panic!("{from} → {to}: {error}"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Connection { from: stream.local_addr().unwrap(), to, stream }
    }

    /// Whether the kernel says that the connection is in a flowtable.
    pub(crate) fn is_offloaded(&self, connection: &Connection) -> bool {
        let known: Arc<Mutex<BTreeMap<(SocketAddr, SocketAddr), u32>>> = Arc::default();
        let seen = known.clone();
        self.executor.run(async move {
            let mut conntrack = Conntrack::open().unwrap();
            for family in [netlink::nftables::Family::Ipv4, netlink::nftables::Family::Ipv6] {
                let add = |flow: netlink::conntrack::Flow| {
                    let from = SocketAddr::new(flow.original.source, flow.original.source_port);
                    let to = SocketAddr::new(flow.original.destination, flow.original.destination_port);
                    seen.lock().unwrap().insert((from, to), flow.status);
                };
                conntrack.flows(family, Protocol::Tcp.number(), add).await.unwrap();
            }
        });
        let known = known.lock().unwrap();
        known[&(connection.from, connection.to)] & OFFLOAD != 0
    }

    pub(crate) fn nft(&self, arguments: &[&str]) -> String {
        self.feed(arguments, "")
    }

    fn feed(&self, arguments: &[&str], input: &str) -> String {
        feed(&self.world.node().namespace, arguments, input)
    }

    fn until(&self, awaited: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "waited {PATIENCE:?} for {awaited}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Connection {
    /// So much there, and so much back.
    pub(crate) fn exchange(&mut self) {
        let Self { stream, from, to } = self;
        let broken = |error: std::io::Error| panic!("{from} → {to}: {error}");
        let sent = vec![0x5a; AMOUNT];
        stream.write_all(&sent).unwrap_or_else(broken);
        let mut back = vec![0; AMOUNT];
        stream.read_exact(&mut back).unwrap_or_else(broken);
        assert!(back == sent, "{from} → {to}: other bytes came back");
    }
}

/// Takes so much, and sends it back, for each connection, as long as the process lives.
fn serve(namespace: &Namespace, address: SocketAddr) {
    let listener = namespace.run(|| TcpListener::bind(address)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut taken = vec![0; AMOUNT];
                while stream.read_exact(&mut taken).is_ok() && stream.write_all(&taken).is_ok() {}
            });
        }
    });
}

/// Runs nft inside `namespace`.
fn feed(namespace: &Namespace, arguments: &[&str], input: &str) -> String {
    namespace.run(|| {
        let mut command = Command::new("nft");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("nft is installed");
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input.as_bytes()));
            child.wait_with_output().unwrap()
        });
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "nft {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    })
}
