//! The one loop that keeps the kernel equal to what is desired.
//!
//! ```text
//! source ──► Desired (objects → ServiceState) ──► Pending ──► Dataplane::sync ──► ok: nothing is pending
//! node addresses ──┤                                 ▲                       └──► error: wait, everything is pending
//! settings ────────┘     drift, another dataplane ───┘
//! ```
//!
//! Everything that happens only adds to `Pending`; one place takes from it. While a sync runs, changes gather in the
//! channels and are taken together afterwards.
//!
//! **Invariants**, each a test of its name in `tests/reconcile_loop.rs`: nothing is written before the source has listed;
//! a change during a sync is not lost; errors retry and keep changes; drift resyncs everything.

pub(crate) mod backoff;
mod desired;
mod failed;
mod once;
mod pending;
mod said;
mod witness;

use std::future::Future;
use std::time::Duration;

use backend_api::{Dataplane, Report, SyncError};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

pub use desired::Desired;
pub use witness::{News, Witness};

use self::backoff::Backoff;
use self::failed::Failed;
use self::pending::Pending;
use self::said::Said;
use crate::links::Links;
use crate::node_addresses::Addresses;
use crate::resolve::Settings;
use crate::source::Event;

/// How often in a row somebody else may interfere before we wait.
const RACES: u32 = 3;

/// Least time between two repairs of what somebody else changed, so that two programs that fight do not take
/// the whole processor.
const REPAIR: Duration = Duration::from_millis(100);

/// What the loop listens to.
#[derive(Debug)]
pub struct Inputs {
    /// What the source tells.
    pub objects: mpsc::Receiver<Vec<Event>>,
    /// The node's own addresses.
    pub addresses: watch::Receiver<Addresses>,
    /// The node's links, if connections may be handed to a flowtable. Where that is wanted nothing is programmed before they are
    /// known.
    pub links: Option<watch::Receiver<Links>>,
    /// What the operator decides, if that may change.
    pub settings: Option<watch::Receiver<Settings>>,
    /// Dataplanes to go on with, each in place of the one before, if that may change. It has been opened, and has not synced.
    pub successors: Option<mpsc::Receiver<Box<dyn Dataplane>>>,
}

impl Inputs {
    /// Objects and addresses; everything else stays as it is.
    pub fn new(objects: mpsc::Receiver<Vec<Event>>, addresses: watch::Receiver<Addresses>) -> Self {
        Self { objects, addresses, links: None, settings: None, successors: None }
    }
}

/// Why the loop ended without being told to.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// This kernel or process cannot run the backend.
    #[error("backend {backend}: {source}")]
    Unsupported {
        /// Which backend.
        backend: &'static str,
        /// What is missing.
        source: SyncError,
    },
    /// Whoever tells of objects or addresses has ended.
    #[error("{0}: ended unexpectedly")]
    InputEnded(&'static str),
}

/// Keeps the kernel equal to `desired` and what `inputs` change in it, until `stop`. A sync that runs then is finished;
/// what is in the kernel stays there. `witness` is told of everything.
///
/// # Errors
/// Where trying again cannot help. Every other failure is logged and tried again.
pub async fn run(
    mut dataplane: Box<dyn Dataplane>,
    desired: Desired,
    mut inputs: Inputs,
    witness: &mut dyn Witness,
    stop: impl Future<Output = ()>,
) -> Result<(), ReconcileError> {
    let mut reconciler = Reconciler::new(desired, witness);
    tokio::pin!(stop);
    reconciler.take_all(&mut inputs);
    loop {
        let ready = reconciler.ready_at();
        tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            () = until(ready) => {
                reconciler.take_all(&mut inputs);
                reconciler.resolve();
                reconciler.sync(&mut *dataplane).await?;
            }
            events = inputs.objects.recv() => reconciler.take(events.ok_or(ReconcileError::InputEnded("source"))?),
            changed = inputs.addresses.changed() => {
                changed.map_err(|_| ReconcileError::InputEnded("node addresses"))?;
                reconciler.take_addresses(&mut inputs);
            }
            links = changed(&mut inputs.links) => reconciler.take_links(links),
            settings = changed(&mut inputs.settings) => reconciler.take_settings(settings),
            successor = next(&mut inputs.successors) => {
                // The one before is closed: it may own what its successor writes. What it programmed stays.
                dataplane = successor;
                reconciler.succeeded(dataplane.name());
            }
            () = dataplane.drifted() => reconciler.drifted(),
        }
    }
}

