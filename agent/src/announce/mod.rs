//! Announces addresses of LoadBalancer services on the node's network: those that the kernel forwards and that an
//! advertisement selects.
//!
//! ```text
//! News::Synced ─► Forwarded ─┐
//! News::Noted ─► Advertised ─┴► Plan (pure) ─► bids ─► task ─► announce::Announcer, a thread
//!                Objects                                │          │ events, snapshot
//! Config ───────────────────────────────────────────────┘          └► log, Kubernetes Events, metrics
//! ```
//!
//! Bids follow from what was synced and never from what is wished: a node that would not forward does not answer.
//!
//! **Invariant:** where announcing is off no socket is opened, and no object is read for it
//! (`tests/announce.rs::an_address_without_an_advertisement_is_answered_by_no_node`,
//! `tests/config/differences.rs`).

mod forwarded;
mod log;
mod plan;
mod task;

use std::sync::{Arc, Mutex, MutexGuard};

use announce::kernel::{Announcer, Snapshot};
use kubernetes::{ClusterState, News, Note};
use reconcile::Witness;
use tokio::sync::{Notify, watch};

pub use forwarded::{Forwarded, Offer};
pub use plan::{Announces, NoBid, Plan};
pub use task::AnnouncingView;

use crate::config::Config;

/// The part of the agent that announces; nothing is opened before [`Announcing::serve`].
#[derive(Clone, Debug)]
pub struct Announcing {
    shared: Arc<Shared>,
}

/// What the loop's witness, the task and the metrics share.
#[derive(Debug, Default)]
struct Shared {
    plan: Mutex<Plan>,
    /// The plan says something else than before.
    changed: Notify,
    announcer: Mutex<Option<Announcer>>,
}

impl Announcing {
    /// As `config` says first.
    pub fn new(config: &Config) -> Self {
        let shared = Shared::default();
        shared.plan().configure(Announces::of(config));
        Self { shared: Arc::new(shared) }
    }

    /// Hears what is programmed, and what is announced. It looks at the latest of `configs` itself, because what a
    /// source tells after a change depends on it.
    pub fn witness(&self, configs: watch::Receiver<Config>) -> impl Witness<ClusterState> + 'static {
        PlanWitness { shared: self.shared.clone(), configs }
    }

    /// What the announcer knows; none where nothing is announced. Waits for a turn of its thread.
    pub fn snapshot(&self) -> Option<Snapshot> {
        self.shared.announcer().as_ref().map(Announcer::snapshot)
    }
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().expect("nothing panics while it holds the plan")
    }

    fn announcer(&self) -> MutexGuard<'_, Option<Announcer>> {
        self.announcer.lock().expect("nothing panics while it holds the announcer")
    }
}

/// Keeps the plan.
#[derive(Debug)]
struct PlanWitness {
    shared: Arc<Shared>,
    configs: watch::Receiver<Config>,
}

impl Witness<ClusterState> for PlanWitness {
    fn hear(&mut self, news: &News<'_>) {
        let mut plan = self.shared.plan();
        let mut changed = false;
        if self.configs.has_changed().unwrap_or(false) {
            changed |= plan.configure(Announces::of(&self.configs.borrow_and_update()));
        }
        changed |= match *news {
            News::Noted(Note::Told(events)) => plan.told(events),
            News::Synced { state, scope, report, .. } => plan.synced(state, scope, report),
            _ => false,
        };
        drop(plan);
        if changed {
            self.shared.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use backend_api::{
        Endpoint, EndpointAddress, Family, Frontend, NodeNetwork, Pools, Protocol, Report, Route, Service, ServiceName,
        ServicePort, ServiceState,
    };
    use kubernetes::objects::{Item, read};
    use kubernetes::source::Event;

    pub(super) const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 67, 240));

    /// A service with a port for each route, which has so many endpoints, on another node.
    pub(super) fn service(name: &str, routes: &[(Route, u16)]) -> Service {
        let mut ports = Vec::new();
        for (index, (route, endpoints)) in (0u16..).zip(routes) {
            // Services of different names share the address, and no port.
            let number = 80 + index + u16::from(name.as_bytes()[0]) * 100;
            ports.push(ServicePort {
                name: format!("port-{index}").into(),
                frontends: vec![Frontend { route: *route, ..Frontend::external(ADDRESS, Protocol::Tcp, number) }],
                endpoints: (0..*endpoints).map(endpoint).collect(),
                ..ServicePort::new(Family::V4, Protocol::Tcp)
            });
        }
        Service::new(ServiceName::new("default", name), ports)
    }

    fn endpoint(number: u16) -> Endpoint {
        Endpoint {
            address: EndpointAddress { ip: [10, 244, 1, number as u8 + 1].into(), port: 80 },
            weight: 1,
            pools: Pools::BOTH,
            on_this_node: false,
        }
    }

    pub(super) fn state(services: Vec<Service>) -> ServiceState {
        let mut state = ServiceState::new(NodeNetwork::unknown());
        services.into_iter().for_each(|service| drop(state.upsert(service).unwrap()));
        state
    }

    /// The report of a sync in which one service was refused.
    pub(super) fn failed(name: &str) -> Report {
        let mut report = Report::default();
        report.failed.push(backend_api::Failure::new(
            ServiceName::new("default", name),
            backend_api::FailureKind::Refused,
            "refused".to_owned(),
        ));
        report
    }

    pub(super) fn events(objects: &str) -> Vec<Event> {
        read(objects).into_iter().map(changed).collect()
    }

    fn changed(item: Item) -> Event {
        match item {
            Item::Object(object) => Event::Changed(object),
            other => panic!("{other:?}"),
        }
    }
}
