//! Connects the namespaces of a world: links, addresses, routes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::runtime;

use super::error::{Named, WorldError, setup};
use super::links::{End, LOOPBACK, Link, Links, Via, alone, connect, everything};
use super::namespace::Namespace;
use super::numbering::{OVERLAY, UPLINK, known, networked, towards_pod};
use super::plan::{Placement, PodPlan, WorldPlan};
use super::population::{LAN, Namespaces, REMOTE};
use super::sink;

/// A netlink socket in each namespace.
pub(super) struct Wiring<'a> {
    node: Links<'a>,
    lan: Links<'a>,
    sink: Links<'a>,
    remote: Links<'a>,
    pods: BTreeMap<&'a str, Links<'a>>,
    hosts: BTreeMap<&'a str, Links<'a>>,
}

impl<'a> Wiring<'a> {
    pub(super) fn open(namespaces: &'a Namespaces, runtime: &runtime::Handle) -> Result<Self, WorldError> {
        Ok(Self {
            node: links_in(&namespaces.node, runtime)?,
            lan: links_in(&namespaces.lan, runtime)?,
            sink: links_in(&namespaces.sink, runtime)?,
            remote: links_in(&namespaces.remote, runtime)?,
            pods: links_in_each(&namespaces.pods, runtime)?,
            hosts: links_in_each(&namespaces.hosts, runtime)?,
        })
    }

    /// Connects every namespace, and returns the node's addresses.
    pub(super) async fn connect_all(&self, plan: &WorldPlan) -> Result<BTreeSet<IpAddr>, WorldError> {
        for links in self.all() {
            links.up(LOOPBACK).await.named(links.namespace().name(), "lo")?;
        }
        self.connect_hosts(plan).await?;
        self.connect_sink(plan).await?;
        self.connect_remote(plan).await?;
        let mut addresses = self.connect_pods(plan).await?;
        addresses.extend(&plan.node.addresses);
        addresses.extend(known(&UPLINK).chain(known(&OVERLAY)).map(|[node, _other]| node));
        for links in self.all() {
            wait_for(links).await?;
        }
        Ok(addresses)
    }

    fn all(&self) -> impl Iterator<Item = &Links<'a>> {
        [&self.node, &self.lan, &self.sink, &self.remote]
            .into_iter()
            .chain(self.pods.values())
            .chain(self.hosts.values())
    }

    async fn connect_hosts(&self, plan: &WorldPlan) -> Result<(), WorldError> {
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
        Ok(())
    }

    async fn connect_sink(&self, plan: &WorldPlan) -> Result<(), WorldError> {
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
        Ok(())
    }

    async fn connect_remote(&self, plan: &WorldPlan) -> Result<(), WorldError> {
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
        Ok(())
    }

    /// Returns the node's addresses towards its pods.
    async fn connect_pods(&self, plan: &WorldPlan) -> Result<BTreeSet<IpAddr>, WorldError> {
        let node = &plan.node.name;
        let bridge = self.node.bridge("cni0").await.named(node, "bridge cni0")?;
        let mut addresses: BTreeSet<IpAddr> = plan.node.bridge_addresses.iter().copied().collect();
        for address in &addresses {
            self.node.address(bridge, networked(*address)).await.named(node, "address on cni0")?;
        }
        for (number, pod) in plan.pods.iter().enumerate() {
            match &pod.placement {
                Placement::Bridge => {
                    let port = self.connect_pod(pod, &format!("veth{number}"), &plan.node.bridge_addresses).await?;
                    self.node.attach(port, bridge).await.named(node, "port of cni0")?;
                    self.route_to_pod(pod, bridge).await?;
                }
                Placement::Interface(name) => {
                    let own = towards_pod(number);
                    let link = self.connect_pod(pod, name, &own).await?;
                    for address in &own {
                        self.node.address(link, alone(*address)).await.named(node, name)?;
                    }
                    self.route_to_pod(pod, link).await?;
                    addresses.extend(own);
                }
                Placement::Remote => {}
            }
        }
        Ok(addresses)
    }

    /// A pod is alone in its network: what it sends to its neighbours on the bridge passes through the node's IP layer,
    /// and so does what they answer.
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
}

fn links_in<'a>(namespace: &'a Namespace, runtime: &runtime::Handle) -> Result<Links<'a>, WorldError> {
    Links::open(namespace, runtime).map_err(setup(namespace.name()))
}

fn links_in_each<'a>(
    namespaces: &'a BTreeMap<String, Namespace>,
    runtime: &runtime::Handle,
) -> Result<BTreeMap<&'a str, Links<'a>>, WorldError> {
    namespaces.iter().map(|(name, namespace)| Ok((name.as_str(), links_in(namespace, runtime)?))).collect()
}

/// Looks again until every link carries packets. The kernel notifies too, but looking is simpler and mostly succeeds at
/// once.
async fn wait_for(links: &Links<'_>) -> Result<(), WorldError> {
    let place = links.namespace().name();
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let unready = links.unready().await.named(place, "links")?;
        if unready.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(WorldError::NotReady { place: place.to_owned(), links: unready });
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn pair_of(one: End<'_>, other: End<'_>) -> Result<[Link; 2], WorldError> {
    let (place, object) =
        (one.links.namespace().name(), format!("link {} to {}", one.name, other.links.namespace().name()));
    connect(one, other).await.named(place, &object)
}
