//! What a packet must meet: the model that backends are tested against, and that explains a node's decisions.
//!
//! ```text
//! Packet ──► guard ──► services by address ──► node ports ──► undelivered
//!           source      └─► class ► answer ► pool ► endpoints   wrong port of a cluster address: rejected
//!           ranges                                              address of a service range: dropped
//! ```
//!
//! Kept apart from every backend, and written for the reader instead of for speed: a reader who doubts a backend reads
//! this. It speaks of a connection's first packet only; later ones go where the first went.

mod because;

use std::net::IpAddr;

use crate::{
    Affinity, Answer, Endpoint, EndpointAddress, Family, Frontend, FrontendKey, FrontendKind, LocalTraffic,
    NodeNetwork, Pool, PortName, Protocol, Route, Service, ServiceName, ServicePort, ServiceState, TrafficClass,
};

pub use because::Because;

/// The first packet of a connection, as it reaches the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Packet {
    /// How it came.
    pub arrival: Arrival,
    /// Its source address, of the destination's family.
    pub source: IpAddr,
    /// Its destination address.
    pub destination: IpAddr,
    /// What it carries.
    pub payload: Payload,
}

/// How a packet comes to be on the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arrival {
    /// Through the interface of this name, whether from a pod or from outside.
    Interface(String),
    /// A process in the node's own network namespace sent it.
    Sent,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Payload {
    /// A protocol that services know, to this destination port.
    Transport(Protocol, u16),
    /// Any other: ICMP echo, GRE.
    Other,
}

/// What a packet must meet, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What it must meet.
    pub verdict: Verdict,
    /// The frontend that decided, if one did, and its service.
    pub frontend: Option<(FrontendKey, ServiceName)>,
    /// What led to the verdict, in the order in which it was found out; each prints as a sentence.
    pub reasons: Vec<Because>,
}

/// What a packet must meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing of ours: routing decides.
    Untouched,
    /// A refusal: TCP by RST, all else by ICMP port unreachable.
    Rejected,
    /// Silence.
    Dropped,
    /// One of these endpoints, chosen at random by weight.
    Balanced {
        /// Endpoints that may answer, in order of addresses; never empty.
        candidates: Vec<Candidate>,
        /// What to remember the chosen endpoint by, where the port has session affinity.
        memory: Option<Memory>,
    },
}

/// An endpoint that may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Candidate {
    /// Where the packet is sent.
    pub endpoint: EndpointAddress,
    /// Its share, relative to the others'; above 0. The only candidate's is 1 where the endpoint is remembered.
    pub weight: u16,
    /// The source that the endpoint sees.
    pub seen: SeenSource,
}

/// The source address that an endpoint sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeenSource {
    /// The packet's own.
    Preserved,
    /// The node's, on the way to the endpoint.
    Node,
}

/// What session affinity remembers an endpoint by: clients of one service port come back to it, whichever of the port's
/// frontends they dial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Memory {
    /// The source address.
    pub client: IpAddr,
    /// The service.
    pub service: ServiceName,
    /// The port's name.
    pub port: PortName,
    /// The port's protocol.
    pub protocol: Protocol,
    /// The pool that was chosen from: a stranger's memory never names an endpoint of another node.
    pub pool: Pool,
}

