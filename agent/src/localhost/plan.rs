//! What listens on localhost, as the state says: pure, and at the cost of what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use backend_api::{Family, FrontendKey, Protocol, Scope, ServiceName, ServiceState};

use super::Answerer;

/// A node port of a family's loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePort {
    /// Of 127.0.0.1 or of ::1.
    pub family: Family,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number, not 0.
    pub port: u16,
}

/// Every node port that somebody answers, by service.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    services: BTreeMap<ServiceName, BTreeMap<NodePort, Answerer>>,
}

/// Node ports that are answered by others than before, or by nobody now.
pub(super) type Changes = BTreeMap<NodePort, Option<Answerer>>;

impl Plan {
    /// Takes over what `scope` of `state` says, and returns what that changes.
    pub fn update(&mut self, state: &ServiceState, scope: Scope<'_>) -> BTreeMap<NodePort, Option<Answerer>> {
        let every_one;
        let touched = match scope {
            Scope::Services(touched) => touched,
            Scope::All => {
                let now = state.services().map(|service| &service.name);
                every_one = now.chain(self.services.keys()).cloned().collect::<BTreeSet<_>>();
                &every_one
            }
        };
        let mut changes = Changes::new();
        // A port may go from one service to another: what is answered counts, whichever of them comes first.
        for name in touched {
            let now = state.service(name).map(answered).unwrap_or_default();
            let before = self.services.remove(name).unwrap_or_default();
            for (port, _) in before.iter().filter(|(port, _)| !now.contains_key(port)) {
                changes.entry(*port).or_insert(None);
            }
            let news = now.iter().filter(|(port, answerer)| before.get(port) != Some(answerer));
            changes.extend(news.map(|(port, answerer)| (*port, Some(answerer.clone()))));
            if !now.is_empty() {
                self.services.insert(name.clone(), now);
            }
        }
        changes
    }
}

/// The node ports of a service that are answered.
fn answered(service: &std::sync::Arc<backend_api::Service>) -> BTreeMap<NodePort, Answerer> {
    let frontends = service.ports.iter().enumerate();
    let frontends = frontends.flat_map(|(i, port)| port.frontends.iter().map(move |frontend| (i, frontend)));
    let node_ports = frontends.filter_map(|(i, frontend)| match frontend.key {
        FrontendKey::Address { .. } => None,
        FrontendKey::NodePort { family, protocol, port } => {
            let own = NodePort { family, protocol, port };
            Some((own, Answerer::of(service, i, frontend, own)?))
        }
    });
    node_ports.collect()
}

/// `127.0.0.1:30080/TCP`, `[::1]:30080/TCP`.
impl fmt::Display for NodePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.protocol)
    }
}
