//! Stands between the agent's loop and the dataplane, and checks after every sync what every backend promises.
//!
//! - The same state again writes nothing (*no flap*).
//! - A new process, which knows nothing but the kernel, writes nothing either (*the kernel is the database*).
//! - Neither finds a stale flow: else these checks would do the first sync's work, and hide that it did not.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ::agent::config::IpvsConfig;
use async_trait::async_trait;
use backend_api::{Dataplane, FrontendKey, Observed, Report, Scope, ServiceName, ServiceState, SyncError};
use tokio::sync::watch;

use super::subject::Open;

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
}

/// A dataplane that is watched.
#[derive(Debug)]
pub(super) struct Recorder {
    inner: Box<dyn Dataplane>,
    open: Reopen,
    progress: watch::Sender<Progress>,
}

struct Reopen(Open, IpvsConfig);

impl Recorder {
    pub(super) fn new(
        inner: Box<dyn Dataplane>,
        (open, flags): (Open, IpvsConfig),
        progress: watch::Sender<Progress>,
    ) -> Self {
        Self { inner, open: Reopen(open, flags), progress }
    }

    async fn check(&mut self, desired: &ServiceState, report: &Report) -> Vec<String> {
        let mut faults: Vec<_> =
            report.failed.iter().map(|failure| format!("{}: {}", failure.service, failure.reason)).collect();
        let again = self.inner.sync(desired, Scope::All).await;
        faults.extend(fault("the same state a second time", again));
        let adopted = match (self.open.0)(self.open.1).await {
            Ok(mut other) => fault("a new process", other.sync(desired, Scope::All).await),
            Err(error) => Some(format!("a new process: {error}")),
        };
        faults.extend(adopted);
        faults
    }
}

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
        let faults = match &outcome {
            Ok(report) => self.check(desired, report).await,
            Err(_) => Vec::new(),
        };
        self.progress.send_modify(|progress| match &outcome {
            Ok(report) => {
                progress.marker = marker_of(desired);
                progress.addresses = desired.node().addresses.clone();
                progress.first_writes.get_or_insert(report.writes);
                progress.faults.extend(faults);
                progress.error = None;
                progress.checks += 2;
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

    async fn drifted(&mut self) {
        self.inner.drifted().await;
    }
}

fn marker_of(desired: &ServiceState) -> Option<u16> {
    let marker = desired.service(&ServiceName::new(MARKER.0, MARKER.1))?;
    let keys = marker.ports.iter().flat_map(|port| &port.frontends).map(|frontend| frontend.key);
    keys.map(FrontendKey::port).next()
}

impl std::fmt::Debug for Reopen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reopen")
    }
}
