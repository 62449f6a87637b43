//! Builds a world from its plan.
//!
//! ```text
//!  hosts ── lan (192.168.67.0/24) ── eth0 ┐            ┌ cni0 ── pods behind the bridge
//!  sink ──────────────────────── uplink ──┤ node under ├ caliX ─ pods behind an interface each
//!  pods of other nodes ──────── overlay ──┘ test       ┘
//! ```
//!
//! The node has an address of its own on each link, so that a masqueraded source tells through which it left. Its
//! default route ends in the sink, and everybody else's default route is the node.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backend_api::Family;
use tokio::runtime::{self, Runtime};

use super::links::{self, End, LOOPBACK, Link, Links, Via, alone, connect, everything};
use super::namespace::{Namespace, NamespaceError};
use super::plan::{Listen, Placement, PodPlan, WorldPlan, of_family};
use super::probe::{self, Answer, Dial, Held, Outcome};
use super::responder::Server;
use super::sink::{self, Sink};

/// A world that stands; everything of it goes when it is dropped.
#[derive(Debug)]
pub struct World {
    // In the order in which they must go: servers, their threads, namespaces.
    servers: BTreeMap<String, Vec<Server>>,
    _sink: Sink,
    runtime: Option<Runtime>,
    node: String,
    node_addresses: BTreeSet<IpAddr>,
    /// The node's addresses on the link towards each place.
    towards: BTreeMap<String, Vec<IpAddr>>,
    places: BTreeMap<String, Place>,
}

/// Somewhere to dial from, and to answer at.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name, as the plan has it; `sink` for the sink.
    pub name: String,
    /// Its addresses, the node's on `eth0`.
    pub addresses: Vec<IpAddr>,
    /// Where it is; pods of other nodes share one.
    pub namespace: Arc<Namespace>,
    /// Whether others are there too, so that its own address must be chosen when it dials.
    shared: bool,
}

/// Why a world could not be built.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A namespace could not be made.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The kernel refused a link, an address or a route.
    #[error("{place}: {object}: {source}")]
    Link {
        /// Whose.
        place: String,
        /// What.
        object: String,
        /// The kernel's error.
        source: rtnetlink::Error,
    },
    /// A setting or a server was refused.
    #[error("{place}: {source}")]
    Setup {
        /// Whose.
        place: String,
        /// The kernel's error.
        source: io::Error,
    },
    /// The links did not come up in time.
    #[error("{0}: not up after five seconds")]
    NotReady(String),
    /// The plan contradicts itself.
    #[error("plan: {0}")]
    Plan(String),
}

/// The bridge between the node and the hosts, and its namespace.
const LAN: &str = "lan";
/// The namespace of all pods of other nodes.
const REMOTE: &str = "remote";

/// The node's addresses on the link to the sink, and the sink's; the same for the overlay.
const UPLINK: [[IpAddr; 2]; 2] = [pair([172, 29, 0, 2], [172, 29, 0, 1]), pair6([0xfd29, 2], [0xfd29, 1])];
const OVERLAY: [[IpAddr; 2]; 2] = [pair([172, 30, 0, 2], [172, 30, 0, 1]), pair6([0xfd30, 2], [0xfd30, 1])];

/// Whether this kernel speaks a family at all; `ipv6.disable=1` takes IPv6 away.
fn has_family(family: Family) -> bool {
    family == Family::V4 || Path::new("/proc/sys/net/ipv6").exists()
}

/// Those pairs that this kernel can have.
fn known(pairs: &[[IpAddr; 2]; 2]) -> impl Iterator<Item = &[IpAddr; 2]> {
    pairs.iter().filter(|[address, _]| has_family(Family::of(*address)))
}

const fn pair(one: [u8; 4], other: [u8; 4]) -> [IpAddr; 2] {
    const fn v4([a, b, c, d]: [u8; 4]) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d))
    }
    [v4(one), v4(other)]
}

const fn pair6(one: [u16; 2], other: [u16; 2]) -> [IpAddr; 2] {
    const fn v6([a, b]: [u16; 2]) -> IpAddr {
        IpAddr::V6(std::net::Ipv6Addr::new(a, 0, 0, 0, 0, 0, 0, b))
    }
    [v6(one), v6(other)]
}

