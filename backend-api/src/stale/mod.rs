//! Which connection-tracking entries a sync leaves stale.
//!
//! The kernel asks our rules about the first packet of a flow only. UDP and SCTP clients go on for ever along what was
//! decided once: to an endpoint that no longer exists, or untranslated since before the frontend existed. TCP notices
//! when the other end is gone, once there was one: a client whose first packet is not answered repeats it along the same
//! decision until it gives up. Such entries are deleted, and the next packet is decided anew. Kept apart from the
//! backends because both need the same answer, and from netlink because the answer is pure.
//!
//! ```text
//! what changed ──► StaleFlows (UDP, SCTP; node ports that moved) ──► is_empty? no dump at all
//!            │         └── kinds ──► dump of conntrack [backend] ── Flow ──► is_stale? delete it
//!            └───► HalfOpen (TCP) ──► the same, gathered over several syncs and beside them
//! ```
//!
//! **Invariant:** an entry of TCP that was answered, or to a destination that is not and was not a frontend, is never
//! stale (`an_answered_tcp_entry_is_never_deleted`).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;

mod half_open;

pub use half_open::HalfOpen;

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

/// The test for entries that are stale now that the kernel forwards as `now` says.
///
/// ```
/// # use switchyard_api::*;
/// let now = ServiceState::new(NodeNetwork::unknown());
/// let dns = ServicePort {
///     frontends: vec![Frontend::cluster_ip("10.96.0.10".parse()?, Protocol::Udp, 53)],
///     ..ServicePort::new(Family::V4, Protocol::Udp)
/// };
/// let gone = Service::new(ServiceName::new("kube-system", "kube-dns"), vec![dns]);
///
/// let mut stale = StaleFlows::new(now.node(), &now);
/// stale.service_changed(Some(&gone), None);
/// let flow = Flow {
///     protocol: Protocol::Udp,
///     source: "10.244.2.3:40000".parse()?,
///     destination: "10.96.0.10:53".parse()?,
///     reply_source: "10.244.0.2:53".parse()?,
///     answered: true,
/// };
/// assert!(!stale.is_empty() && stale.is_stale(&flow));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct StaleFlows<'a> {
    now: &'a ServiceState,
    /// Selection of the node's addresses before, where it is another than now's.
    node_before: Option<NodeNetwork>,
    /// Frontends whose flows may be stale.
    changed: HashSet<FrontendKey>,
    kinds: BTreeSet<(Family, Protocol)>,
}

impl<'a> StaleFlows<'a> {
    /// For a sync from a known state: `node_before` is the network that the kernel was programmed for, `now` what it
    /// is programmed for now. Say next what changed ([`StaleFlows::service_changed`]); where the
    /// node's addresses changed, node ports are already included.
    pub fn new(node_before: &NodeNetwork, now: &'a ServiceState) -> Self {
        let mut stale = Self { now, node_before: None, changed: HashSet::new(), kinds: BTreeSet::new() };
        let moved: Vec<Family> = Family::ALL
            .into_iter()
            .filter(|family| !same_node_port_addresses(node_before, now.node(), *family))
            .collect();
        if moved.is_empty() {
            return stale;
        }
        stale.node_before = Some(node_before.clone());
        for (_, frontend) in now.services_unordered().flat_map(|service| frontends(service)) {
            if matches!(frontend.key, FrontendKey::NodePort { family, .. } if moved.contains(&family)) {
                stale.note(frontend.key);
            }
        }
        stale
    }

    /// For the first sync of a process, and for the first after an error: `held` is what the kernel held before.
    /// Every frontend is suspect, those that did not change too, because the process that programmed them may have died
    /// before it deleted their stale flows; those of TCP are [`HalfOpen`]'s to note. Flows to serving endpoints stay, so
    /// a restart cuts no connection. At which of the node's addresses node ports were dialled before is not observed:
    /// now's count.
    pub fn after_restart(held: impl IntoIterator<Item = FrontendKey>, now: &'a ServiceState) -> Self {
        let mut stale = Self { now, node_before: None, changed: HashSet::new(), kinds: BTreeSet::new() };
        let holds = now.services_unordered().flat_map(|service| frontends(service)).map(|(_, frontend)| frontend.key);
        held.into_iter().chain(holds).filter(|key| key.protocol() != Protocol::Tcp).for_each(|key| stale.note(key));
        stale
    }

