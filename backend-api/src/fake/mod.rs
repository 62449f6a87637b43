//! A dataplane without a kernel, for tests of programs that drive one.
//!
//! It keeps the contract of [`Dataplane`] and is strict where a backend may be lenient: it looks at exactly what
//! [`Scope`] names, and debug builds refuse a scope that is too small.

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use async_trait::async_trait;

use crate::{
    Dataplane, Failure, FailureKind, Flow, NodeNetwork, Observed, Report, Scope, Service, ServiceName, ServiceState,
    StaleFlows, SyncError,
};

/// A dataplane in memory.
///
/// A clone works on the same kernel and knows nothing of it yet: keep one to look inside and to stir, or sync through
/// it as a process that was restarted would.
///
/// ```
/// use switchyard_api::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let web = ServicePort {
///     frontends: vec![Frontend::cluster_ip("10.96.0.1".parse()?, Protocol::Tcp, 80)],
///     endpoints: vec![Endpoint::here("10.244.0.4:80".parse()?)],
///     ..ServicePort::new(Family::V4, Protocol::Tcp)
/// };
/// let pods = PerFamily::both(LocalTraffic::InterfacePrefix("veth".to_owned()));
/// let mut state = ServiceState::new(NodeNetwork::new(pods, ["192.168.67.8".parse()?]));
/// let change = state.upsert(Service::new(ServiceName::new("default", "web"), vec![web]))?;
///
/// let mut dataplane = Fake::default();
/// let report = dataplane.sync(&state, Scope::Services(&change.touched)).await?;
/// assert!(report.writes > 0);
/// assert_eq!(dataplane.observe().await?, Observed::expected(&state));
///
/// // The same again writes nothing, and neither does a new process.
/// assert_eq!(dataplane.sync(&state, Scope::All).await?.writes, 0);
/// assert_eq!(dataplane.clone().sync(&state, Scope::All).await?.writes, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Fake {
    kernel: Arc<Mutex<Kernel>>,
    /// What was synced last; none before the first sync and after an error: what the kernel holds is not known then.
    last: Option<ServiceState>,
}

/// What a kernel holds, and how it misbehaves.
#[derive(Debug)]
struct Kernel {
    node: NodeNetwork,
    services: BTreeMap<ServiceName, Arc<Service>>,
    flows: Vec<Flow>,
    refused: BTreeMap<ServiceName, String>,
    next_error: Option<SyncError>,
    disturbed: bool,
    waiting: Option<Waker>,
}

impl Fake {
    /// Refuses to program `service` from now on. A sync that looks at it removes it, and [`Report::failed`] says
    /// `reason`.
    pub fn refuse(&self, service: ServiceName, reason: &str) {
        self.kernel().refused.insert(service, reason.to_owned());
    }

    /// Stops refusing `service`.
    pub fn accept(&self, service: &ServiceName) {
        self.kernel().refused.remove(service);
    }

    /// Fails the next call of [`Dataplane::sync`], [`Dataplane::observe`] or [`Dataplane::remove_all`] with `error`;
    /// nothing is written by it.
    pub fn fail_once(&self, error: SyncError) {
        self.kernel().next_error = Some(error);
    }

    /// Removes everything that was programmed, as another program might: [`Dataplane::drifted`] resolves.
    pub fn flush(&self) {
        let mut kernel = self.kernel();
        kernel.services.clear();
        kernel.node = NodeNetwork::unknown();
        kernel.disturbed = true;
        kernel.waiting.take().into_iter().for_each(Waker::wake);
    }

    /// Adds an entry to connection tracking. A sync deletes it if it becomes stale.
    pub fn track(&self, flow: Flow) {
        self.kernel().flows.push(flow);
    }

    /// Every entry of connection tracking, in the order in which they were added.
    pub fn flows(&self) -> Vec<Flow> {
        self.kernel().flows.clone()
    }

    /// Every service that is programmed, in order of names.
    pub fn services(&self) -> Vec<Arc<Service>> {
        self.kernel().services.values().cloned().collect()
    }

    /// The network that is programmed.
    pub fn node(&self) -> NodeNetwork {
        self.kernel().node.clone()
    }

    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().expect("nothing panics while it holds the kernel")
    }

    /// The error that was ordered; from then on the kernel's state is unknown.
    fn fail_if_told(&mut self) -> Result<(), SyncError> {
        let error = self.kernel().next_error.take();
        error.map_or(Ok(()), |error| {
            self.last = None;
            Err(error)
        })
    }
}

/// A kernel in which nothing is programmed.
impl Default for Fake {
    fn default() -> Self {
        Self { kernel: Arc::new(Mutex::new(Kernel::new(NodeNetwork::unknown()))), last: None }
    }
}

/// Another handle of the same kernel, which does not know yet what is in it.
impl Clone for Fake {
    fn clone(&self) -> Self {
        Self { kernel: self.kernel.clone(), last: None }
    }
}

