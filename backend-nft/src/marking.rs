//! The same tables for a backend that lets IPVS translate: where [`crate::NftDataplane`] rewrites a destination, these mark
//! the packet for a virtual server.
//!
//! ```text
//!  Marks: who is which mark ─┐
//!  ServiceState ─────────────┴─► MarkingTables::sync ─► the kernel, one batch for both families
//! ```
//!
//! Who may dial, who is refused, who remembers its clients and whose source is rewritten is decided here, by the rules
//! of `render`, for both backends.

use std::collections::BTreeMap;
use std::fmt::Debug;

use backend_api::{
    Cleaning, EndpointAddress, Family, FrontendKey, Observed, PerFamily, Pool, Report, Scope, ServiceName, ServicePort,
    ServiceState, SyncError,
};

use crate::dataplane::Options;
use crate::programmer::Before;
pub use crate::ruleset::Mark;
pub use crate::ruleset::lower::kernel_family;
use crate::ruleset::{Delivery, Element, Key, SetName, Value};
use crate::tables::Tables;

/// What a mark stands for, within a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Whoever IPVS picks of this pool.
    Pool(Pool),
    /// This endpoint: the tables picked it, for clients come back to it.
    Endpoint(EndpointAddress),
}

/// Which virtual server answers. Asked while a sync is planned; the answers must not change during one.
pub trait Marks: Debug + Sync {
    /// The mark of what answers `frontend` of `port` for `target`; none if nothing does, for services that [`Marks::unfit`]
    /// names.
    fn mark(&self, service: &ServiceName, port: &ServicePort, frontend: FrontendKey, target: Target) -> Option<Mark>;

    /// Why a service is to be left out.
    fn unfit(&self, service: &ServiceName) -> Option<String>;
}

/// A mark in the kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Marked {
    /// Whose clients get it.
    pub frontend: FrontendKey,
    /// Of which pool it stands for any; none where it stands for one endpoint that clients come back to.
    pub pool: Option<Pool>,
    /// The mark.
    pub mark: Mark,
}

/// What a sync of [`MarkingTables`] did.
#[derive(Debug)]
pub struct Synced {
    /// For the caller.
    pub report: Report,
    before: Before,
}

/// The tables `switchyard` of a network namespace, as far as they mark.
#[derive(Debug)]
pub struct MarkingTables {
    tables: Tables,
}

impl MarkingTables {
    /// Opens them in the network namespace of this thread, as [`crate::NftDataplane::open`] does.
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
        let found = self.tables.programmer.look().await?;
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

    /// What the kernel holds; `servers` tells who answers a mark, with shares.
    ///
    /// # Errors
    /// As [`backend_api::Dataplane::observe`].
    pub async fn observe(
        &mut self,
        servers: &(dyn Fn(Mark) -> BTreeMap<EndpointAddress, u32> + Sync),
    ) -> Result<Observed, SyncError> {
        self.tables.programmer.observe(servers).await
    }

    /// Removes our tables, whoever of us made them.
    ///
    /// # Errors
    /// As [`backend_api::Dataplane::remove_all`].
    pub async fn remove_all(&mut self) -> Result<(), SyncError> {
        self.tables.programmer.remove_all().await
    }

    /// Believes nothing any more: the next sync looks.
    pub fn forget(&mut self) {
        self.tables.programmer.forget();
    }

    /// Resolves when somebody else has changed the tables. Cancel-safe.
    pub async fn drifted(&mut self) {
        self.tables.drifted().await;
    }
}

fn marked(element: &Element) -> Option<Marked> {
    let Value::Mark(mark) = element.value else { return None };
    match (element.set, element.key) {
        (SetName::Endpoints(_), Key::Slot(frontend, slot)) => {
            let pool = if slot < crate::assign::first_slot(Pool::Local) { Pool::Cluster } else { Pool::Local };
            Some(Marked { frontend, pool: Some(pool), mark })
        }
        (SetName::StickyEndpoints(_), Key::Remembered(frontend, _)) => Some(Marked { frontend, pool: None, mark }),
        _ => None,
    }
}
