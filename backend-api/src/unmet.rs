//! What services ask of their node and do not get, because the [`NodeNetwork`] does not offer it.
//!
//! Kept apart from the state, which settles conflicts: this only looks at frontends that were granted. The frontends
//! concerned are indexed, so that a change costs its own size and a node that offers everything costs nothing.

use std::collections::BTreeSet;
use std::fmt;

use crate::{
    Family, Frontend, FrontendKey, LocalTraffic, Masquerade, NodeNetwork, NodePortAddresses, PerFamily, Service,
    ServiceName,
};

/// A thing that services ask of the node and do not get, with one frontend as the example.
///
/// Packets are forwarded all the same, only not as the service's author expects: a dataplane says it in
/// [`crate::Report::warnings`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Unmet {
    /// What is asked for.
    pub need: Need,
    /// The smallest frontend that asks for it; its family is the family in which it is missing.
    pub frontend: FrontendKey,
    /// The frontend's service.
    pub service: ServiceName,
    /// Whether other frontends of the family ask for it too.
    pub others: bool,
}

/// What a service may ask of its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Need {
    /// To tell pods from other clients: the frontend is [`Masquerade::UnlessPod`].
    Pods,
    /// An address that carries node ports: the frontend is a node port.
    NodePorts,
}

/// Every granted frontend that asks for something that the node does not offer.
#[derive(Clone, Debug)]
pub(crate) struct UnmetNeeds {
    offer: Offer,
    pods: PerFamily<BTreeSet<FrontendKey>>,
    node_ports: PerFamily<BTreeSet<FrontendKey>>,
}

/// What a node offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offer {
    tells_pods: PerFamily<bool>,
    carries_node_ports: PerFamily<bool>,
}

impl UnmetNeeds {
    /// What `services` ask for and `node` does not offer.
    pub(crate) fn of<'a>(node: &NodeNetwork, services: impl Iterator<Item = &'a Service>) -> Self {
        let mut needs = Self { offer: Offer::of(node), pods: PerFamily::default(), node_ports: PerFamily::default() };
        services.for_each(|service| needs.add(service));
        needs
    }

    /// Whether `node` offers what the node before offered.
    pub(crate) fn fit(&self, node: &NodeNetwork) -> bool {
        self.offer == Offer::of(node)
    }

    /// Adds what a service asks for.
    pub(crate) fn add(&mut self, service: &Service) {
        if self.offer == Offer::EVERYTHING {
            return;
        }
        for Frontend { key, masquerade, .. } in service.ports.iter().flat_map(|port| &port.frontends) {
            let family = key.family();
            // What another service asked for at this frontend until now goes.
            self.remove(key);
            if *masquerade == Masquerade::UnlessPod && !self.offer.tells_pods.of(family) {
                self.pods.of_mut(family).insert(*key);
            }
            if matches!(key, FrontendKey::NodePort { .. }) && !self.offer.carries_node_ports.of(family) {
                self.node_ports.of_mut(family).insert(*key);
            }
        }
    }

    /// Takes out a frontend that asks no more.
    pub(crate) fn remove(&mut self, frontend: &FrontendKey) {
        let family = frontend.family();
        self.pods.of_mut(family).remove(frontend);
        self.node_ports.of_mut(family).remove(frontend);
    }

    /// Whether nothing is missing.
    pub(crate) fn is_empty(&self) -> bool {
        Family::ALL.iter().all(|family| self.pods.of(*family).is_empty() && self.node_ports.of(*family).is_empty())
    }

    /// Of each need and family that something asks for: the smallest frontend, and whether there are others.
    pub(crate) fn examples(&self) -> impl Iterator<Item = (Need, FrontendKey, bool)> {
        let needs = [(Need::Pods, &self.pods), (Need::NodePorts, &self.node_ports)];
        let sets = needs.into_iter().flat_map(|(need, of)| [(need, &of.v4), (need, &of.v6)]);
        sets.filter_map(|(need, frontends)| Some((need, *frontends.first()?, frontends.len() > 1)))
    }
}

impl Offer {
    const EVERYTHING: Self =
        Self { tells_pods: PerFamily::new(true, true), carries_node_ports: PerFamily::new(true, true) };

    fn of(node: &NodeNetwork) -> Self {
        Self {
            tells_pods: node.local_traffic.as_ref().map(LocalTraffic::is_known),
            carries_node_ports: PerFamily::new(
                carries_node_ports(node, Family::V4),
                carries_node_ports(node, Family::V6),
            ),
        }
    }
}

/// Whether an address of the node may carry node ports. Of [`NodePortAddresses::All`] it is not known which these are:
/// the kernel may have more than the node was told of.
fn carries_node_ports(node: &NodeNetwork, family: Family) -> bool {
    *node.node_ports.of(family) == NodePortAddresses::All || node.node_port_addresses(family).next().is_some()
}

/// `frontend node port 30080/TCP (IPv4) of default/web: no IPv4 address of the node carries node ports`.
impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { need, frontend, service, others } = self;
        let others = if *others { ", and others" } else { "" };
        let family = frontend.family();
        write!(f, "frontend {frontend} of {service}{others}: ")?;
        match need {
            Need::Pods => write!(
                f,
                "pods are to keep their source addresses, and {family} pods cannot be told from other clients"
            ),
            Need::NodePorts => write!(f, "no {family} address of the node carries node ports"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Protocol, ServicePort, ServiceState};

    fn named(name: &str, frontends: Vec<Frontend>) -> Service {
        let ports = ServicePort::dual(Protocol::Tcp, frontends, Vec::new());
        Service::new(ServiceName::new("default", name), ports.into())
    }

    #[test]
    fn an_unmet_need_names_the_service_and_the_port() {
        let dual = |port| Family::ALL.map(|family| Frontend::node_port(family, Protocol::Tcp, port)).to_vec();
        let cluster = Frontend::cluster_ip([10, 96, 0, 1].into(), Protocol::Tcp, 80);
        let pods = PerFamily::both(LocalTraffic::InterfacePrefix("veth".to_owned()));
        let complete = NodeNetwork::new(pods, [[192, 168, 67, 8].into()]);
        let mut one_family = complete.clone();
        one_family.node_ports.v6 = NodePortAddresses::These(BTreeSet::new());
        let node_port_v6 = "frontend node port 30080/TCP (IPv6) of default/web, and others: no IPv6 address of the node \
                            carries node ports";
        let node_port_v4 = node_port_v6.replace("IPv6", "IPv4");
        let no_pods = "frontend 10.96.0.1:80/TCP of default/dns: pods are to keep their source addresses, and IPv4 pods \
                       cannot be told from other clients";
        let mut state = ServiceState::new(NodeNetwork::unknown());
        for service in [named("web", dual(30080)), named("api", dual(30081)), named("dns", vec![cluster])] {
            state.upsert(service).unwrap();
        }
        let shown = |state: &ServiceState| state.unmet().map(|unmet| unmet.to_string()).collect::<Vec<_>>();
        assert_eq!(shown(&state), [no_pods, &node_port_v4, node_port_v6]);
        state.set_node(one_family);
        assert_eq!(shown(&state), [node_port_v6]);
        state.remove(&ServiceName::new("default", "web"));
        assert_eq!(shown(&state), [node_port_v6.replace("30080", "30081").replace("web, and others", "api")]);
        state.set_node(complete);
        assert_eq!(shown(&state), [""; 0]);
    }
}