impl World {
    /// Builds what `plan` describes, and returns when every link is up. Blocks; may be called from anywhere.
    ///
    /// # Errors
    /// [`WorldError`]; whatever was built is removed again.
    pub fn build(plan: &WorldPlan) -> Result<Self, WorldError> {
        // On a thread of its own, because blocking on a runtime inside another one's task is a panic.
        let built = std::thread::scope(|scope| scope.spawn(|| Self::build_here(plan)).join());
        built.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn build_here(plan: &WorldPlan) -> Result<Self, WorldError> {
        let plan = &plan.clone().limited_to(has_family);
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("world")
            .enable_all()
            .build()
            .map_err(|source| WorldError::Setup { place: "runtime".into(), source })?;
        let namespaces = Namespaces::create(plan)?;
        let wiring = Wiring::open(&namespaces, runtime.handle())?;
        let node_addresses = runtime.block_on(wiring.connect_all(plan))?;
        let sink_addresses = known(&UPLINK).map(|[_node, sink]| *sink).collect::<Vec<_>>();
        let sink =
            Sink::start(runtime.handle(), &namespaces.sink, sink_addresses.clone()).map_err(setup(sink::NAME))?;
        drop(wiring);
        let mut world = Self {
            servers: BTreeMap::new(),
            _sink: sink,
            runtime: Some(runtime),
            node: plan.node.name.clone(),
            node_addresses,
            towards: towards(plan),
            places: namespaces.into_places(plan, sink_addresses),
        };
        world.start_servers(plan)?;
        Ok(world)
    }

    fn start_servers(&mut self, plan: &WorldPlan) -> Result<(), WorldError> {
        for pod in &plan.pods {
            self.listen(&pod.name, &pod.listens)?;
        }
        for host in &plan.hosts {
            self.listen(&host.name, &host.listens)?;
        }
        let node = plan.node.name.clone();
        self.listen(&node, &plan.node.listens)
    }

    /// Lets a place answer on these ports too, with its name: the node on each of its addresses and on loopback.
    ///
    /// # Errors
    /// There is no such place, or the port is taken.
    pub fn listen(&mut self, place: &str, listens: &[Listen]) -> Result<(), WorldError> {
        let found = self.place(place).ok_or_else(|| WorldError::Plan(format!("{place}: no such place")))?;
        let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from(std::net::Ipv6Addr::LOCALHOST)];
        let loopback = loopback.into_iter().filter(|address| has_family(Family::of(*address)));
        let addresses: Vec<IpAddr> = if place == self.node {
            self.node_addresses.iter().copied().chain(loopback).collect()
        } else {
            found.addresses.clone()
        };
        let runtime = self.runtime.as_ref().expect("the runtime is there until drop").handle();
        let mut started = Vec::new();
        for address in addresses {
            for listen in listens {
                let server =
                    Server::start(runtime, &found.namespace, place, (address, *listen)).map_err(setup(place))?;
                started.push(server);
            }
        }
        self.servers.entry(place.to_owned()).or_default().extend(started);
        Ok(())
    }

    /// Ends every server of a place, as when its processes end: its connections are closed and its ports refuse when this
    /// returns.
    pub fn silence(&mut self, place: &str) {
        let servers = self.servers.remove(place).unwrap_or_default();
        let runtime = self.runtime();
        let stop_all =
            || runtime.block_on(async { futures_util::future::join_all(servers.into_iter().map(Server::stop)).await });
        // On a thread of its own, as in `build`.
        std::thread::scope(|scope| drop(scope.spawn(stop_all).join()));
    }

    /// Gives the node one more address on `eth0`, as a DHCP server would.
    ///
    /// # Errors
    /// The kernel's.
    pub fn add_node_address(&mut self, address: IpAddr) -> Result<(), WorldError> {
        let node = self.node.clone();
        self.on_link(&node, async |links, eth0| links.address(eth0, networked(address)).await)?;
        self.node_addresses.insert(address);
        Ok(())
    }

    /// Takes an address from the node's `eth0`.
    ///
    /// # Errors
    /// The kernel's; it is not there, for example.
    pub fn remove_node_address(&mut self, address: IpAddr) -> Result<(), WorldError> {
        let node = self.node.clone();
        self.on_link(&node, async |links, eth0| links.remove_address(eth0, networked(address)).await)?;
        self.node_addresses.remove(&address);
        Ok(())
    }

