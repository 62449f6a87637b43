//! Health of services with externalTrafficPolicy Local, for load balancers: a server for each `healthCheckNodePort`.
//!
//! ```text
//! News::Resolved ─► staged ─ News::Synced ─► HealthChecks ─► HealthCheckServers (open, close, try again) ─► answers
//! ```
//!
//! What is resolved counts once it is programmed: a load balancer that hears of an endpoint sends traffic at once.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Response, StatusCode};
use backend_api::{Family, NodePortAddresses, PerFamily, ServiceName};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::clients::Clients;
use super::health::Health;
use super::http;
use crate::descriptors::{Descriptors, ListenerPermit};
use crate::events::{Notice, Outbox};
use kubernetes::resolve::{Changes, HealthCheck};
use kubernetes::{ClusterState, News, Note};
use reconcile::Witness;

/// How many endpoints a load balancer has here, for those that weigh nodes by it.
const WEIGHT: &str = "x-load-balancing-endpoint-weight";

/// How long to wait before a port is tried again that could not be bound.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The health checks of all services, as programmed.
#[derive(Debug)]
pub(super) struct HealthChecks {
    health: Arc<Health>,
    programmed: Mutex<ProgrammedChecks>,
    /// Where servers have to listen may have changed.
    moved: Notify,
}

#[derive(Debug, Default)]
struct ProgrammedChecks {
    checks: BTreeMap<ServiceName, HealthCheck>,
    node_ports: PerFamily<NodePortAddresses>,
}

/// An address and port where a service's health is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CheckAddress {
    service: ServiceName,
    at: SocketAddr,
}

impl HealthChecks {
    pub(super) fn new(health: Arc<Health>) -> Self {
        Self { health, programmed: Mutex::default(), moved: Notify::new() }
    }

    /// Every address where a server has to listen now.
    fn wanted(&self) -> BTreeSet<CheckAddress> {
        let ProgrammedChecks { checks, node_ports } = &*self.programmed();
        let mut wanted = BTreeSet::new();
        for (service, check) in checks {
            for family in Family::ALL.into_iter().filter(|family| check.local_endpoints.of(*family).is_some()) {
                for ip in addresses(family, node_ports.of(family)) {
                    wanted.insert(CheckAddress { service: service.clone(), at: SocketAddr::new(ip, check.port) });
                }
            }
        }
        wanted
    }

    fn programmed(&self) -> MutexGuard<'_, ProgrammedChecks> {
        self.programmed.lock().expect("nothing panics while it holds the checks")
    }
}

/// The addresses of node ports of a family at which a server can listen.
fn addresses(family: Family, node_ports: &NodePortAddresses) -> Vec<IpAddr> {
    match (node_ports, family) {
        (NodePortAddresses::All, Family::V4) => vec![Ipv4Addr::UNSPECIFIED.into()],
        (NodePortAddresses::All, Family::V6) => vec![Ipv6Addr::UNSPECIFIED.into()],
        (NodePortAddresses::These(these), _) => these.iter().copied().filter(|ip| !is_link_local(*ip)).collect(),
    }
}

/// Such an address belongs to a link, which would have to be named to listen there. No load balancer dials it.
fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// Keeps [`HealthChecks`] equal to what is programmed.
#[derive(Debug)]
pub(super) struct HealthCheckWitness {
    checks: Arc<HealthChecks>,
    staged: BTreeMap<ServiceName, Option<HealthCheck>>,
    node_ports: Option<PerFamily<NodePortAddresses>>,
}

impl HealthCheckWitness {
    pub(super) fn new(checks: Arc<HealthChecks>) -> Self {
        Self { checks, staged: BTreeMap::new(), node_ports: None }
    }

    fn stage(&mut self, changes: &Changes) {
        if let Some(node) = &changes.node {
            self.node_ports = Some(node.node_ports.clone());
        }
        for (service, on_node) in &changes.on_node {
            self.staged.insert(service.clone(), on_node.health_check.clone());
        }
    }

    fn apply_staged(&mut self) {
        let mut programmed = self.checks.programmed();
        let mut moved = false;
        if let Some(node_ports) = self.node_ports.take() {
            moved |= programmed.node_ports != node_ports;
            programmed.node_ports = node_ports;
        }
        for (service, check) in std::mem::take(&mut self.staged) {
            let wanted = check.as_ref().map(port_and_families);
            let before = match check {
                Some(check) => programmed.checks.insert(service, check),
                None => programmed.checks.remove(&service),
            };
            moved |= before.as_ref().map(port_and_families) != wanted;
        }
        if moved {
            self.checks.moved.notify_one();
        }
    }
}

/// What decides where servers listen, beside the node's addresses.
fn port_and_families(check: &HealthCheck) -> (u16, bool, bool) {
    (check.port, check.local_endpoints.v4.is_some(), check.local_endpoints.v6.is_some())
}