/// The value after its next change; pends for ever where there is none.
async fn changed<T: Clone>(values: &mut Option<watch::Receiver<T>>) -> T {
    if let Some(values) = values
        && values.changed().await.is_ok()
    {
        return values.borrow_and_update().clone();
    }
    std::future::pending().await
}

/// The next value; pends for ever where there is none.
async fn next<T>(values: &mut Option<mpsc::Receiver<T>>) -> T {
    if let Some(values) = values
        && let Some(value) = values.recv().await
    {
        return value;
    }
    std::future::pending().await
}

async fn until(instant: Option<Instant>) {
    match instant {
        // A timer would wait for the next millisecond, and for ever while something keeps coming.
        Some(instant) if instant <= Instant::now() => {}
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

struct Reconciler<'a> {
    witness: &'a mut dyn Witness,
    desired: Desired,
    pending: Pending,
    next: Next,
    /// Of syncs that failed as a whole.
    backoff: Backoff,
    races: u32,
    /// Whether what the kernel holds is still a predecessor's: its successor has not synced yet.
    unproven: bool,
    failed: Failed,
    repaired: Option<Instant>,
    said: Said,
}

/// When the next sync may be, if something waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Now,
    NotBefore(Instant),
    /// The same state fails again; a changed one may do.
    NotBeforeUnlessChanged(Instant),
}

impl<'a> Reconciler<'a> {
    fn new(desired: Desired, witness: &'a mut dyn Witness) -> Self {
        Self {
            witness,
            desired,
            pending: Pending::All,
            next: Next::Now,
            backoff: Backoff::default(),
            races: 0,
            unproven: false,
            failed: Failed::default(),
            repaired: None,
            said: Said::default(),
        }
    }

    /// When to sync; `None`: not before something happens.
    fn ready_at(&self) -> Option<Instant> {
        if !self.desired.is_complete() {
            return None;
        }
        let now = Instant::now();
        let (waiting, retry) = (self.desired.has_news() || !self.pending.is_empty(), self.failed.retry());
        match self.next {
            Next::Now if waiting => Some(now),
            Next::Now => retry,
            Next::NotBefore(at) | Next::NotBeforeUnlessChanged(at) if waiting => Some(at),
            Next::NotBefore(at) | Next::NotBeforeUnlessChanged(at) => retry.map(|retry| retry.max(at)),
        }
    }

    /// Takes all that has come until now, and not what keeps coming: a busy source must not hold up a sync for ever.
    fn take_all(&mut self, inputs: &mut Inputs) {
        for _ in 0..inputs.objects.len() {
            match inputs.objects.try_recv() {
                Ok(events) => self.take(events),
                Err(_) => break,
            }
        }
        if inputs.addresses.has_changed().unwrap_or(false) {
            self.take_addresses(inputs);
        }
    }

    fn take(&mut self, events: Vec<Event>) {
        self.witness.hear(&News::Told(&events));
        self.desired.hear(events);
        self.heard();
    }

    fn take_addresses(&mut self, inputs: &mut Inputs) {
        let addresses = inputs.addresses.borrow_and_update().clone();
        if let Some(addresses) = addresses {
            self.desired.hear_addresses(addresses);
            self.heard();
        }
    }

    fn take_links(&mut self, links: Links) {
        if let Some(links) = links {
            self.desired.hear_links(links);
            self.heard();
        }
    }

    fn take_settings(&mut self, settings: Settings) {
        self.desired.hear_settings(settings);
        self.heard();
    }

    /// Another dataplane, which knows nothing yet.
    fn succeeded(&mut self, dataplane: &'static str) {
        info!(backend = dataplane, "another backend takes over");
        self.unproven = true;
        self.witness.hear(&News::Succeeded { dataplane });
        self.pending = Pending::All;
        self.next = Next::Now;
        self.backoff.reset();
        self.races = 0;
    }

