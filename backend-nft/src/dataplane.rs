//! The nftables dataplane: what an embedder sees.

use std::collections::BTreeMap;

use async_trait::async_trait;
use backend_api::{Cleaning, Dataplane, Observed, PerFamily, Report, Scope, ServiceState, SyncError};

use crate::options::Options;
use crate::programmer::Outcome;
use crate::ruleset::Delivery;
use crate::tables::Tables;

/// Programs services into the tables `switchyard` of the network namespace that it was opened in.
///
/// One socket for life, because the kernel ties the tables to it. The tables stay when this is dropped.
#[derive(Debug)]
pub struct NftDataplane {
    tables: Tables,
}

impl NftDataplane {
    /// Opens the dataplane in the network namespace that `options` name: that of this thread, if they name none. Needs
    /// `CAP_NET_ADMIN` there, and a tokio runtime with I/O and time. Nothing is written before the first sync.
    ///
    /// # Errors
    /// [`SyncError::Unsupported`] where the kernel or the process lacks something.
    pub async fn open(options: Options) -> Result<Self, SyncError> {
        Ok(Self { tables: Tables::open(options, Delivery::Translate).await? })
    }
}

#[async_trait]
impl Dataplane for NftDataplane {
    fn name(&self) -> &'static str {
        "nftables"
    }

    async fn sync(&mut self, desired: &ServiceState, scope: Scope<'_>) -> Result<Report, SyncError> {
        let sent = self.tables.sent();
        let Outcome { mut report, before } = self.tables.programmer.sync(desired, scope, None).await?;
        report.add_cleanings(self.tables.clean_up_after(&before, desired));
        report.bytes_sent = self.tables.sent() - sent;
        Ok(report)
    }

    async fn observe(&mut self) -> Result<Observed, SyncError> {
        self.tables.programmer.observe(&|_| BTreeMap::new()).await
    }

    async fn remove_all(&mut self) -> Result<(), SyncError> {
        self.tables.programmer.remove_all().await
    }

    async fn settle(&mut self) -> PerFamily<Option<Cleaning>> {
        self.tables.settle().await
    }

    async fn drifted(&mut self) {
        self.tables.drifted().await;
    }
}