    /// Takes a place's link down: whatever is sent to it is lost, as when a machine dies.
    ///
    /// # Errors
    /// The kernel's, or there is no such place with an `eth0`.
    pub fn unplug(&self, place: &str) -> Result<(), WorldError> {
        self.on_link(place, async |links, eth0| links.down(eth0).await)
    }

    /// Does something with a place's `eth0`.
    fn on_link<F>(&self, place: &str, act: F) -> Result<(), WorldError>
    where
        F: AsyncFnOnce(&Links<'_>, Link) -> Result<(), rtnetlink::Error> + Send,
    {
        let namespace =
            &self.place(place).ok_or_else(|| WorldError::Plan(format!("{place}: no such place")))?.namespace;
        let runtime = self.runtime();
        let work = || {
            let links = Links::open(namespace, runtime).map_err(setup(place))?;
            runtime.block_on(async { act(&links, links.find("eth0").await?).await }).named(place, "eth0")
        };
        // On a thread of its own, as in `build`.
        std::thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// The node under test.
    ///
    /// # Panics
    /// Never: a world has a node.
    pub fn node(&self) -> &Place {
        &self.places[&self.node]
    }

    /// A place by its name.
    pub fn place(&self, name: &str) -> Option<&Place> {
        self.places.get(name)
    }

    /// Every place, by name.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.values()
    }

    /// Every address that the node under test owns, on whichever link; loopback excepted.
    pub fn node_addresses(&self) -> &BTreeSet<IpAddr> {
        &self.node_addresses
    }

    /// The node's address of `family` on the link that leads to `place`: what a masqueraded connection to it carries.
    pub fn node_address_towards(&self, place: &str, family: Family) -> Option<IpAddr> {
        of_family(self.towards.get(place)?, family)
    }

    /// To run something on the world's own threads; they are in no namespace of the world.
    ///
    /// # Panics
    /// Never.
    pub fn runtime(&self) -> &runtime::Handle {
        self.runtime.as_ref().expect("the runtime is there until drop").handle()
    }

    /// Dials from a place.
    pub fn dial(&self, from: &str, dial: &Dial) -> Outcome {
        match self.place(from) {
            Some(place) => probe::dial(&place.namespace, &place.sourced(dial)),
            None => Outcome::Failed(format!("{from}: no such place")),
        }
    }

    /// Dials from a place `count` times, one after another.
    pub fn dial_many(&self, from: &str, dial: &Dial, count: usize) -> Vec<Outcome> {
        match self.place(from) {
            Some(place) => probe::dial_many(&place.namespace, &place.sourced(dial), count),
            None => vec![Outcome::Failed(format!("{from}: no such place"))],
        }
    }

    /// Dials from a place, and holds what was answered.
    ///
    /// # Errors
    /// What was met instead of an answer.
    pub fn open(&self, from: &str, dial: &Dial) -> Result<(Held, Answer), Outcome> {
        let place = self.place(from).ok_or_else(|| Outcome::Failed(format!("{from}: no such place")))?;
        probe::open(&place.namespace, &place.sourced(dial))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Place {
    /// Its address of `family`.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        of_family(&self.addresses, family)
    }

    /// Whether its namespace is another place's too.
    pub fn shares_namespace(&self) -> bool {
        self.shared
    }

    /// The shell command that enters it.
    pub fn entrance(&self) -> String {
        format!("ip netns exec {} bash", self.namespace.name())
    }

    /// `dial` from the place's own address where others share its namespace; elsewhere the kernel chooses. What `dial` says
    /// itself is kept.
    pub fn sourced(&self, dial: &Dial) -> Dial {
        match self.address(Family::of(dial.to.ip())) {
            Some(own) if self.shared && dial.from.ip().is_unspecified() => {
                dial.from(std::net::SocketAddr::new(own, dial.from.port()))
            }
            _ => *dial,
        }
    }
}

/// Every namespace of a world.
struct Namespaces {
    node: Namespace,
    /// The bridge between the node and the hosts.
    lan: Namespace,
    sink: Namespace,
    /// All pods of other nodes.
    remote: Namespace,
    pods: BTreeMap<String, Namespace>,
    hosts: BTreeMap<String, Namespace>,
}

impl Namespaces {
    fn create(plan: &WorldPlan) -> Result<Self, WorldError> {
        let mut taken = BTreeSet::from([plan.node.name.as_str(), sink::NAME, LAN, REMOTE]);
        let names = plan.pods.iter().map(|pod| &pod.name).chain(plan.hosts.iter().map(|host| &host.name));
        for name in names {
            if !taken.insert(name) || name.contains([' ', '/']) || name.is_empty() {
                return Err(WorldError::Plan(format!("{name:?}: not a unique name without spaces and slashes")));
            }
        }
        let own = plan.pods.iter().filter(|pod| pod.placement != Placement::Remote);
        let of = |name: &String| Ok::<_, WorldError>((name.clone(), quiet(name)?));
        Ok(Self {
            node: node(&plan.node.name)?,
            lan: quiet(LAN)?,
            sink: quiet(sink::NAME)?,
            remote: quiet(REMOTE)?,
            pods: own.map(|pod| of(&pod.name)).collect::<Result<_, _>>()?,
            hosts: plan.hosts.iter().map(|host| of(&host.name)).collect::<Result<_, _>>()?,
        })
    }

    fn into_places(self, plan: &WorldPlan, sink_addresses: Vec<IpAddr>) -> BTreeMap<String, Place> {
        let Self { node, lan, sink, remote, mut pods, mut hosts } = self;
        let remote = Arc::new(remote);
        let mut places = BTreeMap::new();
        let mut add = |name: &str, addresses: Vec<IpAddr>, namespace: Arc<Namespace>| {
            let shared = Arc::ptr_eq(&namespace, &remote);
            places.insert(name.to_owned(), Place { name: name.to_owned(), addresses, namespace, shared });
        };
        for pod in &plan.pods {
            let namespace = pods.remove(&pod.name).map_or_else(|| remote.clone(), Arc::new);
            add(&pod.name, pod.addresses.clone(), namespace);
        }
        for host in &plan.hosts {
            let namespace = hosts.remove(&host.name).expect("every host got one");
            add(&host.name, host.addresses.clone(), Arc::new(namespace));
        }
        add(&plan.node.name, plan.node.addresses.clone(), Arc::new(node));
        add(sink::NAME, sink_addresses, Arc::new(sink));
        add(LAN, Vec::new(), Arc::new(lan));
        add(REMOTE, Vec::new(), remote.clone());
        places
    }
}

/// A namespace that forwards nothing and is silent about what it does not know.
fn quiet(label: &str) -> Result<Namespace, WorldError> {
    let namespace = Namespace::create(label)?;
    configure(&namespace, SETTINGS).map_err(setup(label))?;
    Ok(namespace)
}

fn node(label: &str) -> Result<Namespace, WorldError> {
    let namespace = quiet(label)?;
    configure(&namespace, NODE_SETTINGS).map_err(setup(label))?;
    Ok(namespace)
}

/// A kernel setting that a world relies on.
struct Setting {
    key: &'static str,
    value: &'static str,
    /// Whether a kernel without it is fine.
    optional: bool,
}

const fn needed(key: &'static str, value: &'static str) -> Setting {
    Setting { key, value, optional: false }
}

const fn optional(key: &'static str, value: &'static str) -> Setting {
    Setting { key, value, optional: true }
}

/// For everybody; `default` is what links get that are made later.
const SETTINGS: &[Setting] = &[
    // Sources from anywhere: who is translated wrongly shall be seen, not filtered.
    needed("net/ipv4/conf/all/rp_filter", "0"),
    needed("net/ipv4/conf/default/rp_filter", "0"),
    // Pods of one bridge talk through the node; it shall not tell them otherwise.
    needed("net/ipv4/conf/all/send_redirects", "0"),
    needed("net/ipv4/conf/default/send_redirects", "0"),
    needed("net/ipv4/conf/all/accept_redirects", "0"),
    needed("net/ipv4/conf/default/accept_redirects", "0"),
    // Every refusal is sent, however many.
    needed("net/ipv4/icmp_ratelimit", "0"),
    needed("net/ipv4/icmp_ratemask", "0"),
    // A ping needs no raw socket.
    needed("net/ipv4/ping_group_range", "0 2147483647"),
    optional("net/ipv6/conf/all/disable_ipv6", "0"),
    optional("net/ipv6/conf/default/disable_ipv6", "0"),
    optional("net/ipv6/conf/all/accept_dad", "0"),
    optional("net/ipv6/conf/default/accept_dad", "0"),
    optional("net/ipv6/conf/default/accept_ra", "0"),
    optional("net/ipv6/conf/all/accept_redirects", "0"),
    optional("net/ipv6/conf/default/accept_redirects", "0"),
    optional("net/ipv6/icmp/ratelimit", "0"),
];

const NODE_SETTINGS: &[Setting] = &[
    needed("net/ipv4/ip_forward", "1"),
    optional("net/ipv6/conf/all/forwarding", "1"),
    optional("net/ipv6/conf/default/forwarding", "1"),
    // Frames between ports of a bridge are no business of the packet filter here.
    optional("net/bridge/bridge-nf-call-iptables", "0"),
    optional("net/bridge/bridge-nf-call-ip6tables", "0"),
];

fn configure(namespace: &Namespace, settings: &[Setting]) -> io::Result<()> {
    namespace.run(|| {
        for Setting { key, value, optional } in settings {
            match std::fs::write(format!("/proc/sys/{key}"), value) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && *optional => {}
                Err(error) => return Err(io::Error::new(error.kind(), format!("setting {key}: {error}"))),
                Ok(()) => {}
            }
        }
        Ok(())
    })
}

fn setup(place: &str) -> impl FnOnce(io::Error) -> WorldError {
    let place = place.to_owned();
    move |source| WorldError::Setup { place, source }
}

/// A netlink socket in each namespace.
struct Wiring<'a> {
    node: Links<'a>,
    lan: Links<'a>,
    sink: Links<'a>,
    remote: Links<'a>,
    pods: BTreeMap<&'a str, Links<'a>>,
    hosts: BTreeMap<&'a str, Links<'a>>,
}

