//! Health of services with externalTrafficPolicy Local, for load balancers: a server for each `healthCheckNodePort`.
//!
//! ```text
//! News::Resolved ─► staged ─ News::Synced ─► Board ─► listeners (open, close, try again) ─► answers
//! ```
//!
//! What is resolved counts once it is programmed: a load balancer that is told of an endpoint sends traffic at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::http::{HeaderValue, Response, StatusCode};
use backend_api::{Family, NodePortAddresses, PerFamily, ServiceName};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::answer;
use super::health::Health;
use kubernetes::resolve::{Changes, HealthCheck};
use kubernetes::{ClusterState, News, Note};
use reconcile::Witness;

/// How many endpoints a load balancer has here, for those that weigh nodes by it.
const WEIGHT: &str = "x-load-balancing-endpoint-weight";

/// What is programmed of services that load balancers ask for.
#[derive(Debug)]
pub(super) struct Board {
    health: Arc<Health>,
    posted: Mutex<Posted>,
    /// Where listeners have to be may have changed.
    moved: Notify,
}

#[derive(Debug, Default)]
struct Posted {
    checks: BTreeMap<ServiceName, HealthCheck>,
    places: PerFamily<NodePortAddresses>,
}

/// Where a service's health is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked {
    pub(super) service: ServiceName,
    pub(super) at: SocketAddr,
}

impl Board {
    pub(super) fn new(health: Arc<Health>) -> Self {
        Self { health, posted: Mutex::default(), moved: Notify::new() }
    }

    /// Waits until listeners may have to be elsewhere.
    pub(super) async fn moved(&self) {
        self.moved.notified().await;
    }

    /// Everywhere that has to be listened now.
    pub(super) fn asked(&self) -> BTreeSet<Asked> {
        let posted = self.posted();
        let of_family = |service: &ServiceName, check: &HealthCheck, family| {
            check.local_endpoints.of(family).map(|_| {
                let addresses = addresses(family, posted.places.of(family));
                let asked = |ip| Asked { service: service.clone(), at: SocketAddr::new(ip, check.port) };
                addresses.into_iter().map(asked).collect::<Vec<_>>()
            })
        };
        let checks = posted.checks.iter();
        checks
            .flat_map(|(service, check)| Family::ALL.into_iter().filter_map(|family| of_family(service, check, family)))
            .flatten()
            .collect()
    }

    fn posted(&self) -> MutexGuard<'_, Posted> {
        self.posted.lock().expect("nothing panics while it holds the board")
    }
}

/// Where node ports of a family are, as far as one can listen there.
fn addresses(family: Family, places: &NodePortAddresses) -> Vec<IpAddr> {
    match (places, family) {
        (NodePortAddresses::All, Family::V4) => vec![Ipv4Addr::UNSPECIFIED.into()],
        (NodePortAddresses::All, Family::V6) => vec![Ipv6Addr::UNSPECIFIED.into()],
        (NodePortAddresses::These(these), _) => these.iter().copied().filter(|ip| !is_link_local(*ip)).collect(),
    }
}

/// Of one link: without saying which it cannot be listened on, and no load balancer is there.
fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// What is answered on any path for `asked`.
pub(super) fn router(board: Arc<Board>, asked: Asked) -> Router {
    Router::new().fallback(move || {
        let response = respond(&board, &asked);
        async move { response }
    })
}

/// The body.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    service: Name<'a>,
    local_endpoints: usize,
    service_proxy_healthy: bool,
}

#[derive(Debug, Serialize)]
struct Name<'a> {
    namespace: &'a str,
    name: &'a str,
}

fn respond(board: &Board, Asked { service, at }: &Asked) -> Response<axum::body::Body> {
    let count = |check: &HealthCheck| *check.local_endpoints.of(Family::of(at.ip()));
    let local_endpoints = board.posted().checks.get(service).and_then(count).unwrap_or_default();
    let service_proxy_healthy = board.health.verdict(Instant::now()).healthy;
    let well = local_endpoints > 0 && service_proxy_healthy;
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let name = Name { namespace: &service.namespace, name: &service.name };
    let mut response = answer::json(status, &Body { service: name, local_endpoints, service_proxy_healthy });
    response.headers_mut().insert(WEIGHT, HeaderValue::from(local_endpoints));
    response
}

/// Posts on a [`Board`] what is programmed.
#[derive(Debug)]
pub(super) struct Listener {
    board: Arc<Board>,
    staged: BTreeMap<ServiceName, Option<HealthCheck>>,
    places: Option<PerFamily<NodePortAddresses>>,
}

impl Listener {
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self { board, staged: BTreeMap::new(), places: None }
    }

    fn stage(&mut self, changes: &Changes) {
        if let Some(node) = &changes.node {
            self.places = Some(node.node_ports.clone());
        }
        for (service, on_node) in &changes.on_node {
            self.staged.insert(service.clone(), on_node.health_check.clone());
        }
    }

    fn post(&mut self) {
        let mut posted = self.board.posted();
        let mut moved = false;
        if let Some(places) = self.places.take() {
            moved |= posted.places != places;
            posted.places = places;
        }
        for (service, check) in std::mem::take(&mut self.staged) {
            let wanted = check.as_ref().map(place);
            let before = match check {
                Some(check) => posted.checks.insert(service, check),
                None => posted.checks.remove(&service),
            };
            moved |= before.as_ref().map(place) != wanted;
        }
        if moved {
            self.board.moved.notify_one();
        }
    }
}

/// What decides where listeners are: the port, and the families.
fn place(check: &HealthCheck) -> (u16, bool, bool) {
    (check.port, check.local_endpoints.v4.is_some(), check.local_endpoints.v6.is_some())
}

impl Witness<ClusterState> for Listener {
    fn hear(&mut self, news: &News<'_>) {
        match news {
            News::Noted(Note::Resolved(changes)) => self.stage(changes),
            News::Synced { .. } | News::Unchanged => self.post(),
            News::Noted(Note::Told(_))
            | News::Conflict(_)
            | News::Syncing
            | News::NotSynced { .. }
            | News::Failed { .. }
            | News::Drifted
            | News::Succeeded { .. } => {}
        }
    }
}
