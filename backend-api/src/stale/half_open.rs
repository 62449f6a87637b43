//! Connections of TCP that are not answered yet, and that lead where no frontend leads any more.
//!
//! Kept apart from [`StaleFlows`](super::StaleFlows) because nearly every change can leave such connections, and
//! looking for them costs a walk through all of connection tracking. So what changed is gathered here, owned and over
//! several syncs, and looked for at times, beside them. A client does not notice: it repeats its first packet after a
//! second.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Flow, endangered, frontends, is_cut, leads_astray};
use crate::{Family, FrontendKey, NodeNetwork, Protocol, Service, ServicePort, ServiceState};

/// The test for connections of TCP without an answer that changes have left stale. It follows the changes that come
/// after those that it was told first, so it may be asked at any later time.
///
/// ```
/// # use std::sync::Arc;
/// # use switchyard_api::*;
/// let port = ServicePort {
///     frontends: vec![Frontend::cluster_ip("10.96.0.80".parse()?, Protocol::Tcp, 80)],
///     ..ServicePort::new(Family::V4, Protocol::Tcp)
/// };
/// let web = Arc::new(Service::new(ServiceName::new("default", "web"), vec![port]));
///
/// let mut half_open = HalfOpen::new(Arc::new(NodeNetwork::unknown()));
/// half_open.service_changed(None, Some(&web));
/// let untranslated = Flow {
///     protocol: Protocol::Tcp,
///     source: "10.244.2.3:40000".parse()?,
///     destination: "10.96.0.80:80".parse()?,
///     reply_source: "10.96.0.80:80".parse()?,
///     answered: false,
/// };
/// assert!(half_open.is_stale(&untranslated));
/// assert!(!half_open.is_stale(&Flow { answered: true, ..untranslated }));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct HalfOpen {
    node: Arc<NodeNetwork>,
    /// Frontends of TCP whose flows may be stale, each with the service that has it now.
    suspects: HashMap<FrontendKey, Option<Arc<Service>>>,
}

impl HalfOpen {
    /// Nothing has changed on this node.
    pub fn new(node: Arc<NodeNetwork>) -> Self {
        Self { node, suspects: HashMap::new() }
    }

    /// For the first sync of a process, as [`StaleFlows::after_restart`](super::StaleFlows::after_restart): every
    /// frontend that the kernel held before or holds now is suspect.
    pub fn after_restart(held: impl IntoIterator<Item = FrontendKey>, now: &ServiceState) -> Self {
        let held = held.into_iter().map(|key| (key, None));
        let holds = now
            .services_unordered()
            .flat_map(|service| frontends(service).map(move |(_, frontend)| (frontend.key, Some(service.clone()))));
        let suspects = held.chain(holds).filter(|(key, _)| is_tcp(key.protocol())).collect();
        Self { node: now.node().clone(), suspects }
    }

    /// Nothing has changed on this one's node.
    pub fn emptied(&self) -> Self {
        Self::new(self.node.clone())
    }

    /// The kernel is programmed for this network of the node now. Node ports that moved with it are
    /// [`StaleFlows::new`](super::StaleFlows::new)'s to note.
    pub fn node_changed(&mut self, node: &Arc<NodeNetwork>) {
        self.node = node.clone();
    }

    /// One service that was programmed as `before` and is as `after` now. As
    /// [`StaleFlows::service_changed`](super::StaleFlows::service_changed), and every change must be told.
    pub fn service_changed(&mut self, before: Option<&Arc<Service>>, after: Option<&Arc<Service>>) {
        self.follow(before, after);
        endangered(before.map(|s| &**s), after.map(|s| &**s), is_tcp, |key| {
            let holder = after.filter(|after| port_of(after, &key).is_some());
            // A frontend that another service has meanwhile is that one's.
            let holder = holder.cloned().or_else(|| self.suspects.remove(&key).flatten());
            self.suspects.insert(key, holder);
        });
    }

    /// As [`HalfOpen::service_changed`], for one that is asked already: nothing more becomes suspect.
    pub fn follow(&mut self, before: Option<&Arc<Service>>, after: Option<&Arc<Service>>) {
        if self.suspects.is_empty() {
            return;
        }
        for (_, frontend) in before.into_iter().flat_map(|service| frontends(service)) {
            if let Some(holder) = self.suspects.get_mut(&frontend.key)
                && holder.as_ref().is_some_and(|holder| before.is_some_and(|before| holder.name == before.name))
            {
                *holder = None;
            }
        }
        for (after, frontend) in after.into_iter().flat_map(|after| frontends(after).map(move |(_, f)| (after, f))) {
            if let Some(holder) = self.suspects.get_mut(&frontend.key) {
                *holder = Some(after.clone());
            }
        }
    }

    /// Whether no connection can be stale: then connection tracking need not be read at all.
    pub fn is_empty(&self) -> bool {
        self.suspects.is_empty()
    }

    /// Everything that is suspect here becomes suspect in `other` too, which knows later changes.
    pub fn hand_back(self, other: &mut HalfOpen) {
        for (key, holder) in self.suspects {
            other.suspects.entry(key).or_insert(holder);
        }
    }

    /// The families whose entries need to be looked at.
    pub fn families(&self) -> BTreeSet<Family> {
        self.suspects.keys().map(|key| key.family()).collect()
    }

    /// Whether this entry is to be deleted: it is an unanswered one of TCP, its destination is (or was) a
    /// frontend that changed, and its answer would come from elsewhere than this frontend's endpoints. Where a node port
    /// changed, an external address that is the node's own and has the same port is not told apart: its client begins
    /// once more.
    pub fn is_stale(&self, flow: &Flow) -> bool {
        if !is_tcp(flow.protocol) || !is_cut(flow) {
            return false;
        }
        let (address, port) = (flow.destination.ip(), flow.destination.port());
        let dialled = FrontendKey::Address { address, protocol: Protocol::Tcp, port };
        let node_port = FrontendKey::NodePort { family: Family::of(address), protocol: Protocol::Tcp, port };
        let suspects = [&dialled, &node_port].map(|key| self.suspects.get_key_value(key));
        match suspects {
            [Some((key, holder)), _] => leads_astray(holder.as_ref().and_then(|holder| port_of(holder, key)), flow),
            [None, Some((key, holder))] if self.node.carries_node_ports(address) => {
                leads_astray(holder.as_ref().and_then(|holder| port_of(holder, key)), flow)
            }
            [None, _] => false,
        }
    }
}

fn is_tcp(protocol: Protocol) -> bool {
    protocol == Protocol::Tcp
}

fn port_of<'a>(service: &'a Service, key: &FrontendKey) -> Option<&'a ServicePort> {
    frontends(service).find(|(_, frontend)| frontend.key == *key).map(|(port, _)| port)
}
