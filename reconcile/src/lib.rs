//! The one loop that keeps a dataplane equal to a desired state: it coalesces changes, retries, and repairs drift.
//!
//! ```text
//! objects, or ──► Desired (a ServiceState) ──► Pending ──► Dataplane::sync ──► ok: nothing is pending
//! an embedder's                                   ▲                       └──► error: wait, everything is pending
//! own services           drift, another backend ──┘                   News ──► Witness
//! ```
//!
//! Everything that happens only adds to [`Pending`]; one place takes from it. While a sync runs, changes gather in the
//! channels of [`Desired`] and are taken together afterwards. Nothing here knows Kubernetes.
//!
//! A program that resolves its services itself:
//!
//! ```
//! # use backend_api as switchyard_api;
//! use switchyard_api::{Fake, LocalTraffic, NodeNetwork, PerFamily};
//! use switchyard_reconcile::{StateChange, run, state_channel};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pods = PerFamily::both(LocalTraffic::InterfacePrefix("veth".to_owned()));
//! let (sender, desired) = state_channel(NodeNetwork::new(pods, ["192.168.67.8".parse()?]));
//! sender.tell(vec![StateChange::Listed]).await?;
//! // Any `Dataplane`, for as long as `stop` is pending; here for a moment.
//! let stop = tokio::time::sleep(std::time::Duration::from_millis(1));
//! run(Box::new(Fake::default()), desired, None, &mut (), stop).await?;
//! # Ok(())
//! # }
//! ```
//!
//! **Invariants**, each with its test in `tests/reconcile_loop.rs`:
//!
//! - Nothing is written before everything has been listed (`nothing_is_written_before_the_first_list`).
//! - A change during a sync is not lost (`a_change_during_a_sync_is_not_lost_and_changes_coalesce`).
//! - After an error the sync is tried again, with every change (`errors_retry_and_keep_changes`).
//! - A change by another program makes the loop check everything (`drift_resyncs_everything`).
//! - A service that fails alone holds up no other
//!   (`a_service_that_fails_alone_holds_up_no_other_and_is_tried_again`).
//! - Old and new backend may overlap: what the old one programmed stays
//!   (`a_successor_programs_everything_at_once_and_goes_on`).

mod backoff;
mod desired;
mod pending;
mod rate;
mod said;
mod state;
mod witness;

use std::future::Future;
use std::time::Duration;

use backend_api::{Dataplane, Report, SyncError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

pub use backoff::{Backoff, chance};
pub use desired::{Desired, InputEnded};
pub use pending::Pending;
pub use rate::{Line, LineRate};
pub use state::{NotTold, StateChange, StateReceiver, StateSender, state_channel};
pub use witness::{News, Witness};

use self::pending::Failed;
use self::said::{Again, Said};

/// How many races in a row with another program are tried again at once; after that the loop waits.
const RACES: u32 = 3;

/// Least time between two repairs of what another program changed, so that two programs that undo each other's
/// changes do not take the whole processor.
const REPAIR: Duration = Duration::from_millis(100);

/// Backends to go on with, each in place of the one before. Each has been opened and has not synced.
pub type Successors = mpsc::Receiver<Box<dyn Dataplane>>;

/// Why the loop ended without being told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileError {
    /// This kernel or process cannot run the backend.
    #[error("backend {backend}: {source}")]
    Unsupported {
        /// Which backend.
        backend: &'static str,
        /// What is missing.
        source: SyncError,
    },
    /// An input of the desired state has ended.
    #[error(transparent)]
    InputEnded(#[from] InputEnded),
}

/// Keeps the kernel equal to what `desired` says, until `stop`. A sync that runs then is finished; what is in the
/// kernel stays there. `witness` is told of everything.
///
/// # Errors
/// Where trying again cannot help. Every other failure is logged and tried again.
pub async fn run<D: Desired>(
    mut dataplane: Box<dyn Dataplane>,
    desired: D,
    mut successors: Option<Successors>,
    witness: &mut dyn Witness<D>,
    stop: impl Future<Output = ()>,
) -> Result<(), ReconcileError> {
    let mut reconciler = Reconciler::new(desired, witness);
    tokio::pin!(stop);
    reconciler.hear_all();
    loop {
        let ready = reconciler.ready_at();
        tokio::select! {
            biased;
            () = &mut stop => return Ok(()),
            () = until(ready) => {
                reconciler.hear_all();
                reconciler.resolve();
                reconciler.sync(&mut *dataplane).await?;
            }
            heard = reconciler.desired.hear(reconciler.witness) => {
                heard?;
                reconciler.heard();
            }
            successor = next(&mut successors) => {
                // The old backend is closed first: it may own what the new one writes. What it programmed stays.
                dataplane = successor;
                reconciler.succeeded(dataplane.name());
            }
            () = dataplane.drifted() => reconciler.drifted(),
        }
    }
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

struct Reconciler<'a, D> {
    witness: &'a mut dyn Witness<D>,
    desired: D,
    pending: Pending,
    next: Next,
    /// Of syncs that failed as a whole.
    backoff: Backoff,
    races: u32,
    /// Whether the kernel still holds what the previous backend programmed: the new one has not synced yet.
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

impl<'a, D: Desired> Reconciler<'a, D> {
    fn new(desired: D, witness: &'a mut dyn Witness<D>) -> Self {
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
            said: Said::new(),
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

    fn hear_all(&mut self) {
        if self.desired.hear_all(self.witness) {
            self.heard();
        }
    }

    /// From now on another dataplane is used, which knows nothing yet.
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

    /// Another program has changed what is ours.
    fn drifted(&mut self) {
        let now = Instant::now();
        if self.pending != Pending::All {
            self.witness.hear(&News::Drifted);
            if let Some(line) = self.said.again(Again::Drifted) {
                warn!("rules were changed by another program, checking all of them{line}");
            }
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
        let Report { writes, bytes_sent: netlink_bytes, flows_deleted, failed, warnings, unfinished, .. } = report;
        let services = self.desired.state().len();
        match &pending {
            Pending::All => {
                if let Some(line) = self.said.again(Again::Checked) {
                    info!(services, writes, netlink_bytes, flows_deleted, ?took, "every service was checked{line}");
                }
            }
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
        self.failed.update(&pending, failed, unfinished, Instant::now());
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
                let wait = self.backoff.after_failure();
                self.next = Next::NotBefore(Instant::now() + wait);
                wait
            }
            // The previous backend's rules are in force, and the operator may choose it again: no reason to end.
            SyncError::Unsupported { .. } if self.unproven => {
                let wait = self.backoff.after_failure();
                self.next = Next::NotBefore(Instant::now() + wait);
                wait
            }
            SyncError::Refused { .. } => {
                let wait = self.backoff.after_failure();
                self.next = Next::NotBeforeUnlessChanged(Instant::now() + wait);
                wait
            }
            SyncError::Unsupported { .. } => return Err(ReconcileError::Unsupported { backend, source: error }),
            // A kind of error that this version does not know.
            _ => {
                let wait = self.backoff.after_failure();
                self.next = Next::NotBefore(Instant::now() + wait);
                wait
            }
        };
        warn!(%error, backend, ?wait, "sync failed, trying again; what was programmed before stays in place");
        Ok(())
    }
}