/// An operation on a place's links, and what it is called in errors.
trait Named<T> {
    fn named(self, place: &str, object: &str) -> Result<T, WorldError>;
}

impl<T> Named<T> for Result<T, rtnetlink::Error> {
    fn named(self, place: &str, object: &str) -> Result<T, WorldError> {
        self.map_err(|source| WorldError::Link { place: place.into(), object: object.into(), source })
    }
}

impl<'a> Wiring<'a> {
    fn open(namespaces: &'a Namespaces, runtime: &runtime::Handle) -> Result<Self, WorldError> {
        let open = |namespace: &'a Namespace| Links::open(namespace, runtime).map_err(setup(namespace.name()));
        let each = |(name, namespace): (&'a String, &'a Namespace)| Ok((name.as_str(), open(namespace)?));
        Ok(Self {
            node: open(&namespaces.node)?,
            lan: open(&namespaces.lan)?,
            sink: open(&namespaces.sink)?,
            remote: open(&namespaces.remote)?,
            pods: namespaces.pods.iter().map(each).collect::<Result<_, WorldError>>()?,
            hosts: namespaces.hosts.iter().map(each).collect::<Result<_, WorldError>>()?,
        })
    }

    /// Connects everybody, and returns the node's addresses.
    async fn connect_all(&self, plan: &WorldPlan) -> Result<BTreeSet<IpAddr>, WorldError> {
        for links in self.everybody() {
            links.up(LOOPBACK).await.named(links.namespace().name(), "lo")?;
        }
        let mut ends = self.connect_hosts(plan).await?;
        ends.push(self.connect_sink(plan).await?);
        ends.push(self.connect_remote(plan).await?);
        let (mut addresses, pods) = self.connect_pods(plan).await?;
        ends.extend(pods);
        addresses.extend(&plan.node.addresses);
        addresses.extend(known(&UPLINK).chain(known(&OVERLAY)).map(|[node, _other]| node));
        for end in ends {
            self.wait_for(end).await?;
        }
        Ok(addresses)
    }

