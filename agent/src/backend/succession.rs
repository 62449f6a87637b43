//! The nftables dataplane on a node where IPVS was possibly used before: connections of IPVS continue beside it until
//! they end.
//!
//! Put together here because neither backend knows that the other takes over: the tables translate every new
//! connection, and packets of older ones are led around them to IPVS.
//!
//! ```text
//! sync ─► the first: has IPVS left anything? ─► hold that ─► sync of nftables ─► what was left drains
//! drifted ─► what was left has ended: nftables alone from then on
//! ```

use async_trait::async_trait;
use backend_api::{Cleaning, Dataplane, Observed, PerFamily, Report, Scope, ServiceState, SyncError};
use backend_ipvs::Leaving;
use backend_nft::NftDataplane;

/// nftables, and what is left of IPVS.
#[derive(Debug)]
pub(super) struct Succession {
    dataplane: NftDataplane,
    before: Before,
}

/// What is left of the backend before.
#[derive(Debug)]
enum Before {
    /// Not looked at yet: until the first sync the other backend may still write.
    Unknown(backend_ipvs::Options),
    /// IPVS, and it has something left.
    Leaving(Box<Leaving>),
    /// Nothing, or nothing any more.
    Nothing,
}

impl Succession {
    /// `dataplane` takes over from the backend before.
    pub(super) fn new(dataplane: NftDataplane, options: backend_ipvs::Options) -> Self {
        Self { dataplane, before: Before::Unknown(options) }
    }

    async fn hold(&mut self, desired: &ServiceState, scope: Scope<'_>) -> Result<usize, SyncError> {
        if let Before::Unknown(options) = &self.before {
            self.before = match Leaving::find(options).await? {
                Some(leaving) => Before::Leaving(Box::new(leaving)),
                None => Before::Nothing,
            };
        }
        match &mut self.before {
            Before::Leaving(leaving) => leaving.hold(desired, scope).await,
            Before::Unknown(_) | Before::Nothing => Ok(0),
        }
    }
}

#[async_trait]
impl Dataplane for Succession {
    fn name(&self) -> &'static str {
        self.dataplane.name()
    }

    async fn sync(&mut self, desired: &ServiceState, scope: Scope<'_>) -> Result<Report, SyncError> {
        let held = self.hold(desired, scope).await?;
        let mut report = self.dataplane.sync(desired, scope).await?;
        report.writes += held;
        if let Before::Leaving(leaving) = &mut self.before {
            leaving.taken_over();
        }
        Ok(report)
    }

    async fn observe(&mut self) -> Result<Observed, SyncError> {
        self.dataplane.observe().await
    }

    async fn remove_all(&mut self) -> Result<(), SyncError> {
        self.dataplane.remove_all().await?;
        if let Before::Leaving(leaving) = &mut self.before {
            leaving.remove_all().await?;
            self.before = Before::Nothing;
        }
        Ok(())
    }

    async fn settle(&mut self) -> PerFamily<Option<Cleaning>> {
        self.dataplane.settle().await
    }

    async fn drifted(&mut self) {
        if let Before::Leaving(leaving) = &mut self.before {
            tokio::select! {
                () = self.dataplane.drifted() => return,
                () = leaving.over() => {}
            }
            self.before = Before::Nothing;
        }
        self.dataplane.drifted().await;
    }
}
