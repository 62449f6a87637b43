//! The tables `switchyard` as far as they mark.

use std::collections::BTreeMap;

use backend_api::{Cleaning, EndpointAddress, Family, Observed, PerFamily, Report, Scope, ServiceState, SyncError};

use crate::marks::{Marked, Marks, marked};
use crate::options::Options;
use crate::port::Counters;
use crate::programmer::Before;
use crate::ruleset::{Delivery, Mark};
use crate::tables::Tables;

/// The tables `switchyard` of a network namespace, as far as they mark.
#[derive(Debug)]
pub struct MarkingTables {
    tables: Tables,
}

/// What a sync of [`MarkingTables`] did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Synced {
    /// For the caller.
    pub report: Report,
    before: Before,
}

impl MarkingTables {
    /// Opens them in the network namespace that `options` name, as [`crate::NftDataplane::open`] does.
    ///
    /// # Errors
    /// [`SyncError::Unsupported`] where the kernel or the process lacks something.
    pub async fn open(options: Options) -> Result<Self, SyncError> {
        Ok(Self { tables: Tables::open(options, Delivery::Mark).await? })
    }

    /// Every mark that the kernel's tables hold.
    ///
    /// # Errors
    /// As [`backend_api::Dataplane::observe`].
    pub async fn marks(&mut self) -> Result<Vec<Marked>, SyncError> {
        let found = self.tables.programmer.look(Counters::Current).await?;
        let contents = Family::ALL.into_iter().filter_map(|family| found.of(family).content());
        Ok(contents.flat_map(|content| &content.elements).filter_map(marked).collect())
    }

    /// Makes the tables equal to `desired`, as [`backend_api::Dataplane::sync`].
    ///
    /// # Errors
    /// As there.
    pub async fn sync(
        &mut self,
        desired: &ServiceState,
        scope: Scope<'_>,
        marks: &dyn Marks,
    ) -> Result<Synced, SyncError> {
        let outcome = self.tables.programmer.sync(desired, scope, Some(marks)).await?;
        // Between this and the deletion something else may fail.
        self.tables.owe(&outcome.before);
        Ok(Synced { report: outcome.report, before: outcome.before })
    }

    /// Bytes that were sent to the kernel since they were opened.
    pub fn sent(&self) -> u64 {
        self.tables.sent()
    }

    /// Deletes the connection-tracking entries that became stale with a sync; what that came to.
    pub async fn delete_stale_flows(&mut self, synced: &Synced, desired: &ServiceState) -> PerFamily<Option<Cleaning>> {
        self.tables.delete_stale_flows(&synced.before, desired).await
    }

    /// Whether stale entries may be left that could not be deleted.
    pub fn owes_flows(&self) -> bool {
        self.tables.owes_flows()
    }

    /// What the kernel holds; `servers` tells which endpoints answer a mark, with their shares.
    ///
    /// # Errors
    /// As [`backend_api::Dataplane::observe`].
    pub async fn observe(
        &mut self,
        servers: &(dyn Fn(Mark) -> BTreeMap<EndpointAddress, u32> + Sync),
    ) -> Result<Observed, SyncError> {
        self.tables.programmer.observe(servers).await
    }

    /// Removes the tables `switchyard`, whichever backend made them.
    ///
    /// # Errors
    /// As [`backend_api::Dataplane::remove_all`].
    pub async fn remove_all(&mut self) -> Result<(), SyncError> {
        self.tables.programmer.remove_all().await
    }

    /// Believes nothing any more: the next sync reads the kernel.
    pub fn forget(&mut self) {
        self.tables.programmer.forget();
    }

    /// Deletes at once the half-open connections that syncs made stale; what that came to.
    pub async fn settle(&mut self) -> PerFamily<Option<Cleaning>> {
        self.tables.settle().await
    }

    /// Resolves when another program has changed the tables. Cancel-safe.
    pub async fn drifted(&mut self) {
        self.tables.drifted().await;
    }
}