    /// One service that was programmed as `before` and is as `after` now, `None` where there was or is none; both in
    /// granted form ([`ServiceState::service`]). In any order; a service that did not change may be left out. Leave
    /// out one that failed and is still as before. Its frontends of TCP are [`HalfOpen`]'s to note.
    pub fn service_changed(&mut self, before: Option<&Service>, after: Option<&Service>) {
        if let (Some(before), Some(after)) = (before, after)
            && std::ptr::eq(before, after)
        {
            return;
        }
        endangered(before, after, |protocol| protocol != Protocol::Tcp, |key| self.note(key));
    }

    /// Whether no flow can be stale: then connection tracking need not be read at all.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// The families and protocols whose entries need to be looked at; of TCP the unanswered ones.
    pub fn kinds(&self) -> impl ExactSizeIterator<Item = (Family, Protocol)> {
        self.kinds.iter().copied()
    }

    /// Whether this entry is to be deleted: its destination is (or was) a frontend that changed, and its answers come
    /// from elsewhere than this frontend's endpoints. All of [`ServicePort::endpoints`] may keep their flows, whatever
    /// their weight, pools, and the frontend's policy. Where the frontend is gone, translated entries are stale and
    /// untranslated ones are how it should be.
    pub fn is_stale(&self, flow: &Flow) -> bool {
        if !is_cut(flow) {
            return false;
        }
        let destination = flow.destination.ip();
        let (protocol, port, family) = (flow.protocol, flow.destination.port(), Family::of(destination));
        let dialled = FrontendKey::Address { address: destination, protocol, port };
        let node_port = FrontendKey::NodePort { family, protocol, port };
        let is_node_port = self.now.node().carries_node_ports(destination);
        let was_node_port = match &self.node_before {
            Some(before) => before.carries_node_ports(destination),
            None => is_node_port,
        };
        let suspect =
            self.changed.contains(&dialled) || (is_node_port || was_node_port) && self.changed.contains(&node_port);
        if !suspect {
            return false;
        }
        let frontend = self.now.find(&dialled).or_else(|| self.now.find(&node_port).filter(|_| is_node_port));
        leads_astray(frontend.map(|(_, port, _)| port), flow)
    }

    /// Flows of these frontends may be stale too, whatever became of them.
    pub fn suspect(&mut self, frontends: impl IntoIterator<Item = FrontendKey>) {
        frontends.into_iter().for_each(|key| self.note(key));
    }

    /// The frontends whose flows may be stale: for one that could not look now, and must later.
    pub fn suspects(self) -> HashSet<FrontendKey> {
        self.changed
    }

    fn note(&mut self, key: FrontendKey) {
        self.kinds.insert((key.family(), key.protocol()));
        self.changed.insert(key);
    }
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

/// Shows the frontends of these protocols whose flows may be stale when a service changes like this.
fn endangered(
    before: Option<&Service>,
    after: Option<&Service>,
    is_meant: impl Fn(Protocol) -> bool,
    mut each: impl FnMut(FrontendKey),
) {
    let mut coming = HashMap::new();
    for (port, frontend) in after.into_iter().flat_map(frontends) {
        if is_meant(frontend.key.protocol()) {
            coming.insert(frontend.key, (port, frontend));
        }
    }
    for (port, frontend) in before.into_iter().flat_map(frontends) {
        if !is_meant(frontend.key.protocol()) {
            continue;
        }
        let successor = coming.remove(&frontend.key);
        if successor.is_none_or(|successor| endangers((port, frontend), successor)) {
            each(frontend.key);
        }
    }
    coming.into_keys().for_each(each);
}

fn frontends(service: &Service) -> impl Iterator<Item = (&ServicePort, &Frontend)> {
    service.ports.iter().flat_map(|port| port.frontends.iter().map(move |frontend| (port, frontend)))
}

fn same_node_port_addresses(one: &NodeNetwork, other: &NodeNetwork, family: Family) -> bool {
    one.node_port_addresses(family).eq(other.node_port_addresses(family))
}

#[cfg(test)]
mod tests;