impl Witness<ClusterState> for HealthCheckWitness {
    fn hear(&mut self, news: &News<'_>) {
        match news {
            News::Noted(Note::Resolved(changes)) => self.stage(changes),
            News::Synced { .. } | News::Unchanged => self.apply_staged(),
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

/// The servers that listen, and those that could not.
#[derive(Debug, Default)]
struct HealthCheckServers {
    open: BTreeMap<CheckAddress, OpenServer>,
    /// Each with the reason that was logged.
    failed: BTreeMap<CheckAddress, String>,
}

/// A server; closed when dropped.
#[derive(Debug)]
struct OpenServer {
    task: JoinHandle<Infallible>,
    _permit: ListenerPermit,
}

/// What all servers of the process share.
#[derive(Debug)]
pub(super) struct Resources {
    pub(super) clients: Clients,
    pub(super) descriptors: Descriptors,
}

/// Serves every health check until it is dropped. A port that cannot be bound is reported once for each reason, and
/// tried again.
pub(super) async fn serve_health_checks(
    checks: Arc<HealthChecks>,
    resources: Resources,
    notices: Outbox,
) -> Infallible {
    let mut servers = HealthCheckServers::default();
    loop {
        servers.open_and_close(&checks, &resources, &notices).await;
        tokio::select! {
            () = checks.moved.notified() => {}
            () = tokio::time::sleep(TRY_AGAIN), if !servers.failed.is_empty() => {}
        }
    }
}

impl HealthCheckServers {
    /// Makes the open servers equal to the wanted ones. Closes before anything opens: services may have swapped their
    /// ports.
    async fn open_and_close(&mut self, checks: &Arc<HealthChecks>, resources: &Resources, notices: &Outbox) {
        let wanted = checks.wanted();
        self.close_unwanted(&wanted).await;
        for check in wanted {
            if self.open.contains_key(&check) {
                continue;
            }
            let permit = resources.descriptors.listener();
            match permit.and_then(|permit| Ok((http::listen_in_family(check.at)?, permit))) {
                Ok((listener, permit)) => {
                    debug!(service = %check.service, at = %check.at, "health check node port opened");
                    let clients = resources.clients.of_one_more_server();
                    let server = http::serve(listener, router(checks.clone(), check.clone()), clients);
                    self.failed.remove(&check);
                    self.open.insert(check, OpenServer { task: tokio::spawn(server), _permit: permit });
                }
                Err(error) => self.fail(check, error.to_string(), notices),
            }
        }
    }

    async fn close_unwanted(&mut self, wanted: &BTreeSet<CheckAddress>) {
        self.failed.retain(|check, _| wanted.contains(check));
        let unwanted: Vec<CheckAddress> = self.open.keys().filter(|check| !wanted.contains(check)).cloned().collect();
        for check in unwanted {
            debug!(service = %check.service, at = %check.at, "health check node port closed");
            if let Some(mut server) = self.open.remove(&check) {
                server.task.abort();
                // The socket is closed when the task has ended, and not before.
                let _ = (&mut server.task).await;
            }
        }
    }

    fn fail(&mut self, check: CheckAddress, reason: String, notices: &Outbox) {
        if self.failed.get(&check) == Some(&reason) {
            return;
        }
        warn!(service = %check.service, at = %check.at, reason, "health check node port cannot be bound, trying again");
        notices.leave(Notice::HealthCheckNotStarted {
            service: check.service.clone(),
            port: check.at.port(),
            reason: format!("{} cannot be bound: {reason}", check.at),
        });
        self.failed.insert(check, reason);
    }
}

impl Drop for OpenServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is answered on any path of `check`.
fn router(checks: Arc<HealthChecks>, check: CheckAddress) -> Router {
    Router::new().fallback(move || {
        let response = respond(&checks, &check);
        async move { response }
    })
}

/// The body of the answer, as kube-proxy writes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceBody<'a> {
    service: NameInBody<'a>,
    local_endpoints: usize,
    service_proxy_healthy: bool,
}

#[derive(Debug, Serialize)]
struct NameInBody<'a> {
    namespace: &'a str,
    name: &'a str,
}

fn respond(checks: &HealthChecks, CheckAddress { service, at }: &CheckAddress) -> Response<axum::body::Body> {
    let local_endpoints = match checks.programmed().checks.get(service) {
        Some(check) => check.local_endpoints.of(Family::of(at.ip())).unwrap_or_default(),
        None => 0,
    };
    let service_proxy_healthy = checks.health.verdict(Instant::now()).healthy;
    let wants_traffic = local_endpoints > 0 && service_proxy_healthy;
    let status = if wants_traffic { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let name = NameInBody { namespace: &service.namespace, name: &service.name };
    let mut response = http::json(status, &ServiceBody { service: name, local_endpoints, service_proxy_healthy });
    response.headers_mut().insert(WEIGHT, HeaderValue::from(local_endpoints));
    response
}
