//! Which ports are open: binds what is wanted, closes what is not, and tries again what another program holds.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{io, mem};

use backend_api::{PerFamily, Protocol};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::plan::PortChanges;
use super::{NodePort, OnLocalhost, PortEndpoints, Shared, tcp, udp};
use crate::descriptors::ListenerPermit;

/// How long after a failure ports are tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How many ports a line of the log names: where a family is switched off, all of its ports fail with one reason.
const NAMED: usize = 8;

/// All ports: those that have endpoints, those that are open, and those that could not be opened.
#[derive(Debug)]
struct Listeners {
    shared: Arc<Shared>,
    endpoints: BTreeMap<NodePort, PortEndpoints>,
    open: BTreeMap<NodePort, Listener>,
    /// With the reason, which has been logged.
    failing: BTreeMap<NodePort, NotOpen>,
    retry: Option<Instant>,
}

/// An open port.
#[derive(Debug)]
struct Listener {
    endpoints: watch::Sender<PortEndpoints>,
    task: Task,
    _permit: ListenerPermit,
}

/// Why a port is not open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NotOpen {
    /// The kernel's error.
    Refused(String),
    /// User space cannot forward it.
    Unsupported,
}

/// Keeps ports open as `mailbox` and `wanted` say, for ever.
pub(super) async fn keep_open(
    mailbox: &Mailbox,
    mut wanted: watch::Receiver<PerFamily<OnLocalhost>>,
    shared: Arc<Shared>,
) {
    let mut listeners =
        Listeners { shared, endpoints: BTreeMap::new(), open: BTreeMap::new(), failing: BTreeMap::new(), retry: None };
    loop {
        let unsettled: BTreeSet<NodePort> = tokio::select! {
            changes = mailbox.take() => listeners.learn(changes),
            () = changed(&mut wanted) => listeners.endpoints.keys().copied().collect(),
            () = due(listeners.retry) => listeners.failing.keys().copied().collect(),
        };
        let wanted = *wanted.borrow_and_update();
        listeners.settle(unsettled, wanted).await;
    }
}

/// Where the loop leaves changes and the task of the listeners takes them: the latest of each port, so that neither
/// waits for the other and no queue grows.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    changes: Mutex<PortChanges>,
    posted: Notify,
}

impl Mailbox {
    /// Adds changes; a later one of the same port replaces an earlier one.
    pub(super) fn post(&self, changes: PortChanges) {
        if !changes.is_empty() {
            self.changes.lock().expect("nothing panics while it holds the changes").extend(changes);
            self.posted.notify_one();
        }
    }

    /// Takes all changes, as soon as there are any. Cancel-safe.
    async fn take(&self) -> PortChanges {
        loop {
            let changes = mem::take(&mut *self.changes.lock().expect("nothing panics while it holds the changes"));
            if !changes.is_empty() {
                return changes;
            }
            self.posted.notified().await;
        }
    }
}

impl Listeners {
    /// Takes changes of endpoints, and returns the ports that they are about.
    fn learn(&mut self, changes: PortChanges) -> BTreeSet<NodePort> {
        let ports = changes.keys().copied().collect();
        for (port, endpoints) in changes {
            match endpoints {
                Some(endpoints) => self.endpoints.insert(port, endpoints),
                None => self.endpoints.remove(&port),
            };
        }
        ports
    }

    /// Opens each of these ports, closes it, or tells its listener the endpoints.
    async fn settle(&mut self, ports: BTreeSet<NodePort>, wanted: PerFamily<OnLocalhost>) {
        let mut failures: BTreeMap<NotOpen, Vec<NodePort>> = BTreeMap::new();
        for port in ports {
            let open = *wanted.of(port.family) == OnLocalhost::Open;
            let Some(endpoints) = self.endpoints.get(&port).filter(|_| open) else {
                self.failing.remove(&port);
                if let Some(listener) = self.open.remove(&port) {
                    listener.task.end().await;
                }
                continue;
            };
            if let Some(listener) = self.open.get(&port) {
                listener.endpoints.send_replace(endpoints.clone());
                continue;
            }
            match Listener::open(port, endpoints.clone(), self.shared.clone()).await {
                Ok(listener) => {
                    self.open.insert(port, listener);
                    if self.failing.remove(&port).is_some() {
                        info!(%port, "node port on localhost is bound now");
                    }
                }
                Err(reason) => {
                    if self.failing.get(&port) != Some(&reason) {
                        self.failing.insert(port, reason.clone());
                        failures.entry(reason).or_default().push(port);
                    }
                }
            }
        }
        let can_succeed = self.failing.values().any(|reason| *reason != NotOpen::Unsupported);
        self.retry = can_succeed.then(|| Instant::now() + RETRY);
        self.report(failures);
    }

    /// Logs the ports that newly failed, in one line for each reason.
    fn report(&self, failures: BTreeMap<NotOpen, Vec<NodePort>>) {
        for (reason, ports) in failures {
            let named = first_few(&ports);
            match reason {
                NotOpen::Refused(error) => {
                    ports.iter().for_each(|port| self.shared.counts.failed_one(port.family));
                    warn!(ports = named, error, "node ports on localhost cannot be bound, trying again");
                }
                NotOpen::Unsupported => {
                    warn!(ports = named, "node ports on localhost are not forwarded for SCTP, only for TCP and UDP");
                }
            }
        }
    }
}

impl Listener {
    async fn open(port: NodePort, endpoints: PortEndpoints, shared: Arc<Shared>) -> Result<Self, NotOpen> {
        let permit = shared.descriptors.listener()?;
        let (endpoints, current) = watch::channel(endpoints);
        let task = match port.protocol {
            Protocol::Tcp => Task::start(tcp::serve(port, TcpListener::bind(port.address()).await?, current, shared)),
            Protocol::Udp => Task::start(udp::serve(port, UdpSocket::bind(port.address()).await?, current, shared)),
            Protocol::Sctp => return Err(NotOpen::Unsupported),
        };
        Ok(Self { endpoints, task, _permit: permit })
    }
}

impl From<io::Error> for NotOpen {
    fn from(error: io::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

/// A running task, which ends at its next wait when this is dropped.
#[derive(Debug)]
pub(super) struct Task(JoinHandle<()>);

impl Task {
    /// Starts it.
    pub(super) fn start(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Ends it, and waits until everything that it held is dropped.
    async fn end(mut self) {
        self.0.abort();
        // That it was aborted is as intended; a panic in it was logged by the panic hook.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The first few by name.
fn first_few(ports: &[NodePort]) -> String {
    let named = ports.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match ports.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Resolves when `wanted` changed; never, if it is final.
async fn changed(wanted: &mut watch::Receiver<PerFamily<OnLocalhost>>) {
    if wanted.changed().await.is_err() {
        pending().await
    }
}

/// Resolves at this time, if there is one.
pub(super) async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