/// Says what `packet` must meet in `state`.
///
/// `remembered` is the endpoint that an earlier connection of the same [`Memory`] got, if its timeout has not passed;
/// while it is in the pool it answers alone. Without session affinity it does not matter. To find the memory, judge
/// once with `None`.
///
/// ```
/// use switchyard_api::oracle::{Arrival, Packet, Payload, Verdict, judge};
/// use switchyard_api::*;
///
/// let state = ServiceState::new(NodeNetwork::unknown());
/// let packet = Packet {
///     arrival: Arrival::Interface("eth0".to_owned()),
///     source: "192.168.67.1".parse()?,
///     destination: "10.96.0.1".parse()?,
///     payload: Payload::Transport(Protocol::Tcp, 443),
/// };
/// assert_eq!(judge(&state, &packet, None).verdict, Verdict::Untouched);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
pub fn judge(state: &ServiceState, packet: &Packet, remembered: Option<EndpointAddress>) -> Judgement {
    let frontends = dialled(state, packet);
    let mut reasons = Vec::new();
    for (service, _, frontend) in &frontends {
        if !frontend.source_ranges.allow(packet.source) {
            reasons.push(Because::OutsideRanges { frontend: frontend.key, source: packet.source });
            let frontend = Some((frontend.key, service.name.clone()));
            return Judgement { verdict: Verdict::Dropped, frontend, reasons };
        }
    }
    match frontends.into_iter().next() {
        Some((service, port, frontend)) => {
            reasons.push(Because::Dialled { frontend: frontend.key, service: service.name.clone() });
            let verdict =
                Dialled { packet, node: state.node(), service, port, frontend }.answer(remembered, &mut reasons);
            Judgement { verdict, frontend: Some((frontend.key, service.name.clone())), reasons }
        }
        None => {
            let (verdict, reason) = undelivered(state, packet.destination);
            Judgement { verdict, frontend: None, reasons: vec![reason] }
        }
    }
}

/// The class of the sender of `packet`, seen from `node`.
pub fn class(node: &NodeNetwork, packet: &Packet) -> TrafficClass {
    let pod = match node.local_traffic.of(Family::of(packet.source)) {
        LocalTraffic::Unknown => false,
        LocalTraffic::Source(range) => range.contains(packet.source),
        LocalTraffic::Bridge(bridge) => interface(packet) == Some(bridge.as_str()),
        LocalTraffic::InterfacePrefix(prefix) => {
            !prefix.is_empty() && interface(packet).is_some_and(|name| name.starts_with(prefix.as_str()))
        }
    };
    match (pod, node.owns(packet.source)) {
        (true, _) => TrafficClass::Pod,
        (false, true) => TrafficClass::Node,
        (false, false) => TrafficClass::Stranger,
    }
}

/// The interface that a packet entered through; none if the node sent it.
fn interface(packet: &Packet) -> Option<&str> {
    match &packet.arrival {
        Arrival::Interface(name) => Some(name),
        Arrival::Sent => None,
    }
}

/// The frontends that a packet's destination matches, in the order in which they are asked: at most one by address, and
/// one by node port.
fn dialled<'a>(state: &'a ServiceState, packet: &Packet) -> Vec<(&'a Service, &'a ServicePort, &'a Frontend)> {
    let (protocol, port) = match packet.payload {
        Payload::Transport(protocol, port) => (protocol, port),
        Payload::Other => return Vec::new(),
    };
    let by_address = Some(FrontendKey::address(packet.destination, protocol, port));
    let family = Family::of(packet.destination);
    let by_node_port =
        state.node().carries_node_ports(packet.destination).then(|| FrontendKey::node_port(family, protocol, port));
    by_address
        .into_iter()
        .chain(by_node_port)
        .filter_map(|key| state.find(&key))
        .map(|(service, port, frontend)| (&**service, port, frontend))
        .collect()
}

/// A packet at the frontend that it dialled.
struct Dialled<'a> {
    packet: &'a Packet,
    node: &'a NodeNetwork,
    service: &'a Service,
    port: &'a ServicePort,
    frontend: &'a Frontend,
}