    fn everybody(&self) -> impl Iterator<Item = &Links<'a>> {
        [&self.node, &self.lan, &self.sink, &self.remote]
            .into_iter()
            .chain(self.pods.values())
            .chain(self.hosts.values())
    }

    async fn connect_hosts(&self, plan: &WorldPlan) -> Result<Vec<Link>, WorldError> {
        let lan = self.lan.bridge(LAN).await.named(LAN, "bridge lan")?;
        let [port, eth0] =
            pair_of(End { links: &self.lan, name: "node" }, End { links: &self.node, name: "eth0" }).await?;
        self.lan.attach(port, lan).await.named(LAN, "port node")?;
        for address in &plan.node.addresses {
            self.node.address(eth0, networked(*address)).await.named(&plan.node.name, "address on eth0")?;
        }
        for (number, host) in plan.hosts.iter().enumerate() {
            let links = &self.hosts[host.name.as_str()];
            let name = format!("host{number}");
            let [port, link] = pair_of(End { links: &self.lan, name: &name }, End { links, name: "eth0" }).await?;
            self.lan.attach(port, lan).await.named(LAN, &name)?;
            for address in &host.addresses {
                links.address(link, networked(*address)).await.named(&host.name, "address on eth0")?;
            }
            for gateway in &plan.node.addresses {
                let via = Via::Gateway(*gateway, link);
                links.route(everything(*gateway), via).await.named(&host.name, "default route")?;
                for announced in plan.announced.iter().filter(|to| to.is_ipv4() == gateway.is_ipv4()) {
                    links.route(alone(*announced), via).await.named(&host.name, "route to an announced address")?;
                }
            }
        }
        Ok(vec![eth0])
    }

    async fn connect_sink(&self, plan: &WorldPlan) -> Result<Link, WorldError> {
        let node = &plan.node.name;
        let ends = (End { links: &self.node, name: "uplink" }, End { links: &self.sink, name: "eth0" });
        let [uplink, eth0] = pair_of(ends.0, ends.1).await?;
        for [own, other] in known(&UPLINK).copied() {
            self.node.address(uplink, networked(own)).await.named(node, "address on uplink")?;
            self.sink.address(eth0, networked(other)).await.named(sink::NAME, "address on eth0")?;
            self.sink.route(everything(own), Via::Gateway(own, eth0)).await.named(sink::NAME, "default route")?;
            let via = Via::Gateway(other, uplink);
            self.node.route(everything(other), via).await.named(node, "default route")?;
            for announced in plan.announced.iter().filter(|to| to.is_ipv4() == other.is_ipv4()) {
                self.node.route(alone(*announced), via).await.named(node, "route of an announced address")?;
            }
        }
        Ok(uplink)
    }

    async fn connect_remote(&self, plan: &WorldPlan) -> Result<Link, WorldError> {
        let node = &plan.node.name;
        let ends = (End { links: &self.node, name: "overlay" }, End { links: &self.remote, name: "eth0" });
        let [overlay, eth0] = pair_of(ends.0, ends.1).await?;
        for [own, other] in known(&OVERLAY).copied() {
            self.node.address(overlay, networked(own)).await.named(node, "address on overlay")?;
            self.remote.address(eth0, networked(other)).await.named(REMOTE, "address on eth0")?;
            self.remote.route(everything(own), Via::Gateway(own, eth0)).await.named(REMOTE, "default route")?;
            let remote = plan.pods.iter().filter(|pod| pod.placement == Placement::Remote);
            for address in remote.flat_map(|pod| &pod.addresses).filter(|to| to.is_ipv4() == own.is_ipv4()) {
                self.remote.address(LOOPBACK, alone(*address)).await.named(REMOTE, "address of a pod")?;
                let via = Via::Gateway(other, overlay);
                self.node.route(alone(*address), via).await.named(node, "route to a pod of another node")?;
            }
        }
        Ok(overlay)
    }

    /// Returns the node's addresses towards its pods, and its ends of the links.
    async fn connect_pods(&self, plan: &WorldPlan) -> Result<(BTreeSet<IpAddr>, Vec<Link>), WorldError> {
        let node = &plan.node.name;
        let bridge = self.node.bridge("cni0").await.named(node, "bridge cni0")?;
        let mut addresses: BTreeSet<IpAddr> = plan.node.bridge_addresses.iter().copied().collect();
        for address in &addresses {
            self.node.address(bridge, networked(*address)).await.named(node, "address on cni0")?;
        }
        let mut ends = Vec::new();
        for (number, pod) in plan.pods.iter().enumerate() {
            match &pod.placement {
                Placement::Bridge => {
                    let port = self.connect_pod(pod, &format!("veth{number}"), &plan.node.bridge_addresses).await?;
                    self.node.attach(port, bridge).await.named(node, "port of cni0")?;
                    self.route_to_pod(pod, bridge).await?;
                    ends.push(port);
                }
                Placement::Interface(name) => {
                    let own = towards_pod(number);
                    let link = self.connect_pod(pod, name, &own).await?;
                    for address in &own {
                        self.node.address(link, alone(*address)).await.named(node, name)?;
                    }
                    self.route_to_pod(pod, link).await?;
                    addresses.extend(own);
                    ends.push(link);
                }
                Placement::Remote => {}
            }
        }
        Ok((addresses, ends))
    }

    /// A pod is alone in its network: what it sends to its neighbours on the bridge passes through the node's IP layer, and
    /// so does what they answer.
    async fn connect_pod(&self, pod: &PodPlan, name: &str, gateways: &[IpAddr]) -> Result<Link, WorldError> {
        let links = &self.pods[pod.name.as_str()];
        let [link, eth0] = pair_of(End { links: &self.node, name }, End { links, name: "eth0" }).await?;
        for address in &pod.addresses {
            links.address(eth0, alone(*address)).await.named(&pod.name, "address on eth0")?;
        }
        for gateway in gateways {
            let via = Via::Gateway(*gateway, eth0);
            links.route(everything(*gateway), via).await.named(&pod.name, "default route")?;
        }
        Ok(link)
    }

    async fn route_to_pod(&self, pod: &PodPlan, link: Link) -> Result<(), WorldError> {
        for address in &pod.addresses {
            self.node.route(alone(*address), Via::Neighbour(link)).await.named(&pod.name, "route to the pod")?;
        }
        Ok(())
    }

    /// Looks again until the link is up, on both sides. The kernel tells by a notification too, but looking is simpler and
    /// mostly succeeds at once.
    async fn wait_for(&self, link: Link) -> Result<(), WorldError> {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.node.is_ready(link).await.named("node", "link")? {
            if Instant::now() > deadline {
                return Err(WorldError::NotReady(format!("{link:?}")));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

async fn pair_of(one: End<'_>, other: End<'_>) -> Result<[Link; 2], WorldError> {
    let (place, object) =
        (one.links.namespace().name(), format!("link {} to {}", one.name, other.links.namespace().name()));
    connect(one, other).await.named(place, &object)
}

/// The node's addresses on the link to each place.
fn towards(plan: &WorldPlan) -> BTreeMap<String, Vec<IpAddr>> {
    let pods = plan.pods.iter().enumerate().map(|(number, pod)| {
        let addresses = match pod.placement {
            Placement::Bridge => plan.node.bridge_addresses.clone(),
            Placement::Interface(_) => towards_pod(number),
            Placement::Remote => known(&OVERLAY).map(|[node, _remote]| *node).collect(),
        };
        (pod.name.clone(), addresses)
    });
    let hosts = plan.hosts.iter().map(|host| (host.name.clone(), plan.node.addresses.clone()));
    let sink = (sink::NAME.to_owned(), known(&UPLINK).map(|[node, _sink]| *node).collect());
    pods.chain(hosts).chain([sink]).collect()
}

/// The node's addresses on the interface of the pod of this number.
fn towards_pod(number: usize) -> Vec<IpAddr> {
    let number = u8::try_from(number).expect("a world has few pods");
    let [v4, _] = pair([100, 64, number, 1], [0; 4]);
    let [v6, _] = pair6([0xfd64, u16::from(number) << 8 | 1], [0; 2]);
    [v4, v6].into_iter().filter(|address| has_family(Family::of(*address))).collect()
}

/// An address in a network of the usual size.
fn networked(address: IpAddr) -> links::Prefixed {
    (address, if address.is_ipv4() { 24 } else { 64 })
}
