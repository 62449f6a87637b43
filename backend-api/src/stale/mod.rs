//! Which connection-tracking entries changes leave stale.
//!
//! The kernel asks our rules about the first packet of a flow only. UDP and SCTP clients go on for ever along what was
//! decided once: to an endpoint that no longer exists, or untranslated since before the frontend existed. TCP notices
//! when the other end is gone, once there was one: a client whose first packet is not answered repeats it along the same
//! decision until it gives up. Such entries are deleted, and the next packet is decided anew. Kept apart from the
//! backends because both need the same answer, and from netlink because the answer is pure.
//!
//! Nearly every change can leave stale entries, and looking for them costs a walk through all of connection tracking. So
//! what changed is gathered, owned and over several syncs, and looked for beside them.
//!
//! ```text
//! what changed ──► StaleFlows ──► is_empty? no dump at all
//! (of each sync)       └── kinds ──► dump of conntrack [backend] ── Flow ──► is_stale? delete it
//! ```
//!
//! **Invariant:** an entry of TCP that was answered, or to a destination that is not and was not a frontend, is never
//! stale (`an_answered_tcp_entry_is_never_deleted`).

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::{
    Answer, EndpointAddress, Family, Frontend, FrontendKey, NodeNetwork, Protocol, Route, Service, ServicePort,
    ServiceState,
};

/// One connection-tracking entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Its protocol.
    pub protocol: Protocol,
    /// The client: source of the original direction (`CTA_TUPLE_ORIG`).
    pub source: SocketAddr,
    /// What was dialled: destination of the original direction (`CTA_TUPLE_ORIG`).
    pub destination: SocketAddr,
    /// What answers: source of the reply direction (`CTA_TUPLE_REPLY`). Equal to `destination` where nothing was
    /// translated.
    pub reply_source: SocketAddr,
    /// Whether a packet came back (`IPS_SEEN_REPLY`).
    pub answered: bool,
}

/// The test for entries that changes have left stale. It follows the changes that come after those that it was told
/// first, so it may be asked at any later time.
///
/// ```
/// # use std::sync::Arc;
/// # use switchyard_api::*;
/// let now = ServiceState::new(NodeNetwork::unknown());
/// let dns = ServicePort {
///     frontends: vec![Frontend::cluster_ip("10.96.0.10".parse()?, Protocol::Udp, 53)],
///     ..ServicePort::new(Family::V4, Protocol::Udp)
/// };
/// let gone = Arc::new(Service::new(ServiceName::new("kube-system", "kube-dns"), vec![dns]));
///
/// let mut stale = StaleFlows::new(now.node().clone());
/// stale.service_changed(Some(&gone), None, &now);
/// let flow = Flow {
///     protocol: Protocol::Udp,
///     source: "10.244.2.3:40000".parse()?,
///     destination: "10.96.0.10:53".parse()?,
///     reply_source: "10.244.0.2:53".parse()?,
///     answered: true,
/// };
/// assert!(!stale.is_empty() && stale.is_stale(&flow));
/// // A connection of TCP ends by itself, once it was answered.
/// assert!(!stale.is_stale(&Flow { protocol: Protocol::Tcp, ..flow }));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StaleFlows {
    node: Arc<NodeNetwork>,
    /// Networks of the node before, whose node ports were at other addresses.
    earlier: Vec<Arc<NodeNetwork>>,
    /// Frontends whose flows may be stale, each with what has it now.
    suspects: HashMap<FrontendKey, Option<Holder>>,
}

/// What answers a frontend.
#[derive(Clone, Debug)]
struct Holder {
    service: Arc<Service>,
    /// The index of the port.
    port: usize,
}

impl StaleFlows {
    /// Nothing has changed on this node.
    pub fn new(node: Arc<NodeNetwork>) -> Self {
        Self { node, earlier: Vec::new(), suspects: HashMap::new() }
    }

    /// Nothing has changed on this one's node.
    pub fn emptied(&self) -> Self {
        Self::new(self.node.clone())
    }

    /// For the first sync of a process, and for the first after an error: `held` is what the kernel held before.
    /// Every frontend is suspect, those that did not change too, because the process that programmed them may have died
    /// before it deleted their stale flows, and what was suspect stays so. Flows to serving endpoints stay, so a restart
    /// cuts no connection. At which of the node's addresses node ports were dialled before is not observed: what was
    /// told before counts, and now's.
    pub fn restarted(&mut self, held: impl IntoIterator<Item = FrontendKey>, now: &ServiceState) {
        self.node_changed(now);
        let suspects = std::mem::take(&mut self.suspects);
        for key in held.into_iter().chain(suspects.into_keys()) {
            self.suspects.insert(key, None);
        }
        for service in now.services_unordered() {
            for (port, frontend) in frontends(service) {
                self.suspects.insert(frontend.key, Some(Holder { service: service.clone(), port }));
            }
        }
    }

