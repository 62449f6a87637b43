//! Which ports are open: binds what is wanted, closes what is not, and tries again what another program holds.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use backend_api::{PerFamily, Protocol};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::board::Board;
use super::plan::Changes;
use super::task::Task;
use super::{Answerer, NodePort, OnLocalhost, Shared, tcp, udp};

/// How long after a failure ports are tried again.
const RETRY: Duration = Duration::from_secs(2);

/// How many ports a line of the log names: where a family is switched off, all of its ports fail alike.
const NAMED: usize = 8;

/// All ports: those that somebody answers, those of them that are open, and those that should be.
#[derive(Debug)]
struct Doors {
    shared: Arc<Shared>,
    answered: BTreeMap<NodePort, Answerer>,
    open: BTreeMap<NodePort, Door>,
    /// With the reason, which has been logged.
    failing: BTreeMap<NodePort, Reason>,
    retry: Option<Instant>,
}

/// An open port.
#[derive(Debug)]
struct Door {
    answerer: watch::Sender<Answerer>,
    task: Task,
}

/// Why a port is not open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// The kernel's error.
    Refused(String),
    /// User space cannot forward it.
    Unsupported,
}

/// Keeps ports open as the board and `wanted` say, for ever.
pub(super) async fn keep(board: &Board, mut wanted: watch::Receiver<PerFamily<OnLocalhost>>, shared: Arc<Shared>) {
    let mut doors =
        Doors { shared, answered: BTreeMap::new(), open: BTreeMap::new(), failing: BTreeMap::new(), retry: None };
    loop {
        let unsettled: BTreeSet<NodePort> = tokio::select! {
            changes = board.take() => doors.learn(changes),
            () = changed(&mut wanted) => doors.answered.keys().copied().collect(),
            () = due(doors.retry) => doors.failing.keys().copied().collect(),
        };
        let wanted = *wanted.borrow_and_update();
        doors.settle(unsettled, wanted).await;
    }
}

impl Doors {
    /// Takes over who answers; returns the ports for which that changed.
    fn learn(&mut self, changes: Changes) -> BTreeSet<NodePort> {
        let ports = changes.keys().copied().collect();
        for (port, answerer) in changes {
            match answerer {
                Some(answerer) => self.answered.insert(port, answerer),
                None => self.answered.remove(&port),
            };
        }
        ports
    }

    /// Opens, closes or tells of its answerer each of these ports.
    async fn settle(&mut self, ports: BTreeSet<NodePort>, wanted: PerFamily<OnLocalhost>) {
        let mut failures: BTreeMap<Reason, Vec<NodePort>> = BTreeMap::new();
        for port in ports {
            let open = *wanted.of(port.family) == OnLocalhost::Open;
            let Some(answerer) = self.answered.get(&port).filter(|_| open) else {
                self.failing.remove(&port);
                if let Some(door) = self.open.remove(&port) {
                    door.task.end().await;
                }
                continue;
            };
            if let Some(door) = self.open.get(&port) {
                door.answerer.send_replace(answerer.clone());
                continue;
            }
            match Door::open(port, answerer.clone(), self.shared.clone()).await {
                Ok(door) => {
                    self.open.insert(port, door);
                    if self.failing.remove(&port).is_some() {
                        info!(%port, "node port on localhost is open now");
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
        let hopeful = self.failing.values().any(|reason| *reason != Reason::Unsupported);
        self.retry = hopeful.then(|| Instant::now() + RETRY);
        self.report(failures);
    }

    /// Says what newly is not open, in a line for each reason.
    fn report(&self, failures: BTreeMap<Reason, Vec<NodePort>>) {
        for (reason, ports) in failures {
            let list = list(&ports);
            match reason {
                Reason::Refused(error) => {
                    ports.iter().for_each(|port| self.shared.counts.failed_one(port.family));
                    warn!(ports = list, error, "node ports on localhost cannot be listened on, trying again");
                }
                Reason::Unsupported => {
                    warn!(ports = list, "node ports on localhost are forwarded for TCP and UDP alone");
                }
            }
        }
    }
}

impl Door {
    async fn open(port: NodePort, answerer: Answerer, shared: Arc<Shared>) -> Result<Self, Reason> {
        let refused = |error: io::Error| Reason::Refused(error.to_string());
        let (answerer, asked) = watch::channel(answerer);
        let task = match port.protocol {
            Protocol::Tcp => {
                let listener = TcpListener::bind(port.address()).await.map_err(refused)?;
                Task::start(tcp::serve(port, listener, asked, shared))
            }
            Protocol::Udp => {
                let socket = UdpSocket::bind(port.address()).await.map_err(refused)?;
                Task::start(udp::serve(port, socket, asked, shared))
            }
            Protocol::Sctp => return Err(Reason::Unsupported),
        };
        Ok(Self { answerer, task })
    }
}

/// The first few by name.
fn list(ports: &[NodePort]) -> String {
    let named = ports.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    match ports.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Resolves when `wanted` changed; never, if nobody can change it any more.
async fn changed(wanted: &mut watch::Receiver<PerFamily<OnLocalhost>>) {
    if wanted.changed().await.is_err() {
        pending().await
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