impl Dialled<'_> {
    fn answer(&self, remembered: Option<EndpointAddress>, reasons: &mut Vec<Because>) -> Verdict {
        let sender = class(self.node, self.packet);
        let detector = self.node.local_traffic.of(Family::of(self.packet.source)).clone();
        reasons.push(Because::Class { class: sender, detector });
        let answer = self.frontend.route.answer(sender);
        reasons.push(match self.frontend.route {
            Route::Everyone(_) => Because::Everyone(answer),
            Route::Split { .. } => Because::Split { class: sender, answer },
        });
        match answer {
            Answer::Reject => Verdict::Rejected,
            Answer::Drop => Verdict::Dropped,
            Answer::Balance(pool) => self.balance(pool, sender, remembered, reasons),
        }
    }

    fn balance(
        &self,
        pool: Pool,
        class: TrafficClass,
        remembered: Option<EndpointAddress>,
        reasons: &mut Vec<Because>,
    ) -> Verdict {
        let mut chosen: Vec<Endpoint> = self.port.pool(pool).copied().collect();
        if chosen.is_empty() {
            reasons.push(Because::EmptyPool(pool));
            return Verdict::Rejected;
        }
        let memory = self.memory(pool);
        if let (Some(_), Some(endpoint)) = (&memory, remembered) {
            let found = chosen.iter().find(|candidate| candidate.address == endpoint).copied();
            reasons.push(if found.is_some() { Because::Remembered(endpoint) } else { Because::Forgotten(endpoint) });
            if let Some(found) = found {
                chosen = vec![Endpoint { weight: 1, ..found }];
            }
        }
        reasons.push(Because::Masquerade { masquerade: self.frontend.masquerade, class });
        let hairpins = chosen.iter().filter(|endpoint| self.is_hairpin(endpoint));
        reasons.extend(hairpins.map(|endpoint| Because::Hairpin(endpoint.address)));
        Verdict::Balanced { candidates: chosen.iter().map(|one| self.candidate(one, class)).collect(), memory }
    }

    /// `endpoint` as it answers a client of `class`.
    fn candidate(&self, endpoint: &Endpoint, class: TrafficClass) -> Candidate {
        let seen = match self.frontend.masquerade.applies_to(class) || self.is_hairpin(endpoint) {
            true => SeenSource::Node,
            false => SeenSource::Preserved,
        };
        Candidate { endpoint: endpoint.address, weight: endpoint.weight, seen }
    }

    /// Whether the client is the endpoint itself.
    fn is_hairpin(&self, endpoint: &Endpoint) -> bool {
        endpoint.on_this_node && endpoint.address.ip == self.packet.source
    }

    fn memory(&self, pool: Pool) -> Option<Memory> {
        match self.port.affinity {
            Affinity::None => None,
            Affinity::ClientIp { .. } => Some(Memory {
                client: self.packet.source,
                service: self.service.name.clone(),
                port: self.port.name.clone(),
                protocol: self.port.protocol,
                pool,
            }),
        }
    }
}

/// A packet for no frontend: left alone, unless it is for an address that exists in the service tables only.
fn undelivered(state: &ServiceState, destination: IpAddr) -> (Verdict, Because) {
    if state.node().owns(destination) {
        return (Verdict::Untouched, Because::NodesOwn(destination));
    }
    let mut frontends = state.services_unordered().flat_map(|service| &service.ports).flat_map(|port| &port.frontends);
    if frontends.any(|frontend| is_cluster_ip(frontend, destination)) {
        return (Verdict::Rejected, Because::WrongPort(destination));
    }
    match state.node().service_cidrs.iter().find(|range| range.contains(destination)) {
        Some(range) => (Verdict::Dropped, Because::Unallocated { address: destination, range: *range }),
        None => (Verdict::Untouched, Because::NotOurs(destination)),
    }
}

/// Whether `frontend` is at the cluster address `address`.
fn is_cluster_ip(frontend: &Frontend, address: IpAddr) -> bool {
    match (frontend.kind, frontend.key) {
        (FrontendKind::ClusterIp, FrontendKey::Address { address: own, .. }) => own == address,
        _ => false,
    }
}

impl Verdict {
    /// How probable it is that `endpoint` answers, 0 to 1.
    pub fn probability(&self, endpoint: EndpointAddress) -> f64 {
        let Self::Balanced { candidates, .. } = self else { return 0.0 };
        let total: u64 = candidates.iter().map(|candidate| u64::from(candidate.weight)).sum();
        let found = candidates.iter().find(|candidate| candidate.endpoint == endpoint);
        found.map_or(0.0, |candidate| f64::from(candidate.weight) / total as f64)
    }

    /// Endpoints that may answer; none unless balanced.
    pub fn candidates(&self) -> &[Candidate] {
        match self {
            Self::Balanced { candidates, .. } => candidates,
            Self::Untouched | Self::Rejected | Self::Dropped => &[],
        }
    }
}

#[cfg(test)]
mod tests;