    /// The kernel is programmed for the node of `now`. Where node ports are at other addresses than before, their flows
    /// may be stale. Comes before the changes of services.
    pub fn node_changed(&mut self, now: &ServiceState) {
        let moved = self.moves_to(now.node());
        self.follow_node(now.node());
        if moved.is_empty() {
            return;
        }
        for (_, frontend) in now.services_unordered().flat_map(|service| frontends(service)) {
            if matches!(frontend.key, FrontendKey::NodePort { family, .. } if moved.contains(&family)) {
                self.suspect([frontend.key], now);
            }
        }
    }

    /// As [`StaleFlows::node_changed`], for one that is asked already: nothing more becomes suspect.
    pub fn follow_node(&mut self, node: &Arc<NodeNetwork>) {
        if !self.moves_to(node).is_empty() {
            self.earlier.push(self.node.clone());
        }
        self.node = node.clone();
    }

    /// One service that was programmed as `before` and is as `after`, `None` where there was or is none; both in
    /// granted form ([`ServiceState::service`]), and `now` what the kernel is programmed for. In any order; a service
    /// that did not change may be left out. Leave out one that failed and is still as before.
    pub fn service_changed(&mut self, before: Option<&Arc<Service>>, after: Option<&Arc<Service>>, now: &ServiceState) {
        if let (Some(before), Some(after)) = (before, after)
            && Arc::ptr_eq(before, after)
        {
            return;
        }
        self.follow(before, after);
        for key in endangered(before.map(|service| &**service), after.map(|service| &**service)) {
            let own = after.and_then(|after| Holder::of(after, &key));
            // A frontend that this service has lost may be another's now.
            let held = own.or_else(|| {
                holder(now, &key).filter(|other| before.is_none_or(|before| before.name != other.service.name))
            });
            self.note(key, held, now);
        }
    }

    /// As [`StaleFlows::service_changed`], for one that is asked already: nothing more becomes suspect.
    pub fn follow(&mut self, before: Option<&Arc<Service>>, after: Option<&Arc<Service>>) {
        if self.suspects.is_empty() {
            return;
        }
        for (_, frontend) in before.into_iter().flat_map(|service| frontends(service)) {
            if let Some(holder) = self.suspects.get_mut(&frontend.key)
                && holder.as_ref().is_some_and(|holder| before.is_some_and(|before| holder.service.name == before.name))
            {
                *holder = None;
            }
        }
        let Some(after) = after else { return };
        for (port, frontend) in frontends(after) {
            if let Some(holder) = self.suspects.get_mut(&frontend.key) {
                *holder = Some(Holder { service: after.clone(), port });
            }
        }
    }

    /// Flows of these frontends may be stale too, whatever became of them.
    pub fn suspect(&mut self, frontends: impl IntoIterator<Item = FrontendKey>, now: &ServiceState) {
        for key in frontends {
            self.note(key, holder(now, &key), now);
        }
    }

    /// Whether no flow can be stale: then connection tracking need not be read at all.
    pub fn is_empty(&self) -> bool {
        self.suspects.is_empty()
    }

    /// Everything that is suspect here becomes suspect in `other` too, which knows later changes.
    pub fn hand_back(self, other: &mut Self) {
        for (key, holder) in self.suspects {
            other.suspects.entry(key).or_insert(holder);
        }
        other.earlier.extend(self.earlier);
    }

    /// What is suspect.
    pub fn suspects(&self) -> impl Iterator<Item = FrontendKey> + '_ {
        self.suspects.keys().copied()
    }

    /// The families and protocols whose entries need to be looked at; of TCP the unanswered ones.
    pub fn kinds(&self) -> BTreeSet<(Family, Protocol)> {
        self.suspects.keys().map(|key| (key.family(), key.protocol())).collect()
    }

    /// Whether this entry is to be deleted: its destination is (or was) a frontend that changed, and its answers come
    /// from elsewhere than this frontend's endpoints. All of [`ServicePort::endpoints`] may keep their flows, whatever
    /// their weight, pools, and the frontend's policy. Where the frontend is gone, translated entries are stale and
    /// untranslated ones are how it should be.
    pub fn is_stale(&self, flow: &Flow) -> bool {
        if !is_cut(flow) {
            return false;
        }
        let (address, protocol, port) = (flow.destination.ip(), flow.protocol, flow.destination.port());
        let dialled = FrontendKey::Address { address, protocol, port };
        let node_port = FrontendKey::NodePort { family: Family::of(address), protocol, port };
        let is_node_port = self.node.carries_node_ports(address);
        let was_node_port = is_node_port || self.earlier.iter().any(|node| node.carries_node_ports(address));
        let at_address = self.suspects.get(&dialled);
        let at_node = self.suspects.get(&node_port).filter(|_| was_node_port);
        let holder = match (at_address, at_node) {
            (None, None) => return false,
            (Some(Some(holder)), _) => Some(holder),
            (_, Some(holder)) => holder.as_ref().filter(|_| is_node_port),
            (Some(None), None) => None,
        };
        leads_astray(holder.map(Holder::port), flow)
    }

    /// A frontend is suspect, and so is every other one at the same destinations: an address of the node comes before a
    /// node port there.
    fn note(&mut self, key: FrontendKey, held: Option<Holder>, now: &ServiceState) {
        self.suspects.insert(key, held);
        let others: Vec<FrontendKey> = match key {
            FrontendKey::Address { address, protocol, port } if self.node.carries_node_ports(address) => {
                vec![FrontendKey::NodePort { family: Family::of(address), protocol, port }]
            }
            FrontendKey::Address { .. } => Vec::new(),
            FrontendKey::NodePort { family, protocol, port } => {
                let nodes = self.earlier.iter().chain([&self.node]);
                let addresses = nodes.flat_map(|node| node.node_port_addresses(family));
                addresses.map(|address| FrontendKey::Address { address, protocol, port }).collect()
            }
        };
        for other in others {
            if let Some(held) = holder(now, &other) {
                self.suspects.entry(other).or_insert(Some(held));
            }
        }
    }

    /// The families whose node ports are at other addresses in this network.
    fn moves_to(&self, node: &NodeNetwork) -> BTreeSet<Family> {
        let families = Family::ALL.into_iter();
        families.filter(|family| !same_node_port_addresses(&self.node, node, *family)).collect()
    }
}

