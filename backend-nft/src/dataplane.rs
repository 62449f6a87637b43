//! The nftables dataplane: what an embedder sees.

use async_trait::async_trait;
use backend_api::{Dataplane, Observed, Report, Scope, ServiceName, ServiceState, StaleFlows, SyncError};

use crate::errors::{from_commit, from_open};
use crate::flows::delete_stale;
use crate::kernel::{Conntrack, Nftables, Ownership, Watch};
use crate::port::Kernel;
use crate::probe::probe;
use crate::programmer::{Before, Outcome, Programmer};
use crate::ruleset::TABLE;

/// What an embedder may choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether others may touch our tables while we run.
    pub others: Others,
}

/// Whether others may touch our tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Others {
    /// Not while we run, where the kernel can see to it (Linux 6.9): `nft flush ruleset` passes over them.
    #[default]
    KeptOut,
    /// As they like. We repair what they do.
    LetIn,
}

/// Programs services into the tables `switchyard` of the network namespace that it was opened in.
///
/// One socket for life, because the kernel ties the tables to it. The tables stay when this is dropped.
#[derive(Debug)]
pub struct NftDataplane {
    programmer: Programmer<Kernel>,
    watch: Watch,
    conntrack: Conntrack,
    /// Stale flows could not be deleted last time: nobody knows which, so all are suspect.
    owes_flows: bool,
}

impl NftDataplane {
    /// Opens the dataplane in the network namespace of this thread; needs `CAP_NET_ADMIN` there, and a tokio runtime.
    /// Nothing is written before the first sync.
    ///
    /// # Errors
    /// [`SyncError::Unsupported`] where the kernel or the process lacks something.
    pub async fn open(options: Options) -> Result<Self, SyncError> {
        let mut nftables = Nftables::open(TABLE).map_err(from_open)?;
        // First, so that nothing happens unseen between looking and watching.
        let watch = nftables.watch().map_err(from_open)?;
        let conntrack = Conntrack::open().map_err(from_open)?;
        probe(&mut nftables).await?;
        let table_flags = match options.others {
            Others::KeptOut => match nftables.ownership().await.map_err(from_commit)? {
                Ownership::Kept => Kernel::OWNED,
                Ownership::None => {
                    tracing::info!("kernel cannot keep others off the tables; what they change is repaired");
                    0
                }
            },
            Others::LetIn => 0,
        };
        let programmer = Programmer::new(Kernel { nftables, table_flags });
        Ok(Self { programmer, watch, conntrack, owes_flows: false })
    }

    /// Deletes what became stale; logs a failure and makes up for it next time.
    async fn delete_stale_flows(&mut self, stale: &StaleFlows<'_>) -> usize {
        if stale.is_empty() {
            return 0;
        }
        match delete_stale(&mut self.conntrack, stale).await {
            Ok(deleted) => {
                self.owes_flows = false;
                deleted
            }
            Err(error) => {
                tracing::warn!(%error, "stale flows may be left, trying again with the next sync");
                self.owes_flows = true;
                0
            }
        }
    }
}

#[async_trait]
impl Dataplane for NftDataplane {
    fn name(&self) -> &'static str {
        "nftables"
    }

    async fn sync(&mut self, desired: &ServiceState, scope: Scope<'_>) -> Result<Report, SyncError> {
        let Outcome { mut report, before } = self.programmer.sync(desired, scope).await?;
        let stale = match &before {
            Before::Looked(looked) => StaleFlows::after_restart(looked, desired),
            Before::Believed(node, changed) => {
                let mut stale = match self.owes_flows {
                    true => StaleFlows::after_restart(&Observed::default(), desired),
                    false => StaleFlows::new(node, desired),
                };
                let belief = self.programmer.belief();
                let now = |name: &ServiceName| belief?.services.get(name).map(|programmed| &*programmed.service);
                for (name, before) in changed {
                    stale.service_changed(before.as_deref(), now(name));
                }
                stale
            }
        };
        report.flows_deleted = self.delete_stale_flows(&stale).await;
        Ok(report)
    }

    async fn observe(&mut self) -> Result<Observed, SyncError> {
        self.programmer.observe().await
    }

    async fn remove_all(&mut self) -> Result<(), SyncError> {
        self.programmer.remove_all().await
    }

    async fn drifted(&mut self) {
        if let Err(error) = self.watch.changed().await {
            tracing::warn!(%error, "changes by others are not noticed any more");
            return std::future::pending().await;
        }
        self.programmer.forget();
    }
}