#[async_trait]
impl Dataplane for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn sync(&mut self, desired: &ServiceState, scope: Scope<'_>) -> Result<Report, SyncError> {
        self.fail_if_told()?;
        let last = self.last.replace(desired.clone());
        let (restarted, scope) = match &last {
            Some(last) => {
                if cfg!(debug_assertions) {
                    refuse_too_small(scope, last, desired).inspect_err(|_| self.last = None)?;
                }
                (false, scope)
            }
            None => (true, Scope::All),
        };
        let kernel = &mut *self.kernel();
        let names: BTreeSet<ServiceName> = match scope {
            Scope::Services(names) => names.clone(),
            Scope::All => {
                let wanted = desired.services().map(|service| service.name.clone());
                wanted.chain(kernel.services.keys().cloned()).collect()
            }
        };
        let before = Kernel { services: kernel.services.clone(), ..Kernel::new(kernel.node.clone()) };
        let failed = kernel.program(desired, &names);
        if matches!(scope, Scope::All) {
            kernel.node = (**desired.node()).clone();
        }
        let mut stale = StaleFlows::new(Arc::new(before.node.clone()));
        match restarted {
            true => stale.restarted(before.observed().frontends.into_keys(), desired),
            false => stale.node_changed(desired),
        }
        for name in &names {
            stale.service_changed(before.services.get(name), kernel.services.get(name), desired);
        }
        let flows = kernel.flows.len();
        kernel.flows.retain(|flow| !stale.is_stale(flow));
        let flows_deleted = flows - kernel.flows.len();
        let warnings = desired.unmet().map(|unmet| unmet.to_string()).collect();
        Ok(Report { writes: before.difference(kernel), flows_deleted, failed, warnings, ..Report::default() })
    }

    async fn observe(&mut self) -> Result<Observed, SyncError> {
        self.fail_if_told()?;
        Ok(self.kernel().observed())
    }

    async fn remove_all(&mut self) -> Result<(), SyncError> {
        self.fail_if_told()?;
        self.last = None;
        let mut kernel = self.kernel();
        kernel.services.clear();
        kernel.node = NodeNetwork::unknown();
        Ok(())
    }

    async fn drifted(&mut self) {
        poll_fn(|context| {
            let mut kernel = self.kernel();
            if std::mem::take(&mut kernel.disturbed) {
                return Poll::Ready(());
            }
            kernel.waiting = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        self.last = None;
    }
}

/// Refuses a scope that leaves out something that has changed: a backend would not look at it.
fn refuse_too_small(scope: Scope<'_>, last: &ServiceState, desired: &ServiceState) -> Result<(), SyncError> {
    let Scope::Services(names) = scope else { return Ok(()) };
    let known = last.services_unordered().chain(desired.services_unordered()).map(|service| &service.name);
    let left_out = known.filter(|name| !names.contains(*name) && last.service(name) != desired.service(name)).min();
    let reason = match left_out {
        Some(service) => format!("does not name {service}, which has changed since the last sync"),
        None if last.node() != desired.node() => "is not All, and the node's network has changed".to_owned(),
        None => return Ok(()),
    };
    Err(SyncError::Refused { object: "scope".to_owned(), reason })
}

impl Kernel {
    fn new(node: NodeNetwork) -> Self {
        Self {
            node,
            services: BTreeMap::new(),
            flows: Vec::new(),
            refused: BTreeMap::new(),
            next_error: None,
            disturbed: false,
            waiting: None,
        }
    }

    /// Makes each of these services what it is in `desired`, and removes those that are refused.
    fn program(&mut self, desired: &ServiceState, names: &BTreeSet<ServiceName>) -> Vec<Failure> {
        let mut failed = Vec::new();
        for name in names {
            let Some(wanted) = desired.service(name) else {
                self.services.remove(name);
                continue;
            };
            match self.refused.get(name).cloned() {
                None => drop(self.services.insert(name.clone(), wanted.clone())),
                Some(reason) => {
                    failed.push(Failure::new(name.clone(), FailureKind::Refused, reason));
                    self.services.remove(name);
                }
            }
        }
        failed
    }

    fn observed(&self) -> Observed {
        let mut state = ServiceState::new(self.node.clone());
        let services = self.services.values().map(|service| (**service).clone());
        state.replace_all(services).expect("what was programmed came from a state, which holds no flaw");
        Observed::expected(&state)
    }

    /// How many things a kernel would have to be told: the network, and each frontend that differs.
    fn difference(&self, other: &Self) -> usize {
        let (one, two) = (self.observed().frontends, other.observed().frontends);
        let keys: BTreeSet<_> = one.keys().chain(two.keys()).collect();
        let frontends = keys.into_iter().filter(|key| one.get(key) != two.get(key)).count();
        frontends + usize::from(self.node != other.node)
    }
}

#[cfg(test)]
mod tests;