impl Holder {
    fn of(service: &Arc<Service>, key: &FrontendKey) -> Option<Self> {
        let (port, _) = frontends(service).find(|(_, frontend)| frontend.key == *key)?;
        Some(Self { service: service.clone(), port })
    }

    fn port(&self) -> &ServicePort {
        &self.service.ports[self.port]
    }
}

fn holder(now: &ServiceState, key: &FrontendKey) -> Option<Holder> {
    Holder::of(now.service(now.owner(key)?)?, key)
}

/// Whether flows of a frontend may be stale when it changes like this: it lost an endpoint, or clients that met a
/// refusal are balanced now. An endpoint more, another weight or pool, another source range: no flow to look for.
fn endangers(before: (&ServicePort, &Frontend), after: (&ServicePort, &Frontend)) -> bool {
    let lost = before.0.endpoints.iter().any(|endpoint| !has_endpoint(after.0, endpoint.address));
    let begins = answers(before.1.route)
        .into_iter()
        .zip(answers(after.1.route))
        .any(|(answer_before, answer_after)| !balances(before.0, answer_before) && balances(after.0, answer_after));
    lost || begins
}

/// For clients inside, and for all others.
fn answers(route: Route) -> [Answer; 2] {
    match route {
        Route::Everyone(answer) => [answer, answer],
        Route::Split { inside, outside } => [inside, outside],
    }
}

fn balances(port: &ServicePort, answer: Answer) -> bool {
    match answer {
        Answer::Balance(pool) => port.pool(pool).next().is_some(),
        Answer::Reject | Answer::Drop => false,
    }
}

fn has_endpoint(port: &ServicePort, address: EndpointAddress) -> bool {
    port.endpoints.binary_search_by_key(&address, |endpoint| endpoint.address).is_ok()
}

/// What is stale is cut, but for connections of TCP: they end by themselves, and cutting them would be a policy that no
/// object asks for.
fn is_cut(flow: &Flow) -> bool {
    match flow.protocol {
        Protocol::Tcp => !flow.answered,
        Protocol::Udp | Protocol::Sctp => true,
    }
}

/// Whether a flow leads elsewhere than its destination's frontend would send it now: this port's endpoints, or nowhere.
fn leads_astray(port: Option<&ServicePort>, flow: &Flow) -> bool {
    match port {
        Some(port) => !has_endpoint(port, flow.reply_source.into()),
        None => EndpointAddress::from(flow.reply_source) != flow.destination.into(),
    }
}

/// The frontends whose flows may be stale when a service changes like this.
fn endangered(before: Option<&Service>, after: Option<&Service>) -> Vec<FrontendKey> {
    let mut coming = HashMap::new();
    if let Some(service) = after {
        coming.extend(frontends(service).map(|(port, frontend)| (frontend.key, (&service.ports[port], frontend))));
    }
    let mut endangered = Vec::new();
    if let Some(service) = before {
        for (port, frontend) in frontends(service) {
            let successor = coming.remove(&frontend.key);
            if successor.is_none_or(|successor| endangers((&service.ports[port], frontend), successor)) {
                endangered.push(frontend.key);
            }
        }
    }
    endangered.extend(coming.into_keys());
    endangered
}

/// Every frontend, with the index of its port.
fn frontends(service: &Service) -> impl Iterator<Item = (usize, &Frontend)> {
    let ports = service.ports.iter().enumerate();
    ports.flat_map(|(index, port)| port.frontends.iter().map(move |frontend| (index, frontend)))
}

fn same_node_port_addresses(one: &NodeNetwork, other: &NodeNetwork, family: Family) -> bool {
    one.node_port_addresses(family).eq(other.node_port_addresses(family))
}

#[cfg(test)]
mod tests;
