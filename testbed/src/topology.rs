//! Builds a world from its plan.
//!
//! ```text
//!  hosts ── lan (192.168.67.0/24) ── eth0 ┐            ┌ cni0 ── pods behind the bridge
//!  sink ──────────────────────── uplink ──┤ node under ├ caliX ─ pods behind an interface each
//!  pods of other nodes ──────── overlay ──┘ test       ┘
//! ```
//!
//! The node has an address of its own on each link, so that a masqueraded source tells through which it left. Its
//! default route ends in the sink, and the default route of every other place is the node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use backend_api::Family;
use tokio::runtime::{self, Runtime};

use super::dial::Dial;
use super::error::{Named, WorldError, setup};
use super::links::{Link, Links};
use super::numbering::{UPLINK, has_family, known, networked, towards};
use super::outcome::{Answer, Outcome};
use super::place::Place;
use super::plan::{Listen, WorldPlan, of_family};
use super::population::Namespaces;
use super::probe::{self, Held};
use super::responder::Server;
use super::sink::{self, Sink};
use super::wiring::Wiring;

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
        let all: Vec<_> =
            addresses.iter().flat_map(|address| listens.iter().map(|listen| (*address, *listen))).collect();
        let started = Server::start_all(runtime, &found.namespace, place, &all).map_err(setup(place))?;
        self.servers.entry(place.to_owned()).or_default().extend(started);
        Ok(())
    }

    /// Ends every server of a place, as when its processes end: its connections are closed and its ports refuse when
    /// this returns.
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
        // On a thread of its own, as in `build`.
        let done = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let links = Links::open(namespace, runtime).map_err(setup(place))?;
                runtime.block_on(async { act(&links, links.find("eth0").await?).await }).named(place, "eth0")
            });
            thread.join()
        });
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
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