    fn heard(&mut self) {
        if let Next::NotBeforeUnlessChanged(_) = self.next {
            self.next = Next::Now;
        }
    }

    fn resolve(&mut self) {
        if self.desired.has_news() {
            self.pending.add(self.desired.resolve(self.witness));
        }
        self.said.missing(self.desired.missing());
        self.said.conflicts(self.desired.state(), self.witness);
        if self.failed.retry().is_some_and(|retry| retry <= Instant::now()) {
            self.pending = Pending::All;
        }
    }

    /// Somebody else has changed what is ours.
    fn drifted(&mut self) {
        let now = Instant::now();
        if self.pending != Pending::All {
            self.witness.hear(&News::Drifted);
            warn!("rules were changed by another program, checking all of them");
            self.pending = Pending::All;
        }
        if let (Next::Now, Some(before)) = (self.next, self.repaired) {
            self.next = Next::NotBefore(before + REPAIR);
        }
        self.repaired = Some(now);
    }

    /// One sync. Whatever happens on the way, what was pending is in the kernel or pending again.
    async fn sync(&mut self, dataplane: &mut dyn Dataplane) -> Result<(), ReconcileError> {
        if self.pending.is_empty() {
            // Objects changed, and the state that they come to did not.
            self.witness.hear(&News::Unchanged);
            return Ok(());
        }
        // Until the sync has succeeded everything is pending: after an error its scope has to be that anyway.
        let pending = std::mem::replace(&mut self.pending, Pending::All);
        self.witness.hear(&News::Syncing);
        let started = Instant::now();
        let outcome = dataplane.sync(self.desired.state(), pending.scope()).await;
        let took = started.elapsed();
        match outcome {
            Ok(report) => {
                let (state, scope) = (self.desired.state(), pending.scope());
                self.witness.hear(&News::Synced { state, scope, report: &report, took });
                self.synced(pending, report, took);
                Ok(())
            }
            Err(error) => {
                self.witness.hear(&News::NotSynced { error: &error, scope: pending.scope(), took });
                self.not_synced(dataplane.name(), error)
            }
        }
    }

    fn synced(&mut self, pending: Pending, report: Report, took: Duration) {
        let Report { writes, bytes_sent: netlink_bytes, flows_deleted, cleanings: _, failed, warnings } = report;
        let services = self.desired.state().len();
        match &pending {
            Pending::All => info!(services, writes, netlink_bytes, flows_deleted, ?took, "every service was checked"),
            Pending::Services(changed) => {
                debug!(
                    changed = changed.len(),
                    services,
                    writes,
                    netlink_bytes,
                    flows_deleted,
                    ?took,
                    "changed services were programmed"
                );
            }
        }
        self.failed.update(&pending, failed, Instant::now());
        self.said.failures(self.failed.reasons(), self.witness);
        self.said.warnings(warnings);
        self.pending = Pending::nothing();
        self.next = Next::Now;
        self.backoff.reset();
        self.races = 0;
        self.unproven = false;
    }

    fn not_synced(&mut self, backend: &'static str, error: SyncError) -> Result<(), ReconcileError> {
        let wait = match &error {
            SyncError::Raced { .. } if self.races < RACES => {
                self.races += 1;
                self.next = Next::Now;
                Duration::ZERO
            }
            SyncError::Raced { .. } | SyncError::Transient { .. } => {
                let wait = self.backoff.next();
                self.next = Next::NotBefore(Instant::now() + wait);
                wait
            }
            // A predecessor's rules are in force, and the operator may choose it again: no reason to end.
            SyncError::Unsupported { .. } if self.unproven => {
                let wait = self.backoff.next();
                self.next = Next::NotBefore(Instant::now() + wait);
                wait
            }
            SyncError::Refused { .. } => {
                let wait = self.backoff.next();
                self.next = Next::NotBeforeUnlessChanged(Instant::now() + wait);
                wait
            }
            SyncError::Unsupported { .. } => return Err(ReconcileError::Unsupported { backend, source: error }),
        };
        warn!(%error, backend, ?wait, "sync failed, trying again; what was programmed before goes on");
        Ok(())
    }
}
