//! The namespaces of a world: one for each machine and pod, one for all pods of other nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::error::{WorldError, setup};
use super::namespace::Namespace;
use super::place::Place;
use super::plan::{Placement, WorldPlan};
use super::settings::{NODE_SETTINGS, SETTINGS, configure};
use super::sink;

/// The bridge between the node and the hosts, and its namespace.
pub(super) const LAN: &str = "lan";
/// The namespace of all pods of other nodes.
pub(super) const REMOTE: &str = "remote";

/// Every namespace of a world.
pub(super) struct Namespaces {
    pub(super) node: Namespace,
    /// The bridge between the node and the hosts.
    pub(super) lan: Namespace,
    pub(super) sink: Namespace,
    /// All pods of other nodes.
    pub(super) remote: Namespace,
    pub(super) pods: BTreeMap<String, Namespace>,
    pub(super) hosts: BTreeMap<String, Namespace>,
}

impl Namespaces {
    pub(super) fn create(plan: &WorldPlan) -> Result<Self, WorldError> {
        let mut taken = BTreeSet::from([plan.node.name.as_str(), sink::NAME, LAN, REMOTE]);
        let names = plan.pods.iter().map(|pod| &pod.name).chain(plan.hosts.iter().map(|host| &host.name));
        for name in names {
            if !taken.insert(name) || name.contains([' ', '/']) || name.is_empty() {
                return Err(WorldError::Plan(format!("{name:?}: not a unique name without spaces and slashes")));
            }
        }
        let own = plan.pods.iter().filter(|pod| pod.placement != Placement::Remote);
        Ok(Self {
            node: node(&plan.node.name)?,
            lan: quiet(LAN)?,
            sink: quiet(sink::NAME)?,
            remote: quiet(REMOTE)?,
            pods: quiet_each(own.map(|pod| &pod.name))?,
            hosts: quiet_each(plan.hosts.iter().map(|host| &host.name))?,
        })
    }

    pub(super) fn into_places(self, plan: &WorldPlan, sink_addresses: Vec<IpAddr>) -> BTreeMap<String, Place> {
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

/// A quiet namespace for each of these names.
fn quiet_each<'a>(names: impl Iterator<Item = &'a String>) -> Result<BTreeMap<String, Namespace>, WorldError> {
    names.map(|name| Ok((name.clone(), quiet(name)?))).collect()
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
