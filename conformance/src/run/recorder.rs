//! Stands between the agent's loop and the dataplane, and checks after every sync what every backend promises.
//!
//! - The same state again writes nothing (*no flap*).
//! - A new process, which knows nothing but the kernel, writes nothing either (*the kernel is the database*).
//! - Neither finds a stale flow: else these checks would do the first sync's work, and hide that it did not.
//!
//! A promise that the subject declares not to keep is not demanded. What is needed to find out whether it holds
//! nevertheless is noted.

use std::collections::BTreeSet;
use std::net::IpAddr;

use async_trait::async_trait;
use backend_api::{
    Cleaning, Dataplane, FrontendKey, Observed, PerFamily, Report, Scope, ServiceName, ServiceState, SyncError,
};
use tokio::sync::watch;

use super::subject::{Open, Opened, Promise, Subject};
use crate::scenario::Flags;

/// The service whose port tells how far the agent has come.
pub(super) const MARKER: (&str, &str) = ("switchyard-conformance", "marker");

/// What the agent has programmed last, and what was wrong on the way.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The port of the marker in the state that was programmed last.
    pub(super) marker: Option<u16>,
    /// The node's addresses in that state.
    pub(super) addresses: BTreeSet<IpAddr>,
    /// What the first sync of this process wrote.
    pub(super) first_writes: Option<usize>,
    /// Promises that were broken.
    pub(super) faults: Vec<String>,
    /// Why the last sync failed, if it did.
    pub(super) error: Option<String>,
    /// How many checks were made.
    pub(super) checks: usize,
    /// How many second syncs of the same state wrote something.
    pub(super) rewrites: usize,
    /// What was programmed last, if it is needed in the end.
    pub(super) state: Option<ServiceState>,
}

/// A dataplane that is watched.
#[derive(Debug)]
pub(super) struct Recorder {
    inner: Box<dyn Dataplane>,
    process: Process,
    unkept: BTreeSet<Promise>,
    progress: watch::Sender<Progress>,
}

/// How a process opens its dataplane.
pub(super) struct Process {
    open: Open,
    flags: Flags,
}

impl Process {
    pub(super) fn of(subject: &Subject, flags: Flags) -> Self {
        Self { open: subject.opener(), flags }
    }

    pub(super) async fn open(&self) -> Opened {
        (self.open)(self.flags.clone()).await
    }
}

impl Recorder {
    pub(super) fn new(
        inner: Box<dyn Dataplane>,
        process: Process,
        unkept: BTreeSet<Promise>,
        progress: watch::Sender<Progress>,
    ) -> Self {
        Self { inner, process, unkept, progress }
    }

    /// Syncs the same state again, in this process and in a new one, and notes what is wrong with that.
    async fn check(&mut self, desired: &ServiceState, report: &Report) {
        let failed = report.failed.iter().map(|failure| format!("{}: {}", failure.service, failure.reason));
        let mut faults: Vec<_> = failed.collect();
        let mut checks = 0;
        let again = self.inner.sync(desired, Scope::All).await;
        let rewritten = again.as_ref().is_ok_and(|report| report.writes > 0);
        if self.unkept.contains(&Promise::Steady) {
            // What is written is not judged, and that flows were left is.
            let unjudged = again.map(|mut report| {
                report.writes = 0;
                report
            });
            faults.extend(fault(SECOND_TIME, unjudged));
        } else {
            faults.extend(fault(SECOND_TIME, again));
            checks += 1;
        }
        let adopts = !self.unkept.contains(&Promise::Adopts);
        if adopts {
            faults.extend(match self.process.open().await {
                Ok(mut other) => fault(NEW_PROCESS, other.sync(desired, Scope::All).await),
                Err(error) => Some(format!("{NEW_PROCESS}: {error}")),
            });
            checks += 1;
        }
        self.progress.send_modify(|progress| {
            progress.faults.extend(faults);
            progress.checks += checks;
            progress.rewrites += usize::from(rewritten);
            progress.state = (!adopts).then(|| desired.clone());
        });
    }
}

const SECOND_TIME: &str = "the same state a second time";
const NEW_PROCESS: &str = "a new process";

/// What is wrong with a sync that had nothing to do.
fn fault(what: &str, outcome: Result<Report, SyncError>) -> Option<String> {
    match outcome {
        Ok(Report { writes: 0, flows_deleted: 0, .. }) => None,
        Ok(Report { writes: 0, flows_deleted, .. }) => {
            Some(format!("{what}: {flows_deleted} stale flows deleted that the first sync had left"))
        }
        Ok(Report { writes, .. }) => Some(format!("{what}: {writes} writes, awaited none")),
        Err(error) => Some(format!("{what}: {error}")),
    }
}

#[async_trait]
impl Dataplane for Recorder {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn sync(&mut self, desired: &ServiceState, scope: Scope<'_>) -> Result<Report, SyncError> {
        let outcome = self.inner.sync(desired, scope).await;
        if let Ok(report) = &outcome {
            // What is left for a moment later is not left to the checks.
            self.inner.settle().await;
            self.check(desired, report).await;
        }
        self.progress.send_modify(|progress| match &outcome {
            Ok(report) => {
                progress.marker = marker_of(desired);
                progress.addresses = desired.node().addresses.clone();
                progress.first_writes.get_or_insert(report.writes);
                progress.error = None;
            }
            Err(error) => progress.error = Some(error.to_string()),
        });
        outcome
    }

    async fn observe(&mut self) -> Result<Observed, SyncError> {
        self.inner.observe().await
    }

    async fn remove_all(&mut self) -> Result<(), SyncError> {
        self.inner.remove_all().await
    }

    async fn settle(&mut self) -> PerFamily<Option<Cleaning>> {
        self.inner.settle().await
    }

    async fn drifted(&mut self) {
        self.inner.drifted().await;
    }
}

fn marker_of(desired: &ServiceState) -> Option<u16> {
    let marker = desired.service(&ServiceName::new(MARKER.0, MARKER.1))?;
    let keys = marker.ports.iter().flat_map(|port| &port.frontends).map(|frontend| frontend.key);
    keys.map(FrontendKey::port).next()
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("flags", &self.flags).finish_non_exhaustive()
    }
}
