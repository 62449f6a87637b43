//! Who answers a node port, for a client on the node itself.

use std::sync::Arc;
use std::time::Duration;

use backend_api::{
    Affinity, Answer, EndpointAddress, Family, Frontend, Pool, PortName, Protocol, Service, ServiceName, ServicePort,
    TrafficClass,
};

use super::NodePort;

/// The endpoints of one service port that answer connections from the node; there is at least one. Cheap to clone: it
/// shares the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answerer {
    service: Arc<Service>,
    /// Index into the service's ports.
    port: usize,
    pool: Pool,
}

/// What session affinity remembers an endpoint by; the client is always this node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    service: ServiceName,
    port: PortName,
    protocol: Protocol,
    family: Family,
    pool: Pool,
}

impl Answerer {
    /// Who answers `frontend` of the port at this index; nobody where a client on the node is refused or dropped: user space
    /// cannot leave a connection unanswered, so such a one is refused.
    pub(super) fn of(service: &Arc<Service>, port: usize, frontend: &Frontend, own: NodePort) -> Option<Self> {
        let pool = match frontend.route.answer(TrafficClass::Node) {
            Answer::Balance(pool) => pool,
            Answer::Reject | Answer::Drop => return None,
        };
        let answerer = Self { service: service.clone(), port, pool };
        let allowed = frontend.source_ranges.allow(own.address().ip());
        (allowed && answerer.total() > 0).then_some(answerer)
    }

    /// `remembered` while it is among the endpoints, else one by weight, as `dice` say.
    pub fn choose(&self, remembered: Option<EndpointAddress>, dice: u64) -> EndpointAddress {
        let mut endpoints = self.port().pool(self.pool);
        if let Some(remembered) = remembered.filter(|one| self.port().pool(self.pool).any(|it| it.address == *one)) {
            return remembered;
        }
        let mut point = dice % self.total();
        let chosen = endpoints.find(|endpoint| match point.checked_sub(endpoint.weight.into()) {
            Some(rest) => {
                point = rest;
                false
            }
            None => true,
        });
        chosen.expect("the point is below the sum of all weights").address
    }

    /// Whether what is established with `endpoint` may go on: it may be in no pool, but it is there.
    pub fn keeps(&self, endpoint: EndpointAddress) -> bool {
        self.port().endpoints.binary_search_by_key(&endpoint, |endpoint| endpoint.address).is_ok()
    }

    /// Under what, and for how long, a chosen endpoint is remembered.
    pub(super) fn affinity(&self) -> Option<(Identity, Duration)> {
        let port = self.port();
        match port.affinity {
            Affinity::None => None,
            Affinity::ClientIp { timeout } => {
                let identity = Identity {
                    service: self.service.name.clone(),
                    port: port.name.clone(),
                    protocol: port.protocol,
                    family: port.family,
                    pool: self.pool,
                };
                Some((identity, Duration::from_secs(timeout.get().into())))
            }
        }
    }

    /// The service.
    pub fn service(&self) -> &ServiceName {
        &self.service.name
    }

    fn port(&self) -> &ServicePort {
        &self.service.ports[self.port]
    }

    fn total(&self) -> u64 {
        self.port().pool(self.pool).map(|endpoint| u64::from(endpoint.weight)).sum()
    }
}
